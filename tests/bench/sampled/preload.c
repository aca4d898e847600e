// SPDX-License-Identifier: MIT
/*
 * mtalloc, or the agent, that are traced by themselves: no tracer can look into a process under callgrind,
 * so this does what one would. Of the first thread; what finds no room in its ring is lost. SAMPLED says as what:
 *
 *	idle		nobody traces
 *	ring		a tracer of the ring plane takes one sample in 512 KiB
 *	exact		it is told every call, without stacks
 *	stacks		with them
 *	exact-read	as exact and stacks, but with a ring as memtrace has, and a second thread that takes the
 *	stacks-read	records out and does nothing with them: for the time that the calls' own side takes
 *	probes		mtalloc: somebody listens to otel_memory:alloc and free, with that distance
 *
 * Nothing may be lost: the first thread has room for two million records when nobody reads.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#ifdef SAMPLED_AGENT
#include "lib/agent/agent.h"
#else
#include "lib/mtalloc/otel.h"
#endif
#include "lib/trace/producer.h"

#define SAMPLE (512UL << 10)
#define SLOTS 8
#define STACKS (16UL << 20)
#define UNREAD (1U << 21) /* records; */
#define READ (1U << 17) /* 4 MiB of them */
#define GIVE_BACK 4096
#define NAP_NS 50000

static struct ring_header *segment;
static uint64_t taken;

/* A collector that is always in time. */
static void *read_all(void *unused)
{
	const struct timespec nap = {.tv_nsec = NAP_NS};
	struct ring_slot *slots = (struct ring_slot *)((char *)segment + segment->slots_at);
	const struct ring_record *rings =
		(const struct ring_record *)((char *)segment + segment->rings_at);
	uint64_t read[SLOTS] = {0};

	(void)unused;
	for (;;) {
		bool any = false;

		for (uint32_t i = 0; i < SLOTS; i++) {
			uint64_t head = __atomic_load_n(&slots[i].head, __ATOMIC_ACQUIRE);
			const struct ring_record *ring = rings + (uint64_t)i * READ;

			any |= read[i] != head;
			while (read[i] != head) {
				taken += ring[read[i] & (READ - 1)].addr;
				if (++read[i] % GIVE_BACK == 0)
					__atomic_store_n(&slots[i].tail, read[i], __ATOMIC_RELEASE);
			}
			__atomic_store_n(&slots[i].tail, read[i], __ATOMIC_RELEASE);
		}
		if (!any)
			nanosleep(&nap, NULL);
	}
	return NULL;
}

/* Figures of calls that were not told are none. */
__attribute__((destructor)) static void end(void)
{
	static const char lost[] = "sampled: records were lost\n";
	const struct ring_slot *slots;

	if (!segment)
		return;
	slots = (const struct ring_slot *)((char *)segment + segment->slots_at);
	for (uint32_t i = 0; i < SLOTS; i++)
		for (unsigned op = 0; op < HEAP_OPS; op++)
			if (slots[i].lost[op]) {
				if (write(2, lost, sizeof(lost) - 1) < 0)
					_exit(2);
				_exit(1);
			}
}

/* Lay a segment out as the collector does, and let the producer have it. */
static void trace(uint64_t sample_bytes, bool stacks, bool is_read)
{
	uint32_t records = is_read ? READ : UNREAD, wide = is_read ? SLOTS : 1;
	uint64_t rings_at = 2 * PRODUCER_PAGE + STACKS;
	uint64_t bytes =
		rings_at + sizeof(struct ring_record) * ring__first(SLOTS, wide, records, READ);
	struct ring_header *h = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
				     MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	pthread_t reader;

	if (h == MAP_FAILED || SLOTS * sizeof(struct ring_slot) > PRODUCER_PAGE)
		abort();
	*h = (struct ring_header){.magic = RING_MAGIC,
				  .version = RING_VERSION,
				  .bytes = bytes,
				  .slots = SLOTS,
				  .records = records,
				  .wide = wide,
				  .few_records = READ,
				  .slots_at = PRODUCER_PAGE,
				  .stacks_at = 2 * PRODUCER_PAGE,
				  .stacks_bytes = stacks ? STACKS : 0,
				  .stack_frames = stacks ? WALK_FRAMES : 0,
				  .rings_at = rings_at,
				  .on_full = is_read ? RING_ON_FULL_BLOCK : RING_ON_FULL_DROP,
				  .sample_bytes = sample_bytes};
	segment = h;
	if (is_read && pthread_create(&reader, NULL, read_all, NULL))
		abort();
	if (!producer__use(&_producer.p, h, bytes))
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
		trace(SAMPLE, false, false);
	if (!strncmp(mode, "exact", 5))
		trace(0, false, !strcmp(mode + 5, "-read"));
	if (!strncmp(mode, "stacks", 6))
		trace(0, true, !strcmp(mode + 6, "-read"));
#ifndef SAMPLED_AGENT
	if (!strcmp(mode, "probes"))
		_mt_fast.tracers = 1;
#endif
}
