/* SPDX-License-Identifier: MIT */
/*
 * What a block stands for, itself or, sampled, those that were left out too; and how far off a
 * sum of such amounts may be.
 *
 * A block of s bytes is sampled with a chance of p = 1 - exp(-s / mean), so it stands for 1 / p
 * blocks of its size: its weight w. Each block by itself being so on the average, sums are unbiased,
 * and the variance of a sum is estimated, without bias too, by the sum of w(w - 1), in blocks, or
 * of s * s * w(w - 1), in bytes.
 *
 * All whole numbers, so that a block takes back at its end what it had added, to the bit. Counts
 * of calls and blocks are in units of 1/HEAP_UNIT.
 */
#ifndef MEMTRACE_ESTIMATE_H
#define MEMTRACE_ESTIMATE_H

#include <stdint.h>

#include "user/model/blocks.h"

#define HEAP_UNIT 1024
#define WEIGHT_ONE (1UL << 20) /* weights are in units of 1/WEIGHT_ONE */
#define VARIANCE_UNIT 1024 /* of variances of bytes: bytes squared in one */

struct amount {
	uint64_t blocks; /* 1/HEAP_UNIT */
	uint64_t bytes;
	uint64_t blocks_variance; /* 1/HEAP_UNIT of a block squared, saturating */
	uint64_t bytes_variance; /* VARIANCE_UNIT, saturating */
};

/* The weight of a sampled block. mean: bytes from one sample to the next, on the average, not 0. */
uint64_t sample__weight(uint64_t size, uint64_t mean);

/* The weight of a block that is told to stand for so many bytes. */
uint64_t sample__weight_of_bytes(uint64_t size, uint64_t bytes);

struct amount amount__of_sample(uint64_t size, uint64_t weight); /* weight > WEIGHT_ONE */

/* weight 0: it is not sampled */
static inline struct amount amount__of(uint64_t size, uint64_t weight)
{
	if (weight > WEIGHT_ONE)
		return amount__of_sample(size, weight);
	return (struct amount){HEAP_UNIT, size < BLOCK_SIZE_MAX ? size : BLOCK_SIZE_MAX, 0, 0};
}

/* 95 % of estimates are not further off than this, of a variance in blocks or in bytes. */
uint64_t error__of_blocks(uint64_t variance);
uint64_t error__of_bytes(uint64_t variance);

/* a + b; UINT64_MAX / 2 and more is as much as can be told */
#define VARIANCE_MOST (UINT64_MAX / 2)
static inline uint64_t variance__add(uint64_t a, uint64_t b)
{
	uint64_t sum;

	return __builtin_add_overflow(a, b, &sum) || sum > VARIANCE_MOST ? VARIANCE_MOST : sum;
}

#endif /* MEMTRACE_ESTIMATE_H */
