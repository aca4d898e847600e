// SPDX-License-Identifier: MIT
/*
 * Nodes are full at CAP entries and split on the way down, so an insertion needs no way
 * back. A node that became sparse is joined with a neighbour if both leave room in one node:
 * two neighbours together always have more than JOINED - 2 entries, which bounds the memory.
 *
 * key[0] of an inner node is never looked at: its first child takes all that is less than
 * key[1], also what belonged to a child before it that is gone.
 */
#include "user/model/blocks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { CAP = 32, JOINED = 28, SPARSE = 14, NEAR = 2 };

struct block_node {
	uint32_t refs; /* trees and nodes that have it */
	uint32_t n;
	uint64_t key[CAP]; /* leaf: addresses; inner: no address in child[i] is less than key[i] */
};

struct value {
	uint64_t size : 48, owner : 16;
	uint32_t site, born;
};

struct leaf {
	struct block_node h;
	struct value value[CAP];
};

struct inner {
	struct block_node h;
	struct block_node *child[CAP];
};

_Static_assert(sizeof(struct value) == 16, "value");

static struct inner *as_inner(const struct block_node *n)
{
	return (struct inner *)n;
}

static struct leaf *as_leaf(const struct block_node *n)
{
	return (struct leaf *)n;
}

static size_t node__bytes(unsigned level)
{
	return level ? sizeof(struct inner) : sizeof(struct leaf);
}

/* How many of these are not greater than x. */
static unsigned keys__rank(const uint64_t *keys, unsigned len, uint64_t x)
{
	const uint64_t *base = keys;

	if (!len)
		return 0;
	while (len > 1) {
		unsigned half = len / 2;

		base += base[half - 1] <= x ? half : 0;
		len -= half;
	}
	return (unsigned)(base - keys) + (*base <= x);
}

static unsigned leaf__rank(const struct block_node *n, uint64_t addr)
{
	return keys__rank(n->key, n->n, addr);
}

static unsigned inner__index(const struct block_node *n, uint64_t addr)
{
	return keys__rank(n->key + 1, n->n - 1, addr);
}

static void node__release(struct block_node *n, unsigned level)
{
	unsigned i;

	if (!n || --n->refs)
		return;
	for (i = 0; level && i < n->n; i++)
		node__release(as_inner(n)->child[i], level - 1);
	free(n);
}

/* Make the node at *at one that no other tree has. */
static int node__own(struct block_node **at, unsigned level)
{
	struct block_node *n = *at, *copy;
	unsigned i;

	if (n->refs == 1)
		return 0;
	copy = malloc(node__bytes(level));
	if (!copy)
		return -ENOMEM;
	memcpy(copy, n, node__bytes(level));
	copy->refs = 1;
	n->refs--;
	for (i = 0; level && i < n->n; i++)
		as_inner(n)->child[i]->refs++;
	*at = copy;
	return 0;
}

static struct block_node *node__new(unsigned level)
{
	struct block_node *n = malloc(node__bytes(level));

	if (n) {
		n->refs = 1;
		n->n = 0;
	}
	return n;
}

/* Copy count entries. */
static void node__copy(struct block_node *to, unsigned at, const struct block_node *from,
		       unsigned start, unsigned count, unsigned level)
{
	memmove(to->key + at, from->key + start, count * sizeof(*to->key));
	if (level)
		memmove(as_inner(to)->child + at, as_inner(from)->child + start,
			count * sizeof(struct block_node *));
	else
		memmove(as_leaf(to)->value + at, as_leaf(from)->value + start,
			count * sizeof(struct value));
}

static void node__remove(struct block_node *n, unsigned i, unsigned level)
{
	node__copy(n, i, n, i + 1, n->n - i - 1, level);
	n->n--;
}

/*
 * Split the full child i, which must be owned; there is room in the parent. Allocations go
 * up in the break and down in mappings: who fills a node near one end leaves it full. Not only at the end:
 * above all that a growing heap has made there often is a block that has a mapping to itself.
 */
static int inner__split(struct inner *parent, unsigned i, unsigned level, uint64_t addr)
{
	struct block_node *left = parent->child[i], *right = node__new(level);
	unsigned keep = keys__rank(left->key, CAP, addr);

	if (!right)
		return -ENOMEM;
	if (keep == CAP)
		keep = CAP - 1;
	else if (!keep)
		keep = 1;
	else if (keep > NEAR && keep < CAP - NEAR)
		keep = CAP / 2;
	node__copy(right, 0, left, keep, CAP - keep, level);
	right->n = CAP - keep;
	left->n = keep;
	node__copy(&parent->h, i + 2, &parent->h, i + 1, parent->h.n - i - 1, 1);
	parent->h.n++;
	parent->h.key[i + 1] = right->key[0];
	parent->child[i + 1] = right;
	return 0;
}

/* Make the root one that is there, ours, and not full. */
static int blocks__open_root(struct blocks *b, uint64_t addr)
{
	struct block_node *top;

	if (!b->root) {
		b->root = node__new(0);
		b->height = 0;
		return b->root ? 0 : -ENOMEM;
	}
	if (node__own(&b->root, b->height))
		return -ENOMEM;
	if (b->root->n < CAP)
		return 0;
	top = node__new(b->height + 1);
	if (!top)
		return -ENOMEM;
	top->n = 1;
	top->key[0] = 0;
	as_inner(top)->child[0] = b->root;
	if (inner__split(as_inner(top), 0, b->height, addr)) {
		free(top);
		return -ENOMEM;
	}
	b->root = top;
	b->height++;
	return 0;
}

static void leaf__get(const struct block_node *n, unsigned i, struct block *out)
{
	const struct value *v = &as_leaf(n)->value[i];

	*out = (struct block){n->key[i], v->size, v->site, v->born, v->owner};
}

int blocks__put(struct blocks *b, const struct block *in, struct block *old)
{
	struct value v = {.size = in->size < BLOCK_SIZE_MAX ? in->size : BLOCK_SIZE_MAX,
			  .owner = in->owner,
			  .site = in->site,
			  .born = in->born};
	struct block_node *n;
	unsigned level, i;

	if (blocks__open_root(b, in->addr))
		return -ENOMEM;
	n = b->root;
	for (level = b->height; level; level--) {
		struct inner *parent = as_inner(n);

		i = inner__index(n, in->addr);
		if (node__own(&parent->child[i], level - 1))
			return -ENOMEM;
		if (parent->child[i]->n == CAP) {
			if (inner__split(parent, i, level - 1, in->addr))
				return -ENOMEM;
			i += in->addr >= n->key[i + 1];
		}
		n = parent->child[i];
	}
	i = leaf__rank(n, in->addr);
	if (i && n->key[i - 1] == in->addr) {
		leaf__get(n, i - 1, old);
		as_leaf(n)->value[i - 1] = v;
		return 1;
	}
	node__copy(n, i + 1, n, i, n->n - i, 0);
	n->n++;
	n->key[i] = in->addr;
	as_leaf(n)->value[i] = v;
	b->count++;
	return 0;
}

/* The leaf that addr belongs to, NULL in an empty tree. */
static const struct block_node *blocks__leaf(const struct blocks *b, uint64_t addr)
{
	const struct block_node *n = b->root;
	unsigned level;

	for (level = n ? b->height : 0; level; level--)
		n = as_inner(n)->child[inner__index(n, addr)];
	return n;
}

bool blocks__at(const struct blocks *b, uint64_t addr, struct block *out)
{
	const struct block_node *n = blocks__leaf(b, addr);
	unsigned i = n ? leaf__rank(n, addr) : 0;

	if (!i || n->key[i - 1] != addr)
		return false;
	leaf__get(n, i - 1, out);
	return true;
}

/* The last block at or before addr. */
static bool blocks__before(const struct blocks *b, uint64_t addr, struct block *out)
{
	const struct block_node *n = b->root, *left = NULL;
	unsigned level, i, left_level = 0;

	if (!n)
		return false;
	for (level = b->height; level; level--) {
		i = inner__index(n, addr);
		if (i) {
			left = as_inner(n)->child[i - 1];
			left_level = level - 1;
		}
		n = as_inner(n)->child[i];
	}
	i = leaf__rank(n, addr);
	if (!i) {
		/* All of this leaf is behind addr: the last of what is left of it. */
		if (!left)
			return false;
		for (n = left; left_level; left_level--)
			n = as_inner(n)->child[n->n - 1];
		i = n->n;
	}
	leaf__get(n, i - 1, out);
	return true;
}

bool blocks__around(const struct blocks *b, uint64_t addr, struct block *out)
{
	return blocks__before(b, addr, out) && addr - out->addr < out->size;
}

/* Join child i with the one after it, if that leaves some room. Both are of level `level`. */
static int inner__join(struct inner *parent, unsigned i, unsigned level)
{
	struct block_node *left, *right = parent->child[i + 1];
	unsigned k;

	if (parent->child[i]->n + right->n > JOINED)
		return 0;
	if (node__own(&parent->child[i], level))
		return -ENOMEM;
	left = parent->child[i];
	node__copy(left, left->n, right, 0, right->n, level);
	if (level)
		left->key[left->n] = parent->h.key[i + 1];
	for (k = 0; level && right->refs > 1 && k < right->n; k++)
		as_inner(right)->child[k]->refs++;
	left->n += right->n;
	if (--right->refs == 0)
		free(right);
	node__remove(&parent->h, i + 1, 1);
	return 0;
}

/* Child i has lost an entry: drop it when it is empty, join it when it is sparse. */
static int inner__mend(struct inner *parent, unsigned i, unsigned level)
{
	struct block_node *child = parent->child[i];
	unsigned before = parent->h.n;
	int err = 0;

	if (!child->n) {
		node__release(child, level);
		node__remove(&parent->h, i, 1);
		return 0;
	}
	/* Every second time is enough, and spares a look at the neighbours. */
	if (child->n > SPARSE || child->n % 2)
		return 0;
	if (i)
		err = inner__join(parent, i - 1, level);
	if (!err && before == parent->h.n && i + 1 < parent->h.n)
		err = inner__join(parent, i, level);
	return err;
}

int blocks__take(struct blocks *b, uint64_t addr, struct block *out)
{
	struct inner *path[BLOCKS_HEIGHT];
	unsigned at[BLOCKS_HEIGHT], level, i;
	struct block_node *n, *top;

	/* What is not there must not copy shared nodes. */
	if (!b->root || (b->shared && !blocks__at(b, addr, out)))
		return 0;
	if (node__own(&b->root, b->height))
		return -ENOMEM;
	n = b->root;
	for (level = b->height; level; level--) {
		path[level] = as_inner(n);
		at[level] = inner__index(n, addr);
		if (node__own(&path[level]->child[at[level]], level - 1))
			return -ENOMEM;
		n = path[level]->child[at[level]];
	}
	i = leaf__rank(n, addr);
	if (!i || n->key[i - 1] != addr)
		return 0;
	leaf__get(n, i - 1, out);
	node__remove(n, i - 1, 0);
	b->count--;
	/* Without memory a sparse node stays one. */
	for (level = 1; level <= b->height; level++)
		if (inner__mend(path[level], at[level], level - 1))
			break;
	while (b->height && b->root->n == 1) {
		top = b->root;
		b->root = as_inner(top)->child[0];
		free(top);
		b->height--;
	}
	if (!b->root->n)
		blocks__clear(b);
	return 1;
}

void blocks__share(struct blocks *to, struct blocks *from)
{
	if (from->root) {
		from->root->refs++;
		from->shared = true;
	}
	*to = *from;
}

void blocks__clear(struct blocks *b)
{
	node__release(b->root, b->height);
	*b = (struct blocks){0};
}

static size_t node__memory(const struct block_node *n, unsigned level)
{
	size_t bytes = node__bytes(level);
	unsigned i;

	for (i = 0; level && i < n->n; i++)
		bytes += node__memory(as_inner(n)->child[i], level - 1);
	return bytes;
}

size_t blocks__memory(const struct blocks *b)
{
	return b->root ? node__memory(b->root, b->height) : 0;
}

void blocks__begin(const struct blocks *b, struct blocks_iter *it)
{
	unsigned level;

	*it = (struct blocks_iter){.height = b->height};
	it->node[b->height] = b->root;
	for (level = b->root ? b->height : 0; level; level--)
		it->node[level - 1] = as_inner(it->node[level])->child[0];
}

bool blocks__next(struct blocks_iter *it, struct block *out)
{
	unsigned level = 0;

	if (!it->node[0])
		return false;
	while (it->at[level] == it->node[level]->n) {
		if (level == it->height)
			return false;
		it->at[++level]++;
	}
	for (; level; level--) {
		it->node[level - 1] = as_inner(it->node[level])->child[it->at[level]];
		it->at[level - 1] = 0;
	}
	leaf__get(it->node[0], it->at[0]++, out);
	return true;
}
