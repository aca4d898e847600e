/* SPDX-License-Identifier: MIT */
/*
 * The protocol of the ring plane, instruction by instruction: one side runs with the processor's trap
 * flag, and after each instruction of it a copy of the process is made, in which the other side has its
 * turn there, or the first one dies there. So each state that the shared memory can be in is met,
 * whatever the compiler made of the code; it is the code of both sides that runs in production.
 *
 * What holds throughout: a record that is told is whole, its writer's, and told once and in order; what is
 * not told is counted, or is in the ring still, or is the one that its writer was killed in.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/ring_lib.h"

/* A trap takes some microseconds, a copy some hundred; sanitizers' code is longer. */
#define PLACES 1200 /* of one way, at most */
#ifdef __SANITIZE_ADDRESS__
#define STRIDE 7
#else
#define STRIDE 1
#endif
#define HANG_SECONDS 60

static struct {
	void (*turn)(void); /* at each place; NULL: it dies there */
	void (*end)(bool whole); /* what is to hold then */
	unsigned now; /* instructions from the begin */
	bool copy; /* in a copy */
	bool always; /* no copies: a turn after each instruction */
	bool failed;
	bool timeless; /* the clock stands still: whoever waits is never out of patience */
	struct timespec stood;
} steps;

/* In place of libc's. */
int clock_gettime(clockid_t clock, struct timespec *now)
{
	if (!steps.timeless)
		return (int)syscall(SYS_clock_gettime, clock, now);
	*now = steps.stood;
	return 0;
}

static void time__stop(void)
{
	clock_gettime(CLOCK_MONOTONIC, &steps.stood);
	steps.timeless = true;
}

/* As assert_true(); in a copy there is no test to fail, but a status. */
#define holds(condition)                                                                  \
	do {                                                                              \
		if (condition)                                                            \
			break;                                                            \
		print_error("%s:%d: does not hold after %u instructions: %s\n", __FILE__, \
			    __LINE__, steps.now, #condition);                             \
		if (steps.copy)                                                           \
			_exit(1);                                                         \
		fail();                                                                   \
	} while (0)

/* The flags, past what may be in use below the stack pointer. */
#define STEPS_SET(how)                                                                           \
	__asm__ volatile("lea -128(%%rsp), %%rsp; pushfq; " how "; popfq; lea 128(%%rsp), %%rsp" \
			 :                                                                       \
			 :                                                                       \
			 : "memory", "cc")
#define STEPS_ON() STEPS_SET("orq $0x100, (%%rsp)")
#define STEPS_OFF() STEPS_SET("andq $~0x100, (%%rsp)")

/* A copy of the segment too, at its address. */
static void steps__part(void)
{
	void *at = (void *)(uintptr_t)segment__header(bed.segment);

	steps.copy = true;
	alarm(HANG_SECONDS);
	if (mmap(at, segment__bytes(bed.segment), PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, bed.fd, 0) != at)
		_exit(2);
	writer__begin(&bed.writers[0]);
}

static void steps__finish(bool whole)
{
	steps.end(whole);
	holds(!bed.misread);
	holds(!bed__counts().malformed);
	_exit(0);
}

static void steps__trap(int number, siginfo_t *info, void *context)
{
	ucontext_t *c = context;
	int status = 1;
	pid_t copy;

	(void)number, (void)info;
	if (steps.always) {
		steps.turn();
		return;
	}
	if (steps.now++ % STRIDE)
		return;
	copy = fork();
	if (copy) {
		waitpid(copy, &status, 0);
		steps.failed |= status != 0;
		if (!steps.failed && steps.now < PLACES)
			return;
		steps.timeless = false;
	} else {
		steps__part();
		if (!steps.turn)
			steps__finish(false);
		steps.turn();
	}
	/* The rest of the way is gone at full speed. */
	c->uc_mcontext.gregs[REG_EFL] &= ~0x100;
}

static void steps__each(void (*begin)(void), void (*way)(void), void (*turn)(void),
			void (*end)(bool whole))
{
	memset(&steps, 0, sizeof(steps));
	begin();
	steps.turn = turn;
	steps.end = end;
	STEPS_ON();
	way();
	STEPS_OFF();
	if (steps.copy)
		steps__finish(true);
	assert_false(steps.failed);
	assert_true(steps.now > 10);
	bed__end();
}

static struct bed_writer *writer(unsigned i)
{
	return &bed.writers[i];
}

static void begin_new(void)
{
	bed__begin(8, true);
	writer__begin(writer(0));
}

/* The process has its segment, and the first writer its ring. */
static void begin_writing(void)
{
	begin_new();
	writer__call(writer(0));
	bed__collect();
}

static void write_some(void)
{
	for (int i = 0; i < 3; i++)
		writer__call(writer(0));
}

static void write_by_second(void)
{
	writer__begin(writer(1));
	for (int i = 0; i < 2; i++)
		writer__call(writer(1));
	bed__collect();
	/* It is there at once, whatever the first one is about to do. */
	if (writer(1)->told != 2)
		bed.misread++;
}

static void all_is_told(bool whole)
{
	uint32_t calls = 0, told = 0;

	holds(whole);
	bed__collect();
	for (unsigned i = 0; i < BED_WRITERS; i++) {
		calls += writer(i)->calls;
		told += writer(i)->told;
	}
	holds(bed__counts().lost == 0);
	holds(told == calls);
}

static void the_collector_looks_at_any_moment(void **state)
{
	(void)state;
	steps__each(begin_new, write_some, bed__collect, all_is_told);
	steps__each(begin_writing, write_some, bed__collect, all_is_told);
}

static void the_collector_looks_at_each_moment(void **state)
{
	(void)state;
	begin_writing();
	memset(&steps, 0, sizeof(steps));
	steps.always = true;
	steps.turn = bed__collect;
	STEPS_ON();
	write_some();
	STEPS_OFF();
	all_is_told(true);
	holds(!bed.misread);
	bed__end();
}

/* The slot, the thread's arrival, its records. The segment is there already: two threads that look for it at
 * the same time wait for one another. */
static void begin_attached(void)
{
	begin_new();
	holds(producer__attach(&_producer.p) == 0);
	producer__set_generation(&_producer.p, GENERATION_FIRST);
}

static void another_thread_arrives_at_any_moment(void **state)
{
	(void)state;
	steps__each(begin_attached, write_some, write_by_second, all_is_told);
}

static void leave(void)
{
	producer__leave_thread(&writer(0)->t);
}

static void another_thread_arrives_while_one_leaves(void **state)
{
	(void)state;
	steps__each(begin_writing, leave, write_by_second, all_is_told);
}

/* Its thread has died: whoever has the slot next goes on behind the last whole record. */
static void died_and_was_followed(bool whole)
{
	uint32_t before;

	holds(!whole);
	bed__collect();
	before = writer(0)->told;
	holds(before >= writer(0)->calls && before <= writer(0)->calls + 1);
	segment__end_thread(bed.segment, (pid_t)writer(0)->tids[0]);
	writer__begin(writer(1));
	for (int i = 0; i < 3; i++)
		writer__call(writer(1));
	bed__collect();
	holds(writer(0)->told == before);
	holds(writer(1)->told == 3);
	holds(writer(1)->t.slot == (writer(0)->t.slot ?: writer(1)->t.slot));
}

static void the_writer_dies_at_any_moment(void **state)
{
	(void)state;
	steps__each(begin_writing, write_some, NULL, died_and_was_followed);
	steps__each(begin_attached, write_some, NULL, died_and_was_followed);
}

/* So that the next call finds no room. */
static void fill(void)
{
	struct bed_writer *w = writer(0);
	struct rec_heap next;

	for (;;) {
		bed__made_by(w->number, w->calls, &next);
		if (w->t.head - w->t.slot->tail + (next.h.aux == HEAP_REALLOC ? 2 : 1) > w->t.mask + 1)
			return;
		writer__call(w);
	}
}

static void begin_filled(void)
{
	begin_writing();
	fill();
}

static void collected_in_between(bool whole)
{
	struct segment_counts c;

	holds(whole);
	bed__collect();
	c = bed__counts();
	holds(writer(0)->told + c.lost == writer(0)->calls);
}

static void a_full_ring_is_read_at_any_moment(void **state)
{
	(void)state;
	steps__each(begin_filled, write_some, bed__collect, collected_in_between);
}

static void records_come_while_the_collector_reads(void **state)
{
	(void)state;
	steps__each(begin_filled, bed__collect, write_some, collected_in_between);
	steps__each(begin_writing, bed__collect, write_by_second, all_is_told);
}

/* Between what a dead collector has given back and the head all is as it was written. */
static void expect_unread_is_whole(const struct bed_writer *w)
{
	const struct producer_thread *t = &w->t;
	uint64_t at = __atomic_load_n(&t->slot->tail, __ATOMIC_ACQUIRE);
	uint32_t number = 0;
	struct rec_heap want;
	bool first = true;

	holds(t->head - at <= t->mask + 1);
	for (; at < t->head; at++) {
		const struct ring_record *r = &t->ring[at & t->mask];
		unsigned kind = RING_KIND(r->when);

		if (kind == RING_THREAD || kind == RING_MORE)
			continue;
		holds(first || (uint32_t)r->addr >> 4 > number);
		first = false;
		number = (uint32_t)r->addr >> 4;
		bed__made_by(w->number, number, &want);
		holds(kind == want.h.aux);
		holds(r->addr == (kind == HEAP_FREE ? want.arg : want.result));
	}
}

static void nothing_unread_is_written_over(bool whole)
{
	holds(!whole);
	for (int i = 0; i < 20; i++)
		writer__call(writer(0));
	expect_unread_is_whole(writer(0));
	holds(bed__counts().lost > 0);
}

static void the_collector_dies_at_any_moment(void **state)
{
	(void)state;
	steps__each(begin_filled, bed__collect, NULL, nothing_unread_is_written_over);
}

static void begin_waiting(void)
{
	bed__begin(8, false);
	writer__begin(writer(0));
	writer__call(writer(0));
	bed__collect();
	fill();
}

static void begin_waiting_for_ever(void)
{
	begin_waiting();
	time__stop();
}

static void write_two(void)
{
	for (int i = 0; i < 2; i++)
		writer__call(writer(0));
}

static void nothing_is_lost(bool whole)
{
	all_is_told(whole);
	holds(bed__counts().gave_up_ns == 0);
}

static void who_waits_goes_on(void **state)
{
	(void)state;
	steps__each(begin_waiting_for_ever, write_two, bed__collect, nothing_is_lost);
}

static void close_it(void)
{
	segment__close(bed.segment);
}

static void it_is_over(bool whole)
{
	holds(whole);
	/* It has noticed, and nothing asks it any more. */
	holds(_producer.p.generation == GENERATION_OFF);
	writer__call(writer(0));
	holds(writer(0)->refused > 0);
	expect_unread_is_whole(writer(0));
	holds(!bed__counts().gave_up_ns);
}

static void who_waits_is_told_that_it_is_over(void **state)
{
	(void)state;
	steps__each(begin_waiting_for_ever, write_two, close_it, it_is_over);
}

static void a_dead_collector_is_given_up(void **state)
{
	uint64_t lost;

	(void)state;
	begin_waiting();
	write_two();
	holds(_producer.p.generation == GENERATION_OFF);
	holds(bed__counts().gave_up_ns > 0);
	expect_unread_is_whole(writer(0));
	/* Told or lost; what comes after that is neither. */
	lost = bed__counts().lost;
	writer__call(writer(0));
	holds(bed__counts().lost == lost);
	bed__collect();
	holds(writer(0)->told + lost + writer(0)->refused == writer(0)->calls);
	holds(bed.misread == 0);
	bed__end();
}

/* In a child of a fork the word is gone that let its parent's threads write. */
static void forks(void)
{
	memset(&_producer, 0, sizeof(_producer));
	bed.offered = false;
}

static void a_child_writes_no_more(bool whole)
{
	uint32_t calls = writer(0)->calls, told;

	holds(whole);
	bed__collect();
	told = writer(0)->told;
	for (int i = 0; i < 3; i++)
		writer__call(writer(0));
	bed__collect();
	holds(writer(0)->told == told);
	holds(writer(0)->calls == calls + 3);
	holds(writer(0)->refused >= 3);
}

static void a_fork_at_any_moment(void **state)
{
	(void)state;
	steps__each(begin_writing, write_some, forks, a_child_writes_no_more);
}

static int prepare(void **state)
{
	struct sigaction trap = {.sa_sigaction = steps__trap, .sa_flags = SA_SIGINFO};

	sigemptyset(&trap.sa_mask);
	return bed__prepare(state) ?: sigaction(SIGTRAP, &trap, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_collector_looks_at_any_moment),
		cmocka_unit_test(the_collector_looks_at_each_moment),
		cmocka_unit_test(another_thread_arrives_at_any_moment),
		cmocka_unit_test(another_thread_arrives_while_one_leaves),
		cmocka_unit_test(the_writer_dies_at_any_moment),
		cmocka_unit_test(a_full_ring_is_read_at_any_moment),
		cmocka_unit_test(records_come_while_the_collector_reads),
		cmocka_unit_test(the_collector_dies_at_any_moment),
		cmocka_unit_test(who_waits_goes_on),
		cmocka_unit_test(who_waits_is_told_that_it_is_over),
		cmocka_unit_test(a_dead_collector_is_given_up),
		cmocka_unit_test(a_fork_at_any_moment),
	};

	return cmocka_run_group_tests(tests, prepare, bed__tidy);
}
