/* SPDX-License-Identifier: MIT */
/*
 * Files that get one another's inode number: created, mapped, written, unlinked in
 * turn. Argument: the directory. On most file systems each gets the number of the one before.
 */
#include <fcntl.h>

#include "tests/progs/prog.h"

int main(int argc, char **argv)
{
	char path[512];

	for (int i = 0; i < 3; i++) {
		volatile char *p;
		int fd;

		snprintf(path, sizeof(path), "%s/reuse%d", argc > 1 ? argv[1] : ".", i);
		fd = open(path, O_CREAT | O_EXCL | O_RDWR, 0600);
		if (fd < 0 || ftruncate(fd, PROG_PAGE))
			return 1;
		p = mmap(NULL, PROG_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (p == MAP_FAILED)
			return 1;
		p[0] = 1;
		munmap((void *)p, PROG_PAGE);
		unlink(path);
		close(fd);
	}
	return 0;
}
