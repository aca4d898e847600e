// SPDX-License-Identifier: MIT
#include "user/order/order.h"

#include <errno.h>
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
	free(o);
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

		if (e->ts_ns < o->last_ns)
			o->late++;
		else
			o->last_ns = e->ts_ns;
		o->sink(o->ctx, e->rec, e->len);
	}
}

int order__release(struct order *o, uint64_t until_ns)
{
	struct lane *l;
	uint64_t before;
	unsigned i;
	int err = 0;

	while ((l = order__first(o, &before)) && l->entries[l->head].ts_ns <= until_ns)
		order__hand_on(o, l, before < until_ns ? before : until_ns);
	for (i = 0; i < o->nlanes; i++)
		if (lane__carry(&o->lanes[i]))
			err = -ENOMEM;
	return err;
}

uint64_t order__late(const struct order *o)
{
	return o->late;
}
