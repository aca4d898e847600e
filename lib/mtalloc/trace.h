/* SPDX-License-Identifier: MIT */
/*
 * Tracing: each call handed over through the ring plane (lib/trace) while somebody wants it.
 *
 * A tracer places probes where notes of the USDT kind tell (usdt.h), and with each the kernel raises
 * a semaphore: mtalloc:wake's is the upper end of the key by which malloc's fast path decodes a link
 * (struct fast): it decodes none any more, and the slow way finds out why. The semaphore of mtalloc:offer
 * says that it is a tracer of this kind. So as long as nobody traces it costs the fast paths nothing. Frees are sent the slow way as
 * in check mode.
 */
#ifndef MTALLOC_TRACE_H
#define MTALLOC_TRACE_H

#include "internal.h"

#pragma GCC visibility push(hidden)

/* Somebody is told of calls: what the fast path of free is to be kept from. */
extern bool _mt_tracing;

struct trace_probes {
	_Atomic uint16_t offers; /* tracers of the ring plane, counted by the kernel */
	_Atomic bool held; /* a child of a fork is traced, though it may have no probes (attach.c) */
};
extern struct trace_probes _mt_probes;

static inline bool trace__is_held(void)
{
	return atomic_load_explicit(&_mt_probes.held, memory_order_relaxed);
}

/* Somebody wants to be told: of all calls by the ring plane, or of samples (otel.h). */
static inline bool trace__wanted(void)
{
	return unlikely(atomic_load_explicit(&_mt_fast.tracers, memory_order_relaxed)) ||
	       unlikely(trace__is_held());
}

static inline bool trace__is_asked(void)
{
	return atomic_load_explicit(&_mt_probes.offers, memory_order_relaxed) || trace__is_held();
}

/* The functions as they are called, */
void *_mt_traced_malloc(size_t size);
void *_mt_traced_calloc(size_t count, size_t size);
void *_mt_traced_realloc(void *block, size_t size);
void *_mt_traced_reallocarray(void *block, size_t count, size_t size);
void *_mt_traced_aligned_alloc(size_t alignment, size_t size);
void *_mt_traced_memalign(size_t alignment, size_t size);
int _mt_traced_posix_memalign(void **block, size_t alignment, size_t size);
void *_mt_traced_valloc(size_t size);
void *_mt_traced_pvalloc(size_t size);
void _mt_traced_free(void *block);
void _mt_traced_free_sized(void *block, size_t size);
void _mt_traced_free_aligned_sized(void *block, size_t alignment, size_t size);

/* and what they do. */
void *_mt_real_malloc(size_t size);
void *_mt_real_calloc(size_t count, size_t size);
void *_mt_real_realloc(void *block, size_t size);
void *_mt_real_reallocarray(void *block, size_t count, size_t size);
void *_mt_real_aligned_alloc(size_t alignment, size_t size);
void *_mt_real_memalign(size_t alignment, size_t size);
int _mt_real_posix_memalign(void **block, size_t alignment, size_t size);
void *_mt_real_valloc(size_t size);
void *_mt_real_pvalloc(size_t size);
void _mt_real_free(void *block);

/* Whether the tracer that was there still is; else all is put back to where there is none. */
bool _mt_trace_goes_on(void);
/* Whether calls that are not sampled may pass (pass.h). */
bool _mt_trace_may_pass(void);

/* A thread ends. */
void _mt_trace_thread_ends(void);
/* There will be a child of a fork; and this is it. */
void _mt_trace_before_fork(void);
void _mt_trace_in_child(void);

#pragma GCC visibility pop
#endif
