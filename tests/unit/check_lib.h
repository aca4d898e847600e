/* SPDX-License-Identifier: MIT */
/*
 * A contract, and a process whose records are held against it: begin(), the records one by one, finish(), what
 * became of the rules, end().
 */
#ifndef TESTS_UNIT_CHECK_LIB_H
#define TESTS_UNIT_CHECK_LIB_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "lib/trace/mt_phase.h"
#include "user/check/check.h"
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

static inline void take_exit(unsigned pid)
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

static inline void take_brk(uint64_t owner, uint64_t from, uint64_t to)
{
	take_call(REC_BRK, owner, to, 0, 0, to, from);
}

static inline void take_fault(uint64_t owner, uint64_t addr, struct check_known known)
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

static inline void mark(const char *name)
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

static inline void expect_verdict(size_t i, uint64_t exercised, uint64_t broken, uint64_t undecided)
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

#endif
