/* SPDX-License-Identifier: MIT */
/*
 * How much free memory is worth keeping: what a program frees and soon takes again.
 *
 * The level is what is in use. When it rises again after a fall, by so much would memory that was
 * given back have been missed; memory that is used for the first time counts nothing. The largest
 * such rise of this and the last time window is what is kept. So the first fall from a peak gives
 * everything back at once, without a timer or a thread, and a program that swings pays for its
 * first two swings only.
 *
 * A level that stays can also miss memory: what is free may not fit what is wanted. What was given
 * back and soon had to be fetched again, or was fetched beside as much that is free, is kept too, up
 * to a share of the level, less what whole windows found no use for. Where some of that had to be
 * fetched again, twice as many windows pass before the next is given up: a program that goes on in
 * the same way comes to rest.
 */
#ifndef MTALLOC_SWING_H
#define MTALLOC_SWING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mutant.h"

#define SWING_MISSED_SHARE 2
#define SWING_MISSED_MIN ((size_t)2 << 20)
#define SWING_PATIENCE_MAX 10

struct swing {
	size_t level;
	size_t high; /* highest level of this and the last window */
	size_t low; /* lowest level since the highest */
	size_t window_high;
	size_t rise, last_rise;
	size_t given; /* given back in this window and not fetched again */
	size_t missed; /* fetched again soon after */
	size_t spare; /* free and kept */
	size_t spare_low; /* lowest in this window: so much was not needed */
	uint64_t window_ms;
	uint32_t patience; /* how many times the windows before less is kept were doubled */
	uint32_t windows; /* of these so many are left */
	bool gave_up; /* less was kept since that was doubled */
};

static inline void swing__up(struct swing *swing, size_t bytes)
{
	swing->level += bytes;
	if (swing->level > swing->window_high)
		swing->window_high = swing->level;
	if (swing->level > swing->high) {
		/* Up to the old peak it was a return, beyond it is new. */
		if (swing->high - swing->low > swing->rise)
			swing->rise = swing->high - swing->low;
		swing->high = swing->level;
		swing->low = swing->level;
	} else if (swing->level - swing->low > swing->rise) {
		swing->rise = swing->level - swing->low;
	}
}

static inline void swing__down(struct swing *swing, size_t bytes)
{
	swing->level -= bytes < swing->level ? bytes : swing->level;
	if (swing->level < swing->low)
		swing->low = swing->level;
}

/* What is missed no longer. Not all at once: the next window may be another. */
static inline void swing__give_up(struct swing *swing, bool fell)
{
	size_t bytes = swing->spare_low / 4;

	if (fell)
		swing->patience = swing->windows = 0;
	if (swing->windows) {
		swing->windows--;
		return;
	}
	if (bytes > swing->missed)
		bytes = swing->missed;
	swing->missed -= bytes;
	swing->gave_up |= bytes != 0;
	swing->windows = (1u << swing->patience) - 1;
}

static inline void swing__tick(struct swing *swing, uint64_t now_ms, unsigned int decay_ms)
{
	uint64_t passed = now_ms - swing->window_ms;

	if (passed < decay_ms || MUTANT(NO_DECAY))
		return;
	swing->last_rise = passed < 2 * (uint64_t)decay_ms ? swing->rise : 0;
	swing->rise = 0;
	swing->given = 0;
	swing__give_up(swing, swing->level < swing->window_high / 2);
	swing->spare_low = swing->spare;
	swing->high = swing->window_high > swing->level && passed < 2 * (uint64_t)decay_ms ?
			      swing->window_high :
			      swing->level;
	swing->window_high = swing->level;
	swing->low = swing->level;
	swing->window_ms = now_ms;
}

/* How much is free and kept now. */
static inline void swing__spare(struct swing *swing, size_t bytes)
{
	swing->spare = bytes;
	if (bytes < swing->spare_low)
		swing->spare_low = bytes;
}

static inline size_t swing__missed_limit(const struct swing *swing)
{
	return swing->level / SWING_MISSED_SHARE + SWING_MISSED_MIN;
}

/* Memory went back to the kernel. */
static inline void swing__gave(struct swing *swing, size_t bytes)
{
	swing->given += bytes;
}

static inline void swing__miss(struct swing *swing, size_t bytes)
{
	if (bytes && swing->gave_up) {
		swing->patience += swing->patience < SWING_PATIENCE_MAX;
		swing->windows = 1u << swing->patience;
		swing->gave_up = false;
	}
	swing->missed += bytes;
	if (swing->missed > swing__missed_limit(swing))
		swing->missed = swing__missed_limit(swing);
}

/* Memory came from the kernel. */
static inline void swing__fetched(struct swing *swing, size_t bytes)
{
	if (bytes > swing->given)
		bytes = swing->given;
	swing->given -= bytes;
	swing__miss(swing, bytes);
}

/* The same where as much was free, but not in one piece, and the level is none that is new. */
static inline void swing__fetched_beside(struct swing *swing, size_t bytes)
{
	swing->given -= bytes < swing->given ? bytes : swing->given;
	swing__miss(swing, bytes);
}

/* When the level falls to nothing, no more than limit: without a further call it would stay. */
static inline size_t swing__keep(const struct swing *swing, size_t limit)
{
	size_t rise = swing->rise > swing->last_rise ? swing->rise : swing->last_rise;
	size_t missed = swing->missed;

	if (MUTANT(HOARD))
		return SIZE_MAX / 4;
	if (MUTANT(KEEP_NOTHING))
		return 0;
	/* A fall this deep is none of those that were seen to come back. */
	if (swing->high - swing->level > 2 * rise)
		rise = 0;
	if (rise > limit)
		rise = limit;
	if (missed > swing__missed_limit(swing))
		missed = swing__missed_limit(swing);
	return rise + missed;
}

#endif
