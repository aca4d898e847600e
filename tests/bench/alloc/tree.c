/* SPDX-License-Identifier: MIT */
/*
 * A tree builder: one tall binary tree that stays, and many short ones built
 * and taken down meanwhile, nodes of one size.
 */
#include "tests/bench/alloc/work.h"

struct node {
	struct node *left, *right;
};

static struct node *build(unsigned depth)
{
	struct node *n = malloc(sizeof(*n));

	WORK_CHECK(n);
	n->left = depth ? build(depth - 1) : NULL;
	n->right = depth ? build(depth - 1) : NULL;
	return n;
}

static size_t count(const struct node *n)
{
	return n ? 1 + count(n->left) + count(n->right) : 0;
}

static void take_down(struct node *n)
{
	if (!n)
		return;
	take_down(n->left);
	take_down(n->right);
	free(n);
}

int main(int argc, char **argv)
{
	const unsigned tall = 18;
	struct node *stays;

	work__start(argc, argv);
	stays = build(tall);
	for (unsigned depth = 4; depth <= tall; depth += 2) {
		size_t trees = work__scaled(((size_t)4 << tall) >> depth);

		for (size_t i = 0; i < trees; i++) {
			struct node *n = build(depth);

			WORK_CHECK(count(n) == ((size_t)2 << depth) - 1);
			take_down(n);
		}
	}
	WORK_CHECK(count(stays) == ((size_t)2 << tall) - 1);
	take_down(stays);
	return work__end();
}
