/* SPDX-License-Identifier: MIT */
/*
 * Stacks for a producer (producer.h): the walk (walk.h) with what it needs for each segment and
 * each thread that writes into it.
 *
 * What a walk keeps is not thread-local: thread-local memory is taken from each thread's stack, which
 * may be small. It is kept for each slot of the segment, and so used again as slots are.
 */
#ifndef MEMTRACE_CAPTURE_H
#define MEMTRACE_CAPTURE_H

#include "lib/trace/ring.h"
#include "lib/trace/walk.h"

#pragma GCC visibility push(hidden)

/* Of the process. */
struct capture {
	struct stack_table table; /* nodes 0: no stacks are wanted, or there is no memory for them */
	struct walker *walkers;
	uint32_t nwalkers;
};

extern struct capture _capture;

/* A segment is written to from here on; `slots` of it are mapped. */
void capture__use(const struct ring_header *h, uint32_t slots);

/* A thread has slot i: what its walks keep, or NULL. */
struct walker *capture__thread(uint32_t i);

/*
 * The stack of a call to the function at `entry`, which is the one that this stands in, or has been left
 * for it by a jump. A macro, so that there are as few frames between as can be.
 */
#define capture__take(keeps, entry)                                                         \
	({                                                                                  \
		struct walker *_w = (keeps);                                                \
		uint32_t _id = 0;                                                           \
                                                                                            \
		if (_w) {                                                                   \
			struct walk_regs _regs;                                             \
                                                                                            \
			walk__here(&_regs);                                                 \
			_id = walker__take(_w, &_capture.table, &_regs, WALK_TOP(), entry); \
		}                                                                           \
		_id;                                                                        \
	})

#pragma GCC visibility pop

#endif /* MEMTRACE_CAPTURE_H */
