/* SPDX-License-Identifier: MIT */
/*
 * Copy-on-write after fork. The child writes some of the shared pages, the
 * parent some while the child lives and some when it is gone. Arguments: pages
 * of each kind. The child's own counts are wait4's.
 */
#include "prog.h"

int main(int argc, char **argv)
{
	struct prog_faults from, to;
	unsigned long by_child, by_parent, after;
	struct rusage usage;
	int go[2], status;
	pid_t child;
	char *p, c;

	prog__start(&argc, &argv);
	by_child = prog__number(argc, argv, 1, 100);
	by_parent = prog__number(argc, argv, 2, 70);
	after = prog__number(argc, argv, 3, 30);
	p = prog__pages(by_child + by_parent + after);
	prog__write_pages(p, by_child + by_parent + after);
	if (pipe(go))
		prog__die("pipe");
	prog__ready();
	from = prog__faults();
	child = fork();
	if (child < 0)
		prog__die("fork");
	if (!child) {
		close(go[1]);
		prog__write_pages(p, by_child);
		_exit(read(go[0], &c, 1) == 1 ? 0 : 1);
	}
	prog__write_pages(p + by_child * PROG_PAGE, by_parent);
	if (write(go[1], "x", 1) != 1 || wait4(child, &status, 0, &usage) != child || status)
		prog__die("child");
	prog__write_pages(p + (by_child + by_parent) * PROG_PAGE, after);
	to = prog__faults();
	prog__print("{\"minflt\":%lu,\"majflt\":%lu,\"child\":%d,\"child_minflt\":%ld,"
		    "\"child_majflt\":%ld,\"by_child\":%lu,\"by_parent\":%lu,\"after\":%lu}\n",
		    to.minor - from.minor, to.major - from.major, child, usage.ru_minflt,
		    usage.ru_majflt, by_child, by_parent, after);
	prog__end();
	return 0;
}
