/* SPDX-License-Identifier: MIT */
/* Touch the stack further down than it ever was. Arguments: pages, "down": the lowest last. */
#include <alloca.h>

#include "prog.h"

static PROG_NOINLINE void dig(unsigned long pages, bool down)
{
	char *p = alloca(pages * PROG_PAGE);

	if (!down)
		prog__write_pages(p, pages);
	else
		while (pages--)
			prog__write_pages(p + pages * PROG_PAGE, 1);
}

int main(int argc, char **argv)
{
	struct prog_faults from, to;
	unsigned long pages;
	bool down;

	prog__start(&argc, &argv);
	pages = prog__number(argc, argv, 1, 100);
	down = argc > 2 && !strcmp(argv[2], "down");
	prog__ready();
	from = prog__faults();
	dig(pages, down);
	to = prog__faults();
	prog__print("{\"minflt\":%lu,\"majflt\":%lu,\"pages\":%lu}\n", to.minor - from.minor,
		    to.major - from.major, pages);
	prog__end();
	return 0;
}
