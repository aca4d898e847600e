// SPDX-License-Identifier: MIT
#include "user/model/tally.h"

#include <errno.h>
#include <string.h>

#include "user/model/estimate.h"
#include "user/model/heap.h"
#include "user/model/internal.h"

static void stats__gain(struct heap_stats *s, const struct amount *a)
{
	s->live_blocks += a->blocks;
	s->live_bytes += a->bytes;
	s->live_blocks_variance += a->blocks_variance;
	s->live_bytes_variance += a->bytes_variance;
	if (s->live_bytes > s->peak_live_bytes)
		s->peak_live_bytes = s->live_bytes;
}

static void stats__lose(struct heap_stats *s, const struct amount *a)
{
	s->live_blocks -= a->blocks;
	s->live_bytes -= a->bytes;
	s->live_blocks_variance -= a->blocks_variance;
	s->live_bytes_variance -= a->bytes_variance;
}

static void stats__count(struct heap_stats *s, unsigned op, const struct amount *a)
{
	s->calls[op] += a->blocks;
	s->calls_variance[op] = variance__add(s->calls_variance[op], a->blocks_variance);
}

/* A block stands at its end for what it stood for at its beginning: its size tells. */
static bool tally__free(struct tally *t, uint64_t addr, struct amount *a)
{
	uint64_t *size = hmap__find(&t->sizes, addr);

	if (!size)
		return false;
	*a = amount__of(*size, sample__weight(*size, t->mean));
	hmap__remove(&t->sizes, addr);
	stats__lose(&t->stats, a);
	return true;
}

static int tally__allocation(struct tally *t, unsigned op, const struct rec_heap *r)
{
	struct heap_stats *s = &t->stats;
	bool done = !(r->h.flags & (HEAP_FAILED | HEAP_ABANDONED));
	struct amount a, old;

	if (r->arg && done && tally__free(t, r->arg, &old))
		s->freed_bytes += old.bytes;
	if (!r->weight)
		return 0;
	a = amount__of(r->size, sample__weight(r->size, t->mean));
	stats__count(s, op, &a);
	s->failed += r->h.flags & HEAP_FAILED ? a.blocks : 0;
	s->abandoned += r->h.flags & HEAP_ABANDONED ? a.blocks : 0;
	if (!done || !r->result)
		return 0;
	s->bytes_requested += a.bytes;
	s->requested_variance = variance__add(s->requested_variance, a.bytes_variance);
	if (r->h.flags & HEAP_UNTRACKED) {
		s->untracked_blocks += a.blocks;
		return 0;
	}
	/* Freed in a way that was not seen. */
	tally__free(t, r->result, &old);
	if (hmap__set(&t->sizes, r->result, r->size))
		return -ENOMEM;
	stats__gain(s, &a);
	return 0;
}

int tally__take(struct tally *t, const struct rec_heap *r)
{
	unsigned op = HEAP_AUX_OP(r->h.aux);
	struct amount a;

	if (op <= HEAP_NONE || op >= HEAP_OPS)
		return -EBADMSG;
	if (op < HEAP_FREE)
		return tally__allocation(t, op, r);
	if (tally__free(t, r->arg, &a)) {
		stats__count(&t->stats, op, &a);
		t->stats.freed_bytes += a.bytes;
	}
	return 0;
}

void tally__drop(struct tally *t, void (*fn)(void *ctx, uint64_t addr), void *ctx)
{
	uint64_t addr, size;
	size_t pos = 0;

	while (fn && hmap__next(&t->sizes, &pos, &addr, &size))
		fn(ctx, addr);
	hmap__clear(&t->sizes);
	t->stats.live_blocks = t->stats.live_bytes = 0;
	t->stats.live_blocks_variance = t->stats.live_bytes_variance = 0;
}

void tally__add(struct tally *to, const struct tally *from)
{
	SUM(&to->stats, &from->stats);
}

void tally__figures(const struct tally *t, struct heap_stats *out)
{
	*out = t->stats;
	heap_stats__finish(out, true, true);
	out->before_blocks = out->before_bytes = out->before_at_most = UNKNOWN;
	out->inherited_blocks = out->inherited_bytes = UNKNOWN;
	out->dropped_blocks = out->dropped_bytes = UNKNOWN;
	out->uncertain_blocks = out->uncertain_bytes = UNKNOWN;
	memset(out->syscalls, 0xff, sizeof(out->syscalls));
	out->syscall_ns = out->inside_minor = out->inside_major = out->inside_ns = UNKNOWN;
	out->touch_minor = out->touch_major = out->touch_ns = UNKNOWN;
	out->unplaced_syscalls = out->unplaced_faults = out->unplaced_ns = UNKNOWN;
}
