/* SPDX-License-Identifier: MIT */
/*
 * Random sizes to 64 KiB in threads that come and go: in each of many waves,
 * every thread makes blocks, keeps some, exchanges some with the others
 * through a table all share, and ends. What is in the table outlives the wave.
 */
#include "tests/bench/alloc/work.h"

#define WAVES 40
#define KEPT 256
#define TABLE 1024

static _Atomic(void *) table[TABLE];
static size_t turns;
static unsigned wave;

static size_t any_size(struct rng *r)
{
	uint32_t kind = rng__below(r, 100);

	if (kind < 90)
		return rng__skewed(r, 3, 9);
	if (kind < 99)
		return rng__skewed(r, 9, 13);
	return rng__skewed(r, 13, 16);
}

static void work(unsigned index)
{
	struct rng rng = rng__seed(1000 * (wave + 1) + index);
	void *kept[KEPT] = {NULL};

	for (size_t i = 0; i < turns; i++) {
		void *p = block__new(any_size(&rng));
		uint32_t what = rng__below(&rng, 100);

		if (what < 50) {
			block__drop(p);
		} else if (what < 90) {
			void **slot = &kept[rng__below(&rng, KEPT)];

			block__drop(*slot);
			*slot = p;
		} else {
			block__drop(atomic_exchange(&table[rng__below(&rng, TABLE)], p));
		}
	}
	for (size_t i = 0; i < KEPT; i++)
		block__drop(kept[i]);
}

int main(int argc, char **argv)
{
	unsigned threads;

	work__start(argc, argv);
	threads = 2 * work__threads < WORK_THREADS ? 2 * work__threads : WORK_THREADS;
	turns = work__scaled(8000000) / WAVES / threads + 1;
	for (wave = 0; wave < WAVES; wave++)
		work__parallel(threads, work);
	for (size_t i = 0; i < TABLE; i++)
		block__drop(table[i]);
	return work__end();
}
