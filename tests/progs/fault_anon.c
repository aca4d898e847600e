/* SPDX-License-Identifier: MIT */
/*
 * First touch of anonymous memory. Arguments: pages that are read and then
 * written (two faults each, the second on the zero page), pages only written.
 */
#include "prog.h"

int main(int argc, char **argv)
{
	struct prog_faults from, to;
	unsigned long both, written;
	char *p;

	prog__start(&argc, &argv);
	both = prog__number(argc, argv, 1, 300);
	written = prog__number(argc, argv, 2, 500);
	prog__ready();
	from = prog__faults();
	p = prog__pages(both + written);
	prog__read_pages(p, both);
	prog__write_pages(p, both + written);
	to = prog__faults();
	prog__print("{\"minflt\":%lu,\"majflt\":%lu,\"both\":%lu,\"written\":%lu,\"address\":%lu}\n",
		    to.minor - from.minor, to.major - from.major, both, written, (unsigned long)p);
	prog__end();
	return 0;
}
