/* SPDX-License-Identifier: MIT */
/*
 * Where a function returns, for one that must not have a return probe (x86-64).
 *
 * A return probe puts the address of the kernel's trampoline where the return address was, and no
 * unwinder gets past that: an exception thrown through the function would end the program. So the
 * function's code is followed from its entry along all its jumps, into what it jumps to
 * in place of returning as well, and each way out gets a probe of its own.
 *
 * A probe on `ret` itself is single-stepped: ten microseconds and more. So it goes to the last
 * instruction before it that the kernel emulates, most often the branch that tells success
 * from failure, if from there on the way leads straight to the ret and what rax will be
 * there is in a register already.
 */
#ifndef MEMTRACE_EXITS_H
#define MEMTRACE_EXITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bpf/event.h"

#define EXITS_MAX 64

struct exit_site {
	uint64_t at; /* address of the instruction */
	uint16_t words; /* the return address is so many words above the stack pointer */
	uint8_t reg; /* which register holds what will be returned, by the processor's numbers */
	uint8_t edges; /* EXIT_*: which of its ways lead out */
	uint8_t condition; /* of a branch: the processor's number of it */
	bool slow; /* it is a ret */
};

/* The code that is looked at. */
struct code {
	void *ctx;
	/* Bytes at addr, at most n; how many there are. */
	size_t (*read)(void *ctx, uint64_t addr, uint8_t *to, size_t n);
	/* Whether a function, or a part of one that has been moved away, begins at addr. */
	bool (*begins)(void *ctx, uint64_t addr);
	/* Where a jump through the pointer at addr goes, 0: not known, or elsewhere. */
	uint64_t (*pointer)(void *ctx, uint64_t addr);
};

/* Addresses of code, from and before which. */
struct code_range {
	uint64_t from, to;
};

/* The code that the function runs in, without what it calls, with what it jumps to: at most `most`
 * ranges, one of which begins at the entry. How many; 0: it cannot be told, or there are more. */
size_t exits__ranges(const struct code *code, uint64_t entry, struct code_range *ranges, size_t most);

/* All exits of the function at `entry`, at most EXITS_MAX. How many; 0: they cannot be told. */
size_t exits__find(const struct code *code, uint64_t entry, struct exit_site sites[EXITS_MAX]);

#endif /* MEMTRACE_EXITS_H */
