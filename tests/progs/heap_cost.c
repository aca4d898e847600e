/* SPDX-License-Identifier: MIT */
/*
 * Blocks whose cost in the kernel is known: each is one mmap, its header one fault inside
 * malloc, each further page of it one first touch by the program, and its free one munmap.
 * Argument: blocks, of which every second one is freed.
 */
#include <malloc.h>
#include <sys/prctl.h>

#include "prog.h"

#define BLOCK (64 * PROG_PAGE)
#define MOST 256

static char *blocks[MOST];

static PROG_NOINLINE void ask(unsigned long n)
{
	for (unsigned long i = 0; i < n; i++) {
		blocks[i] = malloc(BLOCK);
		if (!blocks[i])
			prog__die("malloc");
	}
}

/* The first page has been touched by malloc; the block ends on one that nobody touches. */
static PROG_NOINLINE void touch(unsigned long n)
{
	for (unsigned long i = 0; i < n; i++)
		for (unsigned long page = 1; page < BLOCK / PROG_PAGE; page++)
			((volatile char *)blocks[i])[page * PROG_PAGE] = 1;
}

static PROG_NOINLINE void give_back(unsigned long n)
{
	for (unsigned long i = 0; i < n; i += 2)
		free(blocks[i]);
}

int main(int argc, char **argv)
{
	unsigned long n, small;

	prog__start(&argc, &argv);
	n = prog__number(argc, argv, 1, 40);
	if (n > MOST)
		prog__die("too many blocks");
	/* Fixed: else a freed mapping would raise it. Huge pages would spare faults. */
	mallopt(M_MMAP_THRESHOLD, BLOCK / 2);
	prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
	memset(blocks, 1, sizeof(blocks));
	blocks[0] = malloc(100); /* the arena is there then, and the stack it takes */
	*(volatile char *)blocks[0] = 1;
	free(blocks[0]);
	prog__ready();
	ask(n);
	touch(n);
	give_back(n);
	/* Memory of the program's own, outside of any call. */
	small = 10 * PROG_PAGE;
	memset(mmap(NULL, small, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), 1,
	       small);
	prog__print("{\"blocks\": %lu, \"freed\": %lu, \"block_bytes\": %d, \"own_bytes\": %lu}\n",
		    n, (n + 1) / 2, BLOCK, small);
	prog__end();
	return 0;
}
