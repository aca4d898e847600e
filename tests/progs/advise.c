/* SPDX-License-Identifier: MIT */
/*
 * Ways to use malloc that there is advice on, each COUNT times, and the same work done well. Argument: which.
 */
#include <malloc.h>

#include "prog.h"

#define COUNT 500
#define LARGE (256UL << 10)
#define MIDDLE 100000UL

static volatile size_t sink;

/* The compiler would leave out what is written to a block that is freed then. */
static PROG_NOINLINE void fill(char *p, size_t bytes)
{
	memset(p, 1, bytes);
	__asm__ volatile("" : : "r"(p) : "memory");
}

/* Each block mapped and unmapped: the threshold is held where it is. */
static PROG_NOINLINE void churn(void)
{
	for (int i = 0; i < COUNT; i++) {
		char *p = malloc(LARGE);

		fill(p, 1);
		free(p);
	}
}

/* The top of the break given back each time. */
static PROG_NOINLINE void trim(void)
{
	for (int i = 0; i < COUNT; i++) {
		char *p = malloc(MIDDLE);

		fill(p, MIDDLE);
		free(p);
	}
}

/* Resized a little each time, with a block behind it that is in the way, and fits into no gap. */
static PROG_NOINLINE void move(void)
{
	void *in_the_way[COUNT], *p = malloc(16), *moved;

	for (size_t i = 0; i < COUNT; i++) {
		moved = realloc(p, 2000 + i * 32);
		if (!moved)
			prog__die("realloc");
		p = moved;
		in_the_way[i] = malloc(2000 + COUNT * 32);
	}
	free(p);
	for (size_t i = 0; i < COUNT; i++)
		free(in_the_way[i]);
}

static PROG_NOINLINE void grow(void)
{
	for (int i = 0; i < 4 * COUNT; i++)
		sink += (size_t)malloc(1000);
}

static PROG_NOINLINE void touch(void)
{
	char *p = malloc(16UL << 20);

	/* Page by page, whatever the machine is set to; the header's page before is malloc's. */
	if (madvise(p - (size_t)p % PROG_PAGE, 16UL << 20, MADV_NOHUGEPAGE))
		prog__die("madvise");
	fill(p, 16UL << 20);
	free(p);
}

/* What is freed lies below a block that is not, and so stays. */
static PROG_NOINLINE void keep(void)
{
	static void *p[40 * COUNT];

	for (size_t i = 0; i < 40 * COUNT; i++) {
		p[i] = malloc(1000);
		fill(p[i], 1000);
	}
	sink += (size_t)malloc(1000);
	for (size_t i = 0; i < 40 * COUNT; i++)
		free(p[i]);
}

int main(int argc, char **argv)
{
	const char *what;

	prog__start(&argc, &argv);
	what = argc > 1 ? argv[1] : "calm";
	if (!strcmp(what, "churn"))
		mallopt(M_MMAP_THRESHOLD, 128 << 10);
	if (!strcmp(what, "trim")) {
		mallopt(M_TRIM_THRESHOLD, 0);
		mallopt(M_TOP_PAD, 0);
	}
	prog__ready();
	if (!strcmp(what, "move"))
		move();
	else if (!strcmp(what, "grow"))
		grow();
	else if (!strcmp(what, "touch"))
		touch();
	else if (!strcmp(what, "keep"))
		keep();
	else if (!strcmp(what, "trim"))
		trim();
	else
		churn();
	prog__print("{\"done\":1}\n");
	prog__end();
	return 0;
}
