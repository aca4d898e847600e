/* SPDX-License-Identifier: MIT */
/*
 * False sharing: threads that write to small blocks of their own, over and
 * over. Slow when blocks of two threads lie in one cache line.
 *
 * active (the default): each thread makes its blocks itself, at the same time
 * as the others. passive (third argument): the first blocks come from the
 * main thread, one after the other; a thread frees its one and makes a new
 * one, which must not be the neighbour of another thread's.
 */
#include "tests/bench/alloc/work.h"

#define BYTES 8
#define WRITES 400

static char *given[WORK_THREADS];
static size_t turns;

static void write_over(volatile char *p)
{
	for (unsigned k = 0; k < WRITES; k++)
		for (unsigned i = 0; i < BYTES; i++)
			p[i] = (char)(p[i] + 1);
}

static void work(unsigned index)
{
	free(given[index]);
	for (size_t i = 0; i < turns; i++) {
		char *p = malloc(BYTES);

		WORK_CHECK(p);
		memset(p, 1, BYTES);
		write_over(p);
		for (unsigned k = 0; k < BYTES; k++)
			WORK_CHECK(p[k] == (char)(1 + WRITES));
		free(p);
	}
}

int main(int argc, char **argv)
{
	bool passive;

	work__start(argc, argv);
	passive = argc > 3 && !strcmp(argv[3], "passive");
	turns = work__scaled(400000) / work__threads + 1;
	for (unsigned i = 0; passive && i < work__threads; i++) {
		given[i] = malloc(BYTES);
		WORK_CHECK(given[i]);
		memset(given[i], (int)i, BYTES);
	}
	work__parallel(work__threads, work);
	return work__end();
}
