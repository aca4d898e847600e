/* SPDX-License-Identifier: MIT */
/*
 * The rings with all sides at once: threads that write, come and go, and a collector. Also built with
 * ThreadSanitizer (make check-tsan), which finds what is read and written without an order.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

#include "tests/unit/ring_lib.h"

#define WRITERS 4
#define CALLS 3000 /* of each life of a writer */
#define LIVES 4 /* threads, one after the other, of each writer */

static uint32_t at_work;

static void *live(void *argument)
{
	struct bed_writer *w = argument;

	writer__begin(w);
	for (unsigned i = 0; i < CALLS; i++)
		writer__call(w);
	producer__leave_thread(&w->t);
	return NULL;
}

static void *lives(void *argument)
{
	pthread_t thread;

	for (unsigned i = 0; i < LIVES; i++) {
		if (pthread_create(&thread, NULL, live, argument))
			abort();
		pthread_join(thread, NULL);
	}
	__atomic_sub_fetch(&at_work, 1, __ATOMIC_RELEASE);
	return NULL;
}

/* As in production: what is younger than the look is held back, so that what a thread has written comes
 * before what was done after it in another. */
static void collect_in_order(void)
{
	struct producer p = {.base_ticks = ring_clock__base(the_clock),
			     .ns_clock = ring_clock__is_ns(the_clock)};

	bed__collect_until(ring_clock__ns(the_clock, producer__ticks(&p)));
}

/* Their calls, and those of the collector until they are done; close_after: looks, 0: never. */
static void all_at_once(unsigned close_after)
{
	pthread_t threads[WRITERS];
	unsigned looks = 0;

	at_work = WRITERS;
	for (unsigned i = 0; i < WRITERS; i++)
		if (pthread_create(&threads[i], NULL, lives, &bed.writers[i]))
			abort();
	while (__atomic_load_n(&at_work, __ATOMIC_ACQUIRE)) {
		collect_in_order();
		if (++looks == close_after)
			segment__close(bed.segment);
	}
	for (unsigned i = 0; i < WRITERS; i++)
		pthread_join(threads[i], NULL);
	bed__collect();
	assert_int_equal(bed.misread, 0);
	assert_int_equal(bed__counts().malformed, 0);
}

static void nothing_is_lost_when_writers_wait(void **state)
{
	(void)state;
	bed__begin(256, false);
	all_at_once(0);
	/* But where this machine kept the collector from running for 100 ms. */
	if (bed__counts().gave_up_ns) {
		bed__end();
		skip();
	}
	for (unsigned i = 0; i < WRITERS; i++)
		assert_int_equal(bed.writers[i].told, CALLS * LIVES);
	bed__end();
}

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* One whose ring's turn does not come for longer than a dead collector is waited for. */
static void a_collector_that_works_is_waited_for(void **state)
{
	uint64_t from, now, before, longest = 0;
	pthread_t thread;

	(void)state;
	bed__begin(64, false);
	at_work = 1;
	if (pthread_create(&thread, NULL, lives, &bed.writers[0]))
		abort();
	from = now = now_ms();
	do {
		before = now;
		bed__collect_until(0);
		now = now_ms();
		longest = now - before > longest ? now - before : longest;
	} while (now - from < 300);
	while (__atomic_load_n(&at_work, __ATOMIC_ACQUIRE)) {
		before = now;
		collect_in_order();
		now = now_ms();
		longest = now - before > longest ? now - before : longest;
	}
	pthread_join(thread, NULL);
	bed__collect();
	assert_int_equal(bed.writers[0].told, CALLS * LIVES);
	bed__end();
}

static void what_is_not_told_is_counted(void **state)
{
	uint64_t told = 0;

	(void)state;
	bed__begin(64, true);
	all_at_once(0);
	for (unsigned i = 0; i < WRITERS; i++)
		told += bed.writers[i].told;
	assert_int_equal(told + bed__counts().lost, WRITERS * CALLS * LIVES);
	bed__end();
}

static void it_is_closed_meanwhile(void **state)
{
	(void)state;
	bed__begin(64, false);
	all_at_once(20);
	for (unsigned i = 0; i < WRITERS; i++)
		assert_int_equal(bed.writers[i].calls, CALLS * LIVES);
	bed__end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_lost_when_writers_wait),
		cmocka_unit_test(a_collector_that_works_is_waited_for),
		cmocka_unit_test(what_is_not_told_is_counted),
		cmocka_unit_test(it_is_closed_meanwhile),
	};

	return cmocka_run_group_tests(tests, bed__prepare, bed__tidy);
}
