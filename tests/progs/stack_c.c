/* SPDX-License-Identifier: MIT */
/*
 * Known places: each marked line is the call or access that a site's innermost
 * own frame must name, and the functions around it must follow in order.
 */
#include "prog.h"

static volatile int barrier;

static PROG_NOINLINE char *place_map(size_t pages)
{
	const int rw = PROT_READ | PROT_WRITE, anon = MAP_PRIVATE | MAP_ANONYMOUS;
	char *p = mmap(NULL, pages * PROG_PAGE, rw, anon, -1, 0); /* LINE: map */

	barrier++;
	return p;
}

static PROG_NOINLINE void place_touch(volatile char *p, size_t pages)
{
	for (size_t i = 0; i < pages; i++)
		p[i * PROG_PAGE] = 1; /* LINE: touch */
	barrier++;
}

static PROG_NOINLINE void place_grow(size_t pages)
{
	/* not sbrk: libc keeps no frame pointer there, which is another matter */
	long at = syscall(SYS_brk, 0);

	syscall(SYS_brk, at + pages * PROG_PAGE); /* LINE: grow */
	barrier++;
}

static PROG_NOINLINE char *place_middle(size_t pages)
{
	char *p = place_map(pages); /* LINE: middle */

	place_touch(p, pages); /* LINE: middle_touch */
	barrier++;
	return p;
}

static PROG_NOINLINE char *place_deep(unsigned depth, size_t pages)
{
	char *p = depth ? place_deep(depth - 1, pages) : place_middle(pages);

	barrier++;
	return p;
}

int main(int argc, char **argv)
{
	unsigned long pages, depth;
	char *p;

	prog__start(&argc, &argv);
	pages = prog__number(argc, argv, 1, 123);
	depth = prog__number(argc, argv, 2, 3);
	prog__ready();
	p = place_deep((unsigned)depth, pages); /* LINE: main */
	place_grow(37);
	munmap(p, pages * PROG_PAGE);
	prog__print("{\"pages\":%lu,\"grown\":37}\n", pages);
	prog__end();
	return 0;
}
