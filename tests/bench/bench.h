/* SPDX-License-Identifier: MIT */
/*
 * What the benchmark programs share. Each does its phase once; with -w as its
 * first argument, once for each line of standard input, so that the same
 * process can be measured traced and untraced in turn. A phase warms up, untimed, and
 * then times itself: a tracer's start-up is never in it. The result is one JSON
 * object a phase: wall seconds, CPU seconds, and how many operations were done.
 */
#ifndef BENCH_H
#define BENCH_H

#include <time.h>

#include "tests/progs/prog.h"

static PROG_UNUSED double bench__clock(clockid_t clock)
{
	struct timespec t;

	if (clock_gettime(clock, &t))
		prog__die("clock_gettime");
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Wait until the next phase is asked for; false: there is none. */
static PROG_UNUSED bool bench__next(void)
{
	static bool begun;
	bool first = !begun;
	char c;

	begun = true;
	if (!prog__waits)
		return first;
	if (first)
		prog__print("ready %d\n", getpid());
	do {
		if (read(0, &c, 1) != 1)
			return false;
	} while (c != '\n');
	return true;
}

static PROG_UNUSED void bench__result(double seconds, double cpu, unsigned long count)
{
	prog__print("{\"seconds\":%.6f,\"cpu\":%.6f,\"count\":%lu}\n", seconds, cpu, count);
}

/* The phases of one thread that does one thing over and over, so many turns of so many operations. */
static PROG_UNUSED void bench__turns(void (*work)(unsigned long turns, unsigned long argument),
				     unsigned long turns, unsigned long argument, unsigned each)
{
	while (bench__next()) {
		double from, cpu;

		work(turns / 20, argument);
		from = bench__clock(CLOCK_MONOTONIC);
		cpu = bench__clock(CLOCK_THREAD_CPUTIME_ID);
		work(turns, argument);
		cpu = bench__clock(CLOCK_THREAD_CPUTIME_ID) - cpu;
		bench__result(bench__clock(CLOCK_MONOTONIC) - from, cpu, each * turns);
	}
}

/* Fresh anonymous pages, as the kernel gives them: one system call. */
static PROG_UNUSED char *bench__map(size_t bytes)
{
	char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		prog__die("mmap");
	return p;
}

#endif /* BENCH_H */
