// SPDX-License-Identifier: MIT
/*
 * Sampling within a process: a thread's samples are unbiased, two threads' are not the same, and the set
 * of sampled blocks holds what was put in, whatever threads do at once.
 */
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/trace/sampler.h"
#include "tests/unit/dice.h"
#include "user/model/estimate.h"

static struct sampled set;

/* Of each size by itself: how many are taken, by the chance that the weights stand for. Each bound is
 * passed by chance once in 10^12 runs, and there are eight. */
static void each_size_has_its_chance(void **state)
{
	static const uint64_t means[] = {4096, 524288}, sizes[] = {1, 48, 1000, 30000};
	struct sampler s = {0};

	(void)state;
	for (size_t m = 0; m < 2; m++)
		for (size_t k = 0; k < 4; k++) {
			double weight = (double)sample__weight(sizes[k], means[m]) / WEIGHT_ONE;
			double chance = 1 / weight, n = 2e7, taken = 0;

			/* Some hundred samples at least, or the bound is not one of a normal distribution. */
			if (n * chance < 500)
				continue;
			for (uint64_t i = 0; i < (uint64_t)n; i++)
				taken += sampler__takes(&s, means[m], sizes[k]);
			if (fabs(taken - n * chance) > 7.5 * sqrt(n * chance * (1 - chance)))
				fail_msg("%lu bytes, one sample in %lu: %g taken, not %g", sizes[k],
					 means[m], taken, n * chance);
		}
}

/* Mixed sizes: what the samples stand for is what was asked for. */
static void sums_are_unbiased(void **state)
{
	const uint64_t mean = 8192;
	double bytes = 0, blocks = 0, variance = 0, blocks_variance = 0, true_bytes = 0;
	struct sampler s = {0};
	enum { CALLS = 20000000 };

	(void)state;
	for (int i = 0; i < CALLS; i++) {
		uint64_t size = 16 + dice(1009);
		struct amount a;

		true_bytes += (double)size;
		if (!sampler__takes(&s, mean, size))
			continue;
		a = amount__of(size, sample__weight(size, mean));
		bytes += (double)a.bytes;
		blocks += (double)a.blocks / HEAP_UNIT;
		variance += (double)a.bytes_variance * VARIANCE_UNIT;
		blocks_variance += (double)a.blocks_variance / HEAP_UNIT;
	}
	/* A million samples. Passed by chance once in 10^11 runs. */
	assert_true(fabs(bytes - true_bytes) < 6.8 * sqrt(variance));
	assert_true(fabs(blocks - CALLS) < 6.8 * sqrt(blocks_variance));
	assert_true(variance < true_bytes * true_bytes * 1e-5);
}

/* One sample in a byte takes all, but for blocks below 46 bytes. */
static void one_in_a_byte_is_every_block(void **state)
{
	struct sampler s = {0};

	(void)state;
	for (int i = 0; i < 1000000; i++) {
		uint64_t size = 46 + dice(1000);
		struct amount a = amount__of(size, sample__weight(size, 1));

		assert_true(sampler__takes(&s, 1, size));
		assert_int_equal(a.blocks, HEAP_UNIT);
		assert_int_equal(a.bytes, size);
		assert_int_equal(a.bytes_variance, 0);
	}
}

static void another_beginning_takes_others(void **state)
{
	struct sampler s = {0}, first = {0};
	int same = 0;

	(void)state;
	for (int i = 0; i < 1000; i++) {
		sampler__begin(&s);
		sampler__takes(&s, 1 << 30, 1);
		same += s.random == first.random;
		first = s;
	}
	assert_int_equal(same, 0);
}

/* Block i of a run of them: of 16 bytes, as the smallest are. */
static void *block(uint64_t i)
{
	return (void *)(uintptr_t)(0x7f0000000000ULL + i * 16);
}

static void what_is_remembered_is_found_once(void **state)
{
	enum { BLOCKS = 200000, STEPS = 3000000 };
	static bool in[BLOCKS];
	uint64_t i;

	(void)state;
	for (int step = 0; step < STEPS; step++) {
		i = dice(BLOCKS);
		if (in[i] || dice(2)) {
			assert_int_equal(sampled__forget(&set, block(i)), in[i]);
			in[i] = false;
		} else {
			in[i] = sampled__remember(&set, block(i));
			assert_true(in[i]);
		}
	}
	for (i = 0; i < BLOCKS; i++)
		assert_int_equal(sampled__forget(&set, block(i)), in[i]);
	for (i = 0; i < 1UL << SAMPLED_FILTER_LOG2; i++)
		assert_int_equal(set.filter[i], 0);
}

/* What passes is what sample__hits() does not take, and both count alike. */
static void what_passes_is_not_hit(void **state)
{
	struct sampler s = {0};
	__u64 left = 0;

	(void)state;
	for (int i = 0; i < 1000000; i++) {
		uint64_t bytes = 1 + dice(64), was;

		if (!dice(20))
			left = s.left = dice(1000);
		else if (!dice(20))
			bytes = s.left;
		was = s.left;
		if (!bytes)
			continue;
		assert_int_equal(sampler__passes(&s, bytes), !sample__hits(&left, bytes));
		assert_int_equal(s.left, left);
		assert_true(s.left == was || s.left == was - bytes);
	}
}

/* A watched block is in no set, and stays watched. */
static void what_is_watched_may_be_there(void **state)
{
	(void)state;
	assert_false(sampled__may_have(&set, block(7)));
	sampled__watch(&set, block(7));
	assert_true(sampled__may_have(&set, block(7)));
	assert_false(sampled__forget(&set, block(7)));
	assert_true(sampled__remember(&set, block(7)));
	assert_true(sampled__forget(&set, block(7)));
	assert_true(sampled__may_have(&set, block(7)));
	sampled__watch(&set, NULL);
	for (uint64_t i = 0; i < 100000; i++)
		assert_true(sampled__may_have(&set, block(i)));
	sampled__clear(&set);
	assert_false(sampled__may_have(&set, block(7)));
}

/* A free that was not seen: the address comes again, and is freed once. */
static void what_was_there_is_not_there_twice(void **state)
{
	(void)state;
	assert_true(sampled__remember(&set, block(1)));
	assert_true(sampled__remember(&set, block(1)));
	assert_true(sampled__forget(&set, block(1)));
	assert_false(sampled__forget(&set, block(1)));
}

static void what_has_no_room_is_refused(void **state)
{
	uint64_t n = 1UL << (SAMPLED_SLOTS_LOG2 + 1), held = 0, i;
	unsigned char *in = calloc(n, 1);

	(void)state;
	for (i = 0; i < n; i++)
		held += in[i] = sampled__remember(&set, block(i));
	assert_in_range(held, 1UL << (SAMPLED_SLOTS_LOG2 - 1), 1UL << SAMPLED_SLOTS_LOG2);
	for (i = 0; i < n; i++)
		assert_int_equal(sampled__forget(&set, block(i)), in[i]);
	assert_true(sampled__remember(&set, block(0)));
	assert_true(sampled__forget(&set, block(0)));
	free(in);
}

static void a_million_have_room(void **state)
{
	enum { BLOCKS = 1000000 };
	uint64_t *of = malloc(BLOCKS * sizeof(*of));

	(void)state;
	sampled__clear(&set);
	for (uint64_t i = 0; i < BLOCKS; i++) {
		of[i] = dice64() >> 25;
		assert_true(sampled__remember(&set, block(of[i])));
	}
	sampled__clear(&set);
	for (uint64_t i = 0; i < BLOCKS; i++)
		assert_false(sampled__forget(&set, block(of[i])));
	free(of);
}

static void without_memory_nothing_is_remembered(void **state)
{
	struct sampled none = {0};

	(void)state;
	assert_false(sampled__remember(&none, block(1)));
	assert_false(sampled__forget(&none, block(1)));
	sampled__clear(&none);
}

#define THREADS 4
#define EACH 30000

/* Every address is one thread's at a time, and next to those of others. */
static void *work(void *arg)
{
	uint64_t own = (uintptr_t)arg;

	for (int round = 0; round < 20; round++) {
		for (uint64_t i = 0; i < EACH; i++)
			if (!sampled__remember(&set, block(i * THREADS + own)))
				return "not remembered";
		for (uint64_t i = 0; i < EACH; i++)
			if (!sampled__forget(&set, block(i * THREADS + own)) ||
			    sampled__forget(&set, block(i * THREADS + own)))
				return "not found, or found twice";
	}
	return NULL;
}

static void threads_do_not_disturb_each_other(void **state)
{
	pthread_t thread[THREADS];
	void *said;

	(void)state;
	for (uintptr_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, work, (void *)i), 0);
	for (size_t i = 0; i < THREADS; i++) {
		pthread_join(thread[i], &said);
		if (said)
			fail_msg("%s", (const char *)said);
	}
}

static int set_up(void **state)
{
	(void)state;
	sampled__prepare(&set);
	sampled__clear(&set);
	return set.filter ? 0 : -1;
}

#define SET_TEST(f) cmocka_unit_test_setup(f, set_up)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_size_has_its_chance),
		cmocka_unit_test(sums_are_unbiased),
		cmocka_unit_test(one_in_a_byte_is_every_block),
		cmocka_unit_test(another_beginning_takes_others),
		SET_TEST(what_is_remembered_is_found_once),
		cmocka_unit_test(what_passes_is_not_hit),
		SET_TEST(what_is_watched_may_be_there),
		SET_TEST(what_was_there_is_not_there_twice),
		SET_TEST(what_has_no_room_is_refused),
		SET_TEST(a_million_have_room),
		cmocka_unit_test(without_memory_nothing_is_remembered),
		SET_TEST(threads_do_not_disturb_each_other),
	};

	return cmocka_run_group_tests_name("sampler", tests, NULL, NULL);
}
