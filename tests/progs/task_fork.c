/* SPDX-License-Identifier: MIT */
/*
 * A tree of processes, each with a number of mmap calls of its own: the process
 * of number i (depth first) makes 10 + i. Arguments: width, depth. Every process
 * prints a line of its own, the first one another when all the others have ended.
 */
#include "prog.h"

static unsigned long width, depth;

/* Processes in a subtree whose root has `below` generations under it. */
static unsigned long size(unsigned long below)
{
	return below ? 1 + width * size(below - 1) : 1;
}

static void be(unsigned long number, unsigned long below)
{
	int status;

	for (unsigned long i = 0; i < 10 + number; i++)
		if (mmap(NULL, PROG_PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED)
			prog__die("mmap");
	prog__print("{\"pid\":%d,\"ppid\":%d,\"number\":%lu,\"mmap\":%lu}\n", getpid(), getppid(),
		    number, 10 + number);
	for (unsigned long i = 0; below && i < width; i++) {
		pid_t child = fork();

		if (child < 0)
			prog__die("fork");
		if (!child) {
			be(number + 1 + i * size(below - 1), below - 1);
			_exit(0);
		}
		if (waitpid(child, &status, 0) != child || status)
			prog__die("child");
	}
}

int main(int argc, char **argv)
{
	prog__start(&argc, &argv);
	width = prog__number(argc, argv, 1, 2);
	depth = prog__number(argc, argv, 2, 2);
	prog__ready();
	be(0, depth);
	prog__print("{\"done\":%d}\n", getpid());
	prog__end();
	return 0;
}
