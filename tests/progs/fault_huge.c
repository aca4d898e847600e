/* SPDX-License-Identifier: MIT */
/* First touch of memory that was advised to be huge pages. Argument: MiB. */
#include "prog.h"

#define HUGE_BYTES (2UL << 20)

int main(int argc, char **argv)
{
	struct prog_faults from, to;
	size_t bytes;
	char *p;

	prog__start(&argc, &argv);
	bytes = prog__number(argc, argv, 1, 16) << 20;
	prog__ready();
	from = prog__faults();
	p = mmap(NULL, bytes + HUGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		 0);
	if (p == MAP_FAILED)
		prog__die("mmap");
	p = (char *)(((uintptr_t)p + HUGE_BYTES - 1) & ~(HUGE_BYTES - 1));
	if (madvise(p, bytes, MADV_HUGEPAGE))
		prog__die("MADV_HUGEPAGE");
	prog__write_pages(p, bytes / PROG_PAGE);
	to = prog__faults();
	prog__print("{\"minflt\":%lu,\"majflt\":%lu,\"bytes\":%zu}\n", to.minor - from.minor,
		    to.major - from.major, bytes);
	prog__end();
	return 0;
}
