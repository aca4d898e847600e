// SPDX-License-Identifier: MIT
/* What a rule can speak of: each operator, and each sum that is kept. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/unit/check_lib.h"

/* One malloc of 100 bytes with two mmaps in it, held against a condition. */
static void expect_condition(const char *condition, int want)
{
	char text[300];
	uint64_t call;

	snprintf(text, sizeof(text), "rule a: each malloc: %s", condition);
	begin(text);
	call = begin_call();
	take_mmap(call, MAP, 4096);
	take_mmap(call, MAP + 4096, 8192);
	take_malloc(call, 100, MAP + 64);
	finish();
	expect_verdict(0, want >= 0, want == 0, want < 0);
	end();
}

static void operators(void **state)
{
	static const struct {
		const char *condition;
		int want; /* 1: met, 0: not, -1: not known */
	} cases[] = {
		{"size = 100", 1},
		{"size = 99", 0},
		{"size != 99", 1},
		{"size != 100", 0},
		{"size < 101", 1},
		{"size < 100", 0},
		{"size <= 100", 1},
		{"size <= 99", 0},
		{"size > 99", 1},
		{"size > 100", 0},
		{"size >= 100", 1},
		{"size >= 101", 0},
		{"size + 1 = 101", 1},
		{"size - 1 = 99", 1},
		{"size * 2 = 200", 1},
		{"size / 8 = 12.5", 1},
		{"size % 16 = 4", 1},
		{"-size = -100", 1},
		{"size + 2 * 3 = 106", 1},
		{"(size + 2) * 3 = 306", 1},
		{"10 - 3 - 2 = 5", 1},
		{"mmap = 2 and size = 100", 1},
		{"mmap = 2 and size = 1", 0},
		{"mmap = 1 or size = 100", 1},
		{"mmap = 1 or size = 1", 0},
		{"not failed", 1},
		{"not not failed", 0},
		{"not (failed or mmap = 3)", 1},
		{"size = 1 or size = 2 and mmap = 2 or mmap = 2", 1},
		{"log(2, 8) = 3", 1},
		{"log(2, 0) = 0", 1},
		{"min(size, 3) = 3", 1},
		{"max(size, 3) = 100", 1},
		{"abs(3 - size) = 97", 1},
		{"pages(4097) = 2", 1},
		{"pages(4096) = 1", 1},
		{"pages(0) = 0", 1},
		{"1 page = 4096", 1},
		{"1K = 1024 and 1M = 1024K and 1G = 1024M", 1},
		{"exactly 2 mmap", 1},
		{"2 mmap", 1},
		{"1 mmap", 0},
		{"at most 2 mmap", 1},
		{"at most 1 mmap", 0},
		{"at least 2 mmap", 1},
		{"at least 3 mmap", 0},
		{"no brk", 1},
		{"no mmap", 0},
		{"nothing", 0},
		{"2 mmap, nothing else", 1},
		{"no brk, nothing else", 0},
		{"mmap.bytes = 12K", 1},
		{"mmap.failed = 0", 1},
		{"mmap.time = 1 us", 1},
		{"kernel.time = 1000 ns", 1},
		{"syscalls = 2", 1},
		{"fresh", 1},
		{"in_break", 0},
		{"main", 1},
		{"moved", 0},
		{"align = 0", 1},
		{"number = 1", 1},
		{"thread = 1", 1},
		{"address % 64 = 0", 1},
		{"time > 1 us", 1},
		{"old_size = 0", 1},
		{"run.mapped = 12K", 1},
		{"run.live = 100", 1},
		{"run.malloc.calls = 1", 1},
		{"run.all.mmap = 2", 1},
		{"run.outside.mmap = 0", 1},
		{"run.calls = 1", 1},
		{"size / run.brk = 1", -1},
		{"size / run.brk = 1 or mmap = 2", 1},
		{"size / run.brk = 1 and mmap = 3", 0},
		{"size % run.brk = 1", -1},
		{"not (size / run.brk = 1)", -1},
		{"min(size / run.brk, 3) < 4", -1},
	};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		expect_condition(cases[i].condition, cases[i].want);
}

static void gauges_of_a_process(void **state)
{
	uint64_t call;
	const struct check_known heap = {.in_mmap = true, .by_allocator = true, .in_block = true};

	(void)state;
	begin("rule a: each process: live = 4096, live.blocks = 1, peak = 12288, requested = 12288, "
	      "mapped = 8192, mapped.peak = 24576, resident = 4096, resident.peak = 12288, touch.faults = 3, "
	      "malloc.calls = 2, allocation.calls = 2, release.calls = 1, resize.calls = 0, threads = 1, calls = 3, "
	      "munmap = 1, outside.munmap = 0, all.faults = 3, faults = 0, time < 1 s");
	call = begin_call();
	take_mmap(call, MAP, 8192);
	take_malloc(call, 4096, MAP);
	call = begin_call();
	take_mmap(call, MAP + 8192, 16384);
	take_malloc(call, 8192, MAP + 8192);
	take_fault(0, MAP, heap);
	take_fault(0, MAP + 8192, heap);
	take_fault(0, MAP + 12288, heap);
	call = begin_call();
	take_free(call, MAP + 8192, 8192);
	take_munmap(call, MAP + 8192, 16384);
	finish();
	if (verdict_of(0)->broken)
		fail_msg("%s", verdict_of(0)->examples[0].why);
	expect_verdict(0, 1, 0, 0);
	end();
}

static void resident_pages_follow_a_move(void **state)
{
	uint64_t call;
	const struct check_known heap = {.by_allocator = true};

	(void)state;
	begin("rule a: each process: resident = 2 pages rule b: each process in phase end: resident = 2 pages");
	call = begin_call();
	take_mmap(call, MAP, 1 << 20);
	take_malloc(call, 1 << 20, MAP);
	take_fault(0, MAP + 4096, heap);
	take_fault(0, MAP + 4096, heap);
	take_fault(0, MAP + 0x80000, heap);
	take_fault(0, MAP + 0xff000, heap);
	call = begin_call();
	take_call(REC_MREMAP, call, MAP, 1 << 20, 2 << 20, MAP + (16 << 20), 0);
	take_malloc(call, 2 << 20, MAP + (16 << 20));
	take_call(REC_MADVISE, 0, MAP + (16 << 20) + 4096, 4096, MADV_DONTNEED, 0, 0);
	mark("end");
	/* What was there before the move is not there any more. */
	take_munmap(0, MAP, 1 << 20);
	finish();
	expect_verdict(0, 1, 0, 0);
	expect_verdict(1, 1, 0, 0);
	end();
}

static void faults_in_the_block(void **state)
{
	uint64_t call;

	(void)state;
	begin("rule a: each malloc: faults.in_block = 1, faults = 3, faults.in_file = 1 rule b: each malloc: nothing "
	      "rule c: each calloc: nothing");
	call = begin_call();
	take_fault(call, BREAK + 8, (struct check_known){.in_break = true});
	take_fault(call, BREAK + 4096, (struct check_known){.in_break = true});
	take_fault(call, 0x400000, (struct check_known){.in_file = true});
	take_malloc(call, 8192, BREAK + 16);
	finish();
	expect_verdict(0, 1, 0, 0);
	expect_verdict(1, 1, 1, 0);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(operators),
		cmocka_unit_test(gauges_of_a_process),
		cmocka_unit_test(resident_pages_follow_a_move),
		cmocka_unit_test(faults_in_the_block),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
