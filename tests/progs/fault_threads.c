/* SPDX-License-Identifier: MIT */
/* Threads that touch memory of their own at the same time. Arguments: threads, pages each. */
#include <pthread.h>

#include "prog.h"

static unsigned long pages;
static struct touched {
	long tid;
	char *at;
} touched[64];

static void *work(void *arg)
{
	struct touched *me = arg;

	me->tid = prog__gettid();
	prog__write_pages(me->at, pages);
	return NULL;
}

int main(int argc, char **argv)
{
	struct prog_faults from, to;
	pthread_t thread[64];
	unsigned long n;

	prog__start(&argc, &argv);
	n = prog__number(argc, argv, 1, 4);
	pages = prog__number(argc, argv, 2, 1000);
	for (size_t i = 0; i < n; i++)
		touched[i].at = prog__pages(pages);
	prog__ready();
	from = prog__faults();
	for (size_t i = 0; i < n; i++)
		if (pthread_create(&thread[i], NULL, work, &touched[i]))
			prog__die("pthread_create");
	for (size_t i = 0; i < n; i++)
		pthread_join(thread[i], NULL);
	to = prog__faults();
	prog__print("{\"minflt\":%lu,\"majflt\":%lu}\n", to.minor - from.minor,
		    to.major - from.major);
	for (size_t i = 0; i < n; i++)
		prog__print("{\"tid\":%ld,\"from\":%lu,\"pages\":%lu}\n", touched[i].tid,
			    (unsigned long)touched[i].at, pages);
	prog__end();
	return 0;
}
