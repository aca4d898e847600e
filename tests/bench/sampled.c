/* SPDX-License-Identifier: MIT */
/*
 * sampled MODE COUNT: pairs of malloc and free on mtalloc, of 16 to 1,024 bytes with 1,000 blocks live, for
 * callgrind: the difference of two counts is what so many pairs take, to the instruction. No
 * tracer can look into a process under valgrind, so the program does what one would.
 *
 *	idle		nobody traces
 *	ring		a tracer of the ring plane takes one sample in 512 KiB
 *	probes		somebody listens to otel_memory:alloc and free, with the same distance
 *	exact		a tracer of the ring plane is told every call, without stacks
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "lib/mtalloc/otel.h"
#include "lib/trace/producer.h"

#define LIVE 1000
#define SAMPLE (512UL << 10)
#define SEGMENT (1UL << 20)
#define RECORDS 16384

static uint64_t dice = 88172645463325252ULL;

static unsigned throw_dice(void)
{
	dice ^= dice << 13;
	dice ^= dice >> 7;
	dice ^= dice << 17;
	return (unsigned)(dice >> 33);
}

/* Lay a segment out as the collector does, and let the producer have it. What finds no room is lost. */
static int trace(uint64_t sample_bytes)
{
	struct ring_header *h =
		mmap(NULL, SEGMENT, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (h == MAP_FAILED)
		return -1;
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
		return -1;
	_producer.p.generation = GENERATION_FIRST;
	_mt_probes.offers = 1;
	_mt_fast.tracers = 1;
	_mt_tracing = true;
	_mt_fast_switch();
	return 0;
}

int main(int argc, char **argv)
{
	static void *live[LIVE];
	const char *mode = argc > 1 ? argv[1] : "";
	unsigned long count = argc > 2 ? strtoul(argv[2], NULL, 0) : 0;

	if (argc != 3)
		return 2;
	for (size_t i = 0; i < LIVE; i++)
		live[i] = malloc(16 + i);
	if (!strcmp(mode, "ring") && trace(SAMPLE))
		return 1;
	if (!strcmp(mode, "exact") && trace(0))
		return 1;
	if (!strcmp(mode, "probes"))
		_mt_fast.tracers = 1;
	for (unsigned long i = 0; i < count; i++) {
		unsigned n = throw_dice();

		free(live[n % LIVE]);
		live[n % LIVE] = malloc(16 + (n >> 10) % 1009);
	}
	return 0;
}
