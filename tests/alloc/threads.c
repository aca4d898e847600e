/* SPDX-License-Identifier: MIT */
/* Threads that come and go, free each other's blocks, have hardly a stack, or fork under load. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/alloc/api.h"
#include "tests/alloc/case.h"
#include "tests/alloc/fill.h"

extern char **environ;

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))
#define SMALLEST_STACK 65536

static pthread_t start(void *(*function)(void *), void *arg, size_t stack_bytes)
{
	pthread_attr_t attr;
	pthread_t thread;

	CHECK_EQ(pthread_attr_init(&attr), 0);
	if (stack_bytes)
		CHECK_EQ(pthread_attr_setstacksize(&attr, stack_bytes), 0);
	CHECK_EQ(pthread_create(&thread, &attr, function, arg), 0);
	pthread_attr_destroy(&attr);
	return thread;
}

static unsigned long scaled(unsigned long n)
{
	return 1 + n / env__number("ALLOC_SLOWNESS", 1);
}

/* A bit of everything, with its contents verified. */
static void churn(uint64_t seed, unsigned long steps)
{
	struct {
		void *p;
		size_t n;
	} slot[64] = {0};
	uint64_t rnd = seed * 2 + 1;

	for (unsigned long i = 0; i < steps; i++) {
		size_t at = rnd__below(&rnd, LENGTH(slot));
		size_t n = rnd__below(&rnd, i % 50 ? 2000 : 300000);

		if (slot[at].p)
			CHECK(fill__holds(slot[at].p, slot[at].n, slot[at].n, at + seed));
		if (slot[at].p && i % 5) {
			A.free(slot[at].p);
			slot[at].p = NULL;
			continue;
		}
		slot[at].p = A.realloc(slot[at].p, n + 1);
		CHECK(slot[at].p);
		slot[at].n = n + 1;
		fill__block(slot[at].p, n + 1, at + seed);
	}
	for (size_t at = 0; at < LENGTH(slot); at++)
		A.free(slot[at].p);
}

static void *churn_in_thread(void *seed)
{
	churn((uint64_t)(uintptr_t)seed, 300);
	return NULL;
}

static void ten_thousand_short_threads(void)
{
	pthread_t thread[4];

	for (uintptr_t i = 0; i < scaled(2500); i++) {
		for (size_t t = 0; t < LENGTH(thread); t++)
			thread[t] = start(churn_in_thread, (void *)(i * 4 + t), 0);
		for (size_t t = 0; t < LENGTH(thread); t++)
			CHECK_EQ(pthread_join(thread[t], NULL), 0);
	}
	A.verify();
}

static void *work_on_a_small_stack(void *arg)
{
	(void)arg;
	churn(3, 20000);
	A.free(A.aligned_alloc(4096, 100000));
	A.malloc_trim(0);
	return NULL;
}

/* The allocator may not need much stack: 64 KiB hold thread data of every library and it. */
static void a_64_kib_stack_is_enough(void)
{
	pthread_t thread[8];

	for (size_t t = 0; t < LENGTH(thread); t++)
		thread[t] = start(work_on_a_small_stack, NULL, SMALLEST_STACK);
	for (size_t t = 0; t < LENGTH(thread); t++)
		CHECK_EQ(pthread_join(thread[t], NULL), 0);
	A.verify();
}

/* What a thread leaves is used by others after its end: the heap does not grow by it. */
#define LEFT 2000
static void *left[LEFT];

static void *leave_blocks(void *arg)
{
	size_t size = (size_t)(uintptr_t)arg;

	for (size_t i = 0; i < LEFT; i++) {
		left[i] = A.malloc(size);
		CHECK(left[i]);
		fill__block(left[i], size, i);
	}
	return NULL;
}

static void dead_threads_memory_is_used_again(void)
{
	size_t arena = 0;

	for (unsigned long round = 0; round < scaled(300); round++) {
		size_t size = 100;

		pthread_join(start(leave_blocks, (void *)size, 0), NULL);
		for (size_t i = 0; i < LEFT; i++)
			CHECK(fill__holds(left[i], size, size, i));
		A.verify();
		/* Half goes by this thread's hand, half by that of a thread that knew none of it. */
		for (size_t i = 0; i < LEFT; i += 2)
			A.free(left[i]);
		for (size_t i = 1; i < LEFT; i += 2)
			A.free(left[i]);
		if (round == 20)
			arena = A.mallinfo2().arena;
	}
	/* 280 rounds of 200 kB: not a tenth of that may have been added. */
	if (arena)
		CHECK_LE(A.mallinfo2().arena, arena + 5600000);
}

/* One makes, the other frees, for as long as it takes; the heap stays bounded. */
#define RING 1024
static struct {
	void *slot[RING];
	atomic_ulong head, tail;
} ring;

static void *produce(void *arg)
{
	unsigned long n = scaled(400000);

	(void)arg;
	for (unsigned long i = 0; i < n; i++) {
		size_t size = 16 + i % 700;
		void *p = A.malloc(size);

		CHECK(p);
		fill__block(p, size, i);
		while (atomic_load_explicit(&ring.head, memory_order_relaxed) -
			       atomic_load_explicit(&ring.tail, memory_order_acquire) ==
		       RING)
			sched_yield();
		ring.slot[i % RING] = p;
		atomic_store_explicit(&ring.head, i + 1, memory_order_release);
	}
	return NULL;
}

static void *consume(void *arg)
{
	unsigned long n = scaled(400000);

	(void)arg;
	for (unsigned long i = 0; i < n; i++) {
		size_t size = 16 + i % 700;
		void *p;

		while (atomic_load_explicit(&ring.head, memory_order_acquire) == i)
			sched_yield();
		p = ring.slot[i % RING];
		CHECK(fill__holds(p, size, size, i));
		A.free(p);
		atomic_store_explicit(&ring.tail, i + 1, memory_order_release);
	}
	return NULL;
}

static void a_producer_and_a_consumer_stay_bounded(void)
{
	pthread_t a = start(produce, NULL, 0), b = start(consume, NULL, 0);

	pthread_join(a, NULL);
	pthread_join(b, NULL);
	A.verify();
	/* At most 1,024 blocks of 716 bytes were alive. */
	CHECK_LE(A.mallinfo2().arena, 16 << 20);
}

/* Blocks that are freed after their thread ended, while a third one is ending: no block is lost. */
static void *free_what_was_left(void *arg)
{
	for (size_t i = (size_t)(uintptr_t)arg; i < LEFT; i += 2)
		A.free(left[i]);
	return NULL;
}

static void frees_race_with_thread_exit(void)
{
	for (unsigned long round = 0; round < scaled(400); round++) {
		pthread_t maker = start(leave_blocks, (void *)(uintptr_t)(16 + round % 40 * 16), 0);
		pthread_t a, b;

		pthread_join(maker, NULL);
		a = start(free_what_was_left, (void *)(uintptr_t)0, 0);
		b = start(free_what_was_left, (void *)(uintptr_t)1, 0);
		pthread_join(a, NULL);
		pthread_join(b, NULL);
	}
	A.verify();
}

/* ---- fork ---- */

static atomic_bool stop;

static void *churn_until_stopped(void *seed)
{
	for (uint64_t i = 0; !atomic_load(&stop); i++)
		churn((uint64_t)(uintptr_t)seed + i, 500);
	return NULL;
}

/* Blocks of a thread that is there when the process forks, and not in the child. */
static void *theirs[200];
static pthread_barrier_t theirs_ready;

static void *own_blocks(void *arg)
{
	for (size_t i = 0; i < LENGTH(theirs); i++) {
		theirs[i] = A.malloc(i * 53);
		CHECK(theirs[i]);
		fill__block(theirs[i], i * 53, i);
	}
	pthread_barrier_wait(&theirs_ready);
	return churn_until_stopped(arg);
}

static pthread_t start_owner(void)
{
	pthread_t owner;

	CHECK_EQ(pthread_barrier_init(&theirs_ready, NULL, 2), 0);
	owner = start(own_blocks, (void *)17, 0);
	pthread_barrier_wait(&theirs_ready);
	return owner;
}

static void free_theirs(void)
{
	for (size_t i = 0; i < LENGTH(theirs); i++) {
		CHECK(fill__holds(theirs[i], i * 53, i * 53, i));
		A.free(theirs[i]);
	}
}

/* Exits 0 when the heap it inherited is whole and goes on. */
static void child_of_the_load(void *const *mine, size_t count)
{
	for (size_t i = 0; i < count; i++)
		CHECK(fill__holds(mine[i], i * 37, i * 37, i));
	churn(77, 2000);
	for (size_t i = 0; i < count; i++)
		A.free(mine[i]);
#if !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
	/* TSan does not know that the other threads are not here, and ASan's own locks may be held
	 * by one of them. */
	pthread_join(start(churn_in_thread, (void *)(uintptr_t)5, 0), NULL);
#endif
	A.malloc_trim(0);
	A.verify();
}

static void wait_for_success(pid_t child)
{
	int status;

	CHECK(child > 0);
	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK_MSG(status == 0, "the child ended with status %#x", (unsigned int)status);
}

static void fork_under_load(void)
{
	pthread_t thread[2], owner = start_owner();
	void *mine[200];

	for (size_t i = 0; i < LENGTH(mine); i++) {
		mine[i] = A.malloc(i * 37);
		fill__block(mine[i], i * 37, i);
	}
	for (size_t t = 0; t < LENGTH(thread); t++)
		thread[t] = start(churn_until_stopped, (void *)(t * 1000003), 0);
	for (unsigned long i = 0; i < scaled(200); i++) {
		pid_t child = fork();

		if (child == 0) {
			child_of_the_load(mine, LENGTH(mine));
			free_theirs();
			A.verify();
			/* A grandchild, from a heap that was itself inherited. */
			if (i % 10 == 0) {
				child = fork();
				if (child == 0) {
					churn(78, 1000);
					A.verify();
					_exit(0);
				}
				wait_for_success(child);
			}
			_exit(0);
		}
		wait_for_success(child);
		for (size_t m = 0; m < LENGTH(mine); m++)
			CHECK(fill__holds(mine[m], m * 37, m * 37, m));
	}
	atomic_store(&stop, true);
	for (size_t t = 0; t < LENGTH(thread); t++)
		pthread_join(thread[t], NULL);
	pthread_join(owner, NULL);
	free_theirs();
	A.verify();
}

/* A thread other than the first forks; the child's only thread is that one. */
static void *fork_here(void *arg)
{
	void *mine[200];
	pid_t child;

	(void)arg;
	for (size_t i = 0; i < LENGTH(mine); i++) {
		mine[i] = A.malloc(i * 37);
		fill__block(mine[i], i * 37, i);
	}
	for (int i = 0; i < 20; i++) {
		child = fork();
		if (child == 0) {
			child_of_the_load(mine, LENGTH(mine));
			_exit(0);
		}
		wait_for_success(child);
	}
	for (size_t i = 0; i < LENGTH(mine); i++)
		A.free(mine[i]);
	return NULL;
}

static void threads_fork(void)
{
	pthread_t thread[3];

	for (size_t t = 0; t < LENGTH(thread); t++)
		thread[t] = start(fork_here, NULL, 0);
	for (size_t t = 0; t < LENGTH(thread); t++)
		pthread_join(thread[t], NULL);
	A.verify();
}

/* Handlers of the program's own around fork(), which allocate in all three places. */
static void *from_prepare;

static void on_prepare(void)
{
	from_prepare = A.malloc(1000);
	CHECK(from_prepare);
	fill__block(from_prepare, 1000, 8);
}

static void on_either_side(void)
{
	void *p = A.malloc(500000);

	CHECK(p);
	CHECK(fill__holds(from_prepare, 1000, 1000, 8));
	A.free(from_prepare);
	A.free(p);
	churn(4, 100);
}

static void fork_handlers_may_allocate(void)
{
	pthread_t thread = start(churn_until_stopped, NULL, 0);

	CHECK_EQ(pthread_atfork(on_prepare, on_either_side, on_either_side), 0);
	for (unsigned long i = 0; i < scaled(100); i++) {
		pid_t child = fork();

		if (child == 0) {
			A.verify();
			_exit(0);
		}
		wait_for_success(child);
	}
	atomic_store(&stop, true);
	pthread_join(thread, NULL);
}

static void vfork_and_spawn_under_load(void)
{
	char *argv[] = {(char *)"true", NULL};
	pthread_t thread = start(churn_until_stopped, NULL, 0);

	for (unsigned long i = 0; i < scaled(50); i++) {
		pid_t child;

		CHECK_EQ(posix_spawn(&child, "/bin/true", NULL, NULL, argv, environ), 0);
		wait_for_success(child);
		child = vfork();
		if (child == 0)
			_exit(0);
		wait_for_success(child);
	}
	atomic_store(&stop, true);
	pthread_join(thread, NULL);
	A.verify();
}

/* Asynchronous cancellation is not the allocator's; a deferred one may not happen inside it. */
static void *wait_to_be_cancelled(void *arg)
{
	(void)arg;
	for (;;) {
		churn(9, 50);
		pthread_testcancel();
	}
	return NULL;
}

static void cancelled_threads_leave_a_whole_heap(void)
{
	for (unsigned long i = 0; i < scaled(100); i++) {
		pthread_t thread = start(wait_to_be_cancelled, NULL, 0);
		void *result;

		churn(i, 50);
		CHECK_EQ(pthread_cancel(thread), 0);
		CHECK_EQ(pthread_join(thread, &result), 0);
		CHECK(result == PTHREAD_CANCELED);
	}
	A.verify();
	churn(1, 10000);
}

static const struct test_case cases[] = {
	CASE(ten_thousand_short_threads),
	CASE(a_64_kib_stack_is_enough),
	CASE(dead_threads_memory_is_used_again),
	CASE(a_producer_and_a_consumer_stay_bounded),
	CASE(frees_race_with_thread_exit),
	CASE(fork_under_load),
	CASE(threads_fork),
	CASE(fork_handlers_may_allocate),
	CASE(vfork_and_spawn_under_load),
	CASE(cancelled_threads_leave_a_whole_heap),
};

CASES_MAIN(cases)
