/* SPDX-License-Identifier: MIT */
/*
 * A thread that is not the leader calls execve: the new image takes over the
 * leader's number. Arguments: the program to execute and its arguments.
 */
#include <pthread.h>

#include "prog.h"

static void *replace(void *argv)
{
	execvp(((char **)argv)[0], argv);
	prog__die("execvp");
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t other;

	prog__start(&argc, &argv);
	if (argc < 2)
		return 2;
	prog__ready();
	if (pthread_create(&other, NULL, replace, argv + 1))
		prog__die("pthread_create");
	for (;;)
		pause();
}
