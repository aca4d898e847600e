/* SPDX-License-Identifier: MIT */
/* The break moves by a call; its pages come with the first touch. */
#include "learn.h"

static void learn(void)
{
	char *start = sbrk(0);

	learn__say("sbrk(8 pages)");
	sbrk(8 * PAGE);
	learn__say("%d of the 8 pages are in memory", resident(start, 8));
	learn__say("a byte of page 0, a byte of page 3");
	write_byte(start, 'x');
	write_byte(start + 3 * PAGE, 'x');
	learn__say("another byte of page 0");
	write_byte(start + 100, 'x');
	learn__say("%d of the 8 pages are in memory", resident(start, 8));
	learn__say("sbrk(-8 pages), sbrk(8 pages)");
	sbrk(-8 * PAGE);
	sbrk(8 * PAGE);
	learn__say("page 0 once more: it holds %d", read_byte(start));
	sbrk(-8 * PAGE);
}
