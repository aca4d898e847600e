/* SPDX-License-Identifier: MIT */
/*
 * Batches: blocks of slowly changing sizes made one after the other, then the
 * older half freed in the order of making, later the rest in the reverse
 * order, or every other one first. With threads, each frees what another one
 * has made in the round before.
 */
#include "tests/bench/alloc/work.h"

#define LENGTH 4000

static void *made[2][WORK_THREADS][LENGTH];
static pthread_barrier_t turnover;
static size_t rounds;

static void make(void **blocks, size_t count, size_t round)
{
	for (size_t i = 0; i < count; i++)
		blocks[i] = block__new(8 + (i / 16 * 8 + round * 24) % 600);
}

static void drop(void **blocks, size_t count, size_t round)
{
	size_t half = count / 2;

	switch (round % 3) {
	case 0:
		for (size_t i = 0; i < half; i++)
			block__drop(blocks[i]);
		for (size_t i = count; i > half; i--)
			block__drop(blocks[i - 1]);
		break;
	case 1:
		for (size_t i = 0; i < count; i += 2)
			block__drop(blocks[i]);
		for (size_t i = 1; i < count; i += 2)
			block__drop(blocks[i]);
		break;
	default:
		for (size_t i = count; i > 0; i--)
			block__drop(blocks[i - 1]);
	}
	memset(blocks, 0, count * sizeof(*blocks));
}

static void work(unsigned index)
{
	for (size_t round = 0; round <= rounds; round++) {
		unsigned other = (index + 1) % work__threads;

		if (round < rounds)
			make(made[round % 2][index], LENGTH, round);
		if (round > 0)
			drop(made[(round - 1) % 2][other], LENGTH, round);
		if (work__threads > 1)
			pthread_barrier_wait(&turnover);
	}
}

int main(int argc, char **argv)
{
	work__start(argc, argv);
	rounds = work__scaled(12000000) / LENGTH / work__threads + 1;
	WORK_CHECK(!pthread_barrier_init(&turnover, NULL, work__threads));
	if (work__threads == 1)
		work(0);
	else
		work__parallel(work__threads, work);
	return work__end();
}
