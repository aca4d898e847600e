/* SPDX-License-Identifier: MIT */
/* What an arena knows of its pages. */
#ifndef MTALLOC_ARENA_H
#define MTALLOC_ARENA_H

#include "internal.h"

#define ARENA_WORDS (ARENA_PAGES / 64)

struct arena {
	uint64_t free[ARENA_WORDS];
	uint64_t dirty[ARENA_WORDS]; /* free, and perhaps not zero */
	uint8_t pages[ARENA_PAGES]; /* of the run that begins there, 0: none does */
	uint16_t waits[ARENA_PAGES]; /* freed by another thread: WAITS, and the next one's page */
	uint16_t longest; /* no free run is longer */
};

/* In waits[]. */
#define WAITS 0x8000
#define WAITS_CLEAN 0x4000 /* its pages were given back */

#endif
