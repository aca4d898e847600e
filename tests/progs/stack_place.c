/* SPDX-License-Identifier: MIT */
/* FLAGS: -O2 -fomit-frame-pointer */
/*
 * Calls of madvise from one place, on stacks of several pages that lie in memory of each kind. Arguments:
 * the kind, and how many calls. Kinds:
 *   plain   small pages
 *   huge    a huge page, made with MADV_COLLAPSE
 *   shared  a memfd's
 *   secret  memory that the kernel does not map for itself
 *   moving  small pages and a huge one in turn: while the calls are made another thread has the kernel
 *           move them, again and again
 * Result: calls, and how often what was asked for was done ("moves").
 */
#include "prog.h"

#include <pthread.h>

#define HUGE (2UL << 20)
#define DEPTH 10
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

static volatile int barrier;
static volatile bool over;
static char *stack;
static unsigned long calls, moves;
static int done[2]; /* no thread is joined: the kernel refuses a futex in memory that it moves */

static PROG_NOINLINE void place_call(void)
{
	madvise(stack, 0, MADV_NORMAL);
	barrier++;
}

/* Two and a half kilobytes a turn. */
static PROG_NOINLINE void place_deep(unsigned depth)
{
	volatile char room[2500];

	room[0] = 1;
	if (depth)
		place_deep(depth - 1);
	else
		for (unsigned long i = 0; i < calls; i++)
			place_call();
	barrier += room[0];
}

static void *work(void *unused)
{
	(void)unused;
	place_deep(DEPTH);
	over = true;
	if (write(done[1], "", 1) != 1)
		prog__die("write");
	for (;;)
		pause();
	return NULL;
}

static bool collapse(void)
{
	return !madvise(stack, HUGE, MADV_COLLAPSE);
}

/* The stack uses the upper end, so the lowest page can be missing, which takes the huge page apart. */
static void *move(void *unused)
{
	(void)unused;
	while (!over) {
		moves += collapse();
		if (madvise(stack, PROG_PAGE, MADV_DONTNEED))
			prog__die("madvise");
		*(volatile char *)stack = 1;
	}
	return NULL;
}

static void place_stack(const char *kind)
{
	int fd = !strcmp(kind, "shared") ? memfd_create("stack", MFD_CLOEXEC) :
		 !strcmp(kind, "secret") ? (int)syscall(SYS_memfd_secret, O_CLOEXEC) :
					   -1;
	char *at = mmap(NULL, 2 * HUGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED)
		prog__die("mmap");
	if (fd < 0 && (!strcmp(kind, "shared") || !strcmp(kind, "secret")))
		prog__die(kind);
	if (fd >= 0 && ftruncate(fd, HUGE))
		prog__die("ftruncate");
	stack = (char *)(((uintptr_t)at + HUGE - 1) & ~(HUGE - 1));
	if (mmap(stack, HUGE, PROT_READ | PROT_WRITE,
		 MAP_FIXED | (fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED), fd, 0) != stack)
		prog__die("mmap");
}

int main(int argc, char **argv)
{
	pthread_t worker, mover;
	pthread_attr_t attr;
	bool moving;
	char byte;

	prog__start(&argc, &argv);
	if (argc != 3)
		return 2;
	moving = !strcmp(argv[1], "moving");
	calls = prog__number(argc, argv, 2, 1000);
	place_stack(argv[1]);
	memset(stack, 0, HUGE);
	if (!strcmp(argv[1], "huge") && !(moves = collapse()))
		prog__die("collapse");
	pthread_attr_init(&attr);
	if (pipe(done) || pthread_attr_setstack(&attr, stack, HUGE) ||
	    pthread_create(&worker, &attr, work, NULL) ||
	    (moving && pthread_create(&mover, NULL, move, NULL)))
		prog__die("pthread_create");
	if (read(done[0], &byte, 1) != 1)
		prog__die("read");
	if (moving)
		pthread_join(mover, NULL);
	prog__print("{\"calls\":%lu,\"moves\":%lu}\n", calls, moves);
	return 0;
}
