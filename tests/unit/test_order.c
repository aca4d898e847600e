/* SPDX-License-Identifier: MIT */
/*
 * Merging by time, with records whose memory goes as soon as the contract lets it. The seed is
 * printed; SEED=N in the environment sets it.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "user/order/order.h"

#define LANES 5
#define RECORDS 20000
#define BATCH 64

static uint64_t seed;

/* What the sink was given. aux of a record is its number. */
static struct {
	unsigned times[RECORDS];
	unsigned sequence[RECORDS];
	uint64_t last_ns;
	size_t count, backwards;
} got;

static unsigned dice(unsigned n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (seed >> 11) % n;
}

static size_t length_of(unsigned number)
{
	return sizeof(struct rec) + number % 41;
}

static void take(void *ctx, const struct rec *r, size_t len)
{
	const char *body = (const char *)(r + 1);
	size_t i;

	assert_ptr_equal(ctx, &got);
	assert_true(r->aux < RECORDS);
	assert_int_equal(len, length_of(r->aux));
	for (i = 0; i < len - sizeof(*r); i++)
		assert_int_equal(body[i], (char)r->aux);
	got.times[r->aux]++;
	got.sequence[got.count++] = r->aux;
	if (r->kind == REC_STACK)
		return;
	got.backwards += r->ts_ns < got.last_ns;
	if (r->ts_ns > got.last_ns)
		got.last_ns = r->ts_ns;
}

static struct rec *record(unsigned number, unsigned kind, uint64_t ts)
{
	struct rec *r = malloc(length_of(number));

	assert_non_null(r);
	*r = (struct rec){.kind = kind, .aux = number, .ts_ns = ts};
	memset(r + 1, (char)number, length_of(number) - sizeof(*r));
	return r;
}

/* Memory that may go, goes: what would still be read is poisoned first, then freed. */
static void drop(struct rec **batch, size_t *n)
{
	while (*n) {
		struct rec *r = batch[--*n];

		memset(r, 0xa5, length_of(r->aux));
		free(r);
	}
}

static void records_come_out_sorted_and_once(void **state)
{
	struct order *o = order__new(LANES, take, &got);
	struct rec *batch[BATCH];
	uint64_t lane_ns[LANES], low, i;
	size_t n = 0, number = 0, j, sent = 0;

	(void)state;
	assert_non_null(o);
	memset(&got, 0, sizeof(got));
	for (i = 0; i < LANES; i++)
		lane_ns[i] = 1000;
	while (number < RECORDS) {
		unsigned lane = dice(LANES), kind = dice(20) ? REC_FAULT :
						    dice(2)  ? REC_STACK :
							       REC_FILE;
		uint64_t ts = lane_ns[lane] + dice(100); /* out of order by less than 100 */

		lane_ns[lane] += dice(20);
		batch[n] = record(number, kind, ts);
		assert_int_equal(order__add(o, lane, batch[n], length_of(number)), 0);
		assert_int_equal(got.times[number], kind == REC_STACK); /* at once */
		n++;
		number++;
		if (n < BATCH && dice(BATCH))
			continue;
		for (low = UINT64_MAX, j = 0; j < LANES; j++)
			low = lane_ns[j] < low ? lane_ns[j] : low;
		/* Sometimes further back than before. */
		assert_int_equal(order__release(o, dice(4) ? low - 1 : low / 2), 0);
		sent++;
		drop(batch, &n);
	}
	assert_int_equal(order__release(o, UINT64_MAX), 0);
	drop(batch, &n);
	assert_true(sent > RECORDS / BATCH);
	assert_int_equal(got.count, RECORDS);
	for (i = 0; i < RECORDS; i++)
		assert_int_equal(got.times[i], 1);
	assert_int_equal(got.backwards, 0);
	assert_int_equal(order__late(o), 0);
	order__free(o);
}

static void late_ones_are_handed_on_and_counted(void **state)
{
	struct order *o = order__new(2, take, &got);
	struct rec *r[4];
	size_t i;

	(void)state;
	memset(&got, 0, sizeof(got));
	r[0] = record(0, REC_MMAP, 100);
	r[1] = record(1, REC_MMAP, 200);
	assert_int_equal(order__add(o, 0, r[0], length_of(0)), 0);
	assert_int_equal(order__add(o, 1, r[1], length_of(1)), 0);
	assert_int_equal(order__release(o, 200), 0);
	assert_int_equal(got.count, 2);
	r[2] = record(2, REC_MMAP, 150);
	r[3] = record(3, REC_MMAP, 199);
	assert_int_equal(order__add(o, 0, r[2], length_of(2)), 0);
	assert_int_equal(order__add(o, 0, r[3], length_of(3)), 0);
	assert_int_equal(order__release(o, 200), 0);
	assert_int_equal(got.count, 4);
	assert_int_equal(order__late(o), 2);
	order__free(o);
	for (i = 0; i < 4; i++)
		free(r[i]);
}

static void freeing_hands_nothing_on(void **state)
{
	struct order *o = order__new(1, take, &got);
	struct rec *r = record(7, REC_MMAP, 100);

	(void)state;
	memset(&got, 0, sizeof(got));
	assert_int_equal(order__add(o, 0, r, length_of(7)), 0);
	assert_int_equal(got.count, 0);
	free(r);
	order__free(o); /* with a record in it, which it does not look at */
	order__free(NULL);
}

/* What remains is copied again at each release, and not handed on before its time. */
static void records_are_kept_over_many_releases(void **state)
{
	struct order *o = order__new(1, take, &got);
	struct rec *r = record(40, REC_EXIT, 5000);
	uint64_t t;

	(void)state;
	memset(&got, 0, sizeof(got));
	assert_int_equal(order__add(o, 0, r, length_of(40)), 0);
	assert_int_equal(order__release(o, 0), 0);
	memset(r, 0xa5, length_of(40));
	free(r);
	for (t = 0; t < 5000; t += 100)
		assert_int_equal(order__release(o, t), 0);
	assert_int_equal(got.count, 0);
	assert_int_equal(order__release(o, 5000), 0); /* up to, and at */
	assert_int_equal(got.count, 1);
	order__free(o);
}

/* Records of one time leave a lane in the order they came: a mapping before the exec it is of. */
static void equal_times_keep_their_order(void **state)
{
	struct order *o = order__new(1, take, &got);
	struct rec *r[10];
	unsigned i;

	(void)state;
	memset(&got, 0, sizeof(got));
	for (i = 0; i < 10; i++) {
		r[i] = record(i, REC_VMA, 100);
		assert_int_equal(order__add(o, 0, r[i], length_of(i)), 0);
	}
	assert_int_equal(order__release(o, 100), 0);
	assert_int_equal(got.count, 10);
	for (i = 0; i < 10; i++)
		assert_int_equal(got.sequence[i], i);
	assert_int_equal(order__late(o), 0);
	order__free(o);
	for (i = 0; i < 10; i++)
		free(r[i]);
}

/* Feeds: lanes that make their records when asked. */

#define FEEDS 7

struct feed {
	struct order_feed f; /* first */
	uint64_t times[200];
	unsigned n, next;
};

static struct {
	uint64_t last_ns;
	unsigned count, backwards;
} fed;

static void take_fed(void *ctx, const struct rec *r, size_t len)
{
	(void)ctx;
	assert_int_equal(len, sizeof(*r));
	fed.backwards += r->ts_ns < fed.last_ns;
	fed.last_ns = r->ts_ns;
	fed.count++;
}

static void feed__hand_on(struct order_feed *f, struct order *o, uint64_t until_ns)
{
	struct feed *me = (struct feed *)f;

	assert_true(f->next_ns <= until_ns);
	while (me->next < me->n && me->times[me->next] <= until_ns) {
		struct rec r = {.kind = REC_HEAP, .ts_ns = me->times[me->next++]};

		order__deliver(o, &r, sizeof(r));
	}
	f->next_ns = me->next < me->n ? me->times[me->next] : UINT64_MAX;
}

static void feeds_are_merged_with_lanes(void **state)
{
	static struct feed feeds[FEEDS];
	static struct rec recs[2][200];
	struct order *o = order__new(2, take_fed, NULL);
	uint64_t now = 0;
	unsigned i, k;

	(void)state;
	memset(&fed, 0, sizeof(fed));
	for (i = 0; i < FEEDS; i++) {
		uint64_t t = 1;

		feeds[i] = (struct feed){.f.hand_on = feed__hand_on, .n = 200};
		for (k = 0; k < 200; k++)
			feeds[i].times[k] = t += dice(50);
		feeds[i].f.next_ns = feeds[i].times[0];
		assert_int_equal(order__add_feed(o, &feeds[i].f), 0);
	}
	for (i = 0; i < 2; i++) {
		uint64_t t = 1;

		for (k = 0; k < 200; k++) {
			recs[i][k] = (struct rec){.kind = REC_BRK, .ts_ns = t += dice(50)};
			assert_int_equal(order__add(o, i, &recs[i][k], sizeof(struct rec)), 0);
		}
	}
	while (now < 3000) {
		now += dice(100);
		assert_int_equal(order__release(o, now), 0);
		assert_true(fed.last_ns <= now);
	}
	/* One leaves, the rest is all that comes. */
	order__remove_feed(o, &feeds[2].f);
	assert_int_equal(order__release(o, UINT64_MAX), 0);
	assert_int_equal(fed.count, (FEEDS + 2) * 200 - (feeds[2].n - feeds[2].next));
	assert_int_equal(fed.backwards, 0);
	assert_int_equal(order__late(o), 0);
	order__free(o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(records_come_out_sorted_and_once),
		cmocka_unit_test(late_ones_are_handed_on_and_counted),
		cmocka_unit_test(freeing_hands_nothing_on),
		cmocka_unit_test(records_are_kept_over_many_releases),
		cmocka_unit_test(equal_times_keep_their_order),
		cmocka_unit_test(feeds_are_merged_with_lanes),
	};
	const char *wanted = getenv("SEED");

	seed = wanted ? strtoull(wanted, NULL, 0) : 20240229;
	printf("SEED=%" PRIu64 "\n", seed);
	if (!seed)
		seed = 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
