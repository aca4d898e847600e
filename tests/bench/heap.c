/* SPDX-License-Identifier: MIT */
/*
 * One thread that allocates and frees, over and over: blocks of 16 bytes to 16 KiB, some hundred of
 * them alive, each written at its beginning. Arguments: turns. count: calls, two a turn.
 */
#include "tests/bench/bench.h"

#define ALIVE 256

static void turn(unsigned long turns)
{
	static char *alive[ALIVE];

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
	while (bench__next()) {
		double from, cpu;

		turn(turns / 20);
		from = bench__clock(CLOCK_MONOTONIC);
		cpu = bench__clock(CLOCK_THREAD_CPUTIME_ID);
		turn(turns);
		cpu = bench__clock(CLOCK_THREAD_CPUTIME_ID) - cpu;
		bench__result(bench__clock(CLOCK_MONOTONIC) - from, cpu, 2 * turns);
	}
	return 0;
}
