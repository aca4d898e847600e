// FLAGS: -fno-builtin
/* SPDX-License-Identifier: MIT */
/*
 * One thread that allocates a block and frees it, over and over, ten calls deep, with sizes up to
 * 512 bytes. Argument: turns. count: turns.
 */
#include "tests/bench/bench.h"

#define DEPTH 10

static PROG_NOINLINE void turn(unsigned long turns)
{
	for (unsigned long i = 0; i < turns; i++) {
		void *p = malloc(1 + i * 37 % 512);

		__asm__ volatile("" : "+r"(p) : : "memory");
		free(p);
	}
}

static PROG_NOINLINE void descend(unsigned long turns, unsigned long depth)
{
	if (depth)
		descend(turns, depth - 1);
	else
		turn(turns);
	__asm__ volatile("" : : : "memory");
}

int main(int argc, char **argv)
{
	unsigned long turns;

	prog__start(&argc, &argv);
	turns = prog__number(argc, argv, 1, 100000);
	bench__turns(descend, turns, DEPTH, 1);
	return 0;
}
