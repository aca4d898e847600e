/* SPDX-License-Identifier: MIT */
/* Calls made at once: each is made, and they do wait at the same time. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "user/util/together.h"

#define MANY 200 /* more than are made at once */
#define FEW 5

static void count(void *arg)
{
	++*(int *)arg;
}

static void each_call_is_made_once(void **state)
{
	static const size_t sizes[] = {0, 1, 2, 63, 64, 65, MANY};
	int made[MANY + 1];
	void *args[MANY];
	size_t s, i;

	(void)state;
	for (i = 0; i < MANY; i++)
		args[i] = &made[i];
	for (s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
		for (i = 0; i <= MANY; i++)
			made[i] = 0;
		together__run(count, args, sizes[s]);
		for (i = 0; i <= MANY; i++)
			assert_int_equal(made[i], i < sizes[s]);
	}
}

static void meet(void *arg)
{
	pthread_barrier_wait(arg);
}

/* One after the other they would never all be there. */
static void calls_wait_at_the_same_time(void **state)
{
	pthread_barrier_t here;
	void *args[FEW];
	int i;

	(void)state;
	assert_int_equal(pthread_barrier_init(&here, NULL, FEW), 0);
	for (i = 0; i < FEW; i++)
		args[i] = &here;
	together__run(meet, args, FEW);
	pthread_barrier_destroy(&here);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_call_is_made_once),
		cmocka_unit_test(calls_wait_at_the_same_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
