/* SPDX-License-Identifier: MIT */
/* Reading files that somebody may shorten: see guard.h. */
#include "user/symbol/guard.h"

#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

static _Thread_local volatile sig_atomic_t guarded;
static struct sigaction previous;
static long page_bytes;

static void on_bus(int sig, siginfo_t *info, void *context)
{
	(void)context;
	if (guarded && info->si_code == BUS_ADRERR) {
		uintptr_t page = (uintptr_t)info->si_addr & ~((uintptr_t)page_bytes - 1);

		if (mmap((void *)page, page_bytes, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED)
			return;
	}
	/* Not ours: it comes again, to whom it was for. */
	sigaction(SIGBUS, &previous, NULL);
	if (info->si_code <= 0)
		raise(sig);
}

void guard__enter(void)
{
	struct sigaction action = {.sa_sigaction = on_bus, .sa_flags = SA_SIGINFO | SA_NODEFER};

	page_bytes = sysconf(_SC_PAGESIZE);
	sigemptyset(&action.sa_mask);
	sigaction(SIGBUS, &action, &previous);
	guarded = 1;
}

void guard__leave(void)
{
	guarded = 0;
	sigaction(SIGBUS, &previous, NULL);
}
