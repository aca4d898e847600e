/* SPDX-License-Identifier: MIT */
/* What the tests of the heap's model share, over model_lib.h: records of allocator calls, and
 * kernel events inside them. */
#ifndef MEMTRACE_TESTS_HEAP_LIB_H
#define MEMTRACE_TESTS_HEAP_LIB_H

#include "tests/unit/model_lib.h"

struct heap_call {
	unsigned op, pid, tid; /* pid 0: PID, tid 0: pid */
	uint64_t size, arg, result, stack, weight;
	uint64_t start; /* 0: as it is told */
	unsigned flags;
};

/* Returns when it began: its kernel events' owner. */
static inline uint64_t heap_call(struct heap_call c)
{
	struct rec_heap r = {.h = head(REC_HEAP, c.pid ? c.pid : PID)};

	r.h.tid = c.tid ? c.tid : r.h.tgid;
	r.h.aux = c.op;
	r.h.flags = c.flags;
	r.start_ns = c.start ? c.start : r.h.ts_ns;
	r.size = c.size;
	r.arg = c.arg;
	r.result = c.result;
	r.stack_id = c.stack;
	r.weight = c.weight;
	assert_int_equal(apply(&r, sizeof(r)), 0);
	return r.start_ns;
}

#define HEAP_CALL(...) heap_call((struct heap_call){__VA_ARGS__})

static inline void malloc_at(uint64_t addr, uint64_t size, uint64_t stack)
{
	HEAP_CALL(.op = HEAP_MALLOC, .size = size, .result = addr, .stack = stack);
}

static inline void free_at(uint64_t addr)
{
	HEAP_CALL(.op = HEAP_FREE, .arg = addr);
}

static inline void owned_call(unsigned kind, unsigned tid, uint64_t owner, uint64_t took)
{
	struct rec_call r = {.h = head(kind, PID), .owner = owner, .ip = TEXT};

	r.h.tid = tid;
	r.start_ns = r.h.ts_ns - took;
	r.ret = kind == REC_BRK ? (int64_t)(HEAP + PAGE) : kind == REC_MMAP ? (int64_t)MMAP : 0;
	r.arg[0] = kind == REC_BRK ? HEAP + PAGE : MMAP;
	r.arg[1] = PAGE;
	r.arg[3] = ANON;
	r.old_brk = HEAP;
	assert_int_equal(apply(&r, sizeof(r)), 0);
}

static inline void owned_fault(unsigned tid, uint64_t owner, uint64_t addr, unsigned flags)
{
	struct rec_fault r = {.h = head(REC_FAULT, PID), .addr = addr, .ip = TEXT, .owner = owner};

	r.h.tid = tid;
	r.h.aux = 500;
	r.h.flags = flags;
	assert_int_equal(apply(&r, sizeof(r)), 0);
}

/* A stack with an address of its own in the program's code. */
static inline void site_stack(uint64_t id)
{
	STACK_OF(id, 0, 0, TEXT + 0x100 + id * 8, TEXT + 0x3000);
}

static inline const struct site_heap *site_of(const struct report *r, uint64_t id)
{
	size_t i;

	for (i = 0; i < r->nsites; i++)
		if (r->sites[i].is_heap && r->sites[i].nframes &&
		    r->sites[i].frames[0].offset == PAGE + 0x100 + id * 8)
			return &r->sites[i].heap;
	fail_msg("no site of stack %u", (unsigned)id);
	return NULL;
}

#endif /* MEMTRACE_TESTS_HEAP_LIB_H */
