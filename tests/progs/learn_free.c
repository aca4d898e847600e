/* SPDX-License-Identifier: MIT */
// FLAGS: -fno-builtin
/* What free keeps, what goes back, and how one block at the top keeps all below it. */
#include "learn.h"

#define BLOCK (100 * KIB)

static char *blocks[3], *pin;

static void take_and_free(void)
{
	for (int i = 0; i < 3; i++)
		blocks[i] = malloc(BLOCK);
	for (int i = 0; i < 3; i++)
		free(blocks[i]);
}

static void pin_the_top(void)
{
	for (int i = 0; i < 3; i++) {
		blocks[i] = malloc(BLOCK);
		write_pages(blocks[i], BLOCK / PAGE);
	}
	pin = malloc(100);
	for (int i = 0; i < 3; i++)
		free(blocks[i]);
}

static void learn(void)
{
	learn__say("3 blocks of 100 KiB, which are freed");
	take_and_free();
	learn__say("3 of 100 KiB, written to, and one of 100 bytes above them; the 3 are freed");
	pin_the_top();
	learn__say("%d of their pages are in memory", resident(blocks[0], 75));
	learn__say("malloc_trim(0)");
	malloc_trim(0);
	learn__say("%d of their pages are in memory", resident(blocks[0], 75));
	learn__say("the one at the top is freed");
	free(pin);
}
