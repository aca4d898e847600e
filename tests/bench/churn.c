/* SPDX-License-Identifier: MIT */
/*
 * Threads that allocate and free as fast as they can, ten calls deep: blocks of 16 to 1,024 bytes, 1,000 of them
 * alive in each thread. Arguments: threads, pairs of malloc and free of each. count: calls, two a pair.
 */
#include <pthread.h>

#include "tests/bench/bench.h"

#define ALIVE 1000
#define THREADS_MAX 64
#define DEPTH 8 /* with main or a thread's beginning, and one_pair */

struct worker {
	pthread_t thread;
	unsigned long pairs;
	double cpu;
	char *alive[ALIVE];
};

static struct worker workers[THREADS_MAX];

static __attribute__((noinline)) void one_pair(char **at, unsigned long i)
{
	free(*at);
	*at = malloc(16 + i * 7919 % 1009);
	if (!*at)
		prog__die("malloc");
	**at = 1;
}

static __attribute__((noinline)) void descend(struct worker *w, unsigned depth)
{
	unsigned long i;

	if (depth)
		descend(w, depth - 1);
	else
		for (i = 0; i < w->pairs; i++)
			one_pair(&w->alive[i * 31 % ALIVE], i);
	__asm__ volatile(""); /* no jump to the next: a frame each */
}

static void *work(void *arg)
{
	struct worker *w = arg;
	double from = bench__clock(CLOCK_THREAD_CPUTIME_ID);

	descend(w, DEPTH);
	w->cpu = bench__clock(CLOCK_THREAD_CPUTIME_ID) - from;
	return NULL;
}

/* The CPU time of all. */
static double all_work(unsigned threads, unsigned long pairs)
{
	double cpu = 0;
	unsigned i;

	for (i = 0; i < threads; i++) {
		workers[i].pairs = pairs;
		if (pthread_create(&workers[i].thread, NULL, work, &workers[i]))
			prog__die("pthread_create");
	}
	for (i = 0; i < threads; i++) {
		pthread_join(workers[i].thread, NULL);
		cpu += workers[i].cpu;
	}
	return cpu;
}

int main(int argc, char **argv)
{
	unsigned long threads, pairs;

	prog__start(&argc, &argv);
	threads = prog__number(argc, argv, 1, 1);
	pairs = prog__number(argc, argv, 2, 3000000);
	if (!threads || threads > THREADS_MAX)
		prog__die("threads");
	while (bench__next()) {
		double from, cpu;

		all_work((unsigned)threads, pairs / 20);
		from = bench__clock(CLOCK_MONOTONIC);
		cpu = all_work((unsigned)threads, pairs);
		bench__result(bench__clock(CLOCK_MONOTONIC) - from, cpu, 2 * threads * pairs);
	}
	return 0;
}
