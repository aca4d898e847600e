/* SPDX-License-Identifier: MIT */
/*
 * Short-lived threads: each makes some hundred blocks, frees most and leaves
 * the rest to the main thread as its result.
 */
#include "tests/bench/alloc/work.h"

#define BLOCKS 200
#define RESULTS 20

static void *results[WORK_THREADS][RESULTS];
static size_t round_number;

static void work(unsigned index)
{
	struct rng rng = rng__seed(round_number * WORK_THREADS + index);
	void *blocks[BLOCKS];

	for (size_t i = 0; i < BLOCKS; i++)
		blocks[i] = block__new(rng__skewed(&rng, 3, 11));
	for (size_t i = RESULTS; i < BLOCKS; i++)
		block__drop(blocks[i]);
	memcpy(results[index], blocks, sizeof(results[index]));
}

int main(int argc, char **argv)
{
	size_t rounds;

	work__start(argc, argv);
	rounds = work__scaled(12000) / work__threads + 1;
	for (round_number = 0; round_number < rounds; round_number++) {
		work__parallel(work__threads, work);
		for (unsigned i = 0; i < work__threads; i++)
			for (size_t k = 0; k < RESULTS; k++)
				block__drop(results[i][k]);
	}
	return work__end();
}
