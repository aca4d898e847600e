// SPDX-License-Identifier: MIT
/* Contracts held against records made for it: each operator, each form of a rule, each verdict. */
#include <errno.h>
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "lib/trace/mt_phase.h"
#include "user/check/check.h"
#include "user/check/learn.h"
#include "user/check/output.h"
#include "user/model/report.h"

#define PID 100
#define BREAK 0x1000000ULL
#define MAP 0x7f0000000000ULL

static const char *source;
static struct contract *contract;
static struct check *check;
static uint64_t now;

static int read_source(void *ctx, const char *path, char **text, size_t *length)
{
	(void)ctx;
	(void)path;
	*length = strlen(source);
	*text = malloc(*length + 1);
	if (!*text)
		return -ENOMEM;
	memcpy(*text, source, *length + 1);
	return 0;
}

static int print_heap(void *ctx, FILE *out, const struct rec_heap *r)
{
	(void)ctx;
	fprintf(out, "call of %llu\n", r->size);
	return 0;
}

static int print_event(void *ctx, FILE *out, const struct rec *r, bool inside)
{
	(void)ctx;
	fprintf(out, "%sevent %u\n", inside ? "  " : "", r->kind);
	return 0;
}

static int print_stack(void *ctx, FILE *out, pid_t pid, uint64_t stack_id)
{
	(void)ctx;
	fprintf(out, "stack %llu of %d\n", (unsigned long long)stack_id, pid);
	return 0;
}

static const char *print_comm(void *ctx, pid_t pid)
{
	(void)ctx;
	(void)pid;
	return "prog <&>";
}

static const struct check_printer printer = {NULL, print_heap, print_event, print_stack, print_comm};

/* ---- records ---- */

static struct rec head(unsigned kind)
{
	now += 1000;
	return (struct rec){.kind = kind, .tgid = PID, .tid = PID, .ts_ns = now};
}

static void take(const void *r, struct check_known known)
{
	assert_int_equal(check__take(check, r, &known), 0);
}

static void take_exec(unsigned pid)
{
	struct rec_exec r = {.h = head(REC_EXEC), .start_brk = BREAK, .brk = BREAK};

	r.h.tgid = r.h.tid = r.h.aux = pid;
	take(&r, (struct check_known){0});
}

static void take_exit(unsigned pid)
{
	struct rec_exit r = {.h = head(REC_EXIT)};

	r.h.tgid = r.h.tid = pid;
	r.h.aux = 1;
	take(&r, (struct check_known){0});
}

/* Inside the call that began at owner; 0: outside. */
static void take_call(unsigned kind, uint64_t owner, uint64_t a0, uint64_t a1, uint64_t a2,
		      uint64_t ret, uint64_t old_brk)
{
	struct rec_call r = {.h = head(kind),
			     .start_ns = now - 500,
			     .arg = {a0, a1, a2, MAP_PRIVATE | MAP_ANONYMOUS},
			     .ret = (int64_t)ret,
			     .old_brk = old_brk,
			     .owner = owner,
			     .stack_id = 7};

	take(&r, (struct check_known){0});
}

static void take_mmap(uint64_t owner, uint64_t at, uint64_t size)
{
	take_call(REC_MMAP, owner, 0, size, PROT_READ | PROT_WRITE, at, 0);
}

static void take_munmap(uint64_t owner, uint64_t at, uint64_t size)
{
	take_call(REC_MUNMAP, owner, at, size, 0, 0, 0);
}

static void take_brk(uint64_t owner, uint64_t from, uint64_t to)
{
	take_call(REC_BRK, owner, to, 0, 0, to, from);
}

static void take_fault(uint64_t owner, uint64_t addr, struct check_known known)
{
	struct rec_fault r = {.h = head(REC_FAULT), .addr = addr, .ip = 1, .owner = owner};

	r.h.flags = FAULT_WRITE;
	r.h.aux = 300;
	take(&r, known);
}

static struct rec_heap heap_record(unsigned op, uint64_t owner, uint64_t size, uint64_t arg,
				   uint64_t result)
{
	struct rec_heap r = {.h = head(REC_HEAP),
			     .start_ns = owner,
			     .size = size,
			     .arg = arg,
			     .result = result,
			     .stack_id = 9};

	r.h.aux = op;
	return r;
}

static uint64_t begin_call(void)
{
	now += 10;
	return now;
}

static void take_malloc(uint64_t owner, uint64_t size, uint64_t result)
{
	struct rec_heap r = heap_record(HEAP_MALLOC, owner, size, 0, result);

	take(&r, (struct check_known){.old_size = UNKNOWN});
}

static void take_free(uint64_t owner, uint64_t at, uint64_t old_size)
{
	struct rec_heap r = heap_record(HEAP_FREE, owner, 0, at, 0);

	take(&r, (struct check_known){.old_size = old_size});
}

static void mark(const char *name)
{
	struct rec_call r = {.h = head(REC_MADVISE), .start_ns = now, .arg = {MT_PHASE_ADDRESS}};

	strncpy((char *)&r.arg[3], name, 23);
	take(&r, (struct check_known){0});
}

/* ---- the frame of a test ---- */

static void begin(const char *text)
{
	struct contract_reader reader = {read_source, NULL};
	struct contract_error e;

	source = text;
	now = 1000000;
	contract = contract__parse("c", NULL, 0, &reader, &e);
	if (!contract)
		fail_msg("%s", e.text);
	check = check__new(contract, &printer, now, false);
	assert_non_null(check);
	take_exec(PID);
}

static void end(void)
{
	check__free(check);
	contract__free(contract);
}

/* What became of rule number i, once all is told. */
static const struct verdict *verdict_of(size_t i)
{
	size_t n;
	const struct verdict *v = check__verdicts(check, &n);

	assert_true(i < n);
	return &v[i];
}

static void expect_verdict(size_t i, uint64_t exercised, uint64_t broken, uint64_t undecided)
{
	const struct verdict *v = verdict_of(i);

	if (v->exercised != exercised || v->broken != broken || v->undecided != undecided)
		fail_msg("%s: exercised %llu, broken %llu, undecided %llu", v->rule->text,
			 (unsigned long long)v->exercised, (unsigned long long)v->broken,
			 (unsigned long long)v->undecided);
}

static void finish(void)
{
	assert_int_equal(check__finish(check, now + 1000), 0);
}

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

static char *written(int (*write)(FILE *, const struct check_result *), const struct check_result *r)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	assert_non_null(f);
	assert_int_equal(write(f, r), 0);
	fclose(f);
	return text;
}

static int write_text(FILE *out, const struct check_result *r)
{
	return check_result__text(out, r, false);
}

static void expect_text(char *text, const char *want)
{
	if (!strstr(text, want))
		fail_msg("expected: %s\ngot: %s", want, text);
	free(text);
}

static void verdicts_are_written(void **state)
{
	struct check_result r = {
		.contract = "c", .how = "prog", .version = "1", .seen = 3, .delivered = 3};
	uint64_t call;

	(void)state;
	begin("rule a: each malloc: nothing rule b: each malloc: size = 10 rule c: each calloc: nothing");
	call = begin_call();
	take_mmap(call, MAP, 4096);
	take_malloc(call, 10, MAP);
	finish();
	r.verdicts = check__verdicts(check, &r.nverdicts);
	r.summary = check__summary(check);
	assert_false(check_result__held(&r));
	expect_text(written(write_text, &r),
		    "BROKEN         a, 1 of 1\n"
		    "  c:1: each malloc: nothing\n"
		    "  1. process 100 (prog <&>)\n"
		    "       nothing: syscalls = 1\n"
		    "     | call of 10\n"
		    "     |   event 2\n"
		    "         at stack 9 of 100\n"
		    "held           b, 1 time\n"
		    "not exercised  c\n"
		    "1 held, 1 broken, 1 not exercised; 1 allocator calls, ");
	expect_text(written(check_result__tap, &r), "TAP version 13\n1..3\nnot ok 1 - a\n");
	expect_text(written(check_result__tap, &r), "ok 2 - b\nok 3 - c # SKIP not exercised\n");
	expect_text(written(check_result__json, &r), "\"result\": \"broken\"");
	expect_text(written(check_result__junit, &r),
		    "<testsuite name=\"c\" tests=\"3\" failures=\"1\" skipped=\"1\" errors=\"0\"");
	r.strict = true;
	r.incomplete = "1 event was lost";
	expect_text(written(check_result__tap, &r),
		    "not ok 3 - c (not exercised)\nBail out! 1 event was lost\n");
	expect_text(written(write_text, &r), "NO VERDICT: 1 event was lost\n");
	expect_text(written(check_result__json, &r), "\"result\": \"no verdict\"");
	expect_text(written(check_result__junit, &r), "<error message=\"1 event was lost\"/>");
	end();
}

static void what_is_learned_can_be_parsed_and_holds(void **state)
{
	struct contract_reader reader = {read_source, NULL};
	struct contract_error e;
	unsigned round, i;
	char *text = NULL;
	size_t size, n;
	FILE *f = open_memstream(&text, &size);

	(void)state;
	for (round = 0; round < 2; round++) {
		now = 1000000;
		source = text;
		contract = round ? contract__parse("c", NULL, 0, &reader, &e) : NULL;
		if (round && !contract)
			fail_msg("%s\n%s", e.text, text);
		check = check__new(contract, &printer, now, !round);
		take_exec(PID);
		for (i = 0; i < 20; i++) {
			uint64_t call = begin_call();

			take_mmap(call, MAP, 1 << 20);
			take_malloc(call, (1 << 20) - 64, MAP);
			call = begin_call();
			if (i % 4 == 0)
				take_brk(call, BREAK, BREAK + 4096);
			take_malloc(call, 64 + i, BREAK);
			call = begin_call();
			take_free(call, MAP, (1 << 20) - 64);
			take_munmap(call, MAP, 1 << 20);
		}
		finish();
		if (round) {
			const struct verdict *v = check__verdicts(check, &n);

			for (i = 0; i < n; i++)
				if (verdict__kind(&v[i]) != VERDICT_HELD)
					fail_msg("%s: %s", v[i].rule->name, v[i].rule->text);
			assert_true(n > 5);
		} else {
			assert_int_equal(learned__write(check__learned(check), f, "prog"), 0);
			fclose(f);
		}
		end();
		contract = NULL;
	}
	assert_non_null(strstr(text, "rule malloc-from-512K:\n    each malloc where size >= 512K:\n"
				     "        exactly 1 mmap, nothing else\n"));
	assert_non_null(strstr(text, "rule malloc-below-512K:\n    each malloc where size < 512K:\n"
				     "        at most 2 brk, nothing else\n"));
	free(text);
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
		cmocka_unit_test(operators),
		cmocka_unit_test(not_exercised),
		cmocka_unit_test(a_release_is_judged_by_what_follows),
		cmocka_unit_test(events_of_a_call_that_was_judged_are_late),
		cmocka_unit_test(the_first_of_a_process),
		cmocka_unit_test(counts),
		cmocka_unit_test(events_inside_and_outside),
		cmocka_unit_test(always_is_looked_at_after_each_call),
		cmocka_unit_test(gauges_of_a_process),
		cmocka_unit_test(resident_pages_follow_a_move),
		cmocka_unit_test(faults_in_the_block),
		cmocka_unit_test(phases_by_count),
		cmocka_unit_test(processes_are_judged_one_by_one),
		cmocka_unit_test(what_was_not_seen_is_not_judged),
		cmocka_unit_test(what_was_not_seen_at_all_is_not_judged),
		cmocka_unit_test(verdicts_are_written),
		cmocka_unit_test(memory_does_not_grow_with_the_run),
		cmocka_unit_test(what_is_learned_can_be_parsed_and_holds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
