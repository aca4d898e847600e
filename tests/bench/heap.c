/* SPDX-License-Identifier: MIT */
/*
 * One thread that allocates and frees, over and over: blocks of 16 bytes to 16 KiB, some hundred of
 * them alive, each written at its beginning. Arguments: turns. count: calls, two a turn.
 */
#include "tests/bench/bench.h"

#define ALIVE 256

static void turn(unsigned long turns, unsigned long unused)
{
	static char *alive[ALIVE];

	(void)unused;
	for (unsigned long i = 0; i < turns; i++) {
		char **p = &alive[i % ALIVE];

		free(*p);
		*p = malloc(16 + i * 7919 % 16384);
		if (!*p)
			prog__die("malloc");
		**p = 1;
	}
}

int main(int argc, char **argv)
{
	unsigned long turns;

	prog__start(&argc, &argv);
	turns = prog__number(argc, argv, 1, 200000);
	bench__turns(turn, turns, 0, 2);
	return 0;
}
