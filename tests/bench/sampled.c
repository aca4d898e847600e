// FLAGS: -fno-builtin
/* SPDX-License-Identifier: MIT */
/*
 * sampled COUNT: pairs of malloc and free of 16 to 1,024 bytes with 1,000 blocks live, for callgrind: the difference
 * of two counts is what so many pairs take, to the instruction. To be run with build/bench/sampled-mtalloc.so
 * or sampled-agent.so preloaded (sampled/preload.c).
 */
#include <stdint.h>
#include <stdlib.h>

#define LIVE 1000

static uint64_t dice = 88172645463325252ULL;

static unsigned throw_dice(void)
{
	dice ^= dice << 13;
	dice ^= dice >> 7;
	dice ^= dice << 17;
	return (unsigned)(dice >> 33);
}

int main(int argc, char **argv)
{
	static void *live[LIVE];
	unsigned long count = argc == 2 ? strtoul(argv[1], NULL, 0) : 0;

	if (!count)
		return 2;
	for (size_t i = 0; i < LIVE; i++)
		live[i] = malloc(16 + i);
	for (unsigned long i = 0; i < count; i++) {
		unsigned n = throw_dice();

		free(live[n % LIVE]);
		live[n % LIVE] = malloc(16 + (n >> 10) % 1009);
	}
	return 0;
}
