/* SPDX-License-Identifier: MIT */
/*
 * A segment as the collector reads it: what a truthful target writes comes out as it was
 * meant; whatever a lying one writes, nothing is read out of bounds (under ASan), no release takes
 * more than the rings hold, and what comes out is well formed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/trace/stack_table.h"
#include "tests/unit/dice.h"
#include "user/source/ring/segment.h"

#define RING_RECORDS 256
#define TURNS 400
#define PID 4711

static struct {
	struct rec_heap last[8];
	uint64_t count, stacks, malformed;
} got;

static void take(void *ctx, const struct rec *r, size_t len)
{
	const struct rec_heap *h = (const struct rec_heap *)r;

	(void)ctx;
	assert_int_equal(r->tgid, PID);
	if (r->kind == REC_STACK) {
		assert_in_range(r->aux, 1, STACK_FRAMES);
		assert_int_equal(len, sizeof(struct rec_stack) - 8 * STACK_FRAMES + 8 * r->aux);
		got.stacks++;
		return;
	}
	assert_int_equal(r->kind, REC_HEAP);
	assert_int_equal(len, sizeof(*h));
	assert_in_range(HEAP_AUX_OP(r->aux), HEAP_NONE + 1, HEAP_OPS - 1);
	got.last[got.count++ % 8] = *h;
}

/* A segment, as the target has it mapped as well. */
struct fixture {
	struct segment *s;
	struct ring_clock *clock;
	struct order *o;
	char *at;
	size_t bytes;
};

static struct fixture fixture__new(void)
{
	struct segment_opts o = {.ring_bytes = RING_RECORDS * sizeof(struct ring_record),
				 .stack_frames = STACK_FRAMES};
	struct fixture f = {.clock = ring_clock__new()};
	int fd;

	ring_clock__adjust(f.clock);
	f.s = segment__new(&o, f.clock, &fd);
	assert_non_null(f.s);
	f.bytes = segment__bytes(f.s);
	/* It cannot be taken away. */
	assert_int_equal(ftruncate(fd, 0), -1);
	f.at = mmap(NULL, f.bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
	assert_ptr_not_equal(f.at, MAP_FAILED);
	close(fd);
	segment__set_owner(f.s, PID);
	f.o = order__new(1, take, NULL);
	memset(&got, 0, sizeof(got));
	return f;
}

static void fixture__free(struct fixture *f)
{
	segment__leave(f->s, f->o);
	segment__free(f->s);
	order__free(f->o);
	ring_clock__free(f->clock);
	munmap(f->at, f->bytes);
}

static const struct ring_header *header_of(const struct fixture *f)
{
	return (const struct ring_header *)f->at;
}

static struct ring_slot *slot_of(const struct fixture *f, unsigned i)
{
	return (struct ring_slot *)(f->at + header_of(f)->slots_at) + i;
}

static struct ring_record *ring_of(const struct fixture *f, unsigned i)
{
	const struct ring_header *h = header_of(f);

	return (struct ring_record *)(f->at + h->rings_at) +
	       ring__first(i, h->wide, h->records, h->few_records);
}

static void what_is_written_is_read(void **state)
{
	struct fixture f = fixture__new();
	struct ring_record *r = ring_of(&f, 0);
	struct ring_slot *slot = slot_of(&f, 0);
	uint64_t now = 1 << 24;
	struct ring_more more = {RING_WHEN(7, RING_MORE), 0x1000, 1ULL << 60, HEAP_ABANDONED};
	struct segment_counts c;

	(void)state;
	assert_int_equal(header_of(&f)->records, RING_RECORDS);
	slot->used = 1;
	r[0] = (struct ring_record){.when = RING_WHEN(now, RING_THREAD), .addr = 99};
	r[1] = (struct ring_record){RING_WHEN(now + 1, HEAP_MALLOC), 0x1000, 48 << 8, 0, 1000};
	r[2] = (struct ring_record){RING_WHEN(now + 2000, HEAP_MEMALIGN), 0x2000, 64 << 8 | 6, 0, 9};
	r[3] = (struct ring_record){RING_WHEN(now + 3000, HEAP_REALLOC), 0, RING_HAS_MORE, 0, 0};
	memcpy(&r[4], &more, sizeof(more));
	r[5] = (struct ring_record){RING_WHEN(now + 4000, HEAP_FREE), 0x1000, 0, 0, 0};
	slot->head = 6;
	assert_int_equal(segment__look(f.s, f.o), 0);
	assert_int_equal(order__release(f.o, UINT64_MAX), 0);
	assert_true(segment__is_drained(f.s));
	assert_int_equal(got.count, 4);
	assert_int_equal(slot->tail, 6);
	assert_int_equal(got.last[0].h.tid, 99);
	assert_int_equal(got.last[0].result, 0x1000);
	assert_int_equal(got.last[0].size, 48);
	assert_int_equal(got.last[0].start_ns, ring_clock__ns(f.clock, now + 1));
	assert_int_equal(got.last[0].h.ts_ns, ring_clock__ns(f.clock, now + 1001));
	assert_int_equal(HEAP_AUX_ALIGN(got.last[1].h.aux), 6);
	assert_int_equal(got.last[2].arg, 0x1000);
	assert_int_equal(got.last[2].size, 1ULL << 60);
	assert_int_equal(got.last[2].h.flags, HEAP_ABANDONED);
	assert_int_equal(got.last[2].result, 0);
	assert_int_equal(got.last[3].arg, 0x1000);
	assert_int_equal(got.last[3].h.ts_ns, got.last[3].start_ns);
	segment__count(f.s, &c);
	assert_int_equal(c.delivered, 4);
	assert_int_equal(c.malformed, 0);
	fixture__free(&f);
}

static void scribble(uint64_t *at, size_t words)
{
	for (size_t i = 0; i < words; i++)
		switch (dice(4)) {
		case 0:
			at[i] = (uint64_t)dice(UINT32_MAX) << 32 | dice(UINT32_MAX);
			break;
		case 1:
			at[i] = dice(300);
			break;
		case 2:
			at[i] = (uint64_t)dice(UINT32_MAX) << 8 | dice(HEAP_OPS + 2);
			break;
		}
}

static void a_lying_target_does_no_harm(void **state)
{
	struct fixture f = fixture__new();
	const struct ring_header layout = *header_of(&f);
	uint64_t before;

	(void)state;
	for (unsigned turn = 0; turn < TURNS; turn++) {
		unsigned slots = 1 + dice(40);

		/* All of the header and of the slots; rings; and stacks where ids point to. */
		scribble((uint64_t *)f.at, sizeof(struct ring_header) / 8);
		scribble((uint64_t *)(f.at + layout.slots_at), slots * sizeof(struct ring_slot) / 8);
		scribble((uint64_t *)(f.at + layout.stacks_at), 4096);
		for (unsigned i = 0; i < slots; i++) {
			struct ring_slot *slot = (struct ring_slot *)(f.at + layout.slots_at) + i;
			uint64_t first =
				ring__first(i, layout.wide, layout.records, layout.few_records);

			scribble((uint64_t *)((struct ring_record *)(f.at + layout.rings_at) + first),
				 RING_RECORDS * 4);
			/* Now and then a head that can be believed, so that records are looked at. */
			if (dice(2))
				slot->head = slot->tail + dice(RING_RECORDS + 2);
		}
		before = got.count;
		assert_int_equal(segment__look(f.s, f.o), 0);
		assert_int_equal(order__release(f.o, dice(2) ? UINT64_MAX : UINT64_MAX / 2), 0);
		/* No release gives more than all rings can hold. */
		assert_true(got.count - before <= (uint64_t)layout.slots * (RING_RECORDS + 1));
		segment__fill(f.s);
		segment__end_thread(f.s, (pid_t)dice(300));
	}
	assert_true(got.count > 1000);
	fixture__free(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_written_is_read),
		cmocka_unit_test(a_lying_target_does_no_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
