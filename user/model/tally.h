/* SPDX-License-Identifier: MIT */
/*
 * The heap of one process, in figures alone: no places, no memory beside it. What the mode for the
 * whole machine keeps, where calls are sampled always.
 */
#ifndef MEMTRACE_TALLY_H
#define MEMTRACE_TALLY_H

#include "user/model/report.h"
#include "user/util/hmap.h"

/* All zero but .mean is one that nothing was asked of. */
struct tally {
	uint64_t mean; /* bytes from one sample to the next, on the average */
	struct heap_stats stats; /* in the model's units */
	struct hmap sizes; /* of the blocks that were sampled and live, by address */
};

/* Take the record of a call. 0, -ENOMEM or -EBADMSG. */
int tally__take(struct tally *t, const struct rec_heap *r);

/* The process has another image now, or has ended: its blocks are gone. fn: is told of each. */
void tally__drop(struct tally *t, void (*fn)(void *ctx, uint64_t addr), void *ctx);

/* Add the figures of `from`. */
void tally__add(struct tally *to, const struct tally *from);

/* As a report has them: whole numbers, errors; UNKNOWN what is not kept. */
void tally__figures(const struct tally *t, struct heap_stats *out);

#endif /* MEMTRACE_TALLY_H */
