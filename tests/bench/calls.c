// FLAGS: -fno-builtin
/* SPDX-License-Identifier: MIT */
/*
 * Allocator calls: threads that each free one of a thousand blocks and make another one, of 16 to 1024
 * bytes, DEPTH functions below main(). Arguments: threads, operations of each, depth. An operation is two
 * events, a free and a malloc.
 */
#include <pthread.h>

#include "tests/bench/bench.h"

#define LIVE 1000

static unsigned long operations;

static PROG_NOINLINE void churn(void)
{
	static __thread void *block[LIVE];
	uint64_t r = 88172645463325252ULL;

	for (unsigned long i = 0; i < operations; i++) {
		size_t at;

		r ^= r << 13;
		r ^= r >> 7;
		r ^= r << 17;
		at = r % LIVE;
		free(block[at]);
		block[at] = malloc(16 + (r >> 32) % 1009);
	}
}

static PROG_NOINLINE void deeper(unsigned long depth)
{
	if (depth)
		deeper(depth - 1);
	else
		churn();
	__asm__ volatile("" : : : "memory"); /* no jump in place of the call */
}

static void *work(void *depth)
{
	deeper((uintptr_t)depth);
	return NULL;
}

int main(int argc, char **argv)
{
	unsigned long threads, depth;
	double wall, cpu;
	pthread_t thread[64];

	prog__start(&argc, &argv);
	threads = prog__number(argc, argv, 1, 1);
	operations = prog__number(argc, argv, 2, 1000000);
	depth = prog__number(argc, argv, 3, 7);
	if (threads < 1 || threads > 64)
		return 2;
	wall = bench__clock(CLOCK_MONOTONIC);
	cpu = bench__clock(CLOCK_PROCESS_CPUTIME_ID);
	for (unsigned long i = 0; i < threads; i++)
		if (pthread_create(&thread[i], NULL, work, (void *)(uintptr_t)depth))
			prog__die("pthread_create");
	for (unsigned long i = 0; i < threads; i++)
		pthread_join(thread[i], NULL);
	bench__result(bench__clock(CLOCK_MONOTONIC) - wall,
		      bench__clock(CLOCK_PROCESS_CPUTIME_ID) - cpu, 2 * threads * operations);
	return 0;
}
