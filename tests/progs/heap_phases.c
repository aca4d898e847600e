// FLAGS: -fno-builtin
/* SPDX-License-Identifier: MIT */
/*
 * A phase for each line that comes, the first as the others: tells what it did, and does nothing in between.
 * Argument: blocks of a phase, all freed in it, the last of each kind in the next.
 */
#include "prog.h"

static unsigned long blocks;

static PROG_NOINLINE void *own_malloc(unsigned long i)
{
	return malloc(100 + i % 900);
}

static PROG_NOINLINE void *own_calloc(unsigned long i)
{
	return calloc(1 + i % 9, 100);
}

static PROG_NOINLINE void *own_realloc(void *p, unsigned long i)
{
	return realloc(p, 1000 + i % 90);
}

static void phase(void)
{
	static void *last[2];

	for (unsigned long i = 0; i < blocks; i++) {
		free(last[0]);
		free(last[1]);
		last[0] = own_malloc(i);
		last[1] = own_calloc(i);
		if (!last[0] || !last[1] || !(last[1] = own_realloc(last[1], i)))
			prog__die("own_realloc");
	}
	prog__print("{\"each\":%lu}\n", blocks);
}

int main(int argc, char **argv)
{
	char c = '\n';

	prog__start(&argc, &argv);
	blocks = prog__number(argc, argv, 1, 1000);
	prog__ready();
	do
		if (c == '\n')
			phase();
	while (read(0, &c, 1) == 1);
	return 0;
}
