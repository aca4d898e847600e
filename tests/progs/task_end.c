/* SPDX-License-Identifier: MIT */
/*
 * End in some way. Arguments: "exit" N, "signal" N (the default action, no core
 * file), or "close" N: close every descriptor, make calls, and exit with N.
 */
#include "prog.h"

int main(int argc, char **argv)
{
	const struct rlimit none = {0, 0};
	int n;

	prog__start(&argc, &argv);
	if (argc < 3)
		return 2;
	n = atoi(argv[2]);
	prog__ready();
	if (!strcmp(argv[1], "signal")) {
		setrlimit(RLIMIT_CORE, &none);
		signal(n, SIG_DFL);
		raise(n);
		return 2;
	}
	if (!strcmp(argv[1], "close")) {
		for (int fd = 0; fd < 1024; fd++)
			close(fd);
		for (int i = 0; i < 20; i++)
			mmap(NULL, 11 * PROG_PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	}
	return n;
}
