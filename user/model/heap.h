/* SPDX-License-Identifier: MIT */
/*
 * The heap plane's side of the model: live blocks of each address space, and what each site
 * of the program called, holds and cost. Shared by the model's own files only.
 *
 * Counts of calls and blocks are kept in units of 1/HEAP_UNIT: under sampling a block stands
 * for a number of blocks that is not whole. The report divides.
 */
#ifndef MEMTRACE_HEAP_H
#define MEMTRACE_HEAP_H

#include "user/model/estimate.h"
#include "user/model/nursery.h"
#include "user/model/report.h"
#include "user/util/hmap.h"

#define NO_SITE UINT32_MAX

#define BIRTHS 1024 /* of so many latest blocks it is known when they were made */
#define DISPLACED 32

/* The blocks of an address space; a child of vfork has its parent's. */
struct process;
struct heap {
	unsigned refs;
	struct process *process; /* whose it is: not the borrower; NULL when that one has ended */
	uint16_t owner; /* of the blocks that were made here; others are inherited */
	uint32_t made; /* allocations so far, modulo 2^32 */
	struct nursery blocks;
	struct hmap weights; /* of sampled blocks: address -> weight */
	uint64_t live_blocks, live_bytes; /* its own */
	uint64_t live_blocks_variance, live_bytes_variance;
	uint64_t inherited_blocks, inherited_bytes;
	uint64_t peak_bytes; /* own */
	uint64_t born_ns[BIRTHS]; /* of allocation number i, at i % BIRTHS */
	/* Blocks whose address was given out again before a realloc told that it had moved them. */
	struct {
		uint64_t addr, ts_ns, blocks;
	} displaced[DISPLACED];
	unsigned next_displaced, ndisplaced;
	bool gap; /* a record that freed may have been lost since allocation number gap_made */
	uint32_t gap_made;
};

/* What the kernel did in one allocator call. */
struct cost {
	uint32_t calls[VMCALLS];
	uint32_t minor, major;
	uint64_t call_ns, fault_ns;
};

/* The latest allocator call of a thread that anything was told of. */
struct thread_call {
	uint32_t tid;
	uint32_t site; /* once told; NO_SITE: it has none */
	uint64_t owner; /* the call, by its start */
	struct process *process; /* whose cost it is */
	bool told; /* its own record has come */
	bool has_cost;
	struct cost cost; /* until then: what the kernel did in it */
};

struct model;
struct process;
struct place;

/* Of a sampled block; 0: it is none. */
uint64_t heap__weight(const struct heap *h, uint64_t addr);

int model__heap(struct model *m, struct process *p, const struct rec_heap *r);

/* The record of a call has come, and the call's site is known. 0 or -ENOMEM. */
int model__heap_told(struct model *m, struct process *p, const struct rec_heap *r, uint32_t site);

/* Kernel events: what is inside an allocator call goes to its site, a fault outside to the site of
 * the block it is in. */
int model__heap_call(struct model *m, struct process *p, const struct rec_call *c, uint64_t ns);
int model__heap_fault(struct model *m, struct process *p, const struct rec_fault *f);

/* A thread has ended. */
void model__heap_thread_end(struct model *m, uint32_t tid);

/* At the end: costs of calls that were not told. */
void model__heap_settle(struct model *m);

/* A child has its parent's blocks: copies of them, or (vfork) the same. 0 or -ENOMEM. */
int process__heap_fork(struct process *child, struct process *parent, bool shares_mm);

/* Its address space is gone, by exec or by its end. */
void process__heap_drop(struct model *m, struct process *p, bool exec);

/* Bring the report's figures of live blocks up to date. */
void process__heap_account(struct process *p);

void model__heap_free(struct model *m);
void process__heap_free(struct process *p);

/* The lines of a process's allocators, the table of hooks. */
int model__take_hook(struct model *m, const struct rec_hook *r);
int model__take_allocator(struct model *m, struct process *p, const struct rec_allocator *r);
int process__copy_allocators(struct process *to, const struct process *from, bool shares_mm);

/* It says hello, or its image is gone with what it may have kept to itself. */
void process__is_heard(struct process *p);
void process__free_allocators(struct process *p);

/*
 * For the report, from units to whole numbers: a process's figures as they are now, the totals
 * (r->heap) from those of its processes, the sites; who has no heap plane gets UNKNOWN.
 */
void report__heap_process(struct report *r, struct process *p, struct process_report *out);
void report__heap_totals(struct report *r, struct model *m);
int report__heap_sites(struct report *r,
		       const struct model *m); /* r->by_live and the like. 0 or -ENOMEM */

/* From units to whole numbers. sampled: these are estimates; by_us: and by our own sampling. */
void heap_stats__finish(struct heap_stats *h, bool sampled, bool by_us);
void site_heap__add(struct site_heap *to, const struct site_heap *from);

#endif /* MEMTRACE_HEAP_H */
