/* SPDX-License-Identifier: MIT */
/*
 * Take another name between two munmap calls; then a second thread takes one for itself and makes
 * the third. Argument: the name. The calls' lengths are 1, 2 and 3 pages.
 */
#include <pthread.h>
#include <sys/prctl.h>

#include "prog.h"

static char *pages;

static void take(const char *name)
{
	if (prctl(PR_SET_NAME, name))
		prog__die("prctl");
}

static void drop(size_t n)
{
	if (munmap(pages, n * PROG_PAGE))
		prog__die("munmap");
	pages += n * PROG_PAGE;
}

static void *work(void *arg)
{
	take("a thread's own");
	drop(3);
	return arg;
}

int main(int argc, char **argv)
{
	pthread_t thread;

	prog__start(&argc, &argv);
	if (argc < 2)
		return 2;
	pages = prog__pages(6);
	prog__ready();
	drop(1);
	take(argv[1]);
	drop(2);
	if (pthread_create(&thread, NULL, work, NULL) || pthread_join(thread, NULL))
		prog__die("thread");
	prog__print("{\"name\":\"%s\"}\n", argv[1]);
	prog__end();
	return 0;
}
