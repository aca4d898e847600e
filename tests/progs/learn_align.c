/* SPDX-License-Identifier: MIT */
// FLAGS: -fno-builtin
/* Alignment, and what it costs. */
#include "learn.h"

#define N 16

static char *blocks[N];

/* How far apart blocks of that size come to lie, as a rule. */
static long apart(size_t alignment, size_t size)
{
	long least = 1 << 30;

	for (int i = 0; i < N; i++)
		if (alignment ? posix_memalign((void **)&blocks[i], alignment, size) :
				!(blocks[i] = malloc(size)))
			prog__die("malloc");
	for (int i = 1; i < N; i++)
		if (blocks[i] - blocks[i - 1] > 0 && blocks[i] - blocks[i - 1] < least)
			least = blocks[i] - blocks[i - 1];
	return least;
}

static void learn(void)
{
	void *p;

	mallopt(M_MMAP_THRESHOLD, 128 * KIB);
	p = malloc(1);
	learn__say("malloc(1): a multiple of 16: %s; room for %zu bytes",
		   (uintptr_t)p % 16 ? "no" : "yes", malloc_usable_size(p));
	learn__say("malloc(1) and malloc(24): %ld and %ld bytes apart", apart(0, 1), apart(0, 24));
	learn__say("malloc(25) and malloc(40): %ld and %ld bytes apart", apart(0, 25), apart(0, 40));
	learn__say("posix_memalign(64, 24): %ld bytes apart", apart(64, 24));
	learn__say("posix_memalign(4096, 4096): %ld bytes apart", apart(4096, 4096));
	learn__say("posix_memalign(3, 100) is refused: %s", strerror(posix_memalign(&p, 3, 100)));
	learn__say("posix_memalign(1 MiB, 1 MiB)");
	if (posix_memalign(&p, MIB, MIB) == 0)
		learn__say("at a multiple of 1 MiB: %s", (uintptr_t)p % MIB ? "no" : "yes");
}
