// SPDX-License-Identifier: MIT
/*
 * The table has sets of eight blocks, chosen by a hash of the address. Seven bits more of the hash are
 * the block's tag, with an eighth that says that there is one; the tags of a set are one word, so that
 * one look tells which blocks may be the one that is looked for. When a set is full its oldest
 * block moves into the tree: who has lived long will live on.
 *
 * Before a block is put into the table the tree must be known to have none at its address. Hints
 * spare the way down: for each hash how many blocks of the tree have it, up to 255, which then
 * stays.
 */
#include "user/model/nursery.h"

#include <errno.h>
#include <stdlib.h>

#define WAYS 8
#define EACH 0x0101010101010101ULL /* a bit of every tag */
#define TAKEN 0x80
#define BITS_FIRST 8 /* 2,048 blocks, 66 KiB */
#define BITS_LAST 11 /* 16,384 blocks, 528 KiB */
#define SMALL 2048 /* so many allocations are worth no table */
#define FILLS 8U /* after so many times what it holds, the table's size is looked at */
#define MOVED_PART 32 /* of all, is worth a larger one */
#define HINTS_FIRST 4096
#define HINTS_LAST 65536
#define HINT_MOST 255

_Static_assert(1 << BITS_LAST == NURSERY_SETS_MAX, "a bit for each set");
_Static_assert(sizeof(struct block) == 32, "no block of a table is on two cache lines");

static uint64_t hash(uint64_t addr)
{
	return addr * 0x9E3779B97F4A7C15ULL;
}

static uint64_t hash__tag(uint64_t h)
{
	return (h >> 32 & 0x7f) | TAKEN;
}

static size_t nursery__set(const struct nursery *n, uint64_t h)
{
	return h >> (64 - n->bits);
}

static size_t nursery__sets(const struct nursery *n)
{
	return n->bits ? (size_t)1 << n->bits : 0;
}

/* Of a word of tags the lowest that is free, or -1. */
static int tags__free(uint64_t tags)
{
	uint64_t unused = ~tags & EACH * TAKEN;

	return unused ? __builtin_ctzll(unused) / 8 : -1;
}

/* Where the block at addr stands in its set; -1: it is not there. */
static int nursery__way(const struct nursery *n, size_t set, uint64_t h, uint64_t addr)
{
	uint64_t x = n->tags[set] ^ hash__tag(h) * EACH;
	uint64_t same = (x - EACH) & ~x & EACH * TAKEN; /* and some others, but none that is free */
	int way;

	for (; same; same &= same - 1) {
		way = __builtin_ctzll(same) / 8;
		if (n->blocks[set * WAYS + way].addr == addr)
			return way;
	}
	return -1;
}

/* The block at addr, if it is in the table, in *out: its set in *set and where it stands there. -1: it is not. */
static int nursery__look(const struct nursery *n, uint64_t h, uint64_t addr, size_t *set,
			 struct block *out)
{
	int way = -1;

	if (n->bits) {
		*set = nursery__set(n, h);
		way = nursery__way(n, *set, h, addr);
	}
	if (way >= 0)
		*out = n->blocks[*set * WAYS + way];
	return way;
}

static void nursery__drop(struct nursery *n, size_t set, int way)
{
	n->tags[set] &= ~(0xffULL << way * 8);
}

/* The tree */

static uint8_t *nursery__hint(const struct nursery *n, uint64_t h)
{
	return &n->hints[h >> 16 & (n->nhints - 1)];
}

static void nursery__add_hint(struct nursery *n, uint64_t addr)
{
	uint8_t *hint = nursery__hint(n, hash(addr));

	*hint += *hint < HINT_MOST;
}

/* Without memory there are none, and the tree is asked each time. */
static void nursery__make_hints(struct nursery *n)
{
	struct blocks_iter it;
	struct block b;

	free(n->hints);
	for (n->nhints = HINTS_FIRST; n->nhints < HINTS_LAST && n->nhints < n->tree.count * 4;)
		n->nhints *= 2;
	n->hints = calloc(n->nhints, sizeof(*n->hints));
	if (!n->hints)
		return;
	for (blocks__begin(&n->tree, &it); blocks__next(&it, &b);)
		nursery__add_hint(n, b.addr);
}

static bool nursery__tree_may_have(const struct nursery *n, uint64_t h)
{
	return n->tree.root && (!n->hints || *nursery__hint(n, h));
}

static int nursery__put_into_tree(struct nursery *n, const struct block *in, struct block *old)
{
	int there = blocks__put(&n->tree, in, old);

	if (there || !n->hints)
		return there;
	if (n->nhints < HINTS_LAST && n->tree.count * 2 > n->nhints)
		nursery__make_hints(n);
	else
		nursery__add_hint(n, in->addr);
	return 0;
}

static int nursery__take_from_tree(struct nursery *n, uint64_t addr, struct block *out)
{
	int found = blocks__take(&n->tree, addr, out);
	uint8_t *hint;

	if (found > 0 && n->hints) {
		hint = nursery__hint(n, hash(addr));
		*hint -= *hint < HINT_MOST;
	}
	return found;
}

/* A block of the table goes into the tree. 0 or -ENOMEM. */
static int nursery__move(struct nursery *n, size_t set, int way)
{
	struct block old;
	int err = nursery__put_into_tree(n, &n->blocks[set * WAYS + way], &old);

	if (err < 0)
		return err;
	nursery__drop(n, set, way);
	return 0;
}

int nursery__settle(struct nursery *n)
{
	size_t i, set;
	int way;

	for (i = 0; i < nursery__sets(n) / 64; i++)
		for (; n->used[i]; n->used[i] &= n->used[i] - 1) {
			set = i * 64 + (size_t)__builtin_ctzll(n->used[i]);
			for (way = 0; n->tags[set] && way < WAYS; way++)
				if (n->tags[set] >> way * 8 & TAKEN && nursery__move(n, set, way))
					return -ENOMEM;
		}
	return 0;
}

/* The table */

/* A table of another size, empty. 0 or -ENOMEM, and all is as it was. */
static int nursery__make_table(struct nursery *n, unsigned bits)
{
	size_t sets = (size_t)1 << bits;
	uint64_t *tags = calloc(sets, sizeof(*tags));
	struct block *blocks = aligned_alloc(64, sets * WAYS * sizeof(*blocks));

	if (!tags || !blocks || nursery__settle(n)) {
		free(tags);
		free(blocks);
		return -ENOMEM;
	}
	free(n->tags);
	free(n->blocks);
	n->tags = tags;
	n->blocks = blocks;
	n->bits = bits;
	if (!n->hints)
		nursery__make_hints(n);
	return 0;
}

/* Make room in a full set. 0 or -ENOMEM. */
static int nursery__make_room(struct nursery *n, size_t set)
{
	const struct block *b = &n->blocks[set * WAYS];
	int way, oldest = 0;

	for (way = 1; way < WAYS; way++)
		if ((int32_t)(b[way].born - b[oldest].born) < 0)
			oldest = way;
	n->moved++;
	return nursery__move(n, set, oldest);
}

/* From time to time: whether a larger table would do better. Without memory the one there is goes on. */
static void nursery__review(struct nursery *n)
{
	if (!n->bits)
		nursery__make_table(n, BITS_FIRST);
	else if (n->bits < BITS_LAST && n->moved > n->puts / MOVED_PART)
		nursery__make_table(n, n->bits + 1);
	n->puts = n->moved = 0;
}

int nursery__put(struct nursery *n, const struct block *in, struct block *old)
{
	uint64_t h = hash(in->addr);
	struct block *at;
	int way, there = 0;
	size_t set;

	if (++n->puts >= (n->bits ? FILLS * WAYS << n->bits : SMALL))
		nursery__review(n);
	if (!n->bits)
		return nursery__put_into_tree(n, in, old);
	way = nursery__look(n, h, in->addr, &set, old);
	if (way >= 0) {
		there = 1;
	} else {
		way = tags__free(n->tags[set]);
		if (way < 0) {
			if (nursery__make_room(n, set))
				return -ENOMEM;
			way = tags__free(n->tags[set]);
		}
		if (nursery__tree_may_have(n, h))
			there = nursery__take_from_tree(n, in->addr, old);
		if (there < 0)
			return there;
	}
	n->tags[set] |= hash__tag(h) << way * 8;
	n->used[set / 64] |= 1ULL << set % 64;
	at = &n->blocks[set * WAYS + way];
	*at = *in;
	if (at->size > BLOCK_SIZE_MAX)
		at->size = BLOCK_SIZE_MAX;
	return there;
}

int nursery__take(struct nursery *n, uint64_t addr, struct block *out)
{
	uint64_t h = hash(addr);
	size_t set;
	int way = nursery__look(n, h, addr, &set, out);

	if (way >= 0) {
		nursery__drop(n, set, way);
		return 1;
	}
	return nursery__tree_may_have(n, h) ? nursery__take_from_tree(n, addr, out) : 0;
}

bool nursery__at(const struct nursery *n, uint64_t addr, struct block *out)
{
	uint64_t h = hash(addr);
	size_t set;

	return nursery__look(n, h, addr, &set, out) >= 0 ||
	       (nursery__tree_may_have(n, h) && blocks__at(&n->tree, addr, out));
}

int nursery__around(struct nursery *n, uint64_t addr, struct block *out)
{
	return nursery__settle(n) ? -ENOMEM : blocks__around(&n->tree, addr, out);
}

int nursery__share(struct nursery *to, struct nursery *from)
{
	if (nursery__settle(from))
		return -ENOMEM;
	blocks__share(&to->tree, &from->tree);
	return 0;
}

void nursery__clear(struct nursery *n)
{
	blocks__clear(&n->tree);
	free(n->tags);
	free(n->blocks);
	free(n->hints);
	*n = (struct nursery){0};
}

size_t nursery__memory(const struct nursery *n)
{
	size_t sets = nursery__sets(n);

	return blocks__memory(&n->tree) + (n->hints ? n->nhints : 0) +
	       sets * (sizeof(*n->tags) + WAYS * sizeof(*n->blocks));
}

void nursery__begin(const struct nursery *n, struct nursery_iter *it)
{
	it->nursery = n;
	it->at = 0;
	blocks__begin(&n->tree, &it->tree);
}

bool nursery__next(struct nursery_iter *it, struct block *out)
{
	const struct nursery *n = it->nursery;
	size_t at;

	while (it->at < nursery__sets(n) * WAYS) {
		at = it->at++;
		if (n->tags[at / WAYS] >> at % WAYS * 8 & TAKEN) {
			*out = n->blocks[at];
			return true;
		}
	}
	return blocks__next(&it->tree, out);
}
