/* SPDX-License-Identifier: MIT */
/*
 * pair SHAPE SIZE COUNT [nothing] does COUNT pairs of malloc and free and nothing else
 * that grows with COUNT: the difference of two counts is what so many pairs
 * take, to the instruction. It fails when two blocks that live together overlap.
 *
 *   tight  a block, freed at once
 *   queue  64 blocks, freed in the order of making
 *   stack  64 blocks, freed in the reverse order
 *
 * With "nothing", two functions of one instruction each stand for malloc and
 * free: what the loops themselves take.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIVE 64

typedef void *take_fn(size_t size);
typedef void give_fn(void *p);

#if defined(__x86_64__)
__attribute__((naked)) static void *take_nothing(size_t size __attribute__((unused)))
{
	__asm__("ret");
}

__attribute__((naked)) static void give_nothing(void *p __attribute__((unused)))
{
	__asm__("ret");
}
#else
extern take_fn take_nothing;
extern give_fn give_nothing;
__asm__(".pushsection .text\ntake_nothing: ret\ngive_nothing: ret\n.popsection");
#endif

static take_fn *volatile take = malloc;
static give_fn *volatile give = free;

static void tight(size_t size, size_t count)
{
	take_fn *t = take;
	give_fn *g = give;

	for (size_t i = 0; i < count; i++)
		g(t(size));
}

static void many(size_t size, size_t count, int reverse)
{
	take_fn *t = take;
	give_fn *g = give;
	void *blocks[LIVE];

	for (size_t done = 0; done < count; done += LIVE) {
		for (size_t i = 0; i < LIVE; i++)
			blocks[i] = t(size);
		for (size_t i = 0; i < LIVE; i++)
			g(blocks[reverse ? LIVE - 1 - i : i]);
	}
}

static int overlap(size_t size)
{
	unsigned char *blocks[LIVE];
	int bad = 0;

	for (size_t i = 0; i < LIVE; i++) {
		blocks[i] = malloc(size);
		if (!blocks[i])
			return 1;
		memset(blocks[i], (int)i, size);
	}
	for (size_t i = 0; i < LIVE; i++) {
		for (size_t k = 0; k < size; k++)
			bad |= blocks[i][k] != i;
		free(blocks[i]);
	}
	return bad;
}

int main(int argc, char **argv)
{
	size_t size, count;

	if (argc < 4) {
		fprintf(stderr, "usage: pair SHAPE SIZE COUNT [nothing]\n");
		return 2;
	}
	size = strtoul(argv[2], NULL, 10);
	count = strtoul(argv[3], NULL, 10);
	if (overlap(size)) {
		fprintf(stderr, "pair: blocks overlap\n");
		return 1;
	}
	if (argc > 4) {
		take = take_nothing;
		give = give_nothing;
	}
	if (!strcmp(argv[1], "tight"))
		tight(size, count);
	else
		many(size, count, !strcmp(argv[1], "stack"));
	return 0;
}
