/* SPDX-License-Identifier: MIT */
/* The text report's tables: resident memory and regions, processes. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "user/view/decode.h"
#include "user/view/format.h"
#include "user/view/text.h"

void text__end(struct sink *s, const struct process_report *p, bool full)
{
	if (!p->ended) {
		sink__str(s, full ? "still running" : "running");
	} else if (!p->exit_known) {
		sink__str(s, full ? "ended, how is not known" : "ended");
	} else if (WIFSIGNALED(p->exit_status)) {
		sink__str(s, full ? "killed by " : "");
		decode__signal(s, (unsigned)WTERMSIG(p->exit_status));
	} else {
		sink__str(s, full ? "exited with " : "exit ");
		sink__dec(s, (unsigned)WEXITSTATUS(p->exit_status));
	}
}

#define PART_COLUMNS 11

/* With a heap plane: whose it is, a line each. */
static void put_owners(struct sink *s, const struct report *r)
{
	const struct resident_parts *p = &r->parts;
	const struct {
		uint64_t bytes;
		const char *what;
	} owners[] = {
		{p->live, "in live blocks"},
		{p->retained, "kept by the allocator: free, headers, rounding"},
		{p->allocator, "the allocator's own: it was never given out"},
		{p->direct_mmap, "mapped by the program itself"},
		{p->file, "of files: code and data"},
		{p->stack, "stacks"},
		{p->other, "other"},
		{p->unknown, "not known: there before memtrace, or of no known owner"},
		{p->agent, "memtrace's agent"},
	};
	size_t i;

	for (i = 0; i < sizeof(owners) / sizeof(owners[0]); i++) {
		if (!owners[i].bytes && i != 0)
			continue;
		sink__right(s, fmt__bytes(owners[i].bytes).s, PART_COLUMNS + 2);
		sink__right(s, fmt__percent(owners[i].bytes, r->rss_bytes).s, 8);
		sink__str(s, "  ");
		sink__str(s, owners[i].what);
		sink__char(s, '\n');
	}
	sink__right(s, fmt__bytes(r->rss_bytes).s, PART_COLUMNS + 2);
	sink__str(s, "          by the kernel's account\n");
}

/* The parts sum to the total, which is the kernel's. */
static void put_resident(struct sink *s, const struct report *r)
{
	const struct {
		const char *name;
		uint64_t bytes;
	} parts[] = {
		{"total", r->rss_bytes},
		{"heap", r->rss_parts_heap},
		{"mmap", r->rss_parts_direct_mmap},
		{"file", r->rss_parts_file},
		{"stack", r->rss_parts_stack},
		{"other", r->rss_parts_other},
		{"unknown", r->rss_parts_unknown},
	};
	uint64_t peak = r->nprocesses == 1 ? r->processes[0].rss_peak_bytes : UNKNOWN;
	size_t i;

	text__heading(s, "Resident memory");
	sink__str(s, r->rss_bytes == UNKNOWN ? "  at the end: not known" : "  at the end");
	if (peak != UNKNOWN) {
		sink__str(s, ", peak ");
		sink__str(s, fmt__bytes(peak).s);
	}
	sink__char(s, '\n');
	if (r->rss_bytes == UNKNOWN)
		return;
	if (r->parts.live != UNKNOWN) {
		put_owners(s, r);
		return;
	}
	for (i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		sink__right(s, parts[i].name, PART_COLUMNS);
	sink__char(s, '\n');
	for (i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		sink__right(s, fmt__bytes(parts[i].bytes).s, PART_COLUMNS);
	sink__char(s, '\n');
}

enum {
	REGION_NAME = 10,
	REGION_MAPPINGS = 12,
	REGION_BYTES = 13,
	REGION_RESIDENT = 13,
	REGION_MINOR = 15,
	REGION_MAJOR = 15
};

static bool region__is_empty(const struct region_stats *g)
{
	return (g->mappings == 0 || g->mappings == UNKNOWN) &&
	       (g->bytes == 0 || g->bytes == UNKNOWN) &&
	       (g->faults_minor == 0 || g->faults_minor == UNKNOWN) &&
	       (g->faults_major == 0 || g->faults_major == UNKNOWN);
}

static void put_region(struct sink *s, const char *name, const struct region_stats *g)
{
	sink__str(s, "  ");
	sink__str(s, name);
	sink__pad(s, REGION_NAME);
	sink__right(s, fmt__count_fit(g->mappings, REGION_MAPPINGS - 1).s, REGION_MAPPINGS);
	sink__right(s, fmt__bytes(g->bytes).s, REGION_BYTES);
	sink__right(s, fmt__bytes(g->resident_bytes).s, REGION_RESIDENT);
	sink__right(s, fmt__count_fit(g->faults_minor, REGION_MINOR - 1).s, REGION_MINOR);
	sink__right(s, fmt__count_fit(g->faults_major, REGION_MAJOR - 1).s, REGION_MAJOR);
	sink__char(s, '\n');
}

void text__regions(struct sink *s, const struct report *r)
{
	bool any = false;
	unsigned i;

	put_resident(s, r);
	for (i = 0; i < REGION_CLASSES; i++)
		any |= !region__is_empty(&r->regions[i]);
	if (!any)
		return;
	text__heading(s, "Regions");
	sink__pad(s, REGION_NAME);
	sink__right(s, "mappings", REGION_MAPPINGS);
	sink__right(s, "size", REGION_BYTES);
	sink__right(s, "resident", REGION_RESIDENT);
	sink__right(s, "minor faults", REGION_MINOR);
	sink__right(s, "major faults", REGION_MAJOR);
	sink__char(s, '\n');
	for (i = 0; i < REGION_CLASSES; i++)
		if (!region__is_empty(&r->regions[i]))
			put_region(s, region_name[i], &r->regions[i]);
}

static uint64_t process__faults(const struct process_report *p)
{
	return text__add(p->faults.minor, p->faults.major);
}

static uint64_t process__calls(const struct process_report *p)
{
	uint64_t calls = 0;
	unsigned i;

	for (i = 0; i < VMCALLS; i++)
		calls = text__add(calls, p->call[i].calls);
	return calls;
}

static int compare(uint64_t a, uint64_t b)
{
	return (a < b) - (a > b);
}

/* Most faults first, then most calls, then as they came. */
static int process__compare(const void *left, const void *right)
{
	const struct process_report *a = *(const struct process_report *const *)left;
	const struct process_report *b = *(const struct process_report *const *)right;
	int order = compare(process__faults(a), process__faults(b));

	if (order == 0)
		order = compare(process__calls(a), process__calls(b));
	return order ? order : (a > b) - (a < b);
}

enum {
	PROCESS_PID = 8,
	PROCESS_COMM = 15,
	PROCESS_CALLS = 9,
	PROCESS_MINOR = 9,
	PROCESS_MAJOR = 7,
	PROCESS_MAPPED = 11,
	PROCESS_RSS = 10
};

static void put_process(struct sink *s, const struct process_report *p)
{
	char pid[16];

	snprintf(pid, sizeof(pid), "%d", (int)p->pid);
	sink__right(s, pid, PROCESS_PID);
	sink__char(s, ' ');
	sink__clip(s, p->comm ? p->comm : "?", PROCESS_COMM);
	sink__pad(s, PROCESS_PID + 1 + PROCESS_COMM);
	sink__right(s, fmt__count_fit(process__calls(p), PROCESS_CALLS - 1).s, PROCESS_CALLS);
	sink__right(s, fmt__count_fit(p->faults.minor, PROCESS_MINOR - 1).s, PROCESS_MINOR);
	sink__right(s, fmt__count_fit(p->faults.major, PROCESS_MAJOR - 1).s, PROCESS_MAJOR);
	sink__right(s, fmt__bytes(p->mapped_bytes).s, PROCESS_MAPPED);
	sink__right(s, fmt__bytes(p->rss_bytes).s, PROCESS_RSS);
	sink__char(s, ' ');
	text__end(s, p, false);
	sink__char(s, '\n');
}

int text__processes(struct sink *s, const struct report *r, const struct view_opts *o)
{
	const struct process_report **sorted = malloc(r->nprocesses * sizeof(*sorted));
	size_t i;

	if (!sorted)
		return -ENOMEM;
	for (i = 0; i < r->nprocesses; i++)
		sorted[i] = &r->processes[i];
	qsort(sorted, r->nprocesses, sizeof(*sorted), process__compare);
	text__heading(s, "Processes");
	sink__pad(s, PROCESS_PID + 1 + PROCESS_COMM);
	sink__right(s, "calls", PROCESS_CALLS);
	sink__right(s, "minor", PROCESS_MINOR);
	sink__right(s, "major", PROCESS_MAJOR);
	sink__right(s, "mapped", PROCESS_MAPPED);
	sink__right(s, "resident", PROCESS_RSS);
	sink__str(s, " end\n");
	for (i = 0; i < r->nprocesses && i < o->top; i++)
		put_process(s, sorted[i]);
	if (i < r->nprocesses)
		text__cut(s, r->nprocesses - i, "process", "processes");
	free(sorted);
	return 0;
}
