// SPDX-License-Identifier: MIT
/* Contracts held against records made for it: each form of a rule, and what bears on its verdict. */
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/check_lib.h"

static void not_exercised(void **state)
{
	(void)state;
	begin("rule a: each calloc: nothing rule b: each malloc where size > 1M: nothing "
	      "rule c: never mremap rule d: each call in phase hot: nothing "
	      "rule e: at most 1 munmap rule f: first free: nothing");
	take_malloc(begin_call(), 100, BREAK);
	finish();
	for (size_t i = 0; i < 6; i++)
		expect_verdict(i, 0, 0, 0);
	end();
}

static void a_release_is_judged_by_what_follows(void **state)
{
	uint64_t call;

	(void)state;
	begin("rule a: each free where size >= 1K: exactly 1 munmap, nothing else "
	      "rule b: each free where size < 1K: nothing rule c: each release: old_size = size");
	take_free(begin_call(), BREAK, 100);
	call = begin_call();
	take_free(call, MAP, 4096);
	take_munmap(call, MAP, 4096);
	call = begin_call();
	take_free(call, MAP + 4096, 8192);
	take_free(begin_call(), BREAK + 512, UNKNOWN);
	finish();
	expect_verdict(0, 2, 1, 1);
	expect_verdict(1, 1, 0, 1);
	expect_verdict(2, 3, 0, 1);
	assert_string_equal(verdict_of(0)->examples[0].why, "exactly 1 munmap: munmap = 0");
	end();
}

static void events_of_a_call_that_was_judged_are_late(void **state)
{
	uint64_t call;

	(void)state;
	begin("rule a: each malloc: nothing");
	call = begin_call();
	take_malloc(call, 100, BREAK);
	take_mmap(call, MAP, 4096);
	finish();
	assert_int_equal(check__summary(check).late, 1);
	end();
}

static void the_first_of_a_process(void **state)
{
	(void)state;
	begin("rule a: first malloc where size < 1K: size = 7 rule b: first malloc in phase hot: size = 8");
	take_malloc(begin_call(), 4096, BREAK);
	take_malloc(begin_call(), 7, BREAK);
	take_malloc(begin_call(), 9, BREAK);
	mark("hot");
	take_malloc(begin_call(), 8, BREAK);
	mark("cold");
	take_malloc(begin_call(), 9, BREAK);
	mark("hot");
	take_malloc(begin_call(), 9, BREAK);
	finish();
	expect_verdict(0, 1, 0, 0);
	expect_verdict(1, 2, 1, 0);
	end();
}

static void counts(void **state)
{
	(void)state;
	begin("rule a: at most 2 malloc rule b: exactly 3 malloc where size < 10 rule c: at least 4 call "
	      "rule d: at most 1 mmap outside rule e: exactly 1 malloc in phase hot");
	take_malloc(begin_call(), 7, BREAK);
	take_malloc(begin_call(), 8, BREAK);
	mark("hot");
	take_malloc(begin_call(), 9, BREAK);
	take_mmap(0, MAP, 4096);
	take_mmap(0, MAP, 4096);
	finish();
	expect_verdict(0, 1, 1, 0);
	expect_verdict(1, 1, 0, 0);
	expect_verdict(2, 1, 1, 0);
	expect_verdict(3, 1, 1, 0);
	expect_verdict(4, 1, 0, 0);
	assert_string_equal(verdict_of(0)->examples[0].why, "there were 3, at most 2 are right");
	end();
}

static void events_inside_and_outside(void **state)
{
	uint64_t call;

	(void)state;
	begin("rule a: each mmap: bytes = 4K rule b: each mmap outside: bytes = 8K "
	      "rule c: each mmap anywhere: bytes >= 4K, not fixed, read and write and not exec "
	      "rule d: never brk where shrunk > 0 rule e: each brk: grown = 4K rule f: each fault: write, in_break "
	      "rule g: each syscall, fault anywhere: time < 1 ms");
	call = begin_call();
	take_mmap(call, MAP, 4096);
	take_brk(call, BREAK, BREAK + 4096);
	take_fault(call, BREAK, (struct check_known){.in_break = true});
	take_malloc(call, 10, BREAK);
	take_mmap(0, MAP, 8192);
	take_brk(0, BREAK + 4096, BREAK);
	finish();
	expect_verdict(0, 1, 0, 0);
	expect_verdict(1, 1, 0, 0);
	expect_verdict(2, 2, 0, 0);
	expect_verdict(3, 1, 0, 0);
	expect_verdict(4, 1, 0, 0);
	expect_verdict(5, 1, 0, 0);
	expect_verdict(6, 5, 0, 0);
	end();
}

static void always_is_looked_at_after_each_call(void **state)
{
	(void)state;
	begin("rule a: always: live <= 150 rule b: always in phase hot: live <= 50");
	take_malloc(begin_call(), 100, BREAK);
	take_malloc(begin_call(), 100, BREAK + 128);
	take_free(begin_call(), BREAK, 100);
	take_free(begin_call(), BREAK + 128, 100);
	finish();
	expect_verdict(0, 5, 1, 0);
	expect_verdict(1, 0, 0, 0);
	end();
}

static void phases_by_count(void **state)
{
	(void)state;
	begin("phase warm after 2 malloc rule a: each malloc in phase warm: size = 3 "
	      "rule b: each malloc in phase start: size < 3 rule c: each process in phase warm: malloc.calls = 1 "
	      "rule d: exactly 2 malloc in phase start");
	take_malloc(begin_call(), 1, BREAK);
	take_malloc(begin_call(), 2, BREAK);
	take_malloc(begin_call(), 3, BREAK);
	finish();
	expect_verdict(0, 1, 0, 0);
	expect_verdict(1, 2, 0, 0);
	expect_verdict(2, 1, 0, 0);
	expect_verdict(3, 1, 0, 0);
	end();
}

static void processes_are_judged_one_by_one(void **state)
{
	struct rec_fork fork = {.child_tgid = 200, .child_tid = 200};
	struct rec_heap r;

	(void)state;
	begin("rule a: each process: malloc.calls = 1 rule b: first malloc: size = 1 rule c: each process: live = 11");
	take_malloc(begin_call(), 1, BREAK);
	fork.h = head(REC_FORK);
	take(&fork, (struct check_known){0});
	r = heap_record(HEAP_MALLOC, begin_call(), 10, 0, BREAK + 64);
	r.h.tgid = r.h.tid = 200;
	take(&r, (struct check_known){.old_size = UNKNOWN});
	take_exit(200);
	take_exec(PID);
	take_malloc(begin_call(), 2, BREAK);
	finish();
	expect_verdict(0, 3, 0, 0);
	expect_verdict(1, 2, 1, 0); /* a forked child's first is not a process's first */
	expect_verdict(2, 3, 2, 0); /* but it has what its parent had */
	assert_int_equal(check__summary(check).processes, 3);
	end();
}

static void what_was_not_seen_is_not_judged(void **state)
{
	struct rec_allocator a = {
		.h = {.kind = REC_ALLOCATOR, .tgid = PID, .tid = PID}, .ino = 1, .incomplete = 1};

	(void)state;
	begin("rule a: each process: malloc.calls = 1 rule b: first malloc: size = 1 rule c: each malloc: size = 1 "
	      "rule d: each process: all.mmap = 0");
	take(&a, (struct check_known){0});
	take_malloc(begin_call(), 1, BREAK);
	finish();
	expect_verdict(0, 0, 0, 1);
	expect_verdict(1, 0, 0, 0);
	expect_verdict(2, 1, 0, 0);
	expect_verdict(3, 1, 0, 0);
	assert_int_equal(check__summary(check).unseen, 1);
	end();
}

/* A child that had ended before it had probes: whether it has allocated is not known. */
static void what_was_not_seen_at_all_is_not_judged(void **state)
{
	struct rec_fork fork = {.child_tgid = 200, .child_tid = 200};
	struct rec_allocator a = {.h = {.kind = REC_ALLOCATOR, .tgid = 200, .tid = 200},
				  .incomplete = 1};
	struct rec_call r;

	(void)state;
	begin("rule a: at most 1 malloc rule b: each process: all.mmap = 0");
	take_malloc(begin_call(), 1, BREAK);
	fork.h = head(REC_FORK);
	take(&fork, (struct check_known){0});
	r = (struct rec_call){.h = head(REC_BRK)};
	r.h.tgid = r.h.tid = 200;
	take(&r, (struct check_known){0});
	take(&a, (struct check_known){0});
	take_exit(200);
	finish();
	expect_verdict(0, 1, 0, 1);
	expect_verdict(1, 2, 0, 0);
	assert_int_equal(check__summary(check).unseen, 1);
	assert_int_equal(check__summary(check).missed, 0);
	end();
}

/* A process that allocates, touches and gives back, in two threads; and a child that comes and goes. */
static void one_turn(uint64_t turn)
{
	struct rec_fork f = {.h = head(REC_FORK), .child_tgid = PID + 1, .child_tid = PID + 1};
	uint64_t at = MAP + turn % 64 * (1 << 20), call = begin_call();
	struct rec_heap other;

	take_mmap(call, at, 1 << 20);
	take_fault(call, at, (struct check_known){.in_mmap = true, .by_allocator = true});
	take_malloc(call, 1 << 20, at + 64);
	take_fault(0, at + 8192, (struct check_known){.by_allocator = true, .in_block = true});
	call = begin_call();
	take_free(call, at + 64, 1 << 20);
	take_munmap(call, at, 1 << 20);
	other = heap_record(HEAP_MALLOC, begin_call(), 100, 0, BREAK + turn % 1024 * 128);
	other.h.tid = PID + 2;
	take(&other, (struct check_known){.old_size = UNKNOWN});
	take(&f, (struct check_known){0});
	take_exit(PID + 1);
}

static size_t bytes_after(uint64_t turns)
{
	for (uint64_t i = 0; i < turns; i++)
		one_turn(i);
	return mallinfo2().uordblks;
}

/* Neither with the number of events, nor of calls, phases or processes, nor of broken rules. */
static void memory_does_not_grow_with_the_run(void **state)
{
	size_t early, late;

	(void)state;
	begin("phase late after 100 malloc\n"
	      "rule a: each malloc where size >= 128K: exactly 1 mmap, no faults\n"
	      "rule b: each release: munmap <= 1\n"
	      "rule c: never fault anywhere where write\n"
	      "rule d: at most 10 mmap\n"
	      "rule e: each process in phase late: resident <= live + 1M\n"
	      "rule f: always: resident <= live + 64M");
	early = bytes_after(100);
	late = bytes_after(20000);
	assert_int_equal(late, early);
	finish();
	assert_int_equal(verdict_of(0)->broken, 20100);
	assert_int_equal(check__summary(check).processes, 1);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(not_exercised),
		cmocka_unit_test(a_release_is_judged_by_what_follows),
		cmocka_unit_test(events_of_a_call_that_was_judged_are_late),
		cmocka_unit_test(the_first_of_a_process),
		cmocka_unit_test(counts),
		cmocka_unit_test(events_inside_and_outside),
		cmocka_unit_test(always_is_looked_at_after_each_call),
		cmocka_unit_test(phases_by_count),
		cmocka_unit_test(processes_are_judged_one_by_one),
		cmocka_unit_test(what_was_not_seen_is_not_judged),
		cmocka_unit_test(what_was_not_seen_at_all_is_not_judged),
		cmocka_unit_test(memory_does_not_grow_with_the_run),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
