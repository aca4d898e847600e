/* SPDX-License-Identifier: MIT */
/*
 * Lines of the stream that wait for the call they belong to. What the kernel does inside an
 * allocation is told before the allocation is: its lines are held back, and follow the call's
 * own, indented.
 */
#ifndef MEMTRACE_HOLD_H
#define MEMTRACE_HOLD_H

#include <stdint.h>
#include <stdio.h>

struct hold;

struct hold *hold__new(FILE *out);
/* Lines that still wait are written. 0 or -errno. */
int hold__free(struct hold *h);

/*
 * Where to write the line of what thread tid did inside call `owner` (0: outside of any): a
 * buffer, or `out` itself when the call's line has been written. NULL: no memory.
 */
FILE *hold__file(struct hold *h, uint32_t tid, uint64_t owner);

/* The call's own line comes now: what waits for another one will not get it. 0 or -errno. */
int hold__before_call(struct hold *h, uint32_t tid, uint64_t owner);
/* The call's own line was written: what waited for it follows. 0 or -errno. */
int hold__after_call(struct hold *h, uint32_t tid, uint64_t owner);

/* A thread has ended. */
int hold__end_thread(struct hold *h, uint32_t tid);

#endif /* MEMTRACE_HOLD_H */
