/* SPDX-License-Identifier: MIT */
/*
 * While the ring plane takes samples (lib/trace/sampler.h) nearly every call is none, and neither is the
 * block of nearly every free: such calls pass by, behind the tests that send all calls the slow way
 * (alloc.c). What is not so plain goes on to trace.c, as all calls do that are told. Only for functions
 * that call none of the family.
 *
 * They may pass while one tracer of the ring plane is there, and nobody who listens (otel.h): then
 * malloc's key differs from the true one by fast.passing, else by something else. A bit of that is ours, so when
 * the tracer has gone malloc still comes the slow way, sees it, and puts back what frees are kept by.
 */
#ifndef MTALLOC_PASS_H
#define MTALLOC_PASS_H

#include "trace.h"

#include "lib/trace/producer.h"

#define PASS_SECRET (UINT32_C(1) << 30) /* a bit that no offset has */
#define PASS_KEY ((uint64_t)1 << 48 | PASS_SECRET)

/*
 * Plain reads, which the compiler can make a part of the comparison: one word each, and only
 * compared. What another thread changes meanwhile never makes a wrong free right.
 */
#ifdef __SANITIZE_THREAD__
#define RACY(word) atomic_load_explicit(&(word), memory_order_relaxed)
#else
#define RACY(word) (*(const __typeof__((void)0, (word)) *)&(word))
#endif

static inline bool pass__is_open(void)
{
	uint64_t passing = RACY(_mt_fast.passing);

	return passing && (RACY(_mt_fast.malloc_key) ^ passing) == _mt_fast.key;
}

/*
 * Whether an allocation is not sampled, once the pass is known to be open; it is counted then. The tracer may have
 * been followed by a listener, or another tracer, while nobody called: both are looked at.
 */
static inline bool pass__counts(size_t size)
{
	struct producer_thread *t = producer__self();
	const struct producer *p = &_producer.p;

	return t->state.word == p->passes && RACY(_mt_probes.offers) == 1 &&
	       !*(const uint32_t *)&p->segment->closed && size && sampler__passes(&t->sampler, size);
}

static inline bool pass__alloc(size_t size)
{
	return pass__is_open() && pass__counts(size);
}

/* Whether a block is not one of those whose free is looked at; once the pass is known to be open. */
static inline bool pass__is_unsampled(const void *block)
{
	return !sampled__in_filter(_producer_sampled.filter, block);
}

static inline bool pass__realloc(const void *block, size_t size)
{
	return pass__is_open() && pass__is_unsampled(block) && pass__counts(size);
}

#endif
