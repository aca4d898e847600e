/* SPDX-License-Identifier: MIT */
/*
 * read(2) into untouched memory: the kernel takes the faults. Arguments: a
 * file to read (made here), pages.
 */
#include "prog.h"

int main(int argc, char **argv)
{
	struct prog_faults from, to;
	unsigned long pages;
	size_t left;
	char *p;
	int fd;

	prog__start(&argc, &argv);
	pages = prog__number(argc, argv, 2, 256);
	fd = open(argv[1], O_RDWR | O_CREAT | O_TRUNC, 0600);
	if (fd < 0 || ftruncate(fd, (off_t)(pages * PROG_PAGE)))
		prog__die(argv[1]);
	/* once before, so that nothing but the target pages is new */
	if (pread(fd, prog__line, sizeof(prog__line), 0) < 0)
		prog__die("pread");
	p = prog__pages(pages);
	prog__ready();
	from = prog__faults();
	left = pages * PROG_PAGE;
	while (left) {
		ssize_t n = read(fd, p, left);

		if (n <= 0)
			prog__die("read");
		p += n;
		left -= (size_t)n;
	}
	to = prog__faults();
	prog__print("{\"minflt\":%lu,\"majflt\":%lu,\"pages\":%lu}\n", to.minor - from.minor,
		    to.major - from.major, pages);
	prog__end();
	return 0;
}
