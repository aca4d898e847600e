// FLAGS: -fno-builtin
/* SPDX-License-Identifier: MIT */
/*
 * sampled COUNT: pairs of malloc and free of 16 to 1,024 bytes with 1,000 blocks live, ten frames deep, for callgrind: the
 * difference of two counts is what so many pairs take, to the instruction. To be run with build/bench/sampled-mtalloc.so
 * or sampled-agent.so preloaded (sampled/preload.c).
 */
#include <stdint.h>
#include <stdlib.h>

#define LIVE 1000
#define DEPTH 8 /* with main and one_pair */

static uint64_t dice = 88172645463325252ULL;

static unsigned throw_dice(void)
{
	dice ^= dice << 13;
	dice ^= dice >> 7;
	dice ^= dice << 17;
	return (unsigned)(dice >> 33);
}

static void *live[LIVE];

static __attribute__((noinline)) void one_pair(unsigned n)
{
	free(live[n % LIVE]);
	live[n % LIVE] = malloc(16 + (n >> 10) % 1009);
	__asm__ volatile(""); /* no jump to the next: a frame each */
}

static __attribute__((noinline)) void descend(unsigned depth, unsigned long count)
{
	if (depth)
		descend(depth - 1, count);
	else
		for (unsigned long i = 0; i < count; i++)
			one_pair(throw_dice());
	__asm__ volatile("");
}

int main(int argc, char **argv)
{
	unsigned long count = argc == 2 ? strtoul(argv[1], NULL, 0) : 0;

	if (!count)
		return 2;
	for (size_t i = 0; i < LIVE; i++)
		live[i] = malloc(16 + i);
	descend(DEPTH, count);
	return 0;
}
