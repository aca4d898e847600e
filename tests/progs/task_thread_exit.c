/* SPDX-License-Identifier: MIT */
/*
 * Threads that end before the process does. The first ends at once, the main
 * thread ends next (the process goes on as a zombie leader), and the last one then
 * makes a known number of mmap calls and ends the process. Argument: calls.
 */
#include <pthread.h>

#include "prog.h"

static unsigned long calls;
static pthread_t leader;

static void *nothing(void *arg)
{
	return arg;
}

static void *last(void *arg)
{
	(void)arg;
	if (pthread_join(leader, NULL))
		prog__die("pthread_join");
	for (unsigned long i = 0; i < calls; i++)
		if (mmap(NULL, 7 * PROG_PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
		    MAP_FAILED)
			prog__die("mmap");
	prog__print("{\"pid\":%d,\"tid\":%ld,\"mmap\":%lu,\"length\":%d}\n", getpid(),
		    prog__gettid(), calls, 7 * PROG_PAGE);
	prog__end();
	exit(3);
}

int main(int argc, char **argv)
{
	pthread_t first, other;

	prog__start(&argc, &argv);
	calls = prog__number(argc, argv, 1, 25);
	leader = pthread_self();
	prog__ready();
	if (pthread_create(&first, NULL, nothing, NULL) || pthread_join(first, NULL))
		prog__die("first");
	if (pthread_create(&other, NULL, last, NULL))
		prog__die("other");
	pthread_exit(NULL);
}
