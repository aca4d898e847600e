/* SPDX-License-Identifier: MIT */
/*
 * The probes otel_memory:alloc(ptr, size, weighted_bytes) and otel_memory:free(ptr): whoever listens to
 * them, by perf, bpftrace or memtrace, is told of samples, one in MTALLOC_OPTIONS sample_bytes, and of
 * the frees of these. weighted_bytes is what the block stands for, so that sums of it are
 * unbiased. An allocation of nothing is told as one of a byte.
 *
 * Both probes share the semaphore that keeps calls from the fast paths (trace.h). A tracer of the
 * ring plane raises it too, and beside it one of its own: who is above that number listens here.
 */
#ifndef MTALLOC_OTEL_H
#define MTALLOC_OTEL_H

#include "trace.h"

#pragma GCC visibility push(hidden)

/* A call, from its beginning to its end. */
struct otel_call {
	const void *old; /* a sampled block that it may move: its free has been told */
	bool counts; /* it is not part of another */
	bool takes; /* what it makes is sampled */
};

static inline bool otel__listened(void)
{
	return unlikely(atomic_load_explicit(&_mt_fast.tracers, memory_order_relaxed) >
			atomic_load_explicit(&_mt_probes.offers, memory_order_relaxed));
}

struct otel_call _mt_otel_begin(const void *old, size_t size);
void _mt_otel_end(const struct otel_call *call, const void *made, size_t size);
void _mt_otel_free(const void *block);
/* Nobody listens any more. */
void _mt_otel_clear(void);
/* This is the child of a fork. */
void _mt_otel_in_child(void);

/* The value of `call`, which makes a block of `size` bytes, from `old` if that is not NULL. */
#define OTEL(old, size, call)                              \
	({                                                 \
		struct otel_call _call = {0};              \
		void *_made;                               \
                                                           \
		if (otel__listened())                      \
			_call = _mt_otel_begin(old, size); \
		_made = (call);                            \
		if (unlikely(_call.counts))                \
			_mt_otel_end(&_call, _made, size); \
		_made;                                     \
	})

#pragma GCC visibility pop
#endif
