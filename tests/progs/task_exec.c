/* SPDX-License-Identifier: MIT */
/*
 * Make some mmap calls, then execute a program. Arguments: calls, the program
 * and its arguments.
 */
#include "prog.h"

int main(int argc, char **argv)
{
	unsigned long calls;

	prog__start(&argc, &argv);
	if (argc < 3)
		return 2;
	calls = prog__number(argc, argv, 1, 0);
	prog__ready();
	for (unsigned long i = 0; i < calls; i++)
		if (mmap(NULL, PROG_PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED)
			prog__die("mmap");
	execvp(argv[2], argv + 2);
	prog__die(argv[2]);
}
