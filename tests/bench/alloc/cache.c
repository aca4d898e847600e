/* SPDX-License-Identifier: MIT */
/*
 * A cache that forgets what was used least lately: values of 64 bytes to
 * 16 KiB in memory of bounded size, whose typical size drifts, so that the
 * free places left behind do not fit what comes next.
 */
#include "tests/bench/alloc/work.h"

#define KEYS 131072
#define LIMIT_BYTES (64u << 20)

struct value {
	size_t size; /* where a block keeps its size */
	struct value *newer, *older;
	uint32_t key;
};

static struct value *table[KEYS];
static struct value ends = {.newer = &ends, .older = &ends};
static size_t bytes;

static void unlink_value(struct value *v)
{
	v->newer->older = v->older;
	v->older->newer = v->newer;
}

static void link_value(struct value *v)
{
	v->older = ends.older;
	v->newer = &ends;
	v->older->newer = v;
	ends.older = v;
}

static void evict(struct value *v)
{
	unlink_value(v);
	WORK_CHECK(table[v->key] == v);
	table[v->key] = NULL;
	bytes -= v->size;
	block__drop(v);
}

static void set(uint32_t key, size_t size, size_t limit)
{
	struct value *v;

	if (table[key])
		evict(table[key]);
	while (bytes + size > limit)
		evict(ends.newer);
	v = block__new(size);
	v->key = key;
	link_value(v);
	table[key] = v;
	bytes += size;
}

int main(int argc, char **argv)
{
	struct rng rng = rng__seed(8);
	size_t turns, limit;

	work__start(argc, argv);
	turns = work__scaled(3000000);
	limit = work__scaled(LIMIT_BYTES) + (1 << 16);
	for (size_t i = 0; i < turns; i++) {
		unsigned low = 6 + (unsigned)(i * 4 / turns);
		uint32_t key = rng__below(&rng, rng__below(&rng, KEYS) + 1);

		if (rng__below(&rng, 4) && table[key]) {
			unlink_value(table[key]);
			link_value(table[key]);
		} else {
			set(key, rng__skewed(&rng, low, low + 4) + sizeof(struct value), limit);
		}
	}
	while (ends.newer != &ends)
		evict(ends.newer);
	WORK_CHECK(!bytes);
	return work__end();
}
