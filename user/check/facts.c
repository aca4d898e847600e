// SPDX-License-Identifier: MIT
#include "user/check/facts.h"

#include <stdio.h>
#include <string.h>

#include "user/model/report.h"

struct fact_name {
	const char *name;
	unsigned scopes;
	unsigned index;
	enum value_type type;
};

static const struct fact_name facts[] = {
	{"size", SCOPE_CALL, FACT_SIZE, VALUE_BYTES},
	{"old_size", SCOPE_CALL, FACT_OLD_SIZE, VALUE_BYTES},
	{"align", SCOPE_CALL, FACT_ALIGN, VALUE_BYTES},
	{"address", SCOPE_CALL, FACT_ADDRESS, VALUE_ADDRESS},
	{"number", SCOPE_CALL, FACT_NUMBER, VALUE_NUMBER},
	{"thread", SCOPE_CALL, FACT_THREAD, VALUE_NUMBER},
	{"time", SCOPE_CALL, FACT_CALL_TIME, VALUE_TIME},
	{"main", SCOPE_CALL, FACT_MAIN, VALUE_CONDITION},
	{"failed", SCOPE_CALL, FACT_CALL_FAILED, VALUE_CONDITION},
	{"moved", SCOPE_CALL, FACT_MOVED, VALUE_CONDITION},
	{"fresh", SCOPE_CALL, FACT_FRESH, VALUE_CONDITION},
	{"in_break", SCOPE_CALL, FACT_BLOCK_IN_BREAK, VALUE_CONDITION},
	{"bytes", SCOPE_SYSCALL, FACT_BYTES, VALUE_BYTES},
	{"time", SCOPE_EVENT, FACT_EVENT_TIME, VALUE_TIME},
	{"failed", SCOPE_SYSCALL, FACT_EVENT_FAILED, VALUE_CONDITION},
	{"populated", SCOPE_SYSCALL, FACT_EVENT_POPULATED, VALUE_NUMBER},
	{"address", SCOPE_EVENT, FACT_EVENT_ADDRESS, VALUE_ADDRESS},
	{"grown", SCOPE_SYSCALL, FACT_GROWN, VALUE_BYTES},
	{"shrunk", SCOPE_SYSCALL, FACT_SHRUNK, VALUE_BYTES},
	{"populate", SCOPE_SYSCALL, FACT_POPULATE, VALUE_CONDITION},
	{"fixed", SCOPE_SYSCALL, FACT_FIXED, VALUE_CONDITION},
	{"shared", SCOPE_SYSCALL, FACT_SHARED, VALUE_CONDITION},
	{"noreserve", SCOPE_SYSCALL, FACT_NORESERVE, VALUE_CONDITION},
	{"hugetlb", SCOPE_SYSCALL, FACT_HUGETLB, VALUE_CONDITION},
	{"read", SCOPE_SYSCALL, FACT_READ, VALUE_CONDITION},
	{"write", SCOPE_EVENT, FACT_WRITE, VALUE_CONDITION},
	{"exec", SCOPE_EVENT, FACT_EXEC, VALUE_CONDITION},
	{"file", SCOPE_SYSCALL, FACT_FILE, VALUE_CONDITION},
	{"dontneed", SCOPE_SYSCALL, FACT_DONTNEED, VALUE_CONDITION},
	{"free", SCOPE_SYSCALL, FACT_FREE, VALUE_CONDITION},
	{"hugepage", SCOPE_SYSCALL, FACT_HUGEPAGE, VALUE_CONDITION},
	{"nohugepage", SCOPE_SYSCALL, FACT_NOHUGEPAGE, VALUE_CONDITION},
	{"major", SCOPE_FAULT, FACT_MAJOR, VALUE_CONDITION},
	{"kernel", SCOPE_FAULT, FACT_KERNEL, VALUE_CONDITION},
	{"copy_on_write", SCOPE_FAULT, FACT_COPY_ON_WRITE, VALUE_CONDITION},
	{"in_break", SCOPE_FAULT, FACT_IN_BREAK, VALUE_CONDITION},
	{"in_mmap", SCOPE_FAULT, FACT_IN_MMAP, VALUE_CONDITION},
	{"in_file", SCOPE_FAULT, FACT_IN_FILE, VALUE_CONDITION},
	{"time", SCOPE_PROCESS, FACT_PROCESS_TIME, VALUE_TIME},
	{"live", SCOPE_PROCESS, FACT_LIVE, VALUE_BYTES},
	{"live.blocks", SCOPE_PROCESS, FACT_LIVE_BLOCKS, VALUE_NUMBER},
	{"peak", SCOPE_PROCESS, FACT_PEAK, VALUE_BYTES},
	{"requested", SCOPE_PROCESS, FACT_REQUESTED, VALUE_BYTES},
	{"mapped", SCOPE_PROCESS, FACT_MAPPED, VALUE_BYTES},
	{"mapped.peak", SCOPE_PROCESS, FACT_MAPPED_PEAK, VALUE_BYTES},
	{"resident", SCOPE_PROCESS, FACT_RESIDENT, VALUE_BYTES},
	{"resident.peak", SCOPE_PROCESS, FACT_RESIDENT_PEAK, VALUE_BYTES},
	{"touch.faults", SCOPE_PROCESS, FACT_TOUCH_FAULTS, VALUE_NUMBER},
	{"threads", SCOPE_PROCESS, FACT_THREADS, VALUE_NUMBER},
	{"calls", SCOPE_PROCESS, FACT_HEAP_CALLS, VALUE_NUMBER},
};

/* Of the groups of six, the name is made from the call's. */
static const struct fact_name counters[] = {
	{"", 0, C_CALLS, VALUE_NUMBER},
	{".bytes", 0, C_BYTES, VALUE_BYTES},
	{".failed", 0, C_FAILED, VALUE_NUMBER},
	{".time", 0, C_TIME, VALUE_TIME},
	{"syscalls", 0, C_SYSCALLS, VALUE_NUMBER},
	{"brk.grown", 0, C_BRK_GROWN, VALUE_BYTES},
	{"brk.shrunk", 0, C_BRK_SHRUNK, VALUE_BYTES},
	{"mmap.populate", 0, C_MMAP_POPULATE, VALUE_NUMBER},
	{"mmap.fixed", 0, C_MMAP_FIXED, VALUE_NUMBER},
	{"mmap.shared", 0, C_MMAP_SHARED, VALUE_NUMBER},
	{"mmap.noreserve", 0, C_MMAP_NORESERVE, VALUE_NUMBER},
	{"mmap.hugetlb", 0, C_MMAP_HUGETLB, VALUE_NUMBER},
	{"mmap.exec", 0, C_MMAP_EXEC, VALUE_NUMBER},
	{"mmap.file", 0, C_MMAP_FILE, VALUE_NUMBER},
	{"madvise.dontneed", 0, C_MADVISE_DONTNEED, VALUE_NUMBER},
	{"madvise.free", 0, C_MADVISE_FREE, VALUE_NUMBER},
	{"madvise.hugepage", 0, C_MADVISE_HUGEPAGE, VALUE_NUMBER},
	{"madvise.nohugepage", 0, C_MADVISE_NOHUGEPAGE, VALUE_NUMBER},
	{"madvise.populate", 0, C_MADVISE_POPULATE, VALUE_NUMBER},
	{"mprotect.none", 0, C_MPROTECT_NONE, VALUE_NUMBER},
	{"mprotect.write", 0, C_MPROTECT_WRITE, VALUE_NUMBER},
	{"mprotect.exec", 0, C_MPROTECT_EXEC, VALUE_NUMBER},
	{"populated", 0, C_POPULATED, VALUE_NUMBER},
	{"faults", 0, C_FAULTS, VALUE_NUMBER},
	{"faults.minor", 0, C_FAULTS_MINOR, VALUE_NUMBER},
	{"faults.major", 0, C_FAULTS_MAJOR, VALUE_NUMBER},
	{"faults.time", 0, C_FAULTS_TIME, VALUE_TIME},
	{"faults.in_break", 0, C_FAULTS_IN_BREAK, VALUE_NUMBER},
	{"faults.in_mmap", 0, C_FAULTS_IN_MMAP, VALUE_NUMBER},
	{"faults.in_file", 0, C_FAULTS_IN_FILE, VALUE_NUMBER},
	{"faults.in_block", 0, C_FAULTS_IN_BLOCK, VALUE_NUMBER},
	{"kernel.time", 0, C_KERNEL_TIME, VALUE_TIME},
};

static const char *const group_name[GROUPS] = {"allocation", "resize", "release"};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define GROUPS_OF_SIX 4
#define NAME_MOST 48

static bool is_same(const char *name, const char *text, size_t length)
{
	return strlen(name) == length && !memcmp(name, text, length);
}

static bool skip(const char **text, size_t *length, const char *prefix)
{
	size_t n = strlen(prefix);

	if (*length <= n || memcmp(*text, prefix, n) != 0)
		return false;
	*text += n;
	*length -= n;
	return true;
}

enum group group__of(unsigned op, bool has_block)
{
	if (op >= HEAP_FREE)
		return GROUP_RELEASE;
	switch (op) {
	case HEAP_REALLOC:
	case HEAP_REALLOCARRAY:
	case HEAP_RALLOCX:
	case HEAP_XALLOCX:
		return has_block ? GROUP_RESIZE : GROUP_ALLOCATION;
	default:
		return GROUP_ALLOCATION;
	}
}

static void counter__name(unsigned counter, char *out, size_t room)
{
	size_t i;

	if (counter < C_SYSCALLS) {
		snprintf(out, room, "%s%s", vmcall_name[counter % VMCALLS],
			 counters[counter / VMCALLS].name);
		return;
	}
	for (i = GROUPS_OF_SIX; i < COUNT(counters); i++)
		if (counters[i].index == counter)
			snprintf(out, room, "%s", counters[i].name);
}

static bool counter__find(const char *text, size_t length, struct fact_ref *out)
{
	char name[NAME_MOST];
	unsigned i;

	for (i = 0; i < COUNTERS; i++) {
		counter__name(i, name, sizeof(name));
		if (!is_same(name, text, length))
			continue;
		out->index = i;
		out->type = i < C_SYSCALLS ? counters[i / VMCALLS].type :
					     counters[i - C_SYSCALLS + GROUPS_OF_SIX].type;
		out->is_count = out->type == VALUE_NUMBER;
		return true;
	}
	return false;
}

/* "malloc.calls", "release.calls" */
static bool calls__find(const char *text, size_t length, struct fact_ref *out)
{
	const size_t suffix = strlen(".calls");
	unsigned i;

	if (length <= suffix || memcmp(text + length - suffix, ".calls", suffix) != 0)
		return false;
	length -= suffix;
	*out = (struct fact_ref){
		.source = SOURCE_OP_CALLS, .type = VALUE_NUMBER, .is_count = true, .needs_heap = true};
	for (i = HEAP_MALLOC; i < HEAP_OPS; i++)
		if (is_same(heap_op_name[i], text, length)) {
			out->index = i;
			return true;
		}
	out->source = SOURCE_GROUP_CALLS;
	for (i = 0; i < GROUPS; i++)
		if (is_same(group_name[i], text, length)) {
			out->index = i;
			return true;
		}
	return false;
}

static bool needs_all(unsigned fact)
{
	return fact >= FACT_LIVE && fact <= FACT_RESIDENT_PEAK && fact != FACT_REQUESTED;
}

static bool process__find(const char *text, size_t length, struct fact_ref *out)
{
	enum source source = SOURCE_INSIDE;

	if (calls__find(text, length, out))
		return true;
	*out = (struct fact_ref){.needs_heap = true};
	if (skip(&text, &length, "outside."))
		source = SOURCE_OUTSIDE;
	else if (skip(&text, &length, "all."))
		source = SOURCE_ALL;
	if (!counter__find(text, length, out) || out->index == C_FAULTS_IN_BLOCK)
		return false;
	out->source = source;
	out->needs_heap = source != SOURCE_ALL;
	return true;
}

static bool fact__find_one(const char *text, size_t length, unsigned scope, struct fact_ref *out)
{
	size_t i;

	if (scope == SCOPE_CALL && skip(&text, &length, "run."))
		scope = SCOPE_PROCESS;
	for (i = 0; i < COUNT(facts); i++) {
		if (!(facts[i].scopes & scope) || !is_same(facts[i].name, text, length))
			continue;
		*out = (struct fact_ref){
			.source = SOURCE_FACT, .index = facts[i].index, .type = facts[i].type};
		out->is_count = scope == SCOPE_PROCESS && out->type == VALUE_NUMBER;
		out->needs_all = scope == SCOPE_PROCESS && needs_all(out->index);
		out->needs_heap = scope == SCOPE_PROCESS && out->index != FACT_PROCESS_TIME &&
				  out->index != FACT_THREADS;
		return true;
	}
	if (scope == SCOPE_PROCESS)
		return process__find(text, length, out);
	*out = (struct fact_ref){.source = SOURCE_CALL};
	return scope == SCOPE_CALL && counter__find(text, length, out);
}

bool fact__find(const char *name, size_t length, unsigned scopes, struct fact_ref *out)
{
	unsigned scope;

	for (scope = 1; scope <= SCOPE_PROCESS; scope <<= 1)
		if (scopes & scope && !fact__find_one(name, length, scope, out))
			return false;
	return scopes != 0;
}

unsigned fact__scopes(const char *name, size_t length)
{
	struct fact_ref ref;
	unsigned scope, found = 0;

	for (scope = 1; scope <= SCOPE_PROCESS; scope <<= 1)
		if (fact__find_one(name, length, scope, &ref))
			found |= scope;
	return found;
}

void fact__name(const struct fact_ref *ref, char *out, size_t room)
{
	static const char *const prefix[] = {
		[SOURCE_FACT] = "",    [SOURCE_CALL] = "",
		[SOURCE_INSIDE] = "",  [SOURCE_OUTSIDE] = "outside.",
		[SOURCE_ALL] = "all.",
	};
	size_t n, i;

	switch (ref->source) {
	case SOURCE_OP_CALLS:
		snprintf(out, room, "%s.calls", heap_op_name[ref->index]);
		return;
	case SOURCE_GROUP_CALLS:
		snprintf(out, room, "%s.calls", group_name[ref->index]);
		return;
	case SOURCE_FACT:
		for (i = 0; i < COUNT(facts); i++)
			if (facts[i].index == ref->index)
				snprintf(out, room, "%s", facts[i].name);
		return;
	default:
		n = (size_t)snprintf(out, room, "%s", prefix[ref->source]);
		if (n < room)
			counter__name(ref->index, out + n, room - n);
	}
}

/* How many single characters have to be changed, put in or left out. */
static unsigned distance(const char *a, size_t m, const char *b)
{
	unsigned row[NAME_MOST + 1], diagonal, above;
	size_t n = strlen(b), i, j;

	if (m > NAME_MOST || n > NAME_MOST)
		return NAME_MOST;
	for (j = 0; j <= n; j++)
		row[j] = (unsigned)j;
	for (i = 1; i <= m; i++) {
		diagonal = row[0];
		row[0] = (unsigned)i;
		for (j = 1; j <= n; j++) {
			above = row[j];
			row[j] = diagonal + (a[i - 1] != b[j - 1]);
			if (above + 1 < row[j])
				row[j] = above + 1;
			if (row[j - 1] + 1 < row[j])
				row[j] = row[j - 1] + 1;
			diagonal = above;
		}
	}
	return row[n];
}

static void consider(const char *name, const char *text, size_t length, const char **best,
		     unsigned *least)
{
	unsigned d = distance(text, length, name);

	if (d < *least) {
		*least = d;
		*best = name;
	}
}

#define NEAR 3 /* as many errors make it another word */

const char *fact__nearest(const char *name, size_t length, unsigned scopes)
{
	static char made[NAME_MOST];
	char candidate[NAME_MOST];
	const char *best = NULL, *other;
	unsigned least = length < 4 ? 2 : NEAR, before;
	size_t i;

	for (i = 0; i < COUNT(facts); i++)
		if (facts[i].scopes & scopes)
			consider(facts[i].name, name, length, &best, &least);
	for (i = 0; scopes & (SCOPE_CALL | SCOPE_PROCESS) && i < COUNTERS; i++) {
		counter__name((unsigned)i, candidate, sizeof(candidate));
		before = least;
		consider(candidate, name, length, &other, &least);
		if (least < before) {
			memcpy(made, candidate, sizeof(made));
			best = made;
		}
	}
	return best;
}

static const struct {
	const char *name;
	struct subject subject;
} subjects[] = {
	{"allocation", {SCOPE_CALL, 0, 1 << GROUP_ALLOCATION, 0}},
	{"resize", {SCOPE_CALL, 0, 1 << GROUP_RESIZE, 0}},
	{"release", {SCOPE_CALL, 0, 1 << GROUP_RELEASE, 0}},
	{"call", {SCOPE_CALL, 0, (1 << GROUPS) - 1, 0}},
	{"syscall", {SCOPE_SYSCALL, 0, 0, FAULT_BIT - 1}},
	{"fault", {SCOPE_FAULT, 0, 0, FAULT_BIT}},
	{"process", {SCOPE_PROCESS, 0, 0, 0}},
};

bool subject__find(const char *name, size_t length, struct subject *out)
{
	unsigned i;

	for (i = 0; i < COUNT(subjects); i++)
		if (is_same(subjects[i].name, name, length)) {
			*out = subjects[i].subject;
			return true;
		}
	for (i = 0; i < VMCALLS; i++)
		if (is_same(vmcall_name[i], name, length)) {
			*out = (struct subject){.scope = SCOPE_SYSCALL, .kinds = 1U << i};
			return true;
		}
	for (i = HEAP_MALLOC; i < HEAP_OPS; i++)
		if (is_same(heap_op_name[i], name, length)) {
			*out = (struct subject){.scope = SCOPE_CALL, .ops = 1U << i};
			return true;
		}
	return false;
}

const char *subject__nearest(const char *name, size_t length)
{
	const char *best = NULL;
	unsigned least = length < 4 ? 2 : NEAR, i;

	for (i = 0; i < COUNT(subjects); i++)
		consider(subjects[i].name, name, length, &best, &least);
	for (i = 0; i < VMCALLS; i++)
		consider(vmcall_name[i], name, length, &best, &least);
	for (i = HEAP_MALLOC; i < HEAP_OPS; i++)
		consider(heap_op_name[i], name, length, &best, &least);
	return best;
}

int counter__kind(unsigned counter)
{
	if (counter < C_SYSCALLS)
		return (int)(counter % VMCALLS);
	if (counter == C_BRK_GROWN || counter == C_BRK_SHRUNK)
		return CALL_BRK;
	if (counter >= C_MMAP_POPULATE && counter <= C_MMAP_FILE)
		return CALL_MMAP;
	if (counter >= C_MADVISE_DONTNEED && counter <= C_MADVISE_POPULATE)
		return CALL_MADVISE;
	if (counter >= C_MPROTECT_NONE && counter <= C_MPROTECT_EXEC)
		return CALL_MPROTECT;
	if (counter >= C_FAULTS && counter <= C_FAULTS_IN_BLOCK)
		return VMCALLS;
	return -1;
}
