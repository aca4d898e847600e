// SPDX-License-Identifier: (GPL-2.0-only OR MIT)
/*
 * Writes records of calls into an allocator to the rings of a memtrace that runs, and counts them there, as its
 * own programs do (record__reserve() in bpf/state.bpf.h). Run by flood.c, one share of it at a time.
 */
#include "bpf/kernel_types.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "bpf/event.h"
#include "tests/bench/flood/flood.h"

struct ring {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
};

/* These two are memtrace's. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct ring);
} rings SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct event_counts);
} counts SEC(".maps");

struct flood_share shares[FLOOD_THREADS];

struct flood_run {
	struct flood_share *share;
	struct event_counts *counts;
	void *ring;
};

static __always_inline void *record__reserve(struct flood_run *f, __u32 kind, __u64 size)
{
	void *r = bpf_ringbuf_reserve(f->ring, size, 0);

	__sync_fetch_and_add(&f->counts->seen[kind], 1);
	if (!r) {
		__sync_fetch_and_add(&f->counts->lost[kind], 1);
		f->share->lost++;
	}
	f->share->written++;
	return r;
}

static __always_inline void record__head(struct rec *h, __u32 kind, const struct flood_share *s,
					 __u64 ts)
{
	h->kind = kind;
	h->flags = 0;
	h->tgid = s->tgid;
	h->tid = s->tid;
	h->aux = 0;
	h->ts_ns = ts;
}

static __always_inline void heap__tell(struct flood_run *f, __u32 op, __u64 size, __u64 arg,
				       __u64 result, __u64 stack)
{
	struct rec_heap *r = record__reserve(f, REC_HEAP, sizeof(*r));
	__u64 start = bpf_ktime_get_ns();

	if (!r)
		return;
	record__head(&r->h, REC_HEAP, f->share, result ? bpf_ktime_get_ns() : start);
	r->h.aux = op;
	r->start_ns = start;
	r->size = size;
	r->arg = arg;
	r->result = result;
	r->stack_id = stack;
	r->weight = 0;
	bpf_ringbuf_submit(r, BPF_RB_NO_WAKEUP);
}

/* A free of the oldest block, and a malloc where it was. */
static long heap__pair(__u32 i, struct flood_run *f)
{
	struct flood_share *s = f->share;
	__u64 pair = s->pairs++, block = s->base + pair % FLOOD_ALIVE * FLOOD_BLOCK;

	if (pair >= FLOOD_ALIVE)
		heap__tell(f, HEAP_FREE, 0, block, 0, 0);
	heap__tell(f, HEAP_MALLOC, 16 + pair * 7919 % 1009, 0, block, s->stack + pair % FLOOD_STACKS);
	return 0;
}

static long stack__tell(__u32 i, struct flood_run *f)
{
	struct rec_stack *r = record__reserve(f, REC_STACK, sizeof(*r));
	int k;

	if (!r)
		return 0;
	record__head(&r->h, REC_STACK, f->share, bpf_ktime_get_ns());
	r->h.aux = FLOOD_FRAMES;
	r->stack_id = f->share->stack + i;
	r->leaf_word = 0;
	for (k = 0; k < FLOOD_FRAMES; k++)
		r->ip[k] = f->share->code + k * 64 + (k ? 0 : i);
	bpf_ringbuf_submit(r, BPF_RB_NO_WAKEUP);
	return 0;
}

SEC("raw_tp")
int flood(__u64 *ctx)
{
	__u32 which = ctx[0], zero = 0, ring;
	struct flood_run f;

	if (which >= FLOOD_THREADS)
		return 0;
	f.share = &shares[which];
	ring = f.share->ring;
	f.counts = bpf_map_lookup_elem(&counts, &zero);
	f.ring = bpf_map_lookup_elem(&rings, &ring);
	if (!f.counts || !f.ring)
		return 0;
	if (!f.share->pairs)
		bpf_loop(FLOOD_STACKS, stack__tell, &f, 0);
	bpf_loop(f.share->next, heap__pair, &f, 0);
	return 0;
}
