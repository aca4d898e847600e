/* SPDX-License-Identifier: MIT */
// FLAGS: -fno-builtin
/* Below the threshold malloc takes from the break, from it on it maps. */
#include "learn.h"

static void learn(void)
{
	char *block;

	learn__say("malloc of 100 bytes, the first ever");
	malloc(100);
	learn__say("and the next");
	malloc(100);
	learn__say("the last size below the threshold");
	malloc(128 * KIB - 24);
	learn__say("one byte more, and it is freed");
	block = malloc(128 * KIB - 23);
	free(block);
	learn__say("the same once more: freeing it had raised the threshold");
	block = malloc(128 * KIB - 23);
	free(block);
}
