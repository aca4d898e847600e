/* SPDX-License-Identifier: MIT */
/*
 * x86-64 instructions: how long each is and where it leads to.
 *
 * A probe in the middle of an instruction would break the program, so a length is right or not
 * given. What an instruction does to registers is effect.h's, for the few where it matters.
 */
#ifndef MEMTRACE_INSN_H
#define MEMTRACE_INSN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum insn_flow {
	FLOW_UNKNOWN, /* not an instruction, or one that leads where we cannot follow */
	FLOW_NEXT, /* to the next one */
	FLOW_CALL, /* to the next one, if what it calls returns */
	FLOW_JUMP, /* to .target */
	FLOW_BRANCH, /* to .target or to the next one */
	FLOW_SLOT, /* to the address in memory at .target */
	FLOW_RETURN,
	FLOW_STOP, /* nowhere: a trap */
};

struct insn_step {
	unsigned length;
	enum insn_flow flow;
	int64_t target; /* from the instruction's own address */
	bool emulated; /* by the kernel, when a probe is on it: cheap */
	int8_t condition; /* of a branch: the processor's number of it; -1: not one of the flags */
};

/* The instruction at code. */
struct insn_step insn__step(const uint8_t *code, size_t bytes);

#endif /* MEMTRACE_INSN_H */
