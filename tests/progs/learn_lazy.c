/* SPDX-License-Identifier: MIT */
// FLAGS: -fno-builtin
/* Memory that was asked for and not touched costs address space only. */
#include "learn.h"

static void learn(void)
{
	char *block;

	malloc(100); /* the first one makes the heap */
	learn__say("malloc(1 MiB)");
	block = malloc(MIB);
	learn__say("of its 257 pages %d is in memory", resident(block, 257));
	learn__say("calloc(1 MiB): all of it reads as zero, and nobody has written that");
	block = calloc(1, MIB);
	learn__say("of its 257 pages %d is in memory", resident(block, 257));
	learn__say("every page of it is written");
	write_pages(block, 256);
	learn__say("of its 257 pages %d are in memory", resident(block, 257));
}
