/* SPDX-License-Identifier: MIT */
/*
 * A fault storm: as many threads as cores, each maps a chunk, touches every
 * page of it and unmaps it, over and over. Arguments: MiB touched in all,
 * threads, MiB in a chunk. count: pages touched.
 */
#include <pthread.h>

#include "tests/bench/bench.h"

#define THREADS 1024

struct worker {
	pthread_t thread;
	unsigned long rounds;
	double from, to, cpu;
};

static size_t chunk_pages;
static pthread_barrier_t warm;
static struct worker workers[THREADS];

static void touch_chunk(void)
{
	char *p = prog__pages(chunk_pages);

	prog__write_pages(p, chunk_pages);
	munmap(p, chunk_pages * PROG_PAGE);
}

/* Each thread takes its own times: one more that did would wait for a core. */
static void *work(void *arg)
{
	struct worker *w = arg;

	touch_chunk();
	pthread_barrier_wait(&warm);
	w->from = bench__clock(CLOCK_MONOTONIC);
	w->cpu = bench__clock(CLOCK_THREAD_CPUTIME_ID);
	for (unsigned long i = 0; i < w->rounds; i++)
		touch_chunk();
	w->cpu = bench__clock(CLOCK_THREAD_CPUTIME_ID) - w->cpu;
	w->to = bench__clock(CLOCK_MONOTONIC);
	return NULL;
}

static void storm(unsigned long rounds, unsigned long threads)
{
	double from, to, cpu = 0;

	if (pthread_barrier_init(&warm, NULL, (unsigned)threads))
		prog__die("pthread_barrier_init");
	for (size_t i = 0; i < threads; i++) {
		workers[i].rounds = rounds / threads + (i < rounds % threads);
		if (pthread_create(&workers[i].thread, NULL, work, &workers[i]))
			prog__die("pthread_create");
	}
	for (size_t i = 0; i < threads; i++)
		pthread_join(workers[i].thread, NULL);
	pthread_barrier_destroy(&warm);
	from = workers[0].from;
	to = workers[0].to;
	for (size_t i = 0; i < threads; i++) {
		from = workers[i].from < from ? workers[i].from : from;
		to = workers[i].to > to ? workers[i].to : to;
		cpu += workers[i].cpu;
	}
	bench__result(to - from, cpu, rounds * chunk_pages);
}

int main(int argc, char **argv)
{
	unsigned long mib, threads, chunk_mib;

	prog__start(&argc, &argv);
	mib = prog__number(argc, argv, 1, 4096);
	threads = prog__number(argc, argv, 2, (unsigned long)sysconf(_SC_NPROCESSORS_ONLN));
	chunk_mib = prog__number(argc, argv, 3, 64);
	if (!threads || threads > THREADS || !chunk_mib) {
		errno = EINVAL;
		prog__die("storm");
	}
	chunk_pages = (chunk_mib << 20) / PROG_PAGE;
	while (bench__next())
		storm(mib / chunk_mib, threads);
	return 0;
}
