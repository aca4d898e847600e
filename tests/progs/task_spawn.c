/* SPDX-License-Identifier: MIT */
/* posix_spawn (vfork and exec) of a program, with its arguments; prints the child's pid. */
#include <spawn.h>

#include "prog.h"

extern char **environ;

int main(int argc, char **argv)
{
	int status;
	pid_t child;

	prog__start(&argc, &argv);
	if (argc < 2)
		return 2;
	prog__ready();
	errno = posix_spawnp(&child, argv[1], NULL, NULL, argv + 1, environ);
	if (errno)
		prog__die(argv[1]);
	if (waitpid(child, &status, 0) != child)
		prog__die("waitpid");
	prog__print("{\"pid\":%d,\"child\":%d,\"status\":%d}\n", getpid(), child, status);
	prog__end();
	return WEXITSTATUS(status);
}
