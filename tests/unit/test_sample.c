// SPDX-License-Identifier: MIT
/*
 * Sampling by bytes: the chance of each size is what it must be, and what a sample is taken to
 * stand for makes up for it, one by one and in the sum.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bpf/sample.h"
#include "tests/unit/dice.h"
#include "user/model/estimate.h"

static const uint64_t means[] = {4096, 16384, 65536, 524288};
static const uint64_t sizes[] = {1, 8, 16, 24, 100, 512, 1000, 4096, 10000, 65536, 524288, 1048576};
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static double chance(uint64_t size, uint64_t mean)
{
	return -expm1(-(double)size / (double)mean);
}

static void a_logarithm_is_near_the_true_one(void **state)
{
	(void)state;
	for (int i = 0; i < 2000000; i++) {
		uint64_t x = dice64() >> dice(64) | 1;
		double want = -(log((double)x) - 64 * M_LN2);
		double got = (double)sample__minus_ln(x) / 4294967296.0;

		if (fabs(got - want) > 4e-9 + want * 1e-10)
			fail_msg("-ln(%lu / 2^64): %.12f, not %.12f", x, got, want);
	}
	/* Where small blocks decide: close to 1. */
	for (uint64_t u = 1ULL << 40; u < 1ULL << 60; u += u >> 3) {
		double want = -log1p(-(double)u / 18446744073709551616.0);
		double got = (double)sample__minus_ln(0 - u) / 4294967296.0;

		if (fabs(got - want) > 1e-9)
			fail_msg("-ln(1 - %lu / 2^64): %.12f, not %.12f", u, got, want);
	}
}

/*
 * Exactly, without dice: a distance grows as the random number falls, so that the numbers
 * whose distance is at most `size` are those from a bound on.
 */
static void the_chance_of_a_size_is_exact(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(means); i++)
		for (size_t k = 0; k < COUNT(sizes); k++) {
			uint64_t low = 0, high = UINT64_MAX, mid;
			double got;

			while (low < high) {
				mid = low + (high - low) / 2;
				if (sample__distance(means[i], mid) <= sizes[k])
					high = mid;
				else
					low = mid + 1;
			}
			got = low ? (double)(0 - low) / 18446744073709551616.0 : 1;
			if (fabs(got / chance(sizes[k], means[i]) - 1) > 1e-3)
				fail_msg("%lu bytes, one sample in %lu: %g, not %g", sizes[k],
					 means[i], got, chance(sizes[k], means[i]));
		}
}

static void a_weight_makes_up_for_the_chance(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(means); i++)
		for (size_t k = 0; k < COUNT(sizes); k++) {
			double p = chance(sizes[k], means[i]);
			struct amount a = amount__of(sizes[k], sample__weight(sizes[k], means[i]));

			assert_true(fabs((double)a.blocks / HEAP_UNIT * p - 1) < 1e-3);
			assert_true(fabs((double)a.bytes / (double)sizes[k] * p - 1) < 1e-3);
		}
}

/* What a producer says in bytes is what the model's weight says. */
static void bytes_stood_for_are_the_weights_bytes(void **state)
{
	(void)state;
	for (uint64_t mean = 1; mean <= 1ULL << 32; mean += mean / 3 + 1)
		for (uint64_t size = 0; size < 1ULL << 46; size += size / 5 + 1) {
			double want = (double)sample__bytes(size) / chance(sample__bytes(size), mean);
			double got = (double)sample__stands_for(size, mean);

			if (fabs(got - want) > 1 + want * 1e-8)
				fail_msg("%lu bytes, one sample in %lu: stands for %.0f, not %.3f",
					 size, mean, got, want);
		}
}

/* Allocations of mixed sizes, sampled as the BPF program does it: sums over many runs. */
static void sums_are_unbiased(void **state)
{
	const uint64_t mean = 4096;
	double bytes = 0, blocks = 0, variance = 0, blocks_variance = 0;
	uint64_t true_bytes = 0, true_blocks = 0;
	__u64 left = sample__distance(mean, dice64());

	(void)state;
	for (int i = 0; i < 12000000; i++) {
		uint64_t size = sizes[2 + dice(COUNT(sizes) - 5)];
		struct amount a;

		true_bytes += size;
		true_blocks++;
		if (!sample__hits(&left, sample__bytes(size)))
			continue;
		left = sample__distance(mean, dice64());
		a = amount__of(size, sample__weight(size, mean));
		bytes += (double)a.bytes;
		blocks += (double)a.blocks / HEAP_UNIT;
		variance += (double)a.bytes_variance * VARIANCE_UNIT;
		blocks_variance += (double)a.blocks_variance / HEAP_UNIT;
	}
	assert_true(fabs(bytes / (double)true_bytes - 1) < 1e-3);
	assert_true(fabs(bytes - (double)true_bytes) < 4 * sqrt(variance));
	assert_true(fabs(blocks - (double)true_blocks) < 4 * sqrt(blocks_variance));
}

/* The error that is stated is the error that there is. */
static void the_stated_error_is_the_scatter(void **state)
{
	const uint64_t mean = 16384, size = 512;
	double scatter = 0, stated = 0, sum = 0;
	__u64 left = sample__distance(mean, dice64());
	enum { RUNS = 2000, BLOCKS = 2000 };

	(void)state;
	for (int run = 0; run < RUNS; run++) {
		double bytes = 0, variance = 0;

		for (int i = 0; i < BLOCKS; i++) {
			struct amount a;

			if (!sample__hits(&left, size))
				continue;
			left = sample__distance(mean, dice64());
			a = amount__of(size, sample__weight(size, mean));
			bytes += (double)a.bytes;
			variance += (double)a.bytes_variance * VARIANCE_UNIT;
		}
		scatter += pow(bytes - (double)BLOCKS * size, 2);
		stated += variance;
		sum += bytes;
	}
	assert_true(fabs(sum / ((double)RUNS * BLOCKS * size) - 1) < 0.01);
	assert_true(fabs(sqrt(stated / scatter) - 1) < 0.08);
}

static void an_allocation_of_nothing_counts_as_one(void **state)
{
	struct amount a = amount__of(0, sample__weight(0, 65536));

	(void)state;
	assert_int_equal(sample__bytes(0), 1);
	assert_int_equal(a.bytes, 0);
	assert_true(fabs((double)a.blocks / HEAP_UNIT / 65536 - 1) < 1e-3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_logarithm_is_near_the_true_one),
		cmocka_unit_test(the_chance_of_a_size_is_exact),
		cmocka_unit_test(a_weight_makes_up_for_the_chance),
		cmocka_unit_test(bytes_stood_for_are_the_weights_bytes),
		cmocka_unit_test(sums_are_unbiased),
		cmocka_unit_test(the_stated_error_is_the_scatter),
		cmocka_unit_test(an_allocation_of_nothing_counts_as_one),
	};

	return cmocka_run_group_tests_name("sample", tests, NULL, NULL);
}
