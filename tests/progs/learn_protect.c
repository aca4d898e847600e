/* SPDX-License-Identifier: MIT */
/* What may be done with a page, and what comes of doing something else. */
#include "learn.h"

#include <setjmp.h>

static sigjmp_buf after;
static siginfo_t why;

static void on_segv(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)context;
	why = *info;
	siglongjmp(after, 1);
}

static void try_to_write(char *at, const char *what)
{
	if (sigsetjmp(after, 1) == 0) {
		write_byte(at, 'x');
		learn__say("%s: done", what);
	} else {
		learn__say("%s: SIGSEGV, %s", what,
			   why.si_code == SEGV_MAPERR ? "SEGV_MAPERR: nothing is mapped there" :
							"SEGV_ACCERR: it may not be written");
	}
}

static void learn(void)
{
	struct sigaction action = {.sa_sigaction = on_segv, .sa_flags = SA_SIGINFO};
	char *memory = map_pages(4, PROT_READ, MAP_PRIVATE);

	sigaction(SIGSEGV, &action, NULL);
	learn__say("a page that may be read is read");
	read_byte(memory);
	try_to_write(memory, "writing it");
	mprotect(memory, PAGE, PROT_READ | PROT_WRITE);
	try_to_write(memory, "writing it after mprotect");
	munmap(memory, 4 * PAGE);
	try_to_write(memory, "writing it after munmap");
	try_to_write(NULL, "writing at NULL");
}
