/* SPDX-License-Identifier: MIT */
/*
 * The live blocks of a heap, in the order of their addresses: a B+ tree.
 *
 * A tree and not a hash table, because one structure then answers both questions, "the
 * block at" and "the block around" an address, in less than 64 bytes a block at any moment
 * (a hash table has that twice over while it grows), and because its nodes can be shared:
 * fork gives a child the same blocks for the cost of a reference, and each side copies
 * the nodes it changes.
 */
#ifndef MEMTRACE_BLOCKS_H
#define MEMTRACE_BLOCKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BLOCK_SIZE_MAX ((1ULL << 48) - 1)

struct block {
	uint64_t addr;
	uint64_t size; /* as requested; what exceeds BLOCK_SIZE_MAX is cut */
	uint32_t site;
	uint32_t born; /* number of the allocation, modulo 2^32 */
	uint16_t owner; /* of which process in a line of forks the allocation was */
};

struct block_node;

/* All zero is empty. */
struct blocks {
	struct block_node *root;
	unsigned height; /* 0: the root is a leaf */
	bool shared; /* some node may be another tree's, too */
	uint64_t count;
};

/* Put a block in. 1 when another was at its address, which is then in *old and gone; 0; -ENOMEM. */
int blocks__put(struct blocks *b, const struct block *in, struct block *old);

/* Take the block at an address out. 1 and *out, 0 when there is none, or -ENOMEM. */
int blocks__take(struct blocks *b, uint64_t addr, struct block *out);

bool blocks__at(const struct blocks *b, uint64_t addr, struct block *out);

/* The block that contains addr. */
bool blocks__around(const struct blocks *b, uint64_t addr, struct block *out);

/* `to`, which must be empty, has from's blocks; both may change from then on. */
void blocks__share(struct blocks *to, struct blocks *from);

void blocks__clear(struct blocks *b);

/* Memory of the nodes; those that are shared count in full. */
size_t blocks__memory(const struct blocks *b);

/* Going through the blocks in order; the tree must not change meanwhile. */
#define BLOCKS_HEIGHT 16
struct blocks_iter {
	const struct block_node *node[BLOCKS_HEIGHT];
	unsigned at[BLOCKS_HEIGHT];
	unsigned height;
};
void blocks__begin(const struct blocks *b, struct blocks_iter *it);
bool blocks__next(struct blocks_iter *it, struct block *out);

#endif /* MEMTRACE_BLOCKS_H */
