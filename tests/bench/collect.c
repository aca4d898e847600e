/* SPDX-License-Identifier: MIT */
/*
 * What the collector's own work is for an event of the ring plane: CPU ns from the ring into the model. Rings are
 * filled as `churn` fills them, 1,000 blocks of 16 to 1,024 bytes alive in each thread, each allocation with a
 * stack of ten frames, and then read, put in order and applied, in turn: only that is timed.
 *
 *   collect [THREADS [PAIRS [WARM]]]
 *
 * Under callgrind --toggle-collect=collect counts the same, and nothing else.
 * live: bytes that the model has as live in the end; a run that told less would be fast, too.
 */
#include <stdlib.h>

#include "lib/trace/stack_table.h"
#include "tests/bench/bench.h"
#include "user/model/model.h"
#include "user/order/order.h"
#include "user/source/ring/segment.h"

#define PID 100
#define ALIVE 1000
#define THREADS_MAX 16
#define RING_BYTES (4UL << 20)
#define BATCH (RING_BYTES / sizeof(struct ring_record) / 4) /* pairs, all threads' together */
#define BREAK 0x10000000ULL
#define BREAK_BYTES (64ULL << 20)
#define FRAMES 10
#define STACKS 4 /* places that a thread allocates from in turn */

struct writer {
	struct ring_slot *slot;
	struct ring_record *records;
	uint64_t head, pairs;
	uint64_t alive[ALIVE];
	uint32_t stacks[STACKS];
};

static struct writer writers[THREADS_MAX];
static unsigned threads = 1;
static struct model *model;
static struct segment *segment;
static struct order *order;
static uint64_t ticks, seed = 1, events;
static uint64_t unused[THREADS_MAX * ALIVE + 1],
	nunused; /* addresses, as a heap deals them out: last in, first out */

static uint64_t dice(void)
{
	seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return seed >> 33;
}

static void take(void *ctx, const struct rec *r, size_t len)
{
	(void)ctx;
	events++;
	if (model__apply(model, r, len))
		prog__die("a record");
}

static void apply(const void *r, size_t bytes)
{
	if (model__apply(model, r, bytes))
		prog__die("a record");
}

/* A process with a heap. */
static void begin_model(void)
{
	struct rec head = {.tgid = PID, .tid = PID, .ts_ns = 1000};
	struct rec_exec e = {.h = head, .start_brk = BREAK, .brk = BREAK};
	struct rec_call c = {.h = head, .start_ns = 900, .old_brk = BREAK};

	model = model__new(1);
	if (!model || model__add_root(model, PID, 1, "bench", NULL, true))
		prog__die("a model");
	e.h.kind = REC_EXEC;
	apply(&e, sizeof(e));
	c.h.kind = REC_BRK;
	c.arg[0] = BREAK + BREAK_BYTES;
	c.ret = (int64_t)c.arg[0];
	apply(&c, sizeof(c));
}

static void begin_segment(struct ring_clock *clock)
{
	struct segment_opts o = {.ring_bytes = RING_BYTES, .stack_frames = STACK_FRAMES};
	const struct ring_header *h;
	struct stack_table stacks;
	int fd;

	segment = segment__new(&o, clock, &fd);
	if (!segment)
		prog__die("a segment");
	close(fd);
	segment__set_owner(segment, PID);
	h = segment__header(segment);
	stacks.node = (struct stack_node *)((char *)h + h->stacks_at);
	for (stacks.nodes = 64; stack_table__bytes(stacks.nodes * 2) <= h->stacks_bytes;)
		stacks.nodes *= 2;
	for (unsigned i = 0; i < threads; i++) {
		struct writer *w = &writers[i];

		w->slot = (struct ring_slot *)((char *)h + h->slots_at) + i;
		w->records = (struct ring_record *)((char *)h + h->rings_at) +
			     ring__first(i, h->wide, h->records, h->few_records);
		w->slot->owner = w->slot->used = 1;
		for (unsigned k = 0; k < STACKS; k++) {
			w->stacks[k] = 0;
			for (unsigned f = 0; f < FRAMES; f++)
				w->stacks[k] = stack_table__child(
					&stacks, w->stacks[k],
					0x400000 + f * 64 + (f == FRAMES - 1) * k * 8);
		}
	}
}

static void put(struct writer *w, struct ring_record r)
{
	w->records[w->head++ & (RING_BYTES / sizeof(r) - 1)] = r;
}

/* A pair of free and malloc by one thread. */
static void put_pair(struct writer *w, uint32_t tid)
{
	uint64_t i = w->pairs++, *at = &w->alive[i * 31 % ALIVE];
	struct ring_record r = {.when = RING_WHEN(ticks, RING_THREAD), .addr = tid};

	if (!w->head)
		put(w, r);
	if (*at) {
		ticks += 60 + dice() % 60;
		r = (struct ring_record){.when = RING_WHEN(ticks, HEAP_FREE), .addr = *at};
		put(w, r);
		unused[nunused++] = *at;
	}
	/* Mostly the block that was freed last, now and then another: sizes differ. */
	if (dice() % 4 == 0) {
		uint64_t other = dice() % nunused, addr = unused[other];

		unused[other] = unused[nunused - 1];
		unused[nunused - 1] = addr;
	}
	*at = unused[--nunused];
	ticks += 60 + dice() % 60;
	r = (struct ring_record){.when = RING_WHEN(ticks, HEAP_MALLOC),
				 .addr = *at,
				 .size = (16 + i * 7919 % 1009) << 8,
				 .stack = w->stacks[i % STACKS],
				 .took = 40};
	put(w, r);
}

static void fill(unsigned long pairs)
{
	for (unsigned long n = 0; n < pairs; n++) {
		unsigned i = (unsigned)(dice() % threads);

		put_pair(&writers[i], PID + i);
	}
	for (unsigned i = 0; i < threads; i++)
		__atomic_store_n(&writers[i].slot->head, writers[i].head, __ATOMIC_RELEASE);
}

/* What is measured. */
static __attribute__((noinline)) void collect(void)
{
	if (segment__look(segment, order) || order__release(order, UINT64_MAX - 2))
		prog__die("collect");
}

int main(int argc, char **argv)
{
	unsigned long pairs = 2000000, warm = 100000;
	struct ring_clock *clock = ring_clock__new();
	uint64_t counted = 0;
	double cpu = 0;

	if (argc > 1)
		threads = (unsigned)strtoul(argv[1], NULL, 0);
	if (argc > 2)
		pairs = strtoul(argv[2], NULL, 0);
	if (argc > 3)
		warm = strtoul(argv[3], NULL, 0);
	order = order__new(1, take, NULL);
	if (!threads || threads > THREADS_MAX || !clock || !order)
		prog__die("usage: collect [THREADS [PAIRS [WARM]]]");
	for (unsigned i = 0; i < threads * ALIVE + 1; i++)
		unused[nunused++] = BREAK + 0x1000 + (threads * ALIVE - i) * 544ULL;
	ring_clock__adjust(clock);
	ticks = 1ULL << 20;
	begin_model();
	begin_segment(clock);
	for (unsigned long left = warm + pairs; left;) {
		unsigned long n = left <= pairs ? left : left - pairs;
		double from;

		if (n > BATCH / threads)
			n = BATCH / threads;
		fill(n);
		if (left > pairs) {
			if (segment__look(segment, order) || order__release(order, UINT64_MAX - 2))
				prog__die("warming up");
			counted = events;
		} else {
			from = bench__clock(CLOCK_THREAD_CPUTIME_ID);
			collect();
			cpu += bench__clock(CLOCK_THREAD_CPUTIME_ID) - from;
		}
		left -= n;
	}
	counted = events - counted;
	prog__print("{\"threads\":%u,\"ns\":%.1f,\"events\":%lu,\"live\":%lu}\n", threads,
		    cpu / (double)counted * 1e9, counted,
		    model__process(model, PID) ? model__live_bytes(model, model__process(model, PID)) :
						 0);
	segment__leave(segment, order);
	order__free(order);
	segment__free(segment);
	ring_clock__free(clock);
	model__free(model);
	return 0;
}
