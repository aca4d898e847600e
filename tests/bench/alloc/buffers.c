/* SPDX-License-Identifier: MIT */
/*
 * Buffers of input and output: 4 to 128 KiB, filled, handed to another
 * thread now and then, a few dozen alive at a time.
 */
#include "tests/bench/alloc/work.h"

#define SLOTS 48
#define SHARED 16

static _Atomic(void *) shared[SHARED];
static size_t turns;

static void work(unsigned index)
{
	struct rng rng = rng__seed(500 + index);
	void *slots[SLOTS] = {NULL};

	for (size_t i = 0; i < turns; i++) {
		void **slot = &slots[rng__below(&rng, SLOTS)];

		block__drop(*slot);
		*slot = block__new_filled(rng__skewed(&rng, 12, 17));
		if (i % 8 == 0)
			*slot = atomic_exchange(&shared[rng__below(&rng, SHARED)], *slot);
	}
	for (size_t i = 0; i < SLOTS; i++)
		block__drop(slots[i]);
}

int main(int argc, char **argv)
{
	work__start(argc, argv);
	turns = work__scaled(300000) / work__threads + 1;
	work__parallel(work__threads, work);
	for (size_t i = 0; i < SHARED; i++)
		block__drop(shared[i]);
	return work__end();
}
