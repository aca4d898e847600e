/* SPDX-License-Identifier: MIT */
/*
 * Calls at the edges of a process's and a thread's life: before libc's constructors, in those of
 * libraries, after main, in the destructors of thread data, and in libraries that come and go.
 */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/alloc/api.h"
#include "tests/alloc/case.h"
#include "tests/alloc/fill.h"
#include "tests/alloc/plugin.h"

/* Blocks of one stage; what the stage could not do it left NULL. */
struct stage {
	void *small, *large, *zero, *aligned;
};

static struct stage preinit, early, usual;

static void stage__fill(struct stage *s, uint64_t key)
{
	void *p = NULL;

	s->small = A.malloc(100);
	s->large = A.malloc(300000);
	s->zero = A.calloc(10, 100);
	if (!A.posix_memalign(&p, 4096, 5000))
		s->aligned = p;
	s->small = A.realloc(s->small, 200);
	if (s->small && s->large && s->aligned) {
		fill__block(s->small, 200, key);
		fill__block(s->large, 300000, key);
		fill__block(s->aligned, 5000, key);
	}
	A.free(A.malloc(50));
}

static void stage__check(const struct stage *s, uint64_t key)
{
	CHECK(s->small && s->large && s->zero && s->aligned);
	CHECK(fill__holds(s->small, 200, 200, key));
	CHECK(fill__holds(s->large, 300000, 300000, key));
	CHECK(fill__holds(s->aligned, 5000, 5000, key));
	CHECK(fill__is_zero(s->zero, 1000));
}

static void stage__free(struct stage *s)
{
	A.free(s->small);
	A.free(s->large);
	A.free(s->zero);
	A.free(s->aligned);
}

static void at_preinit(void)
{
	stage__fill(&preinit, 1);
}

__attribute__((section(".preinit_array"), used)) static void (*const in_preinit)(void) = at_preinit;

__attribute__((constructor(101))) static void at_first_constructor(void)
{
	stage__fill(&early, 2);
}

__attribute__((constructor)) static void at_constructor(void)
{
	stage__fill(&usual, 3);
}

static void blocks_from_before_main(void)
{
	stage__check(&preinit, 1);
	stage__check(&early, 2);
	stage__check(&usual, 3);
	stage__free(&preinit);
	stage__free(&early);
	stage__free(&usual);
	A.verify();
}

/* ---- after main ---- */

static bool late_wanted;
static struct stage for_later;

static void at_exit_first_registered(void)
{
	stage__check(&for_later, 4);
	stage__fill(&usual, 5);
	stage__check(&usual, 5);
	dprintf(STDERR_FILENO, "atexit\n");
}

static void late(const char *what)
{
	struct stage s;

	if (!late_wanted)
		return;
	stage__fill(&s, 6);
	stage__check(&s, 6);
	stage__free(&s);
	dprintf(STDERR_FILENO, "%s\n", what);
}

__attribute__((destructor)) static void at_destructor(void)
{
	late("destructor");
}

__attribute__((destructor(101))) static void at_last_destructor(void)
{
	if (late_wanted)
		stage__free(&for_later);
	late("last destructor");
}

static void exit_late(void *arg)
{
	(void)arg;
	late_wanted = true;
	stage__fill(&for_later, 4);
	atexit(at_exit_first_registered);
	exit(7);
}

static void calls_after_main(void)
{
	struct outcome out;

	child__run(exit_late, NULL, &out);
	CHECK_MSG(out.status == 7 << 8, "status %#x, stderr: %s", (unsigned int)out.status, out.text);
	CHECK_MSG(!strcmp(out.text, "atexit\ndestructor\nlast destructor\n"), "stderr: %s", out.text);
}

/* exit() from a thread that is not the first, while the first one works. */
static void *exit_from_here(void *arg)
{
	(void)arg;
	exit_late(NULL);
	return NULL;
}

static void exit_from_thread(void *arg)
{
	pthread_t thread;

	(void)arg;
	CHECK_EQ(pthread_create(&thread, NULL, exit_from_here, NULL), 0);
	for (;;)
		A.free(A.malloc(100));
}

static void exit_in_a_thread_while_others_work(void)
{
	struct outcome out;

	child__run(exit_from_thread, NULL, &out);
	CHECK_MSG(out.status == 7 << 8, "status %#x, stderr: %s", (unsigned int)out.status, out.text);
	CHECK(!strcmp(out.text, "atexit\ndestructor\nlast destructor\n"));
}

/* The first thread ends before the others; the last one ends the process. */
static void *outlive_the_first_thread(void *first)
{
	pthread_join(*(pthread_t *)first, NULL);
	exit_late(NULL);
	return NULL;
}

static void end_first_thread(void *arg)
{
	static pthread_t self;
	pthread_t thread;

	(void)arg;
	self = pthread_self();
	A.free(A.malloc(100));
	CHECK_EQ(pthread_create(&thread, NULL, outlive_the_first_thread, &self), 0);
	pthread_exit(NULL);
}

static void the_first_thread_ends_first(void)
{
	struct outcome out;

	child__run(end_first_thread, NULL, &out);
	CHECK_MSG(out.status == 7 << 8, "status %#x, stderr: %s", (unsigned int)out.status, out.text);
	CHECK(!strcmp(out.text, "atexit\ndestructor\nlast destructor\n"));
}

/* ---- signals ---- */

static void never(int number)
{
	(void)number;
	case__fail(__FILE__, __LINE__, "the signal was delivered");
}

/* Whatever the allocator runs besides the program's threads takes none of the program's signals. */
static void signals_are_the_programs(void)
{
	struct sigaction act = {.sa_handler = never};
	static void *p[5000];
	sigset_t blocked, pending;

	sigemptyset(&blocked);
	sigaddset(&blocked, SIGUSR1);
	sigaddset(&blocked, SIGALRM);
	sigaddset(&blocked, SIGTERM);
	CHECK_EQ(pthread_sigmask(SIG_BLOCK, &blocked, NULL), 0);
	for (int signal = 1; signal < 32; signal++)
		if (sigismember(&blocked, signal))
			CHECK_EQ(sigaction(signal, &act, NULL), 0);
	/* A peak that comes and goes, for what is done later to be under way. */
	for (size_t i = 0; i < 5000; i++) {
		p[i] = A.malloc(10000);
		CHECK(p[i]);
		memset(p[i], 1, 10000);
	}
	for (size_t i = 0; i < 5000; i++)
		A.free(p[i]);
	CHECK_EQ(kill(getpid(), SIGUSR1), 0);
	CHECK_EQ(kill(getpid(), SIGALRM), 0);
	CHECK_EQ(kill(getpid(), SIGTERM), 0);
	for (int i = 0; i < 100; i++) {
		A.free(A.malloc(100000));
		sched_yield();
	}
	CHECK_EQ(sigpending(&pending), 0);
	CHECK(sigismember(&pending, SIGUSR1) && sigismember(&pending, SIGALRM) &&
	      sigismember(&pending, SIGTERM));
}

/* ---- the end of a thread ---- */

#define KEYS 20
static pthread_key_t keys[KEYS];
static unsigned int destructor_calls;

/* Runs before and after the allocator's own farewell, whatever the order of the keys is; sets its
 * key again until libc gives up. */
static void at_thread_end(void *value)
{
	unsigned char *p = value;
	unsigned int k = p[0];
	struct stage s;

	CHECK(fill__range_holds(p, 8, 2048, k));
	A.free(p);
	stage__fill(&s, k);
	stage__check(&s, k);
	stage__free(&s);
	p = A.malloc(2048);
	CHECK(p);
	p[0] = (unsigned char)k;
	fill__range(p, 8, 2048, k);
	CHECK_EQ(pthread_setspecific(keys[k], p), 0);
	__atomic_fetch_add(&destructor_calls, 1, __ATOMIC_RELAXED);
}

static void *set_keys(void *arg)
{
	(void)arg;
	for (unsigned int k = 0; k < KEYS; k++) {
		unsigned char *p = A.malloc(2048);

		CHECK(p);
		p[0] = (unsigned char)k;
		fill__range(p, 8, 2048, k);
		CHECK_EQ(pthread_setspecific(keys[k], p), 0);
	}
	return NULL;
}

static void calls_in_destructors_of_thread_data(void)
{
	unsigned int threads = 200;
	pthread_t thread;

	for (unsigned int k = 0; k < KEYS; k++) {
		CHECK_EQ(pthread_key_create(&keys[k], at_thread_end), 0);
		/* Some keys older, some younger than what the allocator itself creates. */
		if (k == KEYS / 2)
			A.free(A.malloc(10));
	}
	for (unsigned int i = 0; i < threads; i++) {
		CHECK_EQ(pthread_create(&thread, NULL, set_keys, NULL), 0);
		CHECK_EQ(pthread_join(thread, NULL), 0);
	}
	CHECK_LE(threads * KEYS, destructor_calls);
	A.verify();
	/* The blocks of the last iteration are leaked by the program: 40 kB a thread, no more. */
	CHECK_LE(A.mallinfo2().uordblks, threads * KEYS * 2600 + (4 << 20));
}

/* A detached thread that allocates last of all, while the process goes on. */
static unsigned int detached_done;

static void *detached(void *arg)
{
	A.free(arg);
	A.free(A.calloc(3, 1000));
	__atomic_fetch_add(&detached_done, 1, __ATOMIC_RELEASE);
	return NULL;
}

static void detached_threads(void)
{
	pthread_attr_t attr;
	pthread_t thread;
	unsigned int n = 500;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	for (unsigned int i = 0; i < n; i++) {
		CHECK_EQ(pthread_create(&thread, &attr, detached, A.malloc(i * 10)), 0);
		while (i % 50 == 0 && __atomic_load_n(&detached_done, __ATOMIC_ACQUIRE) <= i)
			sched_yield();
	}
	while (__atomic_load_n(&detached_done, __ATOMIC_ACQUIRE) < n)
		sched_yield();
	A.verify();
}

/* ---- libraries that come and go ---- */

static const char *plugin_path(void)
{
	const char *path = getenv("ALLOC_PLUGIN");

	CHECK(path);
	return path;
}

static void a_library_that_comes_and_goes(void)
{
	for (int i = 0; i < 300; i++) {
		void *library = dlopen(plugin_path(), RTLD_NOW | RTLD_LOCAL), *kept;
		plugin_work_fn *work;

		CHECK_MSG(library, "%s", dlerror());
		work = (plugin_work_fn *)dlsym(library, "plugin__work");
		CHECK(work);
		kept = work(&A, 1000);
		CHECK(kept);
		CHECK_EQ(dlclose(library), 0);
		CHECK(fill__holds(kept, 1000, 1000, 11));
		A.free(kept);
	}
	A.verify();
}

static void *load_in_thread(void *arg)
{
	(void)arg;
	a_library_that_comes_and_goes();
	return NULL;
}

static void libraries_that_come_and_go_in_threads(void)
{
	pthread_t thread[3];

	for (int t = 0; t < 3; t++)
		CHECK_EQ(pthread_create(&thread[t], NULL, load_in_thread, NULL), 0);
	for (int t = 0; t < 3; t++)
		CHECK_EQ(pthread_join(thread[t], NULL), 0);
	A.verify();
}

/* Another libc in the same process, with an allocator and a copy of the break of its own. */
static void another_libc_in_a_namespace_of_its_own(void)
{
	static void *mine[100];
	void *library, *kept;
	plugin_work_fn *work;

	library = dlmopen(LM_ID_NEWLM, plugin_path(), RTLD_NOW | RTLD_LOCAL);
	CHECK_MSG(library, "%s", dlerror());
	work = (plugin_work_fn *)dlsym(library, "plugin__own_malloc");
	CHECK(work);
	for (int round = 0; round < 200; round++) {
		for (size_t i = 0; i < 100; i++) {
			mine[i] = A.malloc(2000 + i);
			CHECK(mine[i]);
			fill__block(mine[i], 2000 + i, i);
		}
		kept = work(NULL, 5000);
		CHECK(kept);
		CHECK(fill__holds(kept, 5000, 5000, 12));
		for (size_t i = 0; i < 100; i++) {
			CHECK(fill__holds(mine[i], 2000 + i, 2000 + i, i));
			if (round % 2)
				A.free(mine[i]);
		}
	}
	A.verify();
}

static const struct test_case cases[] = {
	CASE(blocks_from_before_main),
	CASE(calls_after_main),
	CASE(exit_in_a_thread_while_others_work),
	CASE(the_first_thread_ends_first),
	CASE(signals_are_the_programs),
	CASE(calls_in_destructors_of_thread_data),
	CASE(detached_threads),
	CASE(a_library_that_comes_and_goes),
	CASE(libraries_that_come_and_go_in_threads),
	CASE(another_libc_in_a_namespace_of_its_own),
};

CASES_MAIN(cases)
