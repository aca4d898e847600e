// FLAGS: -fno-builtin -O2 -fomit-frame-pointer
/* SPDX-License-Identifier: MIT */
/*
 * An allocator of its own whose free makes a mark, an madvise of no bytes, also when there is nothing to be
 * freed: from the same place, with the same callers and stack pointer. Only a free of a block is a call, so only its mark
 * is within one. Marks are as in heap_join.
 */
#include "prog.h"

#define ROUNDS 3000

enum { IN_FREE = 2, OUTSIDE };

static char arena[1 << 20] __attribute__((aligned(64)));
static size_t arena_used;
static bool active;
static volatile int barrier;

PROG_NOINLINE void *malloc(size_t size)
{
	char *p = arena + arena_used;

	arena_used += (size + 63) & ~63UL;
	if (arena_used > sizeof(arena))
		prog__die("the arena");
	return p;
}

PROG_NOINLINE void free(void *p)
{
	if (active)
		syscall(SYS_madvise, ((p ? IN_FREE : OUTSIDE) * (1UL << 32) | 1) * PROG_PAGE, 0UL,
			MADV_NORMAL);
	barrier++;
}

static PROG_NOINLINE void free_both(void *p)
{
	void *const volatile what[] = {NULL, p};

	for (volatile unsigned i = 0; i < 2; i++)
		free(what[i]);
}

int main(int argc, char **argv)
{
	prog__start(&argc, &argv);
	prog__ready();
	active = true;
	for (unsigned i = 0; i < ROUNDS; i++)
		free_both(malloc(64));
	active = false;
	prog__end();
	return 0;
}
