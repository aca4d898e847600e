/* SPDX-License-Identifier: MIT */
/*
 * The live blocks of a heap, with the youngest at hand.
 *
 * Most blocks die young, and most look-ups are by the exact address. So a block is put into a small
 * table of fixed size first, and comes into the tree (blocks.h) when there is no more room beside
 * it, or when the order of addresses is asked for. A block is in one of the two. Small heaps have no
 * table, and no heap's grows with its blocks: memory for each is the tree's.
 */
#ifndef MEMTRACE_NURSERY_H
#define MEMTRACE_NURSERY_H

#include "user/model/blocks.h"

/* Bytes of the tables of a heap, at most: see nursery.c. */
#define NURSERY_BYTES_MAX (600UL << 10)

#define NURSERY_SETS_MAX 2048

/* All zero is empty. */
struct nursery {
	struct blocks tree;
	uint64_t *tags; /* of each set */
	struct block *blocks; /* eight for each set */
	unsigned bits; /* log2 of the number of sets; 0: there is no table */
	uint64_t used[NURSERY_SETS_MAX / 64]; /* a bit for each set that may have blocks */
	uint32_t puts, moved; /* since the table is so large: blocks put in, and moved into the tree */
	uint8_t *hints; /* how many blocks of the tree have a hash; NULL: not known */
	size_t nhints;
};

/* As blocks__put, blocks__take, blocks__at. */
int nursery__put(struct nursery *n, const struct block *in, struct block *old);
int nursery__take(struct nursery *n, uint64_t addr, struct block *out);
bool nursery__at(const struct nursery *n, uint64_t addr, struct block *out);

/* The block that contains addr: 1 and *out, 0, or -ENOMEM. */
int nursery__around(struct nursery *n, uint64_t addr, struct block *out);

/* From here to the next change n->tree has all blocks. 0 or -ENOMEM. */
int nursery__settle(struct nursery *n);

/* `to`, which must be empty, has from's blocks; both may change from then on. 0 or -ENOMEM. */
int nursery__share(struct nursery *to, struct nursery *from);

void nursery__clear(struct nursery *n);
size_t nursery__memory(const struct nursery *n);

/* Going through all blocks, in no order; nothing may change meanwhile. */
struct nursery_iter {
	const struct nursery *nursery;
	size_t at;
	struct blocks_iter tree;
};
void nursery__begin(const struct nursery *n, struct nursery_iter *it);
bool nursery__next(struct nursery_iter *it, struct block *out);

#endif /* MEMTRACE_NURSERY_H */
