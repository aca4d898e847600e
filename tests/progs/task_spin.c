/* SPDX-License-Identifier: MIT */
/*
 * Map, touch and unmap until told to stop: a target that is busy for as long as
 * a test needs it. Argument: pages a turn. Ends at a line on standard input, or
 * when that is closed, and prints its turns.
 */
#include <poll.h>

#include "prog.h"

int main(int argc, char **argv)
{
	struct pollfd in = {.fd = 0, .events = POLLIN};
	unsigned long pages, turns = 0;

	prog__start(&argc, &argv);
	pages = prog__number(argc, argv, 1, 4);
	prog__ready();
	while (poll(&in, 1, 0) == 0) {
		char *p = prog__pages(pages);

		prog__write_pages(p, pages);
		munmap(p, pages * PROG_PAGE);
		turns++;
	}
	prog__print("{\"pid\":%d,\"turns\":%lu,\"pages\":%lu}\n", getpid(), turns, pages);
	prog__await();
	return 0;
}
