/* SPDX-License-Identifier: MIT */
/*
 * A thread's walk of its own stack, beside what libgcc's unwinder makes of it, through calls of
 * all kinds; each with a walker that remembers its last walk and with one that knows nothing.
 */
#include <alloca.h>
#include <dlfcn.h>
#include <execinfo.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include <cmocka.h>

#include "bpf/event.h"
#include "lib/trace/sampler.h"
#include "lib/trace/walk.h"
#include "lib/trace/walk_os.h"
#include "tests/unit/dice.h"

#define NODES 65536
#define ENTRY 0x1234
#define ROOM 200
/* clang knows no noclone, and makes no clones of what it does not inline. */
#ifdef __clang__
#define NOINLINE __attribute__((noinline))
#else
#define NOINLINE __attribute__((noinline, noclone))
#endif
#ifdef __clang__
#define FRAME_POINTER
#else
#define FRAME_POINTER __attribute__((optimize("no-omit-frame-pointer")))
#endif

_Static_assert(WALK_FRAMES == STACK_FRAMES && WALK_TRUNCATED == STACK_TRUNCATED &&
		       WALK_BROKEN == STACK_BROKEN && WALK_GUESSED == STACK_GUESSED &&
		       WALK_CHECKED == STACK_CHECKED,
	       "a walk's flags are those of a record");

static struct stack_table table;
static __thread struct walker walker, fresh;
static volatile unsigned barrier;

/* ---- taking stacks ---- */

struct taken {
	unsigned n;
	uint32_t id, flags;
	uint64_t ip[ROOM];
};

static struct taken taken; /* by the last take() */
static unsigned takes;

static void expect_same(const struct taken *t, void **libgcc, int n)
{
	int i, skip = 0;

	/* What libgcc has of take() itself. */
	while (skip < n && (uint64_t)libgcc[skip] != t->ip[1])
		skip++;
	assert_true(skip < n);
	for (i = 0; skip + i < n && i < WALK_FRAMES - 1; i++) {
		assert_true((unsigned)i + 1 < t->n);
		/* It does not add 1 to the address that a signal interrupted. */
		if (t->ip[i + 1] != (uint64_t)libgcc[skip + i])
			assert_int_equal(t->ip[i + 1], (uint64_t)libgcc[skip + i] + 1);
	}
}

/* Take the stack of the caller: its callers' frames are those that are looked at. */
static NOINLINE uint32_t take(void)
{
	struct walk_regs regs;
	uint64_t top = WALK_TOP();
	struct taken t;
	uint32_t again;
	void *libgcc[ROOM];

	walk__here(&regs);
	t.id = walker__take(&walker, &table, &regs, top, ENTRY);
	memset(&fresh, 0, sizeof(fresh));
	walker__begin(&fresh);
	again = walker__take(&fresh, &table, &regs, top, ENTRY);
	assert_int_equal(t.id, again);
	t.n = stack_table__read(&table, t.id, t.ip, ROOM, &t.flags);
	assert_true(t.n >= 2);
	assert_int_equal(t.ip[0], ENTRY);
	expect_same(&t, libgcc, backtrace(libgcc, ROOM));
	taken = t;
	takes++;
	return t.id;
}

static void expect_whole(void)
{
	assert_int_equal(taken.flags, WALK_CHECKED);
}

static int setup(void **state)
{
	size_t bytes = stack_table__bytes(NODES);
	void *warm[2];

	(void)state;
	table.nodes = NODES;
	table.node = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(table.node != MAP_FAILED);
	walk__init(mmap(NULL, WALK_SHARED_BYTES, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
		   WALK_SHARED_BYTES);
	walker__begin(&walker);
	backtrace(warm, 2);
	return 0;
}

/* ---- frames of all kinds ---- */

typedef void (*shape_fn)(unsigned depth, unsigned n);

static void deeper(unsigned depth);

static NOINLINE void plain(unsigned depth, unsigned n)
{
	deeper(depth);
	barrier += n;
}

/* Calls from two places of its own. */
static NOINLINE void forked(unsigned depth, unsigned n)
{
	if (n & 1) {
		deeper(depth);
		barrier++;
	} else {
		deeper(depth);
		barrier += 2;
	}
	barrier += n;
}

static NOINLINE void with_alloca(unsigned depth, unsigned n)
{
	volatile char *room = alloca(16 + 16 * (n & 3));

	room[0] = 1;
	deeper(depth);
	barrier += room[0];
}

static NOINLINE void with_aligned(unsigned depth, unsigned n)
{
	_Alignas(64) volatile char line[64] = {0};
	volatile char *room = alloca(16 + n % 50);

	room[0] = line[0];
	deeper(depth);
	barrier += line[0] + room[0] + (unsigned)(size_t)line;
}

static NOINLINE void with_large_frame(unsigned depth, unsigned n)
{
	volatile char room[9000];

	room[0] = room[sizeof(room) - 1] = (char)n;
	deeper(depth);
	barrier += room[0];
}

FRAME_POINTER static NOINLINE void with_frame(unsigned depth, unsigned n)
{
	deeper(depth);
	barrier += n;
}

/* Many values that live across the call: all registers are saved. */
static NOINLINE void with_registers(unsigned depth, unsigned n)
{
	unsigned a = barrier, b = barrier + n, c = barrier * 3, d = barrier - 5, e = barrier ^ 7;

	deeper(depth);
	barrier += a + b * 2 + c * 3 + d * 5 + e * 7;
}

static int compare(const void *a, const void *b)
{
	unsigned *depth = *(unsigned **)a ? *(unsigned **)a : *(unsigned **)b;

	if (*depth) {
		unsigned now = *depth;

		*depth = 0;
		deeper(now);
	}
	return 0;
}

static NOINLINE void through_qsort(unsigned depth, unsigned n)
{
	unsigned left = depth;
	unsigned *two[2] = {&left, &left};

	qsort(two, 2, sizeof(*two), compare);
	if (!depth)
		deeper(0);
	barrier += n;
}

static const shape_fn shapes[] = {plain,	  forked,	    with_alloca,
				  with_aligned,	  with_large_frame, with_frame,
				  with_registers, through_qsort};

static void deeper(unsigned depth)
{
	unsigned n = (unsigned)(dice64() >> 40), turns = 1 + n % 3;

	if (!depth) {
		take();
		barrier++;
		return;
	}
	/* More than once from a frame, so that the next stack shares what is outside. */
	while (turns--) {
		shapes[n % (sizeof(shapes) / sizeof(*shapes))](n & 64 ? 0 : depth - 1, n >> 8);
		n = (unsigned)(dice64() >> 40);
		barrier++;
	}
}

static void random_calls(void **state)
{
	int i;

	(void)state;
	takes = 0;
	for (i = 0; i < 300; i++)
		deeper(dice(9));
	expect_whole();
	assert_true(takes > 1000);
}

static NOINLINE unsigned recurse(unsigned depth)
{
	unsigned n;

	if (!depth)
		return take();
	n = recurse(depth - 1);
	barrier++;
	return n;
}

static void too_deep(void **state)
{
	unsigned depth;

	(void)state;
	/* One of the frames is that of take(), and the entry stands in its place. */
	for (depth = 90; depth < 160; depth++) {
		recurse(depth);
		if (taken.flags & WALK_TRUNCATED)
			assert_int_equal(taken.n, WALK_FRAMES);
		else
			assert_true(taken.n < WALK_FRAMES + 1);
	}
	assert_int_equal(taken.flags, WALK_TRUNCATED | WALK_CHECKED);
	recurse(3);
	expect_whole();
}

/* The same two frames, called from two places at one depth: their callers differ. */
static NOINLINE uint32_t inner(void)
{
	uint32_t id = take();

	barrier++;
	return id;
}

static NOINLINE uint32_t left(void)
{
	uint32_t id = inner();

	barrier++;
	return id;
}

static NOINLINE uint32_t right(void)
{
	uint32_t id = inner();

	barrier += 2;
	return id;
}

static void equal_frames_with_other_callers(void **state)
{
	uint32_t first[2] = {0, 0}, id;
	uint64_t ip = 0;
	int i;

	(void)state;
	for (i = 0; i < 6; i++) {
		id = (i & 1 ? left : right)();
		assert_true(!first[i & 1] || first[i & 1] == id);
		first[i & 1] = id;
		assert_true(!ip || ip == taken.ip[1]);
		ip = taken.ip[1];
		expect_whole();
	}
	assert_int_not_equal(first[0], first[1]);
}

/* ---- signals ---- */

static volatile sig_atomic_t handled;

static void on_signal(int number)
{
	(void)number;
	take();
	expect_whole();
	handled++;
}

static NOINLINE void interrupted(volatile int *nothing)
{
	*nothing = 1;
	barrier++;
}

static void on_fault(int number, siginfo_t *info, void *context)
{
	(void)number, (void)context;
	take();
	expect_whole();
	handled++;
	mprotect((void *)((unsigned long)info->si_addr & ~4095UL), 4096, PROT_READ | PROT_WRITE);
}

static void signals(int flags)
{
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = flags}, before;
	int i;

	for (i = 0; i < 3; i++) {
		sigaction(SIGUSR1, &action, NULL);
		handled = 0;
		recurse(2);
		raise(SIGUSR1);
		action.sa_flags = flags | SA_SIGINFO;
		action.sa_sigaction = on_fault;
		sigaction(SIGSEGV, &action, &before);
		void *p = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		interrupted(p);
		munmap(p, 4096);
		sigaction(SIGSEGV, &before, NULL);
		action.sa_flags = flags;
		action.sa_handler = on_signal;
		assert_int_equal(handled, 2);
		recurse(2);
		expect_whole();
	}
}

static void in_a_signal(void **state)
{
	(void)state;
	signals(0);
}

static void on_another_stack(void **state)
{
	stack_t alt = {.ss_size = 262144}, off = {.ss_flags = SS_DISABLE};

	(void)state;
	alt.ss_sp =
		mmap(NULL, alt.ss_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	sigaltstack(&alt, NULL);
	signals(SA_ONSTACK);
	sigaltstack(&off, NULL);
	munmap(alt.ss_sp, alt.ss_size);
}

static ucontext_t main_context, routine_context;

static void routine(void)
{
	for (;;) {
		recurse(3);
		/* What makecontext() returns to begins there: the table does not tell its end. */
		assert_int_equal(taken.flags & WALK_TRUNCATED, 0);
		swapcontext(&routine_context, &main_context);
	}
}

static void on_a_coroutine(void **state)
{
	char *stack = mmap(NULL, 262144, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int i;

	(void)state;
	getcontext(&routine_context);
	routine_context.uc_stack.ss_sp = stack;
	routine_context.uc_stack.ss_size = 262144;
	makecontext(&routine_context, routine, 0);
	for (i = 0; i < 5; i++) {
		swapcontext(&main_context, &routine_context);
		recurse(2);
		expect_whole();
	}
	munmap(stack, 262144);
}

static jmp_buf out;

static void leave(int number)
{
	(void)number;
	recurse(1);
	longjmp(out, 1);
}

static void left_by_longjmp(void **state)
{
	volatile int i;

	(void)state;
	for (i = 0; i < 5; i++) {
		if (!setjmp(out)) {
			signal(SIGUSR2, leave);
			raise(SIGUSR2);
		}
		sigset_t set;

		sigemptyset(&set);
		sigaddset(&set, SIGUSR2);
		sigprocmask(SIG_UNBLOCK, &set, NULL);
		recurse(4);
		expect_whole();
	}
}

/* ---- walks that other walks interrupt ---- */

static volatile unsigned ticks;

static void on_tick(int number)
{
	struct walk_regs regs;
	uint64_t ip[ROOM];
	uint32_t flags, id;

	(void)number;
	walk__here(&regs);
	id = walker__take(&walker, &table, &regs, WALK_TOP(), ENTRY + 1);
	if (!stack_table__read(&table, id, ip, ROOM, &flags) || ip[0] != ENTRY + 1)
		abort();
	ticks++;
}

static NOINLINE uint32_t take_quick(void)
{
	struct walk_regs regs;

	walk__here(&regs);
	return walker__take(&walker, &table, &regs, WALK_TOP(), ENTRY);
}

static NOINLINE uint32_t quick(unsigned depth)
{
	uint32_t id = depth ? quick(depth - 1) : take_quick();

	barrier++;
	return id;
}

static void interrupted_at_any_place(void **state)
{
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM};
	struct itimerspec every = {{0, 20000}, {0, 20000}}, never = {{0, 0}, {0, 0}};
	unsigned i, cut = 0, turns = 0;
	uint32_t want[8], id, flags;
	uint64_t ip[ROOM];
	timer_t timer;

	(void)state;
	for (i = 0; i < 2 * 8; i++) /* one place, so that the stacks are the same */
		want[i % 8] = quick(i % 8);
	signal(SIGALRM, on_tick);
	assert_int_equal(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
	ticks = 0;
	timer_settime(timer, 0, &every, NULL);
	while (ticks < 3000) {
		for (i = 0; i < 8; i++) {
			walker.children[dice(WALK_CHILDREN)].key++;
			id = quick(i);
			turns++;
			stack_table__read(&table, id, ip, ROOM, &flags);
			assert_int_equal(ip[0], ENTRY);
			cut += flags == WALK_BROKEN;
		}
	}
	timer_settime(timer, 0, &never, NULL);
	timer_delete(timer);
	/* Hardly any was hit in the middle, all others are whole. */
	assert_true(cut <= ticks);
	assert_true(turns > 0);
	for (i = 0; i < 8; i++)
		stack_table__read(&table, want[i], ip, ROOM, &flags);
	recurse(2);
	expect_whole();
}

/* ---- threads, libraries, fork ---- */

static void *thread(void *argument)
{
	int i;

	(void)argument;
	walker__begin(&walker);
	for (i = 0; i < 20; i++) {
		recurse(i % 5);
		expect_whole();
	}
	assert_true(walker.own_end != 0);
	return NULL;
}

static void in_threads(void **state)
{
	pthread_attr_t small;
	pthread_t t;
	int i;

	(void)state;
	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 131072);
	for (i = 0; i < 10; i++) {
		assert_int_equal(pthread_create(&t, i & 1 ? &small : NULL, thread, NULL), 0);
		pthread_join(t, NULL);
	}
	pthread_attr_destroy(&small);
}

static void in_a_child(void **state)
{
	pid_t pid;
	int status;

	(void)state;
	recurse(3);
	pid = fork();
	if (!pid) {
		recurse(3);
		_exit(taken.flags == WALK_CHECKED ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/*
 * The loader's frees are how the end of a library is seen: as a producer's, this free() tells of
 * them. Not under ASan, whose own it would be.
 */
#if !defined(__SANITIZE_ADDRESS__) && defined(__GLIBC__)
#define FREE_IS_OURS 1

extern void __libc_free(void *block);

/* Who does not look at each free looks at these. */
static struct sampled watched;

static void watch(const void *block)
{
	sampled__watch(&watched, block);
}

void free(void *block)
{
	if (!watched.filter || sampled__may_have(&watched, block))
		walk__watch_free(block, (uintptr_t)__builtin_return_address(0));
	__libc_free(block);
}

static bool frees_pass(void)
{
	unsigned all = 0;

	sampled__prepare(&watched);
	walk__watch(watch);
	for (unsigned i = 0; i < 1U << SAMPLED_FILTER_LOG2; i++)
		all += watched.filter[i] != 0;
	return all < 100;
}
#else
#define FREE_IS_OURS 0
#define frees_pass() true
#endif

static const char library[] = "void call(void (*f)(void)) { volatile char room[BYTES];"
			      " room[0] = 1; f(); room[1] = 2; }\n";

static void *library__open(const char *dir, unsigned bytes)
{
	char path[128], command[512];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%u.c", dir, bytes);
	f = fopen(path, "we");
	assert_non_null(f);
	fputs(library, f);
	fclose(f);
	snprintf(command, sizeof(command), "cc -O2 -shared -fPIC -DBYTES=%u -o %s/%u.so %s", bytes,
		 dir, bytes, path);
	assert_int_equal(system(command), 0);
	snprintf(path, sizeof(path), "%s/%u.so", dir, bytes);
	return dlopen(path, RTLD_NOW);
}

static void taken_within(void)
{
	take();
	barrier++;
}

static volatile bool ended;

/* Walks all the while that libraries come and go. */
static void *other_walker(void *argument)
{
	struct walk_regs regs;

	(void)argument;
	walker__begin(&walker);
	while (!ended) {
		walk__here(&regs);
		if (!walker__take(&walker, &table, &regs, WALK_TOP(), ENTRY))
			abort();
	}
	return NULL;
}

/* Libraries that take each other's place, and differ in how large a frame is. */
static void libraries_that_come_and_go(void **state)
{
	static const unsigned bytes[] = {40, 400, 4000};
	char dir[] = "/tmp/test-walk-XXXXXX", command[64], path[128];
	void *at[3] = {0}, *l;
	static void *kept[64];
	void (*call)(void (*)(void));
	pthread_t other;
	unsigned i, n;

	(void)state;
	if (!FREE_IS_OURS || system("cc --version >/dev/null 2>&1"))
		skip();
	assert_non_null(mkdtemp(dir));
	ended = false;
	for (i = 0; i < 3; i++)
		dlclose(library__open(dir, bytes[i]));
	pthread_create(&other, NULL, other_walker, NULL);
	for (i = 0; i < 60; i++) {
		snprintf(path, sizeof(path), "%s/%u.so", dir, bytes[i % 3]);
		l = dlopen(path, RTLD_NOW);
		assert_non_null(l);
		*(void **)&call = at[i % 3] = dlsym(l, "call");
		call(taken_within);
		expect_whole();
		assert_int_equal(dlclose(l), 0);
		/* What the loader had for it is not to be there for another, or it would be known already. */
		if (i == 10)
			for (n = 0; n < sizeof(kept) / sizeof(kept[0]); n++)
				kept[n] = malloc(1000 + 8 * n);
	}
	for (n = 0; n < sizeof(kept) / sizeof(kept[0]); n++)
		free(kept[n]);
	ended = true;
	pthread_join(other, NULL);
	/* Else nothing was shown. */
	assert_ptr_equal(at[0], at[1]);
	assert_ptr_equal(at[1], at[2]);
	snprintf(command, sizeof(command), "rm -r %s", dir);
	assert_int_equal(system(command), 0);
}

/* The same, and what is not watched is not looked at. Also of libraries that are known already. */
static void libraries_that_are_watched(void **state)
{
	if (FREE_IS_OURS)
		assert_true(frees_pass());
	libraries_that_come_and_go(state);
}

/* ---- code without tables ---- */

/* push %rbp; mov %rsp,%rbp; call *%rdi; pop %rbp; ret */
static const unsigned char framed[] = {0x55, 0x48, 0x89, 0xe5, 0xff, 0xd7, 0x5d, 0xc3};
/* push %rbp; mov $PATTERN,%ebp; call *%rdi; pop %rbp; ret */
static const unsigned char unframed[] = {0x55, 0xbd, 0x11, 0x22, 0x33,
					 0x44, 0xff, 0xd7, 0x5d, 0xc3};

static void callback(void)
{
	struct walk_regs regs;
	struct taken t;

	walk__here(&regs);
	t.id = walker__take(&walker, &table, &regs, WALK_TOP(), ENTRY);
	t.n = stack_table__read(&table, t.id, t.ip, ROOM, &t.flags);
	taken = t;
}

static NOINLINE void made_at_run_time(void *code)
{
	((void (*)(void (*)(void)))code)(callback);
	barrier++;
}

static void code_of_no_file(void **state)
{
	unsigned char *code = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
				   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)state;
	memcpy(code, framed, sizeof(framed));
	made_at_run_time(code);
	assert_int_equal(taken.ip[1], (uint64_t)code + 6);
	assert_int_equal(taken.flags & (WALK_CHECKED | WALK_GUESSED), WALK_GUESSED);
	assert_true(taken.n > 3);

	memcpy(code + 64, unframed, sizeof(unframed));
	made_at_run_time(code + 64);
	assert_int_equal(taken.ip[1], (uint64_t)code + 64 + 8);
	assert_int_equal(taken.n, 2);
	assert_true(taken.flags & WALK_BROKEN);
	munmap(code, 4096);
	recurse(2);
	expect_whole();
}

/* ---- without the loader's help ---- */

static void where_code_is_mapped(void **state)
{
	void *const somewhere[] = {(void *)where_code_is_mapped, dlsym(RTLD_DEFAULT, "qsort"),
				   dlsym(RTLD_DEFAULT, "cm_print_error")};
	uint64_t start, end, at;
	Dl_info info;
	unsigned i;

	(void)state;
	for (i = 0; i < sizeof(somewhere) / sizeof(*somewhere); i++) {
		at = (uint64_t)somewhere[i];
		assert_true(at && dladdr(somewhere[i], &info));
		assert_true(walk_os__mapped(at, &start, &end));
		assert_int_equal(start, (uint64_t)info.dli_fbase);
		assert_true(end > at);
	}
	assert_false(walk_os__mapped((uint64_t)&start, &start, &end));
	assert_false(walk_os__mapped(0, &start, &end));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_calls),
		cmocka_unit_test(too_deep),
		cmocka_unit_test(equal_frames_with_other_callers),
		cmocka_unit_test(in_a_signal),
		cmocka_unit_test(on_another_stack),
		cmocka_unit_test(on_a_coroutine),
		cmocka_unit_test(left_by_longjmp),
		cmocka_unit_test(interrupted_at_any_place),
		cmocka_unit_test(in_threads),
		cmocka_unit_test(in_a_child),
		cmocka_unit_test(libraries_that_come_and_go),
		cmocka_unit_test(libraries_that_are_watched),
		cmocka_unit_test(code_of_no_file),
		cmocka_unit_test(where_code_is_mapped),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
