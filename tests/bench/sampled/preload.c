// SPDX-License-Identifier: MIT
/*
 * mtalloc, or the agent, that are traced by themselves: no tracer can look into a process under callgrind,
 * so this does what one would. Of the first thread; what finds no room in its ring is lost. SAMPLED says as what:
 *
 *	idle		nobody traces
 *	ring		a tracer of the ring plane takes one sample in 512 KiB
 *	exact		it is told every call, without stacks
 *	probes		mtalloc: somebody listens to otel_memory:alloc and free, with that distance
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#ifdef SAMPLED_AGENT
#include "lib/agent/agent.h"
#else
#include "lib/mtalloc/otel.h"
#endif
#include "lib/trace/producer.h"

#define SAMPLE (512UL << 10)
#define SEGMENT (1UL << 20)
#define RECORDS 16384

/* Lay a segment out as the collector does, and let the producer have it. */
static void trace(uint64_t sample_bytes)
{
	struct ring_header *h =
		mmap(NULL, SEGMENT, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (h == MAP_FAILED)
		abort();
	*h = (struct ring_header){.magic = RING_MAGIC,
				  .version = RING_VERSION,
				  .bytes = SEGMENT,
				  .slots = 1,
				  .records = RECORDS,
				  .wide = 1,
				  .few_records = RECORDS,
				  .slots_at = PRODUCER_PAGE,
				  .stacks_at = 2 * PRODUCER_PAGE,
				  .rings_at = 2 * PRODUCER_PAGE,
				  .on_full = RING_ON_FULL_DROP,
				  .sample_bytes = sample_bytes};
	if (!producer__use(&_producer.p, h, SEGMENT))
		abort();
#ifdef SAMPLED_AGENT
	_producer.p.leaf = next__is_leaf();
#else
	_producer.p.leaf = 1;
	_mt_probes.offers = 1;
	_mt_fast.tracers = 1;
	_mt_tracing = true;
	_mt_fast_switch();
#endif
	producer__set_generation(&_producer.p, GENERATION_FIRST);
}

/* After what the agent itself does at that time. */
__attribute__((constructor(65535))) static void begin(void)
{
	const char *mode = getenv("SAMPLED");

	if (!mode)
		abort();
	if (!strcmp(mode, "ring"))
		trace(SAMPLE);
	if (!strcmp(mode, "exact"))
		trace(0);
#ifndef SAMPLED_AGENT
	if (!strcmp(mode, "probes"))
		_mt_fast.tracers = 1;
#endif
}
