/* SPDX-License-Identifier: MIT */
/*
 * Single-thread churn: a small set of small blocks, one random one after the
 * other dropped and made anew. The common case of most programs.
 */
#include "tests/bench/alloc/work.h"

#define SLOTS 2048

int main(int argc, char **argv)
{
	static void *slots[SLOTS];
	struct rng rng = rng__seed(1);
	size_t turns;

	work__start(argc, argv);
	turns = work__scaled(20000000);
	for (size_t i = 0; i < turns; i++) {
		uint32_t r = rng__next(&rng);
		size_t at = r % SLOTS, high = 8 + ((r >> 11) & 0xff), low = 8 + ((r >> 19) & 0xff);

		block__drop(slots[at]);
		slots[at] = block__new(low < high ? low : high);
	}
	for (size_t i = 0; i < SLOTS; i++)
		block__drop(slots[i]);
	return work__end();
}
