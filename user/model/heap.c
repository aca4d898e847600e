// SPDX-License-Identifier: MIT
/*
 * Allocator calls: which blocks live, whose they are, what was asked for.
 *
 * Records come by time, allocations as they return, frees as they begin. A realloc is the
 * one that does both and is told when it has returned: meanwhile another thread may have
 * been given the block that it freed. Two things keep that exact. An allocation at the
 * address of a live block takes its place, and the place is remembered until the realloc
 * comes that had freed it (`displaced`). And a realloc never frees a block that is younger
 * than its own beginning.
 */
#include "user/model/heap.h"

#include <errno.h>
#include <stdlib.h>

#include "user/model/internal.h"

/* What a call stands for under sampling, 0: itself. */
static uint64_t record__weight(const struct rec_heap *r)
{
	if (!r->weight)
		return 0;
	return HEAP_AUX_OP(r->h.aux) == HEAP_SAMPLED ? sample__weight_of_bytes(r->size, r->weight) :
						       sample__weight(r->size, r->weight);
}

void model__set_sampling(struct model *m, uint64_t sample_bytes)
{
	m->sample_bytes = sample_bytes;
	m->sampled = sample_bytes != 0;
}

static struct heap *heap__new(struct process *p)
{
	struct heap *h = calloc(1, sizeof(*h));

	if (h) {
		h->refs = 1;
		h->process = p;
	}
	return h;
}

static void heap__release(struct heap *h)
{
	if (!h || --h->refs)
		return;
	nursery__clear(&h->blocks);
	hmap__clear(&h->weights);
	free(h);
}

uint64_t heap__weight(const struct heap *h, uint64_t addr)
{
	uint64_t *w = h->weights.used ? hmap__find(&h->weights, addr) : NULL;

	return w ? *w : 0;
}

static struct site_heap *site__of(struct model *m, uint32_t site)
{
	return site < m->nplaces ? m->places[site].heap : NULL;
}

/* A block begins to live. */
static void heap__gain(struct model *m, struct heap *h, struct site_heap *s, const struct amount *a)
{
	h->live_blocks += a->blocks;
	h->live_bytes += a->bytes;
	h->live_blocks_variance += a->blocks_variance;
	h->live_bytes_variance += a->bytes_variance;
	if (h->live_bytes > h->peak_bytes)
		h->peak_bytes = h->live_bytes;
	if (!h->process) /* what was left when the process ended has been told */
		return;
	m->live_bytes += a->bytes;
	if (m->live_bytes > m->peak_live_bytes)
		m->peak_live_bytes = m->live_bytes;
	s->live_blocks += a->blocks;
	s->live_bytes += a->bytes;
	s->live_bytes_variance += a->bytes_variance;
	if (s->live_bytes > s->peak_live_bytes)
		s->peak_live_bytes = s->live_bytes;
}

/* A block, taken out, lives no more. Returns what it stood for. */
static struct amount heap__lose(struct model *m, struct heap *h, const struct block *b)
{
	struct amount a = amount__of(b->size, heap__weight(h, b->addr));
	struct site_heap *s = site__of(m, b->site);

	if (h->weights.used)
		hmap__remove(&h->weights, b->addr);
	if (b->owner != h->owner) {
		h->inherited_blocks -= a.blocks;
		h->inherited_bytes -= a.bytes;
		return a;
	}
	h->live_blocks -= a.blocks;
	h->live_bytes -= a.bytes;
	h->live_blocks_variance -= a.blocks_variance;
	h->live_bytes_variance -= a.bytes_variance;
	if (!h->process)
		return a;
	m->live_bytes -= a.bytes;
	if (s) {
		s->live_blocks -= a.blocks;
		s->live_bytes -= a.bytes;
		s->live_bytes_variance -= a.bytes_variance;
	}
	return a;
}

/* Whether a block is known to have been made after ts_ns. */
static bool block__is_younger(const struct heap *h, const struct block *b, uint64_t ts_ns)
{
	return b->owner == h->owner && (uint32_t)(h->made - b->born) < BIRTHS &&
	       h->born_ns[b->born % BIRTHS] > ts_ns;
}

/*
 * The program freed the block at addr. 1, its site and what it stood for; 0 when there was
 * none; or -ENOMEM.
 */
static int heap__free_block(struct model *m, struct process *p, uint64_t addr, bool by_realloc,
			    uint32_t *site, struct amount *stood_for)
{
	struct heap *h = p->heap;
	struct site_heap *s;
	struct amount a;
	struct block b;
	int found = nursery__take(&h->blocks, addr, &b);

	*stood_for = amount__of(0, 0);
	if (found <= 0)
		return found;
	m->last.old_size = b.size;
	a = *stood_for = heap__lose(m, h, &b);
	p->r.heap.freed_bytes += a.bytes;
	*site = b.site;
	s = site__of(m, b.site);
	if (!s)
		return 1;
	s->frees += a.blocks;
	s->freed_bytes += a.bytes;
	if (!by_realloc && b.owner == h->owner && (uint32_t)(h->made - b.born) < TEMPORARY_CALLS) {
		s->temporary += a.blocks;
		p->r.heap.temporary += a.blocks;
	}
	return 1;
}

/* An address was given out again that had a live block. */
static void heap__displace(struct model *m, struct process *p, const struct block *old, uint64_t ts_ns)
{
	struct heap *h = p->heap;
	struct amount a = heap__lose(m, h, old);
	unsigned i = h->next_displaced;

	p->r.heap.unseen_frees += a.blocks;
	h->ndisplaced += h->ndisplaced < DISPLACED;
	h->displaced[i].addr = old->addr;
	h->displaced[i].ts_ns = ts_ns;
	h->displaced[i].blocks = a.blocks;
	h->next_displaced = (i + 1) % DISPLACED;
}

/* Whether a realloc that began at start_ns freed a block whose place was taken meanwhile. */
static bool heap__was_displaced(struct process *p, uint64_t addr, uint64_t start_ns)
{
	struct heap *h = p->heap;
	unsigned i, at;

	for (i = 0; i < h->ndisplaced; i++) {
		at = (h->next_displaced + DISPLACED - h->ndisplaced + i) % DISPLACED;
		if (h->displaced[at].addr != addr || h->displaced[at].ts_ns <= start_ns)
			continue;
		p->r.heap.unseen_frees -= h->displaced[at].blocks;
		h->displaced[at].addr = 0;
		return true;
	}
	return false;
}

/* A realloc freed its old block. 0 or -ENOMEM. */
static int heap__free_old(struct model *m, struct process *p, const struct rec_heap *r)
{
	struct amount a = amount__of(0, 0);
	struct block b;
	uint32_t site;
	int found = 0;

	if (heap__was_displaced(p, r->arg, r->start_ns))
		return 0;
	if (!nursery__at(&p->heap->blocks, r->arg, &b) ||
	    !block__is_younger(p->heap, &b, r->start_ns))
		found = heap__free_block(m, p, r->arg, true, &site, &a);
	if (!found)
		p->r.heap.unmatched_frees += a.blocks;
	return found < 0 ? found : 0;
}

/* A block was given. */
static void heap__count_request(struct process *p, struct site_heap *s, const struct amount *a)
{
	struct heap_stats *h = &p->r.heap;

	h->bytes_requested += a->bytes;
	h->requested_variance = variance__add(h->requested_variance, a->bytes_variance);
	s->bytes += a->bytes;
	s->bytes_variance = variance__add(s->bytes_variance, a->bytes_variance);
}

static int heap__make_block(struct model *m, struct process *p, const struct rec_heap *r,
			    uint32_t place)
{
	struct site_heap *s = m->places[place].heap;
	struct heap *h = p->heap;
	uint64_t weight = record__weight(r);
	struct amount a = amount__of(r->size, weight);
	struct block b = {.addr = r->result,
			  .size = r->size,
			  .site = place,
			  .born = ++h->made,
			  .owner = h->owner},
		     old;
	int there;

	heap__count_request(p, s, &a);
	if (r->arg && r->result != r->arg)
		s->moved += a.blocks;
	/* Whether it lives will not be told. */
	if (r->h.flags & HEAP_UNTRACKED) {
		p->r.heap.untracked_blocks += a.blocks;
		return 0;
	}
	there = nursery__put(&h->blocks, &b, &old);
	if (there < 0)
		return there;
	if (there)
		heap__displace(m, p, &old, r->h.ts_ns);
	if (weight && hmap__set(&h->weights, r->result, weight))
		return -ENOMEM;
	h->born_ns[b.born % BIRTHS] = r->h.ts_ns;
	heap__gain(m, h, s, &a);
	space__mark_blocks(&p->space, r->result);
	return 0;
}

static void process__count_call(struct process *p, unsigned op, const struct amount *a)
{
	struct heap_stats *h = &p->r.heap;

	h->calls[op] += a->blocks;
	h->calls_variance[op] = variance__add(h->calls_variance[op], a->blocks_variance);
}

/* The call itself, whatever came of it. */
static void heap__count_call(struct process *p, struct site_heap *s, const struct rec_heap *r)
{
	struct amount a = amount__of(r->size, record__weight(r));
	uint64_t n = a.blocks;

	process__count_call(p, HEAP_AUX_OP(r->h.aux), &a);
	s->calls += n;
	s->calls_variance = variance__add(s->calls_variance, a.blocks_variance);
	if (r->h.flags & HEAP_FAILED) {
		p->r.heap.failed += n;
		s->failed += n;
	}
	if (r->h.flags & HEAP_ABANDONED)
		p->r.heap.abandoned += n;
}

static int heap__allocation(struct model *m, struct process *p, const struct rec_heap *r,
			    uint32_t *site)
{
	bool left_out = m->sample_bytes && !r->weight;
	struct place *place;
	int err = 0;

	/* A realloc of a sampled block to one that is not: to count it would be to count it twice. */
	if (left_out)
		return r->arg && !(r->h.flags & (HEAP_FAILED | HEAP_ABANDONED)) ?
			       heap__free_old(m, p, r) :
			       0;
	place = model__heap_place(m, p, r->stack_id);
	if (!place)
		return -ENOMEM;
	*site = place - m->places;
	heap__count_call(p, place->heap, r);
	/* A call that was left behind may or may not have freed: the next owner of the address tells. */
	if (r->h.flags & (HEAP_FAILED | HEAP_ABANDONED))
		return 0;
	if (r->arg)
		err = heap__free_old(m, p, r);
	if (!err && r->result)
		err = heap__make_block(m, p, r, *site);
	return err;
}

static int heap__free(struct model *m, struct process *p, const struct rec_heap *r, uint32_t *site)
{
	struct amount a;
	int found = heap__free_block(m, p, r->arg, false, site, &a);

	if (found < 0)
		return found;
	process__count_call(p, HEAP_AUX_OP(r->h.aux), &a);
	if (!found)
		p->r.heap.unmatched_frees += a.blocks;
	return 0;
}

int model__heap(struct model *m, struct process *p, const struct rec_heap *r)
{
	unsigned op = HEAP_AUX_OP(r->h.aux);
	uint32_t site = NO_SITE;
	int err;

	if (op <= HEAP_NONE || op >= HEAP_OPS)
		return -EBADMSG;
	if (!p->heap) {
		p->heap = heap__new(p);
		if (!p->heap)
			return -ENOMEM;
	}
	p->has_heap_plane = true;
	m->sampled |= r->weight != 0;
	err = op < HEAP_FREE ? heap__allocation(m, p, r, &site) : heap__free(m, p, r, &site);
	return err ? err : model__heap_told(m, p, r, site);
}

int process__heap_fork(struct process *child, struct process *parent, bool shares_mm)
{
	struct heap *from = parent->heap, *h;
	uint64_t addr, weight;
	size_t pos = 0;

	child->has_heap_plane = parent->has_heap_plane;
	if (process__copy_allocators(child, parent, shares_mm))
		return -ENOMEM;
	if (!from)
		return 0;
	if (shares_mm) {
		from->refs++;
		child->heap = from;
		return 0;
	}
	h = child->heap = heap__new(child);
	if (!h)
		return -ENOMEM;
	if (nursery__share(&h->blocks, &from->blocks))
		return -ENOMEM;
	while (hmap__next(&from->weights, &pos, &addr, &weight))
		if (hmap__set(&h->weights, addr, weight))
			return -ENOMEM;
	h->owner = from->owner + 1;
	h->made = from->made;
	h->gap = from->gap;
	h->gap_made = from->gap_made;
	h->inherited_blocks = from->live_blocks + from->inherited_blocks;
	h->inherited_bytes = from->live_bytes + from->inherited_bytes;
	return 0;
}

void process__heap_account(struct process *p)
{
	struct heap_stats *r = &p->r.heap;
	const struct heap *h = p->heap;
	struct nursery_iter it;
	struct block b;

	if (!h || h->process != p)
		return;
	r->live_blocks = h->live_blocks;
	r->live_bytes = h->live_bytes;
	r->live_blocks_variance = h->live_blocks_variance;
	r->live_bytes_variance = h->live_bytes_variance;
	r->inherited_blocks = h->inherited_blocks;
	r->inherited_bytes = h->inherited_bytes;
	if (h->peak_bytes > r->peak_live_bytes)
		r->peak_live_bytes = h->peak_bytes;
	r->uncertain_blocks = r->uncertain_bytes = 0;
	if (!h->gap)
		return;
	for (nursery__begin(&h->blocks, &it); nursery__next(&it, &b);) {
		struct amount a = amount__of(b.size, heap__weight(h, b.addr));

		if (b.owner != h->owner || (int32_t)(h->gap_made - b.born) < 0)
			continue;
		r->uncertain_blocks += a.blocks;
		r->uncertain_bytes += a.bytes;
	}
}

/* The blocks that an exec took away belong to no site any more. */
static void heap__drop_sites(struct model *m, struct process *p)
{
	struct heap *h = p->heap;
	struct nursery_iter it;
	struct block b;

	for (nursery__begin(&h->blocks, &it); nursery__next(&it, &b);) {
		struct amount a = amount__of(b.size, heap__weight(h, b.addr));
		struct site_heap *s = site__of(m, b.site);

		if (b.owner != h->owner || !s)
			continue;
		s->live_blocks -= a.blocks;
		s->live_bytes -= a.bytes;
		s->live_bytes_variance -= a.bytes_variance;
	}
	p->r.heap.dropped_blocks += h->live_blocks;
	p->r.heap.dropped_bytes += h->live_bytes;
	p->r.heap.live_blocks = p->r.heap.live_bytes = 0;
	p->r.heap.live_blocks_variance = p->r.heap.live_bytes_variance = 0;
	p->r.heap.inherited_blocks = p->r.heap.inherited_bytes = 0;
	p->r.heap.uncertain_blocks = p->r.heap.uncertain_bytes = 0;
}

void process__heap_drop(struct model *m, struct process *p, bool exec)
{
	if (p->heap && p->heap->process == p) {
		process__heap_account(p);
		if (exec)
			heap__drop_sites(m, p);
		/* What a process leaves behind at its end is told as live, but takes no memory. */
		m->live_bytes -= p->heap->live_bytes;
		p->heap->process = NULL;
	}
	heap__release(p->heap);
	p->heap = NULL;
}

void process__heap_free(struct process *p)
{
	heap__release(p->heap);
	process__free_allocators(p);
}

uint64_t model__live_bytes(const struct model *m, const struct process_report *r)
{
	const struct process *p = (const struct process *)r; /* .r is its first */

	(void)m;
	if (!p->has_heap_plane)
		return UNKNOWN;
	return p->heap && p->heap->process == p ? p->heap->live_bytes : p->r.heap.live_bytes;
}

void model__heap_gap(struct model *m, pid_t pid)
{
	size_t i;

	for (i = 0; i < m->nprocesses; i++) {
		struct heap *h = m->processes[i]->heap;

		if (!h || (pid && m->processes[i]->r.pid != pid))
			continue;
		h->gap = true;
		h->gap_made = h->made;
	}
}
