/* SPDX-License-Identifier: MIT */
/* What the public functions share: allocation behind the fast paths, and the check mode. */
#ifndef MTALLOC_ALLOC_H
#define MTALLOC_ALLOC_H

#include "internal.h"

/* Whoever looks at the options, or at the heap, may be the first to call. */
static inline void ready(void)
{
	if (unlikely(!atomic_load_explicit(&_mt_ready, memory_order_acquire)))
		_mt_init();
}

/* Frees a live block; ends the program when it is none. Keeps errno. */
void _mt_free_block(void *block);

/*
 * What a block of a slab in region 0 can hold, told without a lock and without a look at the block;
 * 0 when it is another's, or when calls are to be checked or filled.
 */
size_t _mt_slab_block_size(const void *block);

/* A block at a multiple of alignment, a power of two. */
void *_mt_alloc_aligned(size_t size, size_t alignment, bool *zero);

/* check=1 (check.c): blocks with a canary behind them, filled, and kept for a while when freed. */
void *_mt_check_alloc(size_t size, size_t alignment, bool *zero);
void _mt_check_free(void *block);
/* What was asked for. */
size_t _mt_check_size(const void *block, const char *caller);
void _mt_check_lock(void);
void _mt_check_unlock(void);

#endif
