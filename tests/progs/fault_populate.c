/* SPDX-License-Identifier: MIT */
/*
 * Pages that come without a fault: MAP_POPULATE, MADV_POPULATE_WRITE and mlock.
 * Arguments: pages of each.
 */
#include "prog.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

int main(int argc, char **argv)
{
	const int rw = PROT_READ | PROT_WRITE, anon = MAP_PRIVATE | MAP_ANONYMOUS;
	unsigned long mapped, advised, locked;
	struct prog_faults from, to;
	char *p, *q, *r;

	prog__start(&argc, &argv);
	mapped = prog__number(argc, argv, 1, 64);
	advised = prog__number(argc, argv, 2, 48);
	locked = prog__number(argc, argv, 3, 8);
	prog__ready();
	from = prog__faults();
	p = mmap(NULL, mapped * PROG_PAGE, rw, anon | MAP_POPULATE, -1, 0);
	q = mmap(NULL, advised * PROG_PAGE, rw, anon, -1, 0);
	r = mmap(NULL, locked * PROG_PAGE, rw, anon, -1, 0);
	if (p == MAP_FAILED || q == MAP_FAILED || r == MAP_FAILED)
		prog__die("mmap");
	if (advised && madvise(q, advised * PROG_PAGE, MADV_POPULATE_WRITE))
		prog__die("MADV_POPULATE_WRITE");
	if (locked && mlock(r, locked * PROG_PAGE))
		prog__die("mlock");
	/* all there already: no fault */
	prog__write_pages(p, mapped);
	prog__write_pages(q, advised);
	prog__write_pages(r, locked);
	to = prog__faults();
	prog__print("{\"minflt\":%lu,\"majflt\":%lu,\"mapped\":%lu,\"advised\":%lu,\"locked\":%lu}\n",
		    to.minor - from.minor, to.major - from.major, mapped, advised, locked);
	prog__end();
	return 0;
}
