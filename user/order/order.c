// SPDX-License-Identifier: MIT
#include "user/order/order.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct entry {
	uint64_t ts_ns;
	const struct rec *rec;
	size_t len;
};

struct lane {
	struct entry *entries; /* sorted by time from head on */
	size_t head, count, room;
	char *carry; /* the records that were kept over the last release */
};

struct order {
	struct lane *lanes;
	unsigned nlanes;
	order_sink *sink;
	void *ctx;
	struct order_feed **feeds;
	size_t nfeeds, feeds_room;
	struct order_feed **heap; /* those with a record to be handed on now, the earliest first */
	size_t nheap;
	uint64_t last_ns; /* time of the last record handed on */
	uint64_t late;
};

struct order *order__new(unsigned lanes, order_sink *sink, void *ctx)
{
	struct order *o = calloc(1, sizeof(*o));

	if (!o)
		return NULL;
	o->lanes = calloc(lanes, sizeof(*o->lanes));
	if (!o->lanes) {
		free(o);
		return NULL;
	}
	o->nlanes = lanes;
	o->sink = sink;
	o->ctx = ctx;
	return o;
}

void order__free(struct order *o)
{
	unsigned i;

	if (!o)
		return;
	for (i = 0; i < o->nlanes; i++) {
		free(o->lanes[i].entries);
		free(o->lanes[i].carry);
	}
	free(o->lanes);
	free(o->feeds);
	free(o->heap);
	free(o);
}

int order__add_feed(struct order *o, struct order_feed *f)
{
	size_t room = o->feeds_room ? o->feeds_room * 2 : 16;
	struct order_feed **feeds, **heap;

	if (o->nfeeds == o->feeds_room) {
		feeds = reallocarray(o->feeds, room, sizeof(*feeds));
		if (feeds)
			o->feeds = feeds;
		heap = reallocarray(o->heap, room, sizeof(*heap));
		if (heap)
			o->heap = heap;
		if (!feeds || !heap)
			return -ENOMEM;
		o->feeds_room = room;
	}
	f->at = o->nfeeds;
	o->feeds[o->nfeeds++] = f;
	return 0;
}

void order__remove_feed(struct order *o, struct order_feed *f)
{
	o->feeds[f->at] = o->feeds[--o->nfeeds];
	o->feeds[f->at]->at = f->at;
}

void order__deliver(struct order *o, const struct rec *r, size_t len)
{
	if (r->ts_ns < o->last_ns)
		o->late++;
	else
		o->last_ns = r->ts_ns;
	o->sink(o->ctx, r, len);
}

/* Feeds by time: a binary heap. */

static void order__sift_down(struct order *o, size_t i)
{
	struct order_feed *f = o->heap[i];
	size_t child;

	while ((child = 2 * i + 1) < o->nheap) {
		if (child + 1 < o->nheap && o->heap[child + 1]->next_ns < o->heap[child]->next_ns)
			child++;
		if (f->next_ns <= o->heap[child]->next_ns)
			break;
		o->heap[i] = o->heap[child];
		i = child;
	}
	o->heap[i] = f;
}

static bool feed__is_due(const struct order_feed *f, uint64_t until_ns)
{
	return f->next_ns <= until_ns && f->next_ns != UINT64_MAX;
}

static void order__gather_feeds(struct order *o, uint64_t until_ns)
{
	size_t i;

	o->nheap = 0;
	for (i = 0; i < o->nfeeds; i++)
		if (feed__is_due(o->feeds[i], until_ns))
			o->heap[o->nheap++] = o->feeds[i];
	for (i = o->nheap / 2; i-- > 0;)
		order__sift_down(o, i);
}

/* The earliest feed hands on what it has up to time `most`, or to when another feed has something. */
static void order__take_feed(struct order *o, uint64_t most, uint64_t until_ns)
{
	struct order_feed *f = o->heap[0];
	size_t i;

	for (i = 1; i <= 2 && i < o->nheap; i++)
		if (o->heap[i]->next_ns < most)
			most = o->heap[i]->next_ns;
	f->hand_on(f, o, most);
	if (!feed__is_due(f, until_ns))
		o->heap[0] = o->heap[--o->nheap];
	if (o->nheap)
		order__sift_down(o, 0);
}

int order__add(struct order *o, unsigned lane, const struct rec *r, size_t len)
{
	struct lane *l = &o->lanes[lane];
	struct entry *e;
	size_t i;

	if (r->kind == REC_STACK) {
		o->sink(o->ctx, r, len);
		return 0;
	}
	if (l->count == l->room) {
		size_t room = l->room ? l->room * 2 : 1024;

		e = reallocarray(l->entries, room, sizeof(*e));
		if (!e)
			return -ENOMEM;
		l->entries = e;
		l->room = room;
	}
	/* Nearly always the latest: a record's time is taken just before it gets its place. */
	e = l->entries;
	for (i = l->count++; i > l->head && e[i - 1].ts_ns > r->ts_ns; i--)
		e[i] = e[i - 1];
	e[i] = (struct entry){r->ts_ns, r, len};
	return 0;
}

/*
 * The lane with the earliest record, NULL when none has one. *before: until what time no other
 * lane has one, so that a run of records can be taken without looking at all lanes for each.
 */
static struct lane *order__first(struct order *o, uint64_t *before)
{
	struct lane *first = NULL;
	uint64_t best = UINT64_MAX;
	unsigned i;

	*before = UINT64_MAX;
	for (i = 0; i < o->nlanes; i++) {
		struct lane *l = &o->lanes[i];
		uint64_t ts;

		if (l->head == l->count)
			continue;
		ts = l->entries[l->head].ts_ns;
		if (!first || ts < best) {
			*before = best;
			best = ts;
			first = l;
		} else if (ts < *before) {
			*before = ts;
		}
	}
	return first;
}

/* Copy what remains of a lane into memory of its own. */
static int lane__carry(struct lane *l)
{
	size_t i, bytes = 0, pos = 0;
	char *carry = NULL;

	for (i = l->head; i < l->count; i++)
		bytes += (l->entries[i].len + 7) & ~(size_t)7;
	if (bytes) {
		carry = malloc(bytes);
		if (!carry)
			return -ENOMEM;
	}
	for (i = l->head; i < l->count; i++) {
		struct entry e = l->entries[i];

		memcpy(carry + pos, e.rec, e.len);
		e.rec = (const struct rec *)(carry + pos);
		pos += (e.len + 7) & ~(size_t)7;
		l->entries[i - l->head] = e;
	}
	l->count -= l->head;
	l->head = 0;
	free(l->carry);
	l->carry = carry;
	return 0;
}

/* Hand on the records of a lane from its head up to time until. */
static void order__hand_on(struct order *o, struct lane *l, uint64_t until_ns)
{
	while (l->head < l->count && l->entries[l->head].ts_ns <= until_ns) {
		struct entry *e = &l->entries[l->head++];

		order__deliver(o, e->rec, e->len);
	}
}

int order__release(struct order *o, uint64_t until_ns)
{
	uint64_t before, first, feed;
	struct lane *l;
	unsigned i;
	int err = 0;

	order__gather_feeds(o, until_ns);
	for (;;) {
		l = order__first(o, &before);
		first = l ? l->entries[l->head].ts_ns : UINT64_MAX;
		if (o->nheap && o->heap[0]->next_ns <= first) {
			/* A run of feeds without a look at all lanes for each. */
			while (o->nheap && o->heap[0]->next_ns <= first)
				order__take_feed(o, first < until_ns ? first : until_ns, until_ns);
			continue;
		}
		if (!l || first > until_ns)
			break;
		feed = o->nheap ? o->heap[0]->next_ns : UINT64_MAX;
		before = before < feed ? before : feed;
		order__hand_on(o, l, before < until_ns ? before : until_ns);
	}
	for (i = 0; i < o->nlanes; i++)
		if (lane__carry(&o->lanes[i]))
			err = -ENOMEM;
	return err;
}

uint64_t order__late(const struct order *o)
{
	return o->late;
}
