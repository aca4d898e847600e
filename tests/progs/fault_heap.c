/* SPDX-License-Identifier: MIT */
/* Grow the break and touch it. Argument: pages. */
#include "prog.h"

int main(int argc, char **argv)
{
	struct prog_faults from, to;
	unsigned long pages;
	char *p;

	prog__start(&argc, &argv);
	pages = prog__number(argc, argv, 1, 200);
	prog__ready();
	from = prog__faults();
	p = sbrk((intptr_t)(pages * PROG_PAGE));
	if (p == (void *)-1)
		prog__die("sbrk");
	prog__write_pages(p, pages);
	to = prog__faults();
	prog__print("{\"minflt\":%lu,\"majflt\":%lu,\"pages\":%lu}\n", to.minor - from.minor,
		    to.major - from.major, pages);
	prog__end();
	return 0;
}
