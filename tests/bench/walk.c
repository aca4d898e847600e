/* SPDX-License-Identifier: MIT */
/*
 * What it costs a thread to take its own stack: ns a stack, ten frames deep, in steady state. From
 * one place again and again; from two in turn, that part in the innermost frames; and by a thread
 * that remembers no walk, so that each frame is by its rule.
 * count: stacks.
 */
#include <stdlib.h>

#include "lib/trace/walk.h"
#include "tests/bench/bench.h"

#define FRAMES 10
#define NODES 65536
#define ENTRY 0x1000

static struct stack_table table;
static struct walker walker;
static volatile unsigned sink;
static unsigned long stacks = 5000000;
static bool forget;

static PROG_NOINLINE void take(void)
{
	struct walk_regs regs;

	if (forget)
		walker.first = walker.end = 0;
	walk__here(&regs);
	sink += walker__take(&walker, &table, &regs, WALK_TOP(), ENTRY);
}

static PROG_NOINLINE void one(void)
{
	take();
	sink++;
}

static PROG_NOINLINE void other(void)
{
	take();
	sink += 2;
}

static PROG_NOINLINE void same(unsigned long n)
{
	for (; n; n--)
		one();
}

static PROG_NOINLINE void in_turn(unsigned long n)
{
	for (; n > 1; n -= 2) {
		one();
		other();
	}
}

static PROG_NOINLINE void measure(const char *name, void (*loop)(unsigned long))
{
	double wall, cpu;

	loop(stacks / 100);
	wall = bench__clock(CLOCK_MONOTONIC);
	cpu = bench__clock(CLOCK_THREAD_CPUTIME_ID);
	loop(stacks);
	cpu = bench__clock(CLOCK_THREAD_CPUTIME_ID) - cpu;
	wall = bench__clock(CLOCK_MONOTONIC) - wall;
	prog__print("{\"name\":\"%s\",\"ns\":%.1f,\"cpu_ns\":%.1f,\"count\":%lu}\n", name,
		    wall / (double)stacks * 1e9, cpu / (double)stacks * 1e9, stacks);
}

static PROG_NOINLINE void deep(unsigned depth)
{
	if (depth) {
		deep(depth - 1);
	} else {
		measure("one place", same);
		measure("two places", in_turn);
		forget = true;
		measure("by rules", same);
	}
	sink++;
}

int main(int argc, char **argv)
{
	uint64_t ip[2 * FRAMES];
	uint32_t flags, n;

	if (argc > 1)
		stacks = strtoul(argv[1], NULL, 0);
	table.nodes = NODES;
	table.node = (void *)bench__map(stack_table__bytes(NODES));
	walk__init(bench__map(WALK_SHARED_BYTES), WALK_SHARED_BYTES);
	walker__begin(&walker);
	take();
	n = stack_table__read(&table, sink, ip, 2 * FRAMES, &flags);
	if (!n || flags != WALK_CHECKED)
		prog__die("the stack of main");
	/* take, one, same, measure; of main on are n - 1. */
	deep(FRAMES - 4 - (n - 1) - 1);
	return 0;
}
