// FLAGS: -fno-builtin
/* SPDX-License-Identifier: MIT */
/*
 * An allocator of its own that makes known system calls in known calls. A mark is an
 * madvise of no bytes, at an address that says where it was made; it does nothing. Each allocation
 * has a size of its own, so that the marks made in it can be told from all others'.
 *
 * Also where a free is over but has left its return address on the stack, from a signal handler that
 * runs within a malloc, and after a malloc has been left by siglongjmp, from functions called at
 * the same depth of stack. Argument: threads.
 */
#include <pthread.h>
#include <setjmp.h>

#include "prog.h"

#define ROUNDS 300
#define ARENA_BYTES (64UL << 20)
#define OURS (1UL << 20) /* sizes from here on are asked for by ourselves, and only a number */

/* Marks, by their upper part. */
enum { IN_ALLOC = 1, IN_FREE, OUTSIDE, IN_HANDLER, AFTER_JUMP, KINDS };

struct header {
	size_t id, pad;
};

static char arena[ARENA_BYTES] __attribute__((aligned(64)));
static size_t arena_used;
static unsigned long made[KINDS], left;
static __thread size_t current; /* the id of the call that this thread is in */
static __thread sigjmp_buf escape;
static bool active;

static void mark(unsigned kind, size_t id)
{
	syscall(SYS_madvise, ((unsigned long)kind << 32 | id) * PROG_PAGE, 0UL, MADV_NORMAL);
	__atomic_add_fetch(&made[kind], 1, __ATOMIC_RELAXED);
}

static void on_usr1(int number)
{
	(void)number;
	mark(IN_HANDLER, current);
}

static void on_usr2(int number)
{
	(void)number;
	siglongjmp(escape, 1);
}

static PROG_NOINLINE void *arena__take(size_t size)
{
	size_t bytes = (sizeof(struct header) + (size < OURS ? size : 0) + 63) & ~63UL;
	size_t at = __atomic_fetch_add(&arena_used, bytes, __ATOMIC_RELAXED);
	struct header *h = (struct header *)(arena + at);

	if (at + bytes > ARENA_BYTES)
		prog__die("the arena");
	h->id = size;
	return h + 1;
}

void *malloc(size_t size)
{
	void *p = arena__take(size);

	if (!active)
		return p;
	current = size;
	mark(IN_ALLOC, size);
	if (size < OURS)
		return p;
	if (size % 8 == 1) {
		pthread_kill(pthread_self(), SIGUSR1);
		mark(IN_ALLOC, size);
	}
	if (size % 8 == 5)
		pthread_kill(pthread_self(), SIGUSR2);
	return p;
}

void free(void *p)
{
	if (p && active)
		mark(IN_FREE, ((struct header *)p - 1)->id);
}

void *calloc(size_t count, size_t size)
{
	void *p = malloc(count * size);

	if (active)
		mark(IN_ALLOC, count * size);
	return count * size < OURS ? memset(p, 0, count * size) : p;
}

void *realloc(void *old, size_t size)
{
	void *p = malloc(size);

	if (old)
		free(old);
	if (active)
		mark(IN_ALLOC, size);
	return p;
}

/* At the depth where a call was that is over, over what it has left there. */
static PROG_NOINLINE void over_remains(unsigned kind, size_t id)
{
	volatile char hole[256];

	__asm__ volatile("" : : "r"(hole) : "memory");
	mark(kind, id);
}

static PROG_NOINLINE void mark_outside(void *id)
{
	mark(OUTSIDE, (uintptr_t)id);
}

/* free, and then another function, by the same call instruction. */
static PROG_NOINLINE void free_and_mark(void *p, size_t id)
{
	void (*const volatile call[])(void *) = {free, mark_outside};
	void *const volatile arg[] = {p, (void *)id};

#pragma GCC unroll 1
	for (unsigned i = 0; i < 2; i++)
		call[i](arg[i]);
}

static PROG_NOINLINE void *leave_malloc(size_t size)
{
	if (sigsetjmp(escape, 1)) {
		__atomic_add_fetch(&left, 1, __ATOMIC_RELAXED);
		mark(AFTER_JUMP, size);
		over_remains(AFTER_JUMP, size);
		return NULL;
	}
	return malloc(size);
}

static void *work(void *number)
{
	size_t id = ((uintptr_t)number + 1) * OURS;

	for (unsigned i = 0; i < ROUNDS; i++, id += 8) {
		void *a, *b;

		mark(OUTSIDE, id);
		a = malloc(id); /* plain */
		mark(OUTSIDE, id);
		free(a);
		mark(OUTSIDE, id);
		a = malloc(id + 1); /* a handler within */
		b = calloc(1, id + 2);
		mark(OUTSIDE, id);
		a = realloc(a, id + 3); /* calls malloc and free */
		mark(OUTSIDE, id);
		free(b);
		leave_malloc(id + 5);
		b = malloc(id + 4);
		mark(OUTSIDE, id);
		free(b);
		over_remains(OUTSIDE, id);
		free_and_mark(a, id);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	struct sigaction handle = {.sa_handler = on_usr1}, leave = {.sa_handler = on_usr2};
	unsigned long threads;
	pthread_t thread[16];

	prog__start(&argc, &argv);
	threads = prog__number(argc, argv, 1, 1);
	sigaction(SIGUSR1, &handle, NULL);
	sigaction(SIGUSR2, &leave, NULL);
	prog__ready();
	active = true;
	for (uintptr_t i = 1; i < threads; i++)
		if (pthread_create(&thread[i], NULL, work, (void *)i))
			prog__die("pthread_create");
	work(NULL);
	for (unsigned i = 1; i < threads; i++)
		pthread_join(thread[i], NULL);
	active = false;
	prog__print("{\"alloc\": %lu, \"free\": %lu, \"outside\": %lu, \"handler\": %lu, \"jump\": %lu, "
		    "\"left\": %lu, \"rounds\": %lu}\n",
		    made[IN_ALLOC], made[IN_FREE], made[OUTSIDE], made[IN_HANDLER],
		    made[AFTER_JUMP], left, ROUNDS * threads);
	prog__end();
	return 0;
}
