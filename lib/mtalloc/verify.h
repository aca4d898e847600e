/* SPDX-License-Identifier: MIT */
/* The walk over all invariants, in builds with MT_TEST: what its parts ask of the other files. */
#ifndef MTALLOC_VERIFY_H
#define MTALLOC_VERIFY_H

#include "internal.h"

/* What holds in a whole heap; otherwise one line about it, and the end. */
#define HOLDS(condition, where)                                                \
	do {                                                                   \
		if (unlikely(!(condition)))                                    \
			_mt_die("verify", where, __FILE__ ": " #condition, 0); \
	} while (0)

/* Ends the program unless everything is as it should be that other threads do not change now. */
MT_API void mt__verify(void);

/* Under the lock of spans: bitmaps, kinds and sums. */
void _mt_span_verify(void);
void _mt_large_verify(void);
/* Calls visit for each heap whose thread is gone, under the lock of heaps. */
void _mt_heaps_verify(void (*visit)(const struct heap *heap));

#endif
