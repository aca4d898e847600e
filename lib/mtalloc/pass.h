/* SPDX-License-Identifier: MIT */
/*
 * While the ring plane takes samples (lib/trace/sampler.h) nearly every call is none, and neither is the
 * block of nearly every free: such a call is known by a few loads and passes by. What is not so plain goes
 * on to trace.c, as all calls do that are told. Only for functions that call none of the family.
 */
#ifndef MTALLOC_PASS_H
#define MTALLOC_PASS_H

#include "trace.h"

#include "lib/trace/producer.h"

/* A tracer is there that takes samples, this thread has its ring, and nobody else listens (otel.h). */
static inline bool pass__is_sampling(const struct producer_thread *t)
{
	const struct producer *p = &_producer.p;
	uint16_t offers = atomic_load_explicit(&_mt_probes.offers, memory_order_relaxed);

	return (offers || trace__is_held()) &&
	       offers == atomic_load_explicit(&_mt_fast.tracers, memory_order_relaxed) &&
	       p->sample_bytes && t->generation == p->generation && !t->inside &&
	       !__atomic_load_n(&p->segment->closed, __ATOMIC_RELAXED);
}

/* Whether an allocation is not sampled; its bytes are counted with that. */
static inline bool pass__alloc(size_t size)
{
	struct producer_thread *t = producer__self();

	return pass__is_sampling(t) && !sample__hits(&t->sampler.left, sample__bytes(size));
}

/* Whether a block, freed by the call that returns to `caller`, was not. */
static inline bool pass__free(const void *block, uintptr_t caller)
{
	return pass__is_sampling(producer__self()) && !sampled__may_have(&_producer_sampled, block) &&
	       caller - walk_loader.start >= walk_loader.bytes;
}

#endif
