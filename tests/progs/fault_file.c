/* SPDX-License-Identifier: MIT */
/*
 * Read a file through a mapping, cold (its pages dropped from the page cache,
 * no read-ahead: every page is a major fault where the file system has a device) or
 * warm. Arguments: file (made here), pages, "cold" or "warm".
 */
#include "prog.h"

static int make(const char *path, unsigned long pages)
{
	static char page[PROG_PAGE];
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);

	if (fd < 0)
		prog__die(path);
	for (unsigned long i = 0; i < pages; i++) {
		memset(page, (int)i + 1, sizeof(page));
		if (write(fd, page, sizeof(page)) != sizeof(page))
			prog__die(path);
	}
	if (fsync(fd))
		prog__die(path);
	return fd;
}

int main(int argc, char **argv)
{
	struct prog_faults from, to;
	unsigned long pages, sum = 0, want = 0;
	const char *p;
	int fd;

	prog__start(&argc, &argv);
	pages = prog__number(argc, argv, 2, 64);
	fd = make(argv[1], pages);
	if (argc > 3 && !strcmp(argv[3], "cold"))
		if (posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) ||
		    posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM))
			prog__die("posix_fadvise");
	p = mmap(NULL, pages * PROG_PAGE, PROT_READ, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED || madvise((void *)p, pages * PROG_PAGE, MADV_RANDOM))
		prog__die("mmap");
	for (unsigned long i = 0; i < pages; i++)
		want += (i + 1) & 0xff;
	prog__ready();
	from = prog__faults();
	sum = prog__read_pages(p, pages);
	to = prog__faults();
	if (sum != want)
		prog__die("wrong contents");
	prog__print("{\"minflt\":%lu,\"majflt\":%lu,\"pages\":%lu}\n", to.minor - from.minor,
		    to.major - from.major, pages);
	prog__end();
	return 0;
}
