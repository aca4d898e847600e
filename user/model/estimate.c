// SPDX-License-Identifier: MIT
#include "user/model/estimate.h"

#include <math.h>

#include "bpf/sample.h"

#define WEIGHT_MOST (1UL << 52)

static uint64_t cut(uint64_t bytes)
{
	return bytes < BLOCK_SIZE_MAX ? bytes : BLOCK_SIZE_MAX;
}

uint64_t sample__weight(uint64_t size, uint64_t mean)
{
	double chance = -expm1(-(double)sample__bytes(size) / (double)mean);
	double weight = (double)WEIGHT_ONE / chance;

	return weight < (double)WEIGHT_MOST ? (uint64_t)llround(weight) : WEIGHT_MOST;
}

uint64_t sample__weight_of_bytes(uint64_t size, uint64_t bytes)
{
	double weight = size ? (double)WEIGHT_ONE * (double)bytes / (double)size : 0;

	if (weight <= (double)WEIGHT_ONE)
		return WEIGHT_ONE;
	return weight < (double)WEIGHT_MOST ? (uint64_t)llround(weight) : WEIGHT_MOST;
}

static uint64_t saturated(unsigned __int128 n)
{
	return n < VARIANCE_MOST ? (uint64_t)n : VARIANCE_MOST;
}

/* A number of blocks or bytes times w - 1, less `shift` bits, which are rounded up. */
static uint64_t times_excess(unsigned __int128 n, uint64_t weight, unsigned shift)
{
	unsigned __int128 product;

	if (__builtin_mul_overflow(n, weight - WEIGHT_ONE, &product))
		return VARIANCE_MOST;
	return saturated((product + (((unsigned __int128)1 << shift) - 1)) >> shift);
}

struct amount amount__of_sample(uint64_t size, uint64_t weight)
{
	uint64_t own = cut(size);
	struct amount a;
	unsigned __int128 bytes;

	a.blocks = (weight + WEIGHT_ONE / HEAP_UNIT / 2) / (WEIGHT_ONE / HEAP_UNIT);
	bytes = ((unsigned __int128)own * weight + WEIGHT_ONE / 2) / WEIGHT_ONE;
	a.bytes = bytes < BLOCK_SIZE_MAX ? (uint64_t)bytes : BLOCK_SIZE_MAX;
	a.blocks_variance = times_excess(a.blocks, weight, 20);
	a.bytes_variance = times_excess((unsigned __int128)a.bytes * own, weight, 30);
	return a;
}

/* The sum of many independent samples is normally distributed: 95 % within 1.96 deviations. */
static uint64_t error_of(double variance)
{
	return (uint64_t)llround(1.96 * sqrt(variance));
}

uint64_t error__of_blocks(uint64_t variance)
{
	return error_of((double)variance / HEAP_UNIT);
}

uint64_t error__of_bytes(uint64_t variance)
{
	return error_of((double)variance * VARIANCE_UNIT);
}
