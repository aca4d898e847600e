/* SPDX-License-Identifier: MIT */
/*
 * Threads that map and unmap at the same time, each a length of its own
 * (thread i: i + 1 pages), a known number of times. Arguments: threads, times,
 * "before": the threads exist, and wait, before the program is ready.
 */
#include <pthread.h>

#include "prog.h"

static unsigned long times;
static long tids[64];
static pthread_barrier_t begun, go;

static void *work(void *arg)
{
	size_t me = (size_t)arg, len = (me + 1) * PROG_PAGE;

	tids[me] = prog__gettid();
	pthread_barrier_wait(&begun);
	pthread_barrier_wait(&go);
	for (unsigned long i = 0; i < times; i++) {
		void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (p == MAP_FAILED)
			prog__die("mmap");
		munmap(p, len);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t thread[64];
	unsigned long n;
	bool before;

	prog__start(&argc, &argv);
	n = prog__number(argc, argv, 1, 4);
	times = prog__number(argc, argv, 2, 100);
	before = argc > 3 && !strcmp(argv[3], "before");
	pthread_barrier_init(&begun, NULL, (unsigned)n + 1);
	pthread_barrier_init(&go, NULL, (unsigned)n + 1);
	if (!before)
		prog__ready();
	for (size_t i = 0; i < n; i++)
		if (pthread_create(&thread[i], NULL, work, (void *)i))
			prog__die("pthread_create");
	pthread_barrier_wait(&begun);
	if (before)
		prog__ready();
	pthread_barrier_wait(&go);
	for (size_t i = 0; i < n; i++)
		pthread_join(thread[i], NULL);
	for (size_t i = 0; i < n; i++)
		prog__print("{\"tid\":%ld,\"length\":%zu,\"times\":%lu}\n", tids[i],
			    (i + 1) * PROG_PAGE, times);
	prog__end();
	return 0;
}
