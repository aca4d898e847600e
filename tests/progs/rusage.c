/* SPDX-License-Identifier: MIT */
/*
 * Run a program and print what wait4 says of it, as the kernel counted it from
 * the fork on. Arguments: the program and its arguments.
 */
#include "prog.h"

int main(int argc, char **argv)
{
	struct rusage usage;
	int status;
	pid_t child;

	if (argc < 2)
		return 2;
	child = fork();
	if (child < 0)
		prog__die("fork");
	if (!child) {
		execvp(argv[1], argv + 1);
		prog__die(argv[1]);
	}
	if (wait4(child, &status, 0, &usage) != child)
		prog__die("wait4");
	prog__print("{\"rusage\":%d,\"minflt\":%ld,\"majflt\":%ld}\n", child, usage.ru_minflt,
		    usage.ru_majflt);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
