/* SPDX-License-Identifier: MIT */
/* Walking one's own stack: what the walk (walk.c) asks of rules and memory. */
#ifndef MEMTRACE_WALK_INTERNAL_H
#define MEMTRACE_WALK_INTERNAL_H

#include "lib/trace/unwind_row.h"
#include "lib/trace/walk.h"

#define HASH_FACTOR 0x9E3779B97F4A7C15ULL
#define PAGE_BYTES 4096ULL

/* In no table: no code that is known is there, or a file's without a table. */
#define WALK_NO_TABLE UNWIND_RULE_OF(UNWIND_FRAME, 0, 0, 0)

/* Changes when what is known of code may not hold any more. Never 0. */
extern uint32_t walk_generation;

static inline uint32_t walk__stamp(void)
{
	return __atomic_load_n(&walk_generation, __ATOMIC_ACQUIRE);
}

/*
 * The rule for code at `at`. in_doubt: the address may be anything, so that a library must not be looked
 * into which could be unmapped meanwhile.
 */
uint32_t walk__rule(uint64_t at, bool in_doubt);

/* Whether the calling thread is the process's first. */
bool walk__is_first(void);

/* Whether the word at addr, a multiple of 8, can be read. A system call: false where none may be made. */
bool walk__readable(uint64_t addr);

/* The foot of the process's stack, and where its first frame is; 0: not known. */
extern uint64_t walk_stack_end, walk_stack_bottom;

#endif /* MEMTRACE_WALK_INTERNAL_H */
