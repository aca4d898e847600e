/* SPDX-License-Identifier: MIT */
/* Random numbers that are the same in every run: xorshift64*. A test sets the seed, not 0. */
#ifndef TESTS_UNIT_DICE_H
#define TESTS_UNIT_DICE_H

#include <stdint.h>

static uint64_t seed = 20240229;

static uint64_t dice64(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed * 0x2545F4914F6CDD1DULL;
}

/* 0 to n - 1 */
static unsigned dice(unsigned n)
{
	return (dice64() >> 33) % n;
}

#endif
