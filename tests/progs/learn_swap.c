/* SPDX-License-Identifier: MIT */
/* Pages that the kernel takes away and gets back. Argument: a file to be made. */
#include "learn.h"

#include <sched.h>

static char *make_and_map(const char *path, size_t pages)
{
	static char page[PAGE];
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	char *file;

	for (size_t i = 0; i < pages; i++)
		if (write(fd, page, PAGE) != PAGE)
			prog__die(path);
	if (fsync(fd))
		prog__die(path);
	file = mmap(NULL, pages * PAGE, PROT_READ, MAP_SHARED, fd, 0);
	if (file == MAP_FAILED || madvise(file, pages * PAGE, MADV_RANDOM))
		prog__die(path);
	return file;
}

static void learn(void)
{
	char *file, *memory;
	cpu_set_t one;

	/* What another CPU has just put into memory is not taken out. */
	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	sched_setaffinity(0, sizeof(one), &one);
	file = make_and_map(learn__argv[1], 4);
	memory = map_pages(4, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	learn__say("4 pages of a file are read, 4 of memory written");
	read_pages(file, 4);
	write_pages(memory, 4);
	learn__say("the kernel is asked to page both out");
	madvise(file, 4 * PAGE, MADV_PAGEOUT);
	madvise(memory, 4 * PAGE, MADV_PAGEOUT);
	learn__say("both are touched again");
	read_pages(file, 4);
	read_pages(memory, 4);
}
