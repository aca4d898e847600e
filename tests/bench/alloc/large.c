/* SPDX-License-Identifier: MIT */
/*
 * Large blocks of 1 to 25 MiB, up to 20 of them kept, dropped and made anew
 * at random. With a third argument "lazy" only the ends of a block are
 * written to, else each of its pages.
 */
#include "tests/bench/alloc/work.h"

#define SLOTS 20
#define PAGE 4096

static void touch(unsigned char *p, size_t size)
{
	for (size_t at = PAGE; at < size - PAGE; at += PAGE)
		p[at] = (unsigned char)at;
}

int main(int argc, char **argv)
{
	static void *slots[SLOTS];
	struct rng rng = rng__seed(3);
	size_t turns;
	bool lazy;

	work__start(argc, argv);
	lazy = argc > 3 && !strcmp(argv[3], "lazy");
	turns = work__scaled(lazy ? 150000 : 1000);
	for (size_t i = 0; i < turns; i++) {
		size_t at = rng__below(&rng, SLOTS), size = rng__between(&rng, 1 << 20, 25 << 20);

		block__drop(slots[at]);
		slots[at] = block__new(size);
		if (!lazy)
			touch(slots[at], size);
	}
	for (size_t i = 0; i < SLOTS; i++)
		block__drop(slots[i]);
	return work__end();
}
