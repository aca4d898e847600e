/* SPDX-License-Identifier: MIT */
/*
 * A fault storm: every thread maps a chunk, touches every page and unmaps it,
 * over and over. Arguments: MiB touched in all, threads, MiB in a chunk.
 */
#include <pthread.h>

#include "prog.h"

static unsigned long rounds;
static size_t chunk_bytes;

static void *work(void *arg)
{
	for (unsigned long i = 0; i < rounds; i++) {
		char *p = prog__pages(chunk_bytes / PROG_PAGE);

		prog__write_pages(p, chunk_bytes / PROG_PAGE);
		munmap(p, chunk_bytes);
	}
	return arg;
}

int main(int argc, char **argv)
{
	struct prog_faults from, to;
	unsigned long mib, threads;
	pthread_t thread[256];

	prog__start(&argc, &argv);
	mib = prog__number(argc, argv, 1, 4096);
	threads = prog__number(argc, argv, 2, (unsigned long)sysconf(_SC_NPROCESSORS_ONLN));
	chunk_bytes = prog__number(argc, argv, 3, 64) << 20;
	if (threads > 256)
		threads = 256;
	rounds = (mib << 20) / chunk_bytes / threads;
	prog__ready();
	from = prog__faults();
	for (size_t i = 0; i < threads; i++)
		if (pthread_create(&thread[i], NULL, work, NULL))
			prog__die("pthread_create");
	for (size_t i = 0; i < threads; i++)
		pthread_join(thread[i], NULL);
	to = prog__faults();
	prog__print("{\"minflt\":%lu,\"majflt\":%lu,\"touched\":%lu,\"maps\":%lu}\n",
		    to.minor - from.minor, to.major - from.major,
		    rounds * threads * (chunk_bytes / PROG_PAGE), rounds * threads);
	prog__end();
	return 0;
}
