/* SPDX-License-Identifier: MIT */
/*
 * The processor's time stamp counter as CLOCK_MONOTONIC. That clock is steered, so
 * the relation is found out again all the time; but what has been converted stays as it is: the
 * same ticks give the same time for ever, and later ticks no earlier time.
 */
#ifndef MEMTRACE_RING_CLOCK_H
#define MEMTRACE_RING_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

struct ring_clock;

struct ring_clock *ring_clock__new(void);
void ring_clock__free(struct ring_clock *c);

/* Whether the counter is no clock here, and ticks are nanoseconds. */
bool ring_clock__is_ns(const struct ring_clock *c);
/* What ticks are counted from. */
uint64_t ring_clock__base(const struct ring_clock *c);

/* From time to time, before ticks of about now are converted. */
void ring_clock__adjust(struct ring_clock *c);

/* A line that relates ticks to ns: rates are in 2^-32 ns a tick. */
#define RING_RATE_BITS 32
struct ring_line {
	uint64_t ticks, ns; /* where it begins */
	uint64_t rate;
};

static inline uint64_t ring_line__ns(const struct ring_line *l, uint64_t ticks)
{
	return l->ns + (uint64_t)((unsigned __int128)(ticks - l->ticks) * l->rate >> RING_RATE_BITS);
}

uint64_t ring_clock__ns_before(const struct ring_clock *c, uint64_t ticks);

static inline uint64_t ring_clock__ns(const struct ring_clock *c, uint64_t ticks)
{
	const struct ring_line *latest = (const struct ring_line *)c; /* its first */

	return ticks >= latest->ticks ? ring_line__ns(latest, ticks) :
					ring_clock__ns_before(c, ticks);
}

#endif /* MEMTRACE_RING_CLOCK_H */
