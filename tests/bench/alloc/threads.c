/* SPDX-License-Identifier: MIT */
/*
 * Threads that share nothing: each replaces blocks of its own at random, sizes
 * falling off steeply from 8 bytes to 32 KiB.
 */
#include "tests/bench/alloc/work.h"

#define SLOTS 1024

static size_t turns;

/* Half as many of twice the size. */
static size_t falling(struct rng *r)
{
	unsigned bits = (unsigned)__builtin_ctz(rng__next(r) | 1u << 11);

	return ((size_t)8 << bits) + rng__below(r, 8u << bits);
}

static void work(unsigned index)
{
	struct rng rng = rng__seed(300 + index);
	void *slots[SLOTS] = {NULL};

	for (size_t i = 0; i < turns; i++) {
		size_t at = rng__below(&rng, SLOTS);

		block__drop(slots[at]);
		slots[at] = block__new(falling(&rng));
	}
	for (size_t i = 0; i < SLOTS; i++)
		block__drop(slots[i]);
}

int main(int argc, char **argv)
{
	work__start(argc, argv);
	turns = work__scaled(16000000) / work__threads + 1;
	work__parallel(work__threads, work);
	return work__end();
}
