/* SPDX-License-Identifier: MIT */
/*
 * Accesses that fail and are repaired by a SIGSEGV handler: a failed access is
 * not a fault served. Argument: pages.
 */
#include "prog.h"

static unsigned long refused;

static void on_segv(int sig, siginfo_t *info, void *context)
{
	char *page = (char *)((uintptr_t)info->si_addr & ~(PROG_PAGE - 1UL));

	(void)sig;
	(void)context;
	refused++;
	if (mprotect(page, PROG_PAGE, PROT_READ | PROT_WRITE))
		_exit(97);
}

int main(int argc, char **argv)
{
	struct sigaction action = {.sa_sigaction = on_segv, .sa_flags = SA_SIGINFO};
	struct prog_faults from, to;
	unsigned long pages;
	char *p;

	prog__start(&argc, &argv);
	pages = prog__number(argc, argv, 1, 50);
	p = prog__pages(pages);
	if (mprotect(p, pages * PROG_PAGE, PROT_NONE) || sigaction(SIGSEGV, &action, NULL))
		prog__die("prepare");
	prog__ready();
	from = prog__faults();
	prog__write_pages(p, pages);
	to = prog__faults();
	prog__print("{\"minflt\":%lu,\"majflt\":%lu,\"pages\":%lu,\"refused\":%lu}\n",
		    to.minor - from.minor, to.major - from.major, pages, refused);
	prog__end();
	return 0;
}
