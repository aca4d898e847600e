/* SPDX-License-Identifier: MIT */
/* Touch the stack further down than it ever was. Argument: pages. */
#include <alloca.h>

#include "prog.h"

static PROG_NOINLINE void dig(unsigned long pages)
{
	char *p = alloca(pages * PROG_PAGE);

	prog__write_pages(p, pages);
}

int main(int argc, char **argv)
{
	struct prog_faults from, to;
	unsigned long pages;

	prog__start(&argc, &argv);
	pages = prog__number(argc, argv, 1, 100);
	prog__ready();
	from = prog__faults();
	dig(pages);
	to = prog__faults();
	prog__print("{\"minflt\":%lu,\"majflt\":%lu,\"pages\":%lu}\n", to.minor - from.minor,
		    to.major - from.major, pages);
	prog__end();
	return 0;
}
