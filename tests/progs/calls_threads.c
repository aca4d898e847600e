/* SPDX-License-Identifier: MIT */
/*
 * Threads that map and unmap at the same time, each a length of its own
 * (thread i: i + 1 pages), a known number of times. Arguments: threads, times.
 */
#include <pthread.h>

#include "prog.h"

static unsigned long times;
static long tids[64];

static void *work(void *arg)
{
	size_t me = (size_t)arg, len = (me + 1) * PROG_PAGE;

	tids[me] = prog__gettid();
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

	prog__start(&argc, &argv);
	n = prog__number(argc, argv, 1, 4);
	times = prog__number(argc, argv, 2, 100);
	prog__ready();
	for (size_t i = 0; i < n; i++)
		if (pthread_create(&thread[i], NULL, work, (void *)i))
			prog__die("pthread_create");
	for (size_t i = 0; i < n; i++)
		pthread_join(thread[i], NULL);
	for (size_t i = 0; i < n; i++)
		prog__print("{\"tid\":%ld,\"length\":%zu,\"times\":%lu}\n", tids[i],
			    (i + 1) * PROG_PAGE, times);
	prog__end();
	return 0;
}
