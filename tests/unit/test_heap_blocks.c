/* SPDX-License-Identifier: MIT */
/*
 * The tree of live blocks, against plain arrays with a place for each address there can be:
 * what is found at, around and after an address, trees that share nodes, and the memory a
 * block takes, which is promised.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/dice.h"
#include "user/model/blocks.h"

#define BASE 0x7f0000000000ULL
#define GRAIN 16
#define PLACES 20000
#define TREES 3
#define BYTES_A_BLOCK 64

/* What a tree ought to hold: by place, the size + 1 of the block there, or 0. */
struct shadow {
	uint32_t size[PLACES];
	uint32_t site[PLACES];
	size_t count;
};

static struct blocks tree[TREES];
static struct shadow shadow[TREES];

static uint64_t addr_of(unsigned place)
{
	return BASE + (uint64_t)place * GRAIN;
}

static void put(unsigned t, unsigned place, uint32_t size, uint32_t site)
{
	struct block in = {addr_of(place), size, site, ~site, (uint16_t)t}, old;
	bool there = shadow[t].size[place];

	assert_int_equal(blocks__put(&tree[t], &in, &old), there);
	if (there) {
		assert_true(old.addr == in.addr);
		assert_true(old.size + 1 == shadow[t].size[place]);
		assert_true(old.site == shadow[t].site[place]);
	}
	shadow[t].count += !there;
	shadow[t].size[place] = size + 1;
	shadow[t].site[place] = site;
}

static void take(unsigned t, unsigned place)
{
	bool there = shadow[t].size[place];
	struct block out;

	assert_int_equal(blocks__take(&tree[t], addr_of(place), &out), there);
	if (!there)
		return;
	assert_true(out.addr == addr_of(place) && out.size + 1 == shadow[t].size[place]);
	assert_true(out.site == shadow[t].site[place] && out.born == ~out.site);
	shadow[t].size[place] = 0;
	shadow[t].count--;
}

/* Of the blocks at or before an address the last one alone can contain it. */
static void look(unsigned t, unsigned place)
{
	uint64_t addr = addr_of(place) + dice(GRAIN);
	struct block out;
	unsigned p = place;
	bool inside;

	assert_int_equal(blocks__at(&tree[t], addr_of(place), &out), !!shadow[t].size[place]);
	while (p && !shadow[t].size[p])
		p--;
	inside = shadow[t].size[p] && addr - addr_of(p) < shadow[t].size[p] - 1;
	assert_int_equal(blocks__around(&tree[t], addr, &out), inside);
	if (inside)
		assert_true(out.addr == addr_of(p) && out.site == shadow[t].site[p]);
}

static void assert_same(unsigned t)
{
	struct blocks_iter it;
	struct block b;
	unsigned place = 0;
	size_t n = 0;

	assert_true(tree[t].count == shadow[t].count);
	for (blocks__begin(&tree[t], &it); blocks__next(&it, &b); n++) {
		while (place < PLACES && !shadow[t].size[place])
			place++;
		assert_true(place < PLACES && b.addr == addr_of(place));
		assert_true(b.size + 1 == shadow[t].size[place] && b.site == shadow[t].site[place]);
		place++;
	}
	assert_true(n == shadow[t].count);
}

static void assert_small(const struct blocks *b)
{
	if (b->count >= 1000 && blocks__memory(b) > b->count * BYTES_A_BLOCK)
		fail_msg("%zu bytes for %zu blocks", blocks__memory(b), (size_t)b->count);
}

static int set_up(void **state)
{
	(void)state;
	memset(shadow, 0, sizeof(shadow));
	seed = 88172645463325252ULL;
	return 0;
}

static int tear_down(void **state)
{
	unsigned t;

	(void)state;
	for (t = 0; t < TREES; t++)
		blocks__clear(&tree[t]);
	return 0;
}

static void an_empty_tree_holds_nothing(void **state)
{
	struct blocks_iter it;
	struct block b;

	(void)state;
	assert_int_equal(blocks__take(&tree[0], BASE, &b), 0);
	assert_false(blocks__at(&tree[0], BASE, &b));
	assert_false(blocks__around(&tree[0], BASE, &b));
	blocks__begin(&tree[0], &it);
	assert_false(blocks__next(&it, &b));
	assert_int_equal(blocks__memory(&tree[0]), 0);
}

/* Growing and shrinking by turns, so that nodes split and join at every level. */
static void it_is_what_the_arrays_are(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < 600000; i++) {
		bool growing = i / 50000 % 2 == 0;
		unsigned place = dice(PLACES);

		if (dice(100) < (growing ? 75u : 25u))
			put(0, place, dice(8) ? dice(64) : dice(4000), dice(1000));
		else
			take(0, place);
		look(0, dice(PLACES));
		assert_small(&tree[0]);
		if (i % 20000 == 0)
			assert_same(0);
	}
	assert_same(0);
}

/* As breaks go up and mappings down. */
static void what_comes_in_order_is_kept_tightly(void **state)
{
	unsigned i;

	(void)state;
	for (i = 0; i < PLACES; i++)
		put(0, i, GRAIN, i);
	for (i = PLACES; i--;)
		put(1, i, GRAIN, i);
	assert_same(0);
	assert_same(1);
	assert_true(blocks__memory(&tree[0]) < PLACES * 30);
	assert_true(blocks__memory(&tree[1]) < PLACES * 30);
	/* The worst for a tree of nodes: a few blocks remain of each. */
	for (i = 0; i < PLACES; i++) {
		if (i % 16)
			take(0, i);
		assert_small(&tree[0]);
	}
	assert_same(0);
	for (i = 0; i < PLACES; i++)
		take(0, i);
	assert_int_equal(blocks__memory(&tree[0]), 0);
}

/* As a break goes up below a block that has a mapping to itself; and from place to place, as heaps of threads do. */
static void what_comes_in_order_below_others_is_kept_tightly(void **state)
{
	unsigned i;

	(void)state;
	put(0, PLACES - 1, GRAIN, 0);
	for (i = 0; i < PLACES - 1; i++)
		put(0, i, GRAIN, i);
	for (i = 0; i < PLACES; i++)
		put(1, i % 8 * (PLACES / 8) + i / 8, GRAIN, i);
	assert_same(0);
	assert_same(1);
	assert_true(blocks__memory(&tree[0]) < PLACES * 30);
	assert_true(blocks__memory(&tree[1]) < PLACES * 30);
}

/* Nodes at the lower end that go and come again. */
static void what_was_emptied_is_filled_again(void **state)
{
	unsigned round, i, most;

	(void)state;
	for (round = 0; round < 200; round++) {
		for (i = 0; i < 2000; i++)
			put(0, 5000 + dice(10000), GRAIN, i);
		most = 5000 + dice(5000);
		for (i = 0; i < most; i++)
			take(0, i);
		for (i = most; i-- > most - 1000;) {
			put(0, i, GRAIN, i);
			look(0, i);
		}
		assert_same(0);
		for (i = 0; i < PLACES; i++)
			look(0, i);
	}
}

static void trees_that_share_nodes_do_not_see_each_other(void **state)
{
	size_t i;
	unsigned t, from;

	(void)state;
	for (i = 0; i < 300000; i++) {
		t = dice(TREES);
		if (i % 3000 == 0) {
			/* A new child, of a tree that may be one itself. */
			from = (t + 1 + dice(TREES - 1)) % TREES;
			blocks__clear(&tree[t]);
			blocks__share(&tree[t], &tree[from]);
			shadow[t] = shadow[from];
		}
		if (dice(100) < (i / 60000 % 2 ? 30u : 70u))
			put(t, dice(PLACES), dice(100), dice(1000));
		else
			take(t, dice(PLACES));
		look(t, dice(PLACES));
		if (i % 10000 == 0)
			for (t = 0; t < TREES; t++)
				assert_same(t);
	}
	for (t = 0; t < TREES; t++)
		assert_same(t);
}

static void a_shared_tree_costs_a_reference(void **state)
{
	unsigned i;
	struct block out;

	(void)state;
	for (i = 0; i < PLACES; i++)
		put(0, i, GRAIN, i);
	blocks__share(&tree[1], &tree[0]);
	assert_true(tree[1].root == tree[0].root);
	/* What is not there copies nothing. */
	assert_int_equal(blocks__take(&tree[1], BASE + 1, &out), 0);
	assert_true(tree[1].root == tree[0].root);
	shadow[1] = shadow[0];
	take(1, PLACES / 2);
	assert_true(tree[1].root != tree[0].root);
	assert_same(0);
	assert_same(1);
}

static void a_size_beyond_any_heap_is_cut(void **state)
{
	struct block in = {.addr = BASE, .size = UINT64_MAX}, out;

	(void)state;
	assert_int_equal(blocks__put(&tree[0], &in, &out), 0);
	assert_true(blocks__around(&tree[0], BASE + BLOCK_SIZE_MAX - 1, &out));
	assert_false(blocks__around(&tree[0], BASE + BLOCK_SIZE_MAX, &out));
	assert_true(out.size == BLOCK_SIZE_MAX);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(an_empty_tree_holds_nothing),
		TEST(it_is_what_the_arrays_are),
		TEST(what_comes_in_order_is_kept_tightly),
		TEST(what_comes_in_order_below_others_is_kept_tightly),
		TEST(what_was_emptied_is_filled_again),
		TEST(trees_that_share_nodes_do_not_see_each_other),
		TEST(a_shared_tree_costs_a_reference),
		TEST(a_size_beyond_any_heap_is_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
