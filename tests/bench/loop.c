/* SPDX-License-Identifier: MIT */
/*
 * One thread that maps, touches and unmaps, over and over: two system calls
 * and, with one page a turn, one fault. Arguments: turns, pages a turn. count: turns.
 */
#include "tests/bench/bench.h"

static void turn(unsigned long turns, unsigned long pages)
{
	for (unsigned long i = 0; i < turns; i++) {
		char *p = bench__map(pages * PROG_PAGE);

		prog__write_pages(p, pages);
		munmap(p, pages * PROG_PAGE);
	}
}

int main(int argc, char **argv)
{
	unsigned long turns, pages;

	prog__start(&argc, &argv);
	turns = prog__number(argc, argv, 1, 300000);
	pages = prog__number(argc, argv, 2, 1);
	bench__turns(turn, turns, pages, 1);
	return 0;
}
