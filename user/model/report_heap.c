// SPDX-License-Identifier: MIT
/* The heap's part of a report: whole numbers, totals, sites by what they hold and cost. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "user/model/heap.h"
#include "user/model/internal.h"

static void unit__drop(uint64_t *n, size_t count)
{
	while (count--) {
		*n = (*n + HEAP_UNIT / 2) / HEAP_UNIT;
		n++;
	}
}

static void heap_stats__errors(struct heap_stats *h, bool sampled)
{
	unsigned i;

	for (i = 0; i < HEAP_OPS; i++)
		h->calls_error[i] = sampled ? error__of_blocks(h->calls_variance[i]) : UNKNOWN;
	h->requested_error = sampled ? error__of_bytes(h->requested_variance) : UNKNOWN;
	h->live_blocks_error = sampled ? error__of_blocks(h->live_blocks_variance) : UNKNOWN;
	h->live_bytes_error = sampled ? error__of_bytes(h->live_bytes_variance) : UNKNOWN;
}

void heap_stats__finish(struct heap_stats *h, bool sampled, bool by_us)
{
	unit__drop(h->calls, HEAP_OPS);
	unit__drop(&h->failed, 1);
	unit__drop(&h->abandoned, 1);
	unit__drop(&h->live_blocks, 1);
	unit__drop(&h->inherited_blocks, 1);
	unit__drop(&h->dropped_blocks, 1);
	unit__drop(&h->unmatched_frees, 1);
	unit__drop(&h->unseen_frees, 1);
	unit__drop(&h->temporary, 1);
	unit__drop(&h->uncertain_blocks, 1);
	unit__drop(&h->untracked_blocks, 1);
	heap_stats__errors(h, sampled);
	/* Between two samples there may have been any number of allocations. */
	if (sampled)
		h->temporary = UNKNOWN;
	/* A free is told when its block was sampled: of others it is not known what they freed. */
	if (by_us)
		h->unmatched_frees = h->unseen_frees = UNKNOWN;
}

/* What is known of a process without a heap plane: what was counted from outside before. */
static void heap_stats__forget(struct heap_stats *h)
{
	struct heap_stats known = *h;

	memset(h, 0xff, sizeof(*h));
	h->before_blocks = known.before_blocks;
	h->before_bytes = known.before_bytes;
	h->before_at_most = known.before_at_most;
}

void report__heap_process(struct report *r, struct process *p, struct process_report *out)
{
	process__heap_account(p);
	out->heap = p->r.heap;
	out->allocators = p->allocators;
	out->nallocators = p->nallocators;
	if (!p->has_heap_plane)
		heap_stats__forget(&out->heap);
	if (p->r.ended || !p->has_parts)
		memset(&out->parts, 0xff, sizeof(out->parts));
	SUM(&r->heap, &out->heap);
	SUM(&r->parts, &out->parts);
}

void report__heap_totals(struct report *r, struct model *m)
{
	bool any = r->heap.failed != UNKNOWN;
	size_t i;

	for (i = 0; i < r->nprocesses; i++)
		if (r->processes[i].heap.failed != UNKNOWN)
			heap_stats__finish(&r->processes[i].heap, m->sampled, m->sample_bytes);
	r->hooks = m->hooks;
	r->nhooks = m->nhooks;
	if (!any)
		return;
	heap_stats__finish(&r->heap, m->sampled, m->sample_bytes);
	/* Peaks do not add up: they were at different times. */
	r->heap.peak_live_bytes = m->peak_live_bytes;
}

void site_heap__add(struct site_heap *to, const struct site_heap *from)
{
	uint64_t peak = to->peak_live_bytes;

	SUM(to, from);
	/* Places that are one once cleaned: the truth is between the greater and the sum. */
	to->peak_live_bytes = peak > from->peak_live_bytes ? peak : from->peak_live_bytes;
}

static void site_heap__finish(struct site_heap *h, bool sampled, bool resident)
{
	if (sampled)
		h->temporary = UNKNOWN;
	if (!resident)
		h->resident_bytes = UNKNOWN;
	unit__drop(&h->calls, 1);
	unit__drop(&h->failed, 1);
	unit__drop(&h->frees, 1);
	unit__drop(&h->live_blocks, 1);
	unit__drop(&h->moved, 1);
	if (h->temporary != UNKNOWN)
		unit__drop(&h->temporary, 1);
	h->calls_error = sampled ? error__of_blocks(h->calls_variance) : UNKNOWN;
	h->bytes_error = sampled ? error__of_bytes(h->bytes_variance) : UNKNOWN;
	h->live_bytes_error = sampled ? error__of_bytes(h->live_bytes_variance) : UNKNOWN;
}

static uint64_t site__cost(const struct site *s)
{
	return s->heap.syscall_ns + s->heap.fault_ns;
}

static uint64_t site__kernel_events(const struct site *s)
{
	uint64_t n = s->heap.inside_minor + s->heap.inside_major + s->heap.touch_minor +
		     s->heap.touch_major;
	unsigned i;

	for (i = 0; i < VMCALLS; i++)
		n += s->heap.syscalls[i];
	return n;
}

static int order(uint64_t x, uint64_t y, const struct site *a, const struct site *b)
{
	if (x != y)
		return x < y ? 1 : -1;
	return a < b ? -1 : 1;
}

static int by_live(const void *a, const void *b)
{
	const struct site *x = *(const struct site *const *)a, *y = *(const struct site *const *)b;

	return order(x->heap.live_bytes, y->heap.live_bytes, x, y);
}

static int by_cost(const void *a, const void *b)
{
	const struct site *x = *(const struct site *const *)a, *y = *(const struct site *const *)b;

	return order(site__cost(x), site__cost(y), x, y);
}

static int by_requested(const void *a, const void *b)
{
	const struct site *x = *(const struct site *const *)a, *y = *(const struct site *const *)b;

	return order(x->heap.bytes, y->heap.bytes, x, y);
}

int report__heap_sites(struct report *r, const struct model *m)
{
	size_t i;

	r->by_live = calloc(r->nsites + 1, sizeof(*r->by_live));
	r->by_cost = calloc(r->nsites + 1, sizeof(*r->by_cost));
	r->by_requested = calloc(r->nsites + 1, sizeof(*r->by_requested));
	if (!r->by_live || !r->by_cost || !r->by_requested)
		return -ENOMEM;
	for (i = 0; i < r->nsites; i++) {
		struct site *s = &r->sites[i];

		if (!s->is_heap)
			continue;
		site_heap__finish(&s->heap, m->sampled, r->parts.live != UNKNOWN);
		if (s->heap.live_bytes)
			r->by_live[r->nby_live++] = s;
		if (site__kernel_events(s))
			r->by_cost[r->nby_cost++] = s;
		if (s->heap.calls)
			r->by_requested[r->nby_requested++] = s;
	}
	qsort(r->by_live, r->nby_live, sizeof(*r->by_live), by_live);
	qsort(r->by_cost, r->nby_cost, sizeof(*r->by_cost), by_cost);
	qsort(r->by_requested, r->nby_requested, sizeof(*r->by_requested), by_requested);
	return 0;
}
