/* SPDX-License-Identifier: MIT */
/* The time stamp counter as CLOCK_MONOTONIC: near to it, never backwards, and for ever the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include <x86intrin.h>

#include <cmocka.h>

#include "user/source/ring/clock.h"
#include "user/wait.h"

#define POINTS 20000
#define LEAST 200
#define RUN_NS 1200000000ULL /* some pieces of the line */
#define NEAR_NS 5000

static void converted_times_are_right_and_stay(void **state)
{
	static uint64_t ticks[POINTS], ns[POINTS];
	struct ring_clock *c = ring_clock__new();
	uint64_t end = clock__now() + RUN_NS, last = 0;
	unsigned n = 0, i, off = 0;

	(void)state;
	assert_non_null(c);
	if (ring_clock__is_ns(c)) {
		assert_int_equal(ring_clock__ns(c, 12345), 12345);
		ring_clock__free(c);
		skip();
	}
	while ((clock__now() < end || n < LEAST) && n < POINTS) {
		uint64_t before, after;

		ring_clock__adjust(c);
		before = clock__now();
		ticks[n] = __rdtsc() - ring_clock__base(c);
		after = clock__now();
		ns[n] = ring_clock__ns(c, ticks[n]);
		assert_true(ns[n] >= last);
		last = ns[n];
		/* Interrupted in between: says nothing. */
		if (after - before < NEAR_NS)
			off += ns[n] + NEAR_NS < before || ns[n] > after + NEAR_NS;
		n++;
		nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL);
	}
	/* The measurement itself may have been interrupted, once. */
	assert_in_range(off, 0, n / 4);
	for (i = 0; i < n; i++)
		assert_int_equal(ring_clock__ns(c, ticks[i]), ns[i]);
	ring_clock__free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(converted_times_are_right_and_stay)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
