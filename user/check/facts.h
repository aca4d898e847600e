/* SPDX-License-Identifier: MIT */
/*
 * What a contract can speak of: facts of a call, an event or a process, and subjects.
 *
 * Vocabulary
 *   tally     counters of what the kernel did: inside one call, or inside or outside of all calls
 *             of a process. All facts that are counted are of this kind
 *   scope     what a rule is about, and so which facts it knows
 */
#ifndef MEMTRACE_CHECK_FACTS_H
#define MEMTRACE_CHECK_FACTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bpf/event.h"
#include "user/check/value.h"

/* Counters of a tally. The first six of each of the first four groups are in the order of the calls. */
enum counter {
	C_CALLS,
	C_BYTES = C_CALLS + VMCALLS,
	C_FAILED = C_BYTES + VMCALLS,
	C_TIME = C_FAILED + VMCALLS,
	C_SYSCALLS = C_TIME + VMCALLS,
	C_BRK_GROWN,
	C_BRK_SHRUNK,
	C_MMAP_POPULATE,
	C_MMAP_FIXED,
	C_MMAP_SHARED,
	C_MMAP_NORESERVE,
	C_MMAP_HUGETLB,
	C_MMAP_EXEC,
	C_MMAP_FILE,
	C_MADVISE_DONTNEED,
	C_MADVISE_FREE,
	C_MADVISE_HUGEPAGE,
	C_MADVISE_NOHUGEPAGE,
	C_MADVISE_POPULATE,
	C_MPROTECT_NONE,
	C_MPROTECT_WRITE,
	C_MPROTECT_EXEC,
	C_POPULATED,
	C_FAULTS,
	C_FAULTS_MINOR,
	C_FAULTS_MAJOR,
	C_FAULTS_TIME,
	C_FAULTS_IN_BREAK,
	C_FAULTS_IN_MMAP,
	C_FAULTS_IN_FILE,
	C_FAULTS_IN_BLOCK, /* of a call alone: UNKNOWN_COUNT when its faults were too many to keep */
	C_KERNEL_TIME,
	COUNTERS
};

struct tally {
	uint64_t n[COUNTERS];
};

#define SCOPE_CALL (1 << 0)
#define SCOPE_SYSCALL (1 << 1)
#define SCOPE_FAULT (1 << 2)
#define SCOPE_PROCESS (1 << 3)
#define SCOPE_EVENT (SCOPE_SYSCALL | SCOPE_FAULT)

enum fact {
	/* of a call */
	FACT_SIZE,
	FACT_OLD_SIZE,
	FACT_ALIGN,
	FACT_ADDRESS,
	FACT_NUMBER,
	FACT_THREAD,
	FACT_CALL_TIME,
	FACT_MAIN,
	FACT_CALL_FAILED,
	FACT_MOVED,
	FACT_FRESH,
	FACT_BLOCK_IN_BREAK,
	/* of an event */
	FACT_BYTES,
	FACT_EVENT_TIME,
	FACT_EVENT_FAILED,
	FACT_EVENT_POPULATED,
	FACT_EVENT_ADDRESS,
	FACT_GROWN,
	FACT_SHRUNK,
	FACT_POPULATE,
	FACT_FIXED,
	FACT_SHARED,
	FACT_NORESERVE,
	FACT_HUGETLB,
	FACT_READ,
	FACT_WRITE,
	FACT_EXEC,
	FACT_FILE,
	FACT_DONTNEED,
	FACT_FREE,
	FACT_HUGEPAGE,
	FACT_NOHUGEPAGE,
	FACT_MAJOR,
	FACT_KERNEL,
	FACT_COPY_ON_WRITE,
	FACT_IN_BREAK,
	FACT_IN_MMAP,
	FACT_IN_FILE,
	/* of a process */
	FACT_PROCESS_TIME,
	FACT_LIVE,
	FACT_LIVE_BLOCKS,
	FACT_PEAK,
	FACT_REQUESTED,
	FACT_MAPPED,
	FACT_MAPPED_PEAK,
	FACT_RESIDENT,
	FACT_RESIDENT_PEAK,
	FACT_TOUCH_FAULTS,
	FACT_THREADS,
	FACT_HEAP_CALLS,
	FACTS
};

/* Calls by what they do. A realloc of NULL is an allocation, of a block a resize. */
enum group { GROUP_ALLOCATION, GROUP_RESIZE, GROUP_RELEASE, GROUPS };
enum group group__of(unsigned op, bool has_block);

/* Where the value of a name is found. */
enum source {
	SOURCE_FACT, /* index: enum fact */
	SOURCE_CALL, /* index: enum counter, of the call's tally */
	SOURCE_INSIDE, /* of the process's inside calls, */
	SOURCE_OUTSIDE, /* outside of them, */
	SOURCE_ALL, /* both */
	SOURCE_OP_CALLS, /* index: enum heap_op */
	SOURCE_GROUP_CALLS, /* index: enum group */
};

struct fact_ref {
	enum source source;
	unsigned index;
	enum value_type type;
	bool is_count; /* "2 mmap" may be said of it */
	bool needs_heap; /* not known without the calls into the allocator */
	bool needs_all; /* not known of a process that was there before */
};

/* The fact of that name in each scope of the mask. */
bool fact__find(const char *name, size_t length, unsigned scopes, struct fact_ref *out);
/* Some scope that knows the name, 0: none does. */
unsigned fact__scopes(const char *name, size_t length);
/* A name that is nearly this one, or NULL. */
const char *fact__nearest(const char *name, size_t length, unsigned scopes);
void fact__name(const struct fact_ref *ref, char *out, size_t room);

struct subject {
	unsigned scope; /* one SCOPE_* */
	uint32_t ops; /* SCOPE_CALL: bits of enum heap_op */
	uint32_t groups; /* bits of enum group */
	uint32_t kinds; /* SCOPE_EVENT: bits of the six calls, and FAULT_BIT */
};
#define FAULT_BIT (1U << VMCALLS)

bool subject__find(const char *name, size_t length, struct subject *out);
const char *subject__nearest(const char *name, size_t length);

/* Which of the six calls (or VMCALLS: faults) a counter is about, -1: none or several. */
int counter__kind(unsigned counter);

#endif /* MEMTRACE_CHECK_FACTS_H */
