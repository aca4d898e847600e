/* SPDX-License-Identifier: MIT */
/* FLAGS: -O2 -fomit-frame-pointer */
/*
 * Calls whose frames only unwind tables can tell, each of which ends in an mmap of a size of
 * its own: no frame pointers, alloca, a realigned stack, a large frame, a callback out of libc, a
 * signal's handler, and a page touched in a function that has pushed nothing. One touches its stack far
 * from where the stack pointer is.
 */
#include "prog.h"

#include <alloca.h>
#include <signal.h>

static volatile int barrier;
static volatile size_t sink;

static PROG_NOINLINE char *take(size_t pages)
{
	char *p = mmap(NULL, pages * PROG_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		       -1, 0);

	barrier++;
	return p;
}

static PROG_NOINLINE void plain_inner(size_t pages)
{
	take(pages);
	barrier++;
}

static PROG_NOINLINE void plain_outer(size_t pages)
{
	plain_inner(pages);
	barrier++;
}

static PROG_NOINLINE void with_alloca(size_t pages, size_t bytes)
{
	volatile char *room = alloca(bytes);

	room[bytes - 1] = 1;
	take(pages);
	sink += room[bytes - 1];
}

static PROG_NOINLINE void with_aligned(size_t pages, size_t bytes)
{
	_Alignas(64) volatile char line[64] = {0};
	volatile char *room = alloca(bytes);

	room[0] = line[0];
	take(pages);
	sink += (size_t)line + room[0];
}

static PROG_NOINLINE void with_large_frame(size_t pages)
{
	volatile char room[100000];

	room[0] = room[sizeof(room) - 1] = 1;
	take(pages);
	sink += room[0];
}

static int compare(const void *a, const void *b)
{
	if (!sink) {
		sink = 1;
		take(105);
	}
	return *(const int *)a - *(const int *)b;
}

static PROG_NOINLINE void with_callback(void)
{
	int numbers[] = {2, 1};

	sink = 0;
	qsort(numbers, 2, sizeof(*numbers), compare);
	sink += numbers[0];
}

static void on_signal(int number)
{
	(void)number;
	take(106);
	barrier++;
}

static PROG_NOINLINE void with_signal(void)
{
	signal(SIGUSR1, on_signal);
	raise(SIGUSR1);
	barrier++;
}

/* The signal comes between two instructions of this one, not in a call. */
static PROG_NOINLINE void interrupted(volatile int *nothing)
{
	*nothing = 1;
	barrier++;
}

static void on_fault(int number, siginfo_t *info, void *context)
{
	(void)number, (void)context;
	take(107);
	mprotect((void *)((unsigned long)info->si_addr & ~(PROG_PAGE - 1UL)), PROG_PAGE,
		 PROT_READ | PROT_WRITE);
}

static PROG_NOINLINE void with_fault(void)
{
	struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
	void *p = mmap(NULL, PROG_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	sigaction(SIGSEGV, &action, NULL);
	interrupted(p);
	barrier++;
}

static PROG_NOINLINE void leaf_touch(volatile char *p)
{
	*p = 1;
}

static PROG_NOINLINE void touch_outer(void)
{
	char *p = take(108);

	leaf_touch(p + 5 * PROG_PAGE);
	barrier++;
}

/* Neither where it touches its room nor at the stack pointer has been a page. */
static PROG_NOINLINE void untouched(void)
{
	volatile char room[120000];

	room[sizeof(room) / 2] = 1;
	sink += room[sizeof(room) / 2];
}

int main(int argc, char **argv)
{
	prog__start(&argc, &argv);
	prog__ready();
	plain_outer(101);
	with_alloca(102, 3000 + argc);
	with_aligned(103, 3000 + argc);
	with_large_frame(104);
	with_callback();
	with_signal();
	with_fault();
	touch_outer();
	untouched();
	prog__print("{\"done\":1}\n");
	prog__end();
	return 0;
}
