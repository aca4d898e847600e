/* SPDX-License-Identifier: MIT */
/*
 * Become a daemon: fork, setsid, fork; the grandchild makes a known number of
 * mmap calls and prints its line. Arguments: calls, "inside" (the program waits
 * for the daemon's end) or "outlive" (the daemon waits until the program has
 * ended before it makes its calls).
 */
#include <poll.h>

#include "prog.h"

int main(int argc, char **argv)
{
	unsigned long calls;
	bool outlive;
	int done[2];
	char c;

	prog__start(&argc, &argv);
	calls = prog__number(argc, argv, 1, 30);
	outlive = argc > 2 && !strcmp(argv[2], "outlive");
	if (pipe(done))
		prog__die("pipe");
	prog__ready();
	switch (fork()) {
	case -1:
		prog__die("fork");
		break;
	case 0:
		setsid();
		if (fork())
			_exit(0);
		break;
	default:
		/* the pipe's other end goes with the daemon */
		close(done[1]);
		if (!outlive && read(done[0], &c, 1) != 0)
			prog__die("read");
		prog__end();
		return 4;
	}
	close(done[0]);
	if (outlive) {
		/* the program is gone when nobody can read the pipe any more */
		struct pollfd gone = {.fd = done[1]};

		if (poll(&gone, 1, -1) != 1)
			prog__die("poll");
	}
	for (unsigned long i = 0; i < calls; i++)
		if (mmap(NULL, 5 * PROG_PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
		    MAP_FAILED)
			prog__die("mmap");
	prog__print("{\"pid\":%d,\"mmap\":%lu}\n", getpid(), calls);
	return 0;
}
