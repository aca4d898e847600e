/* SPDX-License-Identifier: MIT */
/*
 * Live blocks with the youngest in a table of their own, against plain arrays with a place for each address
 * there can be: whatever moves from the table to the tree, the answers are the same. The addresses of some are
 * chosen so that they compete for one set, or have the tag or the hint of another.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/dice.h"
#include "user/model/nursery.h"

#define BASE 0x7f0000000000ULL
#define GRAIN 16
#define PLACES 60000
#define HEAPS 3
#define YOUNG 3000 /* allocations after which there is a table */

struct shadow {
	uint32_t size[PLACES]; /* + 1 of the block there, or 0 */
	uint32_t born[PLACES];
	size_t count;
};

static struct nursery heap[HEAPS];
static struct shadow shadow[HEAPS];
static uint32_t made;

static uint64_t addr_of(unsigned place)
{
	return BASE + (uint64_t)place * GRAIN;
}

static void assert_is(const struct block *b, unsigned h, unsigned place)
{
	assert_true(b->addr == addr_of(place));
	assert_true(b->size + 1 == shadow[h].size[place]);
	assert_true(b->born == shadow[h].born[place]);
	assert_true(b->site == ~b->born && b->owner == (uint16_t)b->born);
}

static void put(unsigned h, unsigned place, uint32_t size)
{
	uint32_t born = ++made;
	struct block in = {addr_of(place), size, ~born, born, (uint16_t)born}, old;
	bool there = shadow[h].size[place];

	assert_int_equal(nursery__put(&heap[h], &in, &old), there);
	if (there)
		assert_is(&old, h, place);
	shadow[h].count += !there;
	shadow[h].size[place] = size + 1;
	shadow[h].born[place] = born;
}

static void take(unsigned h, unsigned place)
{
	bool there = shadow[h].size[place];
	struct block out;

	assert_int_equal(nursery__take(&heap[h], addr_of(place), &out), there);
	if (!there)
		return;
	assert_is(&out, h, place);
	shadow[h].size[place] = 0;
	shadow[h].count--;
}

static void look_at(unsigned h, unsigned place)
{
	bool there = shadow[h].size[place];
	struct block out;

	assert_int_equal(nursery__at(&heap[h], addr_of(place), &out), there);
	if (there)
		assert_is(&out, h, place);
}

static void look_around(unsigned h, unsigned place)
{
	uint64_t addr = addr_of(place) + dice(GRAIN);
	struct block out;
	unsigned p = place;
	bool inside;

	while (p && !shadow[h].size[p])
		p--;
	inside = shadow[h].size[p] && addr - addr_of(p) < shadow[h].size[p] - 1;
	assert_int_equal(nursery__around(&heap[h], addr, &out), inside);
	if (inside)
		assert_is(&out, h, p);
}

/* Each block comes once. */
static void assert_same(unsigned h)
{
	static uint8_t seen[PLACES];
	struct nursery_iter it;
	struct block b;
	size_t n = 0, place;

	memset(seen, 0, sizeof(seen));
	for (nursery__begin(&heap[h], &it); nursery__next(&it, &b); n++) {
		place = (b.addr - BASE) / GRAIN;
		assert_true(place < PLACES && !seen[place]);
		assert_is(&b, h, (unsigned)place);
		seen[place] = 1;
	}
	assert_true(n == shadow[h].count);
	assert_true(nursery__memory(&heap[h]) <= 48 * n + NURSERY_BYTES_MAX);
}

static int set_up(void **state)
{
	(void)state;
	memset(shadow, 0, sizeof(shadow));
	made = UINT32_MAX - 20000; /* numbers of allocations pass 2^32 */
	seed = 88172645463325252ULL;
	return 0;
}

static int tear_down(void **state)
{
	unsigned h;

	(void)state;
	for (h = 0; h < HEAPS; h++)
		nursery__clear(&heap[h]);
	return 0;
}

/* Allocations until there is a table, nothing alive. */
static void grow_up(unsigned h)
{
	unsigned i;

	for (i = 0; i < YOUNG; i++) {
		put(h, 0, 1);
		take(h, 0);
	}
	assert_true(heap[h].bits > 0);
}

/* Few blocks and many, so that the table is enough, grows, and is too small. */
static void it_is_what_the_arrays_are(void **state)
{
	static const unsigned spread[] = {300, 3000, 15000, PLACES};
	unsigned i, phase, place, h;

	(void)state;
	for (phase = 0; phase < 12; phase++) {
		for (i = 0; i < 100000; i++) {
			place = dice(spread[phase % 4]);
			if (dice(100) < (phase / 4 == 2 ? 30u : 60u))
				put(0, place, dice(64));
			else
				take(0, place);
			look_at(0, dice(PLACES));
			if (phase % 2 && i % 1000 == 0)
				look_around(0, dice(spread[phase % 4]));
		}
		assert_same(0);
		/* A child, which goes on by itself. */
		h = 1 + phase % 2;
		nursery__clear(&heap[h]);
		assert_int_equal(nursery__share(&heap[h], &heap[0]), 0);
		shadow[h] = shadow[0];
		for (i = 0; i < 20000; i++) {
			put(h, dice(PLACES), dice(64));
			take(h, dice(PLACES));
			take(0, dice(PLACES));
		}
		assert_same(0);
		assert_same(h);
	}
	assert_true(heap[0].bits > 8);
}

/* What churns stays in the table, and the tree is not touched. */
static void what_dies_young_never_comes_into_the_tree(void **state)
{
	unsigned i;

	(void)state;
	grow_up(0);
	assert_int_equal(nursery__settle(&heap[0]), 0);
	assert_true(!heap[0].tree.root);
	for (i = 0; i < 100000; i++) {
		put(0, i % PLACES, 8);
		if (i >= 100)
			take(0, (i - 100) % PLACES);
	}
	assert_true(!heap[0].tree.root);
	assert_int_equal(nursery__settle(&heap[0]), 0);
	assert_true(heap[0].tree.count == 100);
	assert_same(0);
}

/* Addresses of one set: the oldest go, wherever they are in it. */
static void a_full_set_gives_away_its_oldest(void **state)
{
	unsigned place, n = 0, i, mates[32], oldest;
	uint64_t h;

	(void)state;
	grow_up(0);
	for (place = 0; place < PLACES && n < 32; place++) {
		h = addr_of(place) * 0x9E3779B97F4A7C15ULL;
		if (h >> (64 - heap[0].bits) == 5)
			mates[n++] = place;
	}
	assert_int_equal(n, 32);
	for (i = 0; i < 8; i++)
		put(0, mates[i], 8);
	assert_true(!heap[0].tree.root);
	take(0, mates[3]);
	put(0, mates[3], 8); /* the youngest now */
	for (i = 8; i < 32; i++) {
		put(0, mates[i], 8);
		look_at(0, mates[i]);
	}
	assert_true(heap[0].tree.count == 24);
	/* Those of the table are the last eight. */
	for (i = 24; i < 32; i++)
		take(0, mates[i]);
	assert_true(heap[0].tree.count == 24);
	oldest = mates[0];
	put(0, oldest, 16); /* comes back, and replaces what the tree has */
	assert_true(heap[0].tree.count == 23);
	assert_same(0);
}

static unsigned sets_to_look_at(unsigned h)
{
	unsigned n = 0, i;

	for (i = 0; i < sizeof(heap[h].used) / sizeof(heap[h].used[0]); i++)
		n += (unsigned)__builtin_popcountll(heap[h].used[i]);
	return n;
}

/* A fault may come after each allocation, or a million of them after the last one. */
static void to_settle_few_blocks_is_to_look_at_few_sets(void **state)
{
	unsigned i;

	(void)state;
	grow_up(0);
	assert_int_equal(sets_to_look_at(0), 1);
	for (i = 0; i < 50; i++) {
		look_around(0, i);
		assert_int_equal(sets_to_look_at(0), 0);
		put(0, i, 8);
		assert_int_equal(sets_to_look_at(0), 1);
	}
	assert_same(0);
}

/* More blocks of one hint than it can count. */
static void a_hint_that_is_full_stays(void **state)
{
	unsigned i, n = 0, place;
	uint64_t h;
	static unsigned mates[PLACES];

	(void)state;
	grow_up(0);
	for (place = 0; place < PLACES; place++) {
		h = addr_of(place) * 0x9E3779B97F4A7C15ULL;
		if ((h >> 16 & 127) == 9)
			mates[n++] = place;
	}
	assert_true(n > 400);
	free(heap[0].hints);
	heap[0].hints = calloc(1, 128);
	heap[0].nhints = 128;
	for (i = 0; i < 60; i++) /* one hint for them all; more would make more hints */
		put(0, mates[i], 8);
	heap[0].hints[9] = 200;
	assert_int_equal(nursery__settle(&heap[0]), 0);
	assert_int_equal(heap[0].hints[9], 255);
	for (i = 0; i < 60; i++)
		take(0, mates[i]);
	assert_int_equal(heap[0].hints[9], 255);
	for (i = 0; i < 60; i++)
		put(0, mates[i], 8);
	assert_same(0);
}

static void a_size_beyond_any_heap_is_cut(void **state)
{
	struct block in = {.addr = BASE, .size = UINT64_MAX}, out;

	(void)state;
	grow_up(0);
	assert_int_equal(nursery__put(&heap[0], &in, &out), 0);
	assert_int_equal(nursery__take(&heap[0], BASE, &out), 1);
	assert_true(out.size == BLOCK_SIZE_MAX);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(it_is_what_the_arrays_are),
		TEST(what_dies_young_never_comes_into_the_tree),
		TEST(a_full_set_gives_away_its_oldest),
		TEST(to_settle_few_blocks_is_to_look_at_few_sets),
		TEST(a_hint_that_is_full_stays),
		TEST(a_size_beyond_any_heap_is_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
