/* SPDX-License-Identifier: MIT */
/*
 * Every way to get a block, in one churn: aligned ones of cache lines, of
 * pages and beyond, zeroed ones, and realloc between sizes.
 */
#include "tests/bench/alloc/work.h"

#define SLOTS 1024

static void *make(struct rng *rng)
{
	size_t alignment = (size_t)16 << rng__below(rng, 4), size = rng__skewed(rng, 3, 11);
	uint32_t kind = rng__below(rng, 100);
	void *p = NULL;

	if (kind < 40)
		return block__new(size);
	if (kind < 65) {
		p = calloc(1, size);
		WORK_CHECK(p && !*(char *)p && !((char *)p)[size - 1]);
	} else if (kind < 98) {
		WORK_CHECK(!posix_memalign(&p, alignment, size));
		WORK_CHECK((uintptr_t)p % alignment == 0);
	} else {
		alignment = 4096u << rng__below(rng, 3);
		p = aligned_alloc(alignment, alignment);
		WORK_CHECK(p && (uintptr_t)p % alignment == 0);
	}
	block__mark(p, size);
	work__my_made += size;
	return p;
}

int main(int argc, char **argv)
{
	static void *slots[SLOTS];
	struct rng rng = rng__seed(10);
	size_t turns;

	work__start(argc, argv);
	turns = work__scaled(6000000);
	for (size_t i = 0; i < turns; i++) {
		void **slot = &slots[rng__below(&rng, SLOTS)];

		if (*slot && rng__below(&rng, 8) == 0) {
			*slot = block__resize(*slot, rng__skewed(&rng, 3, 11));
		} else {
			block__drop(*slot);
			*slot = make(&rng);
		}
	}
	for (size_t i = 0; i < SLOTS; i++)
		block__drop(slots[i]);
	return work__end();
}
