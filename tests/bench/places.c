/* SPDX-License-Identifier: MIT */
/*
 * Faults at a thousand places: each page is touched first by another of a
 * thousand functions, so that no two faults in a row have the same stack.
 * Argument: pages touched in all. count: the same.
 */
#include "tests/bench/bench.h"

#define CHUNK_PAGES 16384UL
#define PLACES 1000UL

/* clang-format off */
#define TEN(macro, n) \
	macro(n##0) macro(n##1) macro(n##2) macro(n##3) macro(n##4) \
	macro(n##5) macro(n##6) macro(n##7) macro(n##8) macro(n##9)
#define HUNDRED(macro, n) \
	TEN(macro, n##0) TEN(macro, n##1) TEN(macro, n##2) TEN(macro, n##3) TEN(macro, n##4) \
	TEN(macro, n##5) TEN(macro, n##6) TEN(macro, n##7) TEN(macro, n##8) TEN(macro, n##9)
/* macro(1000) ... macro(1999): a leading 0 would make the numbers octal. */
#define THOUSAND(macro) \
	HUNDRED(macro, 10) HUNDRED(macro, 11) HUNDRED(macro, 12) HUNDRED(macro, 13) \
	HUNDRED(macro, 14) HUNDRED(macro, 15) HUNDRED(macro, 16) HUNDRED(macro, 17) \
	HUNDRED(macro, 18) HUNDRED(macro, 19)
/* clang-format on */

/* What is written differs, so that the compiler does not make one function of them. */
#define DEFINE(n)                                            \
	static PROG_NOINLINE void place_##n(volatile int *p) \
	{                                                    \
		*p = n;                                      \
	}
#define NAME(n) place_##n,

THOUSAND(DEFINE)

static void (*const place[])(volatile int *) = {THOUSAND(NAME)};
_Static_assert(sizeof(place) / sizeof(place[0]) == PLACES, "places");

/* A chunk to warm up, then the pages that are timed; all of them from one place in here, so that
 * there are a thousand stacks and no more. */
static PROG_NOINLINE void touch(unsigned long pages)
{
	unsigned long done = 0, all = CHUNK_PAGES + pages;
	double from = 0, cpu = 0;

	while (done < all) {
		unsigned long n = all - done < CHUNK_PAGES ? all - done : CHUNK_PAGES;
		char *p;

		if (done == CHUNK_PAGES) {
			from = bench__clock(CLOCK_MONOTONIC);
			cpu = bench__clock(CLOCK_THREAD_CPUTIME_ID);
		}
		p = prog__pages(n);
		for (unsigned long i = 0; i < n; i++)
			place[(done + i) % PLACES]((volatile int *)(p + i * PROG_PAGE));
		munmap(p, n * PROG_PAGE);
		done += n;
	}
	cpu = bench__clock(CLOCK_THREAD_CPUTIME_ID) - cpu;
	bench__result(bench__clock(CLOCK_MONOTONIC) - from, cpu, pages);
}

int main(int argc, char **argv)
{
	unsigned long pages;

	prog__start(&argc, &argv);
	pages = prog__number(argc, argv, 1, 1000000);
	while (bench__next())
		touch(pages);
	return 0;
}
