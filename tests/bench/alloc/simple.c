/* SPDX-License-Identifier: MIT */
/*
 * Runs of one size: so many blocks made, all freed in order; runs short
 * and long, sizes from 8 bytes to 4 KiB, at most 96 KiB at a time. With THREADS 1 in the main thread of
 * a process that has no other, else one thread a processor.
 */
#include "tests/bench/alloc/work.h"

#define LONGEST 1600
#define MOST_BYTES (96 << 10)

static const size_t sizes[] = {8, 16, 24, 32, 48, 64, 96, 128, 256, 512, 1024, 4096};
static const size_t lengths[] = {25, 100, 400, LONGEST};
static size_t blocks;

static void run(size_t size, size_t length)
{
	void *made[LONGEST];

	for (size_t i = 0; i < length; i++)
		made[i] = block__new(size);
	for (size_t i = 0; i < length; i++)
		block__drop(made[i]);
}

static void work(unsigned index)
{
	(void)index;
	for (size_t s = 0; s < sizeof(sizes) / sizeof(*sizes); s++)
		for (size_t l = 0; l < sizeof(lengths) / sizeof(*lengths); l++)
			for (size_t i = 0; i < blocks / lengths[l] + 1; i++)
				if (sizes[s] * lengths[l] <= MOST_BYTES)
					run(sizes[s], lengths[l]);
}

int main(int argc, char **argv)
{
	work__start(argc, argv);
	blocks = work__scaled(500000) / (work__threads > 1 ? work__threads / 2 : 1);
	if (work__threads == 1)
		work(0);
	else
		work__parallel(work__threads, work);
	return work__end();
}
