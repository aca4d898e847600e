/* SPDX-License-Identifier: MIT */
/*
 * A live set of a million blocks of mixed sizes, replaced at random: memory
 * that does not fit a cache, and free places all over the heap.
 */
#include "tests/bench/alloc/work.h"

static size_t mixed(struct rng *r)
{
	uint32_t kind = rng__below(r, 1000);

	if (kind < 900)
		return rng__skewed(r, 3, 8);
	if (kind < 998)
		return rng__skewed(r, 8, 11);
	return rng__skewed(r, 11, 14);
}

int main(int argc, char **argv)
{
	struct rng rng = rng__seed(2);
	size_t count, turns;
	void **slots;

	work__start(argc, argv);
	count = work__scaled(1000000);
	turns = work__scaled(1500000);
	slots = calloc(count, sizeof(*slots));
	WORK_CHECK(slots);
	for (size_t i = 0; i < count; i++)
		slots[i] = block__new(mixed(&rng));
	for (size_t i = 0; i < turns; i++) {
		size_t at = rng__below(&rng, (uint32_t)count);

		block__drop(slots[at]);
		slots[at] = block__new(mixed(&rng));
	}
	for (size_t i = 0; i < count; i++)
		block__drop(slots[i]);
	free(slots);
	return work__end();
}
