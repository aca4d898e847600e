/* SPDX-License-Identifier: MIT */
/*
 * Where in a function to put a uprobe so that it costs least (x86-64).
 *
 * The kernel emulates a few instructions (push, nop, call, jumps) and single-steps
 * the others, which costs a call twenty times as much. So the beginning of the function
 * is decoded up to the first instruction that is emulated. All before it runs on every path;
 * it must leave the stack pointer alone, so that a return probe finds the return address,
 * and the arguments somewhere in registers.
 */
#ifndef MEMTRACE_PROLOGUE_H
#define MEMTRACE_PROLOGUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bpf/event.h"

#define PROLOGUE_BYTES 96 /* so much of a function is worth looking at */

struct site {
	uint32_t offset; /* from the function's entry */
	uint32_t place; /* enum hook_place */
	uint8_t reg[4]; /* which register holds argument 1 to 4 there, by the processor's numbers */
	char what[24]; /* the instruction, for people */
};

/*
 * Choose the site in a function that begins with these bytes. args: a bit for each argument that
 * is needed, bit 0 is the first. Always finds one: at worst the entry, as PLACE_SLOW.
 */
void prologue__choose(const uint8_t *code, size_t bytes, unsigned args, struct site *site);

#endif /* MEMTRACE_PROLOGUE_H */
