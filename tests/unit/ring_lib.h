/* SPDX-License-Identifier: MIT */
/*
 * Both sides of the ring plane in one process: the producer's own code (lib/trace/producer.h) with a
 * collector's own (user/source/ring/segment.h), and calls whose records can be told apart. Call n of a
 * writer has address, size and function by its number, so a record that is torn, mixed up or told
 * twice does not pass.
 */
#ifndef TESTS_UNIT_RING_LIB_H
#define TESTS_UNIT_RING_LIB_H

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/trace/producer.h"
#include "user/order/order.h"
#include "user/source/ring/segment.h"

#define BED_WRITERS 16
#define BED_LIVES 8
#define BED_PID 4711

/* A thread, by its number, with what is known of it. */
struct bed_writer {
	struct producer_thread t;
	uint32_t number;
	uint32_t calls; /* that have come to their end, whether told or not */
	uint32_t refused; /* of these, where nobody was to be told */
	uint32_t tids[BED_LIVES]; /* of the threads that it was, one after the other */
	uint32_t read, told; /* the collector's: the next number that may come; how many came */
};

static struct ring_clock *the_clock;

static struct {
	struct segment *segment;
	struct order *order;
	struct bed_writer writers[BED_WRITERS];
	uint64_t misread; /* records that are not what was written, or not in order */
	bool offered; /* to who looks for a tracer */
	int fd; /* of the segment */
} bed;

int producer__attach(struct producer *p)
{
	if (!bed.offered)
		return -ENOENT;
	return producer__use(p, (void *)(uintptr_t)segment__header(bed.segment),
			     segment__bytes(bed.segment)) ?
		       0 :
		       -EPROTO;
}

void producer__thread_began(struct producer_thread *t)
{
	(void)t;
}

static void bed__made_by(uint32_t writer, uint32_t number, struct rec_heap *want)
{
	static const unsigned ops[] = {HEAP_MALLOC, HEAP_FREE, HEAP_REALLOC};
	uint64_t addr = (uint64_t)(writer + 1) << 40 | (uint64_t)number << 4;

	*want = (struct rec_heap){.h = {.kind = REC_HEAP, .tgid = BED_PID, .aux = ops[number % 3]},
				  .size = number + 1};
	if (want->h.aux == HEAP_FREE) {
		want->arg = addr;
	} else {
		want->result = addr;
		want->arg = want->h.aux == HEAP_REALLOC ? addr + 8 : 0;
	}
}

static bool writer__was(const struct bed_writer *w, uint32_t tid)
{
	for (unsigned i = 0; i < BED_LIVES; i++)
		if (__atomic_load_n(&w->tids[i], __ATOMIC_RELAXED) == tid)
			return true;
	return false;
}

/* Before its first call, it is this thread. */
static inline void writer__begin(struct bed_writer *w)
{
	unsigned i = 0;

	while (i < BED_LIVES - 1 && w->tids[i])
		i++;
	__atomic_store_n(&w->tids[i], (uint32_t)gettid(), __ATOMIC_RELAXED);
}

static void bed__take(void *ctx, const struct rec *r, size_t len)
{
	const struct rec_heap *got = (const struct rec_heap *)r;
	uint64_t addr = got->h.aux == HEAP_FREE ? got->arg : got->result;
	uint32_t writer = (uint32_t)(addr >> 40) - 1, number = (uint32_t)addr >> 4;
	struct rec_heap want;
	struct bed_writer *w;

	(void)ctx;
	bed__made_by(writer, number, &want);
	if (len != sizeof(*got) || r->kind != REC_HEAP || writer >= BED_WRITERS ||
	    got->h.aux != want.h.aux || got->h.tgid != want.h.tgid || got->size != want.size ||
	    got->arg != want.arg || got->result != want.result) {
		bed.misread++;
		return;
	}
	w = &bed.writers[writer];
	if (number < w->read || !writer__was(w, got->h.tid))
		bed.misread++;
	w->read = number + 1;
	w->told++;
}

/* For all tests of a program. */
static int bed__prepare(void **state)
{
	(void)state;
	the_clock = ring_clock__new();
	if (the_clock)
		ring_clock__adjust(the_clock);
	return the_clock ? 0 : -1;
}

static int bed__tidy(void **state)
{
	(void)state;
	ring_clock__free(the_clock);
	return 0;
}

/* A collector, and writers that have not begun; `records` a ring. */
static void bed__begin(uint32_t records, bool drop)
{
	struct segment_opts o = {.ring_bytes = records * sizeof(struct ring_record), .drop = drop};

	memset(&bed, 0, sizeof(bed));
	bed.segment = segment__new(&o, the_clock, &bed.fd);
	if (bed.segment)
		segment__publish(bed.segment);
	bed.order = order__new(1, bed__take, NULL);
	if (!bed.segment || !bed.order)
		abort();
	segment__set_owner(bed.segment, BED_PID);
	for (uint32_t i = 0; i < BED_WRITERS; i++)
		bed.writers[i] =
			(struct bed_writer){.t = {.generation = GENERATION_NONE}, .number = i};
	bed.offered = true;
	/* As a fork leaves it. */
	memset(&_producer, 0, sizeof(_producer));
}

static void bed__end(void)
{
	segment__leave(bed.segment, bed.order);
	order__free(bed.order);
	segment__free(bed.segment);
	close(bed.fd);
}

static void bed__collect_until(uint64_t ns)
{
	if (segment__look(bed.segment, bed.order) || order__release(bed.order, ns))
		bed.misread++;
}

/* The collector's turn: all that is there is told. */
static void bed__collect(void)
{
	bed__collect_until(UINT64_MAX - 2);
}

/* Call the allocator, as one that hands its calls over does. */
static inline __attribute__((always_inline)) void writer__call(struct bed_writer *w)
{
	struct producer_thread *t = &w->t;
	struct rec_heap r;

	bed__made_by(w->number, w->calls, &r);
	if (call__begin(t, __builtin_frame_address(0), r.h.aux, r.size, NULL) != CALL_TOLD) {
		w->refused++;
		w->calls++;
		return;
	}
	if (r.h.aux == HEAP_FREE)
		call__freed(t, r.h.aux, (void *)r.arg, r.size, 0);
	call__enter(t);
	call__leave(t);
	call__over(t);
	if (r.h.aux == HEAP_MALLOC)
		call__made(t, r.h.aux, (void *)r.result, r.size, 0);
	else if (r.h.aux == HEAP_REALLOC)
		call__moved(t, r.h.aux, (void *)r.result, r.size, 0, (void *)r.arg, 0);
	call__end(t);
	w->calls++;
}

static inline struct segment_counts bed__counts(void)
{
	struct segment_counts c;

	segment__count(bed.segment, &c);
	return c;
}

#endif
