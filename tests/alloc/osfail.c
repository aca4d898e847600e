/* SPDX-License-Identifier: MIT */
/*
 * One piece of work of every kind, again and again, with the first call to the kernel failing,
 * then the second, and so on to the last; and with all from the Nth on failing. A refused
 * allocation is NULL and ENOMEM, nothing else may be seen of it, and once the kernel gives again
 * all is as if nothing had been.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/mtalloc/os.h"
#include "tests/alloc/api.h"
#include "tests/alloc/case.h"
#include "tests/alloc/fill.h"

#define SLOTS 180

static struct {
	unsigned char *p;
	size_t size;
} slot[SLOTS];

/* Whether a refusal is an error of the allocator's: no failure was asked for. */
static bool must_succeed;
static size_t refused;

static size_t os_calls(void)
{
	struct mt_os_counts n = A.os_counts();

	return n.sbrk_grow + n.sbrk_shrink + n.mmap + n.munmap + n.mremap + n.madvise;
}

static bool came(void *p)
{
	if (p)
		return true;
	CHECK_MSG(!must_succeed, "refused although no call failed: errno %d", errno);
	CHECK_EQ(errno, ENOMEM);
	refused++;
	return false;
}

static void take(size_t at, void *p, size_t size)
{
	slot[at].p = came(p) ? p : NULL;
	slot[at].size = size;
	if (p)
		fill__block(p, size, at);
	errno = 0;
}

static void check(size_t at)
{
	if (slot[at].p)
		CHECK_MSG(fill__holds(slot[at].p, slot[at].size, slot[at].size, at),
			  "block %zu of %zu bytes changed", at, slot[at].size);
}

static void let_go(size_t at)
{
	check(at);
	errno = 4711;
	A.free(slot[at].p);
	CHECK_EQ(errno, 4711);
	slot[at].p = NULL;
}

static void resize(size_t at, size_t size)
{
	size_t kept = size < slot[at].size ? size : slot[at].size;
	unsigned char *p;

	if (!slot[at].p)
		return;
	errno = 0;
	p = A.realloc(slot[at].p, size);
	if (!came(p)) {
		check(at);
		return;
	}
	CHECK_MSG(fill__holds(p, slot[at].size, kept, at), "realloc from %zu to %zu", slot[at].size,
		  size);
	slot[at].p = p;
	slot[at].size = size;
	fill__block(p, size, at);
}

static void *thread_work(void *arg)
{
	void *p[100];

	for (size_t i = 0; i < 100; i++) {
		p[i] = A.malloc(i * 100);
		if (came(p[i]))
			fill__block(p[i], i * 100, i);
	}
	for (size_t i = 0; i < 100; i++) {
		CHECK(!p[i] || fill__holds(p[i], i * 100, i * 100, i));
		A.free(p[i]);
	}
	/* And a few of the first thread's. */
	for (size_t at = (size_t)arg; at < 50; at += 2)
		let_go(at);
	return NULL;
}

static void work(void)
{
	pthread_t thread[2];
	void *p;

	errno = 0;
	for (size_t at = 0; at < 100; at++)
		take(at, A.malloc(at * 111), at * 111);
	for (size_t at = 100; at < 120; at++) {
		p = A.calloc(at, 300);
		CHECK(!p || fill__is_zero(p, at * 300));
		take(at, p, at * 300);
	}
	for (size_t at = 120; at < 135; at++)
		take(at, A.malloc(at * 700), at * 700);
	for (size_t at = 135; at < 150; at++)
		take(at, A.aligned_alloc((size_t)16 << at % 14, at * 100), at * 100);
	for (size_t at = 150; at < 155; at++) {
		p = NULL;
		errno = A.posix_memalign(&p, (size_t)4096 << at % 8, at * 300);
		take(at, p, at * 300);
	}
	for (size_t at = 155; at < 160; at++)
		take(at, A.malloc((at - 154) << 17), (at - 154) << 17);
	A.verify();
	for (size_t at = 155; at < 160; at++)
		resize(at, slot[at].size * (at % 3 + 1) / 2 + 1);
	for (size_t at = 50; at < 100; at += 5)
		resize(at, at * 1500);
	for (size_t t = 0; t < 2; t++)
		CHECK_EQ(pthread_create(&thread[t], NULL, thread_work, (void *)t), 0);
	for (size_t t = 0; t < 2; t++)
		CHECK_EQ(pthread_join(thread[t], NULL), 0);
	A.verify();
	for (size_t at = 0; at < 160; at += 2)
		let_go(at);
	A.malloc_trim(0);
	A.verify();
	for (size_t at = 160; at < SLOTS; at++)
		take(at, A.malloc(at * at), at * at);
	for (size_t at = 0; at < SLOTS; at++)
		let_go(at);
	A.malloc_trim(0);
	A.verify();
}

/* Exits 0 when the failure came, 1 when something is wrong, 2 when there were fewer calls than n. */
static int work_with_failure(void (*fail)(long), long n)
{
	size_t before = os_calls();

	fail(n);
	work();
	fail(0);
	if (os_calls() - before < (size_t)n)
		return 2;
	must_succeed = true;
	work();
	return 0;
}

static void each_n(void (*fail)(long))
{
	for (long n = 1;; n++) {
		pid_t child = fork();
		int status;

		CHECK(child >= 0);
		if (child == 0)
			_exit(work_with_failure(fail, n));
		CHECK_EQ(waitpid(child, &status, 0), child);
		if (WIFEXITED(status) && WEXITSTATUS(status) == 2) {
			/* The work needs the kernel often enough for this to be a test. */
			CHECK_LE(30, n);
			return;
		}
		CHECK_MSG(status == 0, "with call %ld failing: status %#x", n, (unsigned int)status);
	}
}

static void the_nth_call_fails(void)
{
	each_n(_mt_os_fail_at);
}

static void all_calls_from_the_nth_on_fail(void)
{
	each_n(_mt_os_fail_from);
}

/* With nothing at all to be had there is no block, and the failure is a plain one. */
static void nothing_from_the_start(void)
{
	size_t asked = 0;

	_mt_os_fail_from(1);
	for (size_t size = 0; size < 1 << 22; size = size * 2 + 1, asked += 4) {
		errno = 0;
		CHECK(!came(A.malloc(size)));
		errno = 0;
		CHECK(!came(A.calloc(1, size)));
		errno = 0;
		CHECK(!came(A.realloc(NULL, size)));
		errno = 0;
		CHECK(!came(A.aligned_alloc(64, size)));
	}
	CHECK_EQ(A.malloc_trim(0), 0);
	A.free(NULL);
	A.verify();
	_mt_os_fail_from(0);
	must_succeed = true;
	work();
	CHECK_EQ(refused, asked);
}

static const struct test_case cases[] = {
	CASE_WITHIN(the_nth_call_fails, 120),
	CASE_WITHIN(all_calls_from_the_nth_on_fail, 120),
	CASE(nothing_from_the_start),
};

CASES_MAIN(cases)
