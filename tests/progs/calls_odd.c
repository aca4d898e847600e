/* SPDX-License-Identifier: MIT */
/*
 * Calls whose effect is not what their arguments say at first sight: a protection that fails half
 * way, a mapping of huge pages, an mremap of several mappings at once (Linux 6.17), one that leaves
 * the old mapping, one of shared memory again. Prints which of them this kernel can do.
 */
#include "prog.h"

#define RW (PROT_READ | PROT_WRITE)
#define HUGE_SIZE (2UL << 20)

static char *map(size_t pages, int flags)
{
	char *p = mmap(NULL, pages * PROG_PAGE, RW, flags | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		prog__die("mmap");
	return p;
}

static void change(char *p, size_t pages, int prot)
{
	if (mprotect(p, pages * PROG_PAGE, prot))
		prog__die("mprotect");
}

static void protect_half_way(void)
{
	char *p = map(6, MAP_PRIVATE);

	munmap(p + 3 * PROG_PAGE, PROG_PAGE);
	if (!mprotect(p, 6 * PROG_PAGE, PROT_NONE) || errno != ENOMEM)
		prog__die("mprotect over a gap");
}

/* Not touched: there need not be any huge page. */
static bool map_huge(void)
{
	void *p = mmap(NULL, PROG_PAGE, RW,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_NORESERVE |
			       21 << MAP_HUGE_SHIFT,
		       -1, 0);

	return p != MAP_FAILED;
}

static bool move_several(void)
{
	char *p = map(16, MAP_PRIVATE), *to = map(16, MAP_PRIVATE);

	change(p + 2 * PROG_PAGE, 2, PROT_READ);
	munmap(p + 5 * PROG_PAGE, 2 * PROG_PAGE);
	change(p + 9 * PROG_PAGE, 1, PROT_NONE);
	return mremap(p + PROG_PAGE, 10 * PROG_PAGE, 10 * PROG_PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
		      to) != MAP_FAILED;
}

static void move_and_keep(void)
{
	char *p = map(5, MAP_PRIVATE);

	if (mremap(p + PROG_PAGE, 3 * PROG_PAGE, 3 * PROG_PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP,
		   NULL) == MAP_FAILED)
		prog__die("MREMAP_DONTUNMAP");
}

static void map_again(void)
{
	char *p = map(5, MAP_SHARED);

	if (mremap(p, 0, 3 * PROG_PAGE, MREMAP_MAYMOVE) == MAP_FAILED)
		prog__die("mremap of size 0");
}

int main(int argc, char **argv)
{
	bool huge, several;

	prog__start(&argc, &argv);
	prog__ready();
	protect_half_way();
	huge = map_huge();
	several = move_several();
	move_and_keep();
	map_again();
	prog__print("{\"huge\":%d,\"several\":%d}\n", huge, several);
	prog__end();
	return 0;
}
