/* SPDX-License-Identifier: MIT */
/*
 * Merging by time. Records come in lanes (one a ring), nearly in order within a
 * lane, and leave in order over all lanes.
 *
 * Stacks (REC_STACK) have no time of their own and are not held: they leave as they
 * come, before what refers to them.
 */
#ifndef MEMTRACE_ORDER_H
#define MEMTRACE_ORDER_H

#include <stddef.h>
#include <stdint.h>

#include "bpf/event.h"

struct order;

/* Takes a record; it is valid during the call only. */
typedef void order_sink(void *ctx, const struct rec *r, size_t len);

struct order *order__new(unsigned lanes, order_sink *sink, void *ctx);
void order__free(struct order *o);

/* Add a record, which must stay where it is until order__release has been called. 0 or -ENOMEM. */
int order__add(struct order *o, unsigned lane, const struct rec *r, size_t len);

/*
 * Hand on all records up to time `until`, and copy those that remain, so that
 * the memory of records added so far may go. 0 or -ENOMEM.
 */
int order__release(struct order *o, uint64_t until_ns);

/*
 * A lane that is kept by somebody else, who makes records as they are wanted: embed it. next_ns is
 * the time of the record that is next, UINT64_MAX when there is none now; hand_on gives
 * order__deliver() all records up to a time, in order, and sets next_ns anew. Between releases the
 * owner may change next_ns.
 */
struct order_feed {
	uint64_t next_ns;
	void (*hand_on)(struct order_feed *f, struct order *o, uint64_t until_ns);
	size_t at; /* order's */
};

int order__add_feed(struct order *o, struct order_feed *f); /* 0 or -ENOMEM */
void order__remove_feed(struct order *o, struct order_feed *f);
void order__deliver(struct order *o, const struct rec *r, size_t len);

/* Records that came too late to be in order (they are handed on all the same). */
uint64_t order__late(const struct order *o);

#endif /* MEMTRACE_ORDER_H */
