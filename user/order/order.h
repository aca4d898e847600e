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

/* Records that came too late to be in order (they are handed on all the same). */
uint64_t order__late(const struct order *o);

#endif /* MEMTRACE_ORDER_H */
