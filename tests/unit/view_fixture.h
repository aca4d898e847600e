/* SPDX-License-Identifier: MIT */
/*
 * What the tests of the views share: output caught in memory, and one report
 * whose figures are easy to follow through every view.
 */
#ifndef MEMTRACE_TESTS_VIEW_FIXTURE_H
#define MEMTRACE_TESTS_VIEW_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "user/view/view.h"

/* The names belong to the model; weak ones let the views be tested without it. */
#define WEAK __attribute__((weak))
WEAK const char *const vmcall_name[VMCALLS] = {"brk",	 "mmap",    "munmap",
					       "mremap", "madvise", "mprotect"};
WEAK const char *const region_name[REGION_CLASSES] = {"text",  "data", "heap",	"mmap",
						      "stack", "file", "other", "unknown"};
WEAK const char *const rec_kind_name[REC_KINDS] = {
	"none", "brk",	"mmap", "munmap", "mremap", "madvise", "mprotect", "fault",
	"fork", "exec", "exit", "stack",  "vma",    "file",    "rename",   "heap"};

struct capture {
	FILE *out;
	char *text;
	size_t size;
};

static inline FILE *capture__begin(struct capture *c)
{
	c->out = open_memstream(&c->text, &c->size);
	assert_non_null(c->out);
	return c->out;
}

/* What was written so far. */
static inline const char *capture__text(struct capture *c)
{
	assert_int_equal(fflush(c->out), 0);
	return c->text;
}

static inline void capture__end(struct capture *c)
{
	fclose(c->out);
	free(c->text);
}

static inline void assert_contains(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("'%s' is not in:\n%s", part, text);
}

static inline void assert_lacks(const char *text, const char *part)
{
	if (strstr(text, part))
		fail_msg("'%s' is in:\n%s", part, text);
}

#define KIB 1024ull
#define MIB (1024 * KIB)
#define MS 1000000ull

/* Two processes, three places, 5,580 minor and 3 major faults, nothing lost. */
struct fixture {
	struct report report;
	struct process_report processes[2];
	struct frame frames[4];
	struct site sites[3];
	const struct site *by_faults[3], *by_bytes[2];
	struct mapped_point mapped[4];
	char *notes[1];
};

static inline void fixture__calls(struct call_stats *call)
{
	call[CALL_BRK] = (struct call_stats){.calls = 12,
					     .bytes = 1792 * KIB,
					     .time_ns = 12000,
					     .grown_bytes = 1536 * KIB,
					     .shrunk_bytes = 256 * KIB};
	call[CALL_MMAP] = (struct call_stats){
		.calls = 1234, .failed = 2, .bytes = 64 * MIB, .time_ns = 4 * MS, .populated = 16};
	call[CALL_MUNMAP] = (struct call_stats){.calls = 7, .bytes = 512 * KIB, .time_ns = 70000};
	call[CALL_MREMAP] = (struct call_stats){
		.calls = 1, .bytes = 8 * KIB, .time_ns = 900, .grown_bytes = 4 * KIB};
	call[CALL_MADVISE] = (struct call_stats){.calls = 3, .failed = 3, .time_ns = 300};
	call[CALL_MPROTECT] = (struct call_stats){.calls = 0};
}

static inline void fixture__faults(struct fault_stats *f)
{
	*f = (struct fault_stats){.minor = 5580,
				  .major = 3,
				  .user = 5500,
				  .kernel = 83,
				  .read = 1000,
				  .write = 4570,
				  .exec = 10,
				  .access_unknown = 3,
				  .cow_after_fork = 12,
				  .cow_other = 40,
				  .time_ns = 5580000,
				  .time_known = 5580};
	f->histogram[9] = 4000; /* 512 ns .. 1024 ns */
	f->histogram[10] = 1000;
	f->histogram[12] = 580;
}

static inline void fixture__processes(struct fixture *x)
{
	size_t i;

	x->processes[0] = (struct process_report){
		.pid = 4242,
		.ppid = 1,
		.comm = "server",
		.exe = "/usr/bin/server",
		.root = true,
		.end_ns = 2500 * MS,
		.threads = 3,
		.forks = 1,
		.kernel_minflt = 5596,
		.kernel_majflt = 3,
		.rss_bytes = 30 * MIB,
		.rss_peak_bytes = 40 * MIB,
		.mapped_bytes = 70 * MIB,
	};
	fixture__calls(x->processes[0].call);
	fixture__faults(&x->processes[0].faults);
	x->processes[1] = (struct process_report){
		.pid = 4243,
		.ppid = 4242,
		.comm = "child",
		.ended = true,
		.exit_known = true,
		.exit_status = 3 << 8,
		.start_ns = 100 * MS,
		.end_ns = 200 * MS,
		.threads = 1,
		.kernel_minflt = UNKNOWN,
		.kernel_majflt = UNKNOWN,
		.rss_bytes = UNKNOWN,
		.rss_peak_bytes = UNKNOWN,
		.mapped_bytes = 0,
	};
	for (i = 0; i < REGION_CLASSES; i++)
		x->processes[1].regions[i] = (struct region_stats){
			.mappings = UNKNOWN, .bytes = UNKNOWN, .resident_bytes = UNKNOWN};
}

static inline void fixture__sites(struct fixture *x)
{
	x->frames[0] = (struct frame){.module = "/usr/bin/server",
				      .build_id = "0123abcd",
				      .symbol = "touch",
				      .file = "/src/app/t.c",
				      .line = 9,
				      .offset = 0x1139,
				      .symbol_offset = 9,
				      .inlined = true};
	x->frames[1] = (struct frame){
		.module = "/usr/bin/server", .symbol = "main", .offset = 0x1200, .symbol_offset = 32};
	x->frames[2] = (struct frame){.module = "/usr/lib/libc.so.6", .offset = 0x2724a};
	x->frames[3] = (struct frame){.offset = 0x7f0000001000};
	x->sites[0] =
		(struct site){.frames = x->frames,
			      .nframes = 3,
			      .calls = {12, 1000},
			      .call_ns = 3 * MS,
			      .mapped_bytes = 48 * MIB,
			      .unmapped_bytes = 512 * KIB,
			      .faults = {.minor = 5000, .major = 3, .cow = 40, .time_ns = 5000000}};
	x->sites[1] = (struct site){.frames = x->frames + 3,
				    .nframes = 1,
				    .truncated = true,
				    .calls = {0, 234, 7},
				    .call_ns = 1 * MS,
				    .mapped_bytes = 16 * MIB,
				    .faults = {.minor = 500, .time_ns = 500000}};
	x->sites[2] = (struct site){.faults = {.minor = 80, .cow = 12, .time_ns = 80000}};
	x->by_faults[0] = &x->sites[0];
	x->by_faults[1] = &x->sites[1];
	x->by_faults[2] = &x->sites[2];
	x->by_bytes[0] = &x->sites[0];
	x->by_bytes[1] = &x->sites[1];
}

static inline void fixture__totals(struct fixture *x)
{
	struct report *r = &x->report;

	fixture__calls(r->call);
	fixture__faults(&r->faults);
	r->regions[REGION_TEXT] = (struct region_stats){2, 64 * KIB, 48 * KIB, 10, 3};
	r->regions[REGION_HEAP] = (struct region_stats){1, 1280 * KIB, MIB, 570, 0};
	r->regions[REGION_MMAP] = (struct region_stats){UNKNOWN, UNKNOWN, UNKNOWN, 5000, 0};
	r->rss_bytes = 30 * MIB;
	r->rss_parts_direct_mmap = 20 * MIB;
	r->rss_parts_heap = MIB;
	r->rss_parts_file = 8 * MIB;
	r->rss_parts_stack = MIB;
	r->rss_parts_other = 0;
	r->rss_parts_unknown = 0;
	r->events[REC_BRK].seen = 12;
	r->events[REC_MMAP].seen = 1234;
	r->events[REC_FAULT].seen = 5583;
	r->seen = r->delivered = 12 + 1234 + 5583;
	r->stacks = 57;
}

/* Without a heap plane all of it is unknown. */
static inline void fixture__no_heap(struct report *r)
{
	memset(&r->heap, 0xff, sizeof(r->heap));
	memset(&r->parts, 0xff, sizeof(r->parts));
}

static inline struct report *fixture__make(struct fixture *x)
{
	static char note[] = "process 4244 ended before it could be followed";
	struct report *r = &x->report;
	size_t i;

	memset(x, 0, sizeof(*x));
	fixture__no_heap(r);
	r->version = "0.1";
	r->how = "-p 4242";
	r->duration_ns = 2500 * MS;
	fixture__processes(x);
	for (i = 0; i < 2; i++) {
		memset(&x->processes[i].heap, 0xff, sizeof(x->processes[i].heap));
		memset(&x->processes[i].parts, 0xff, sizeof(x->processes[i].parts));
	}
	fixture__sites(x);
	fixture__totals(x);
	x->mapped[0] = (struct mapped_point){0, 10 * MIB, 0};
	x->mapped[1] = (struct mapped_point){1000 * MS, 80 * MIB, MIB};
	x->mapped[2] = (struct mapped_point){2000 * MS, 40 * MIB, 2 * MIB};
	x->mapped[3] = (struct mapped_point){2400 * MS, 70 * MIB, MIB};
	x->notes[0] = note;
	r->processes = x->processes;
	r->nprocesses = 2;
	r->mapped = x->mapped;
	r->nmapped = 4;
	r->sites = x->sites;
	r->nsites = 3;
	r->by_faults = x->by_faults;
	r->nby_faults = 3;
	r->by_bytes = x->by_bytes;
	r->nby_bytes = 2;
	r->notes = x->notes;
	r->nnotes = 1;
	return r;
}

#endif /* MEMTRACE_TESTS_VIEW_FIXTURE_H */
