/* SPDX-License-Identifier: MIT */
/* Pages that come before anybody touches them, and may not go. */
#include "learn.h"

static void learn(void)
{
	struct prog_faults before, after;
	char *memory;

	learn__say("mmap with MAP_POPULATE");
	before = prog__faults();
	memory = map_pages(32, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_POPULATE);
	after = prog__faults();
	learn__say("%d of 32 pages are in memory; all are written", resident(memory, 32));
	write_pages(memory, 32);
	learn__say("getrusage: %lu minor faults more", after.minor - before.minor);
	learn__say("mmap, and mlock of 4 of its pages");
	memory = map_pages(32, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	mlock(memory, 4 * PAGE);
	learn__say("%d of 32 pages are in memory; 5 are written", resident(memory, 32));
	write_pages(memory, 5);
	learn__say("the kernel is asked to drop the 5");
	madvise(memory, 4 * PAGE, MADV_DONTNEED);
	madvise(memory + 4 * PAGE, PAGE, MADV_DONTNEED);
	learn__say("%d of 32 pages are in memory", resident(memory, 32));
}
