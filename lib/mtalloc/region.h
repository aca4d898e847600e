/* SPDX-License-Identifier: MIT */
/*
 * Regions: where granules come from. Region 0 is the break, which grows and shrinks; the others
 * are mappings of a fixed size, made when the break cannot grow. All under the lock of spans but
 * the look-up, which only needs what never changes once a region can be seen.
 */
#ifndef MTALLOC_REGION_H
#define MTALLOC_REGION_H

#include "internal.h"

struct region {
	char *base;
	uint32_t granules; /* obtained */
	uint32_t low_free; /* no word of free[] below has a bit */
	uint32_t low_dirty;
	struct span *spans;
	/* A bit a granule, one word of the one and one of the other in turns: it is one page less. */
	uint64_t *free;
	uint64_t *dirty; /* free, and perhaps not zero */
};

#define BITS_STEP 2

extern struct region _mt_regions[REGIONS];
extern _Atomic uint32_t _mt_region_count;

void _mt_regions_init(void);
/* Obtains at least so many consecutive granules more; false when there is no memory. */
bool _mt_region_grow(uint32_t granules);
/* Lowers the break by so many of the free granules at the top of region 0. */
bool _mt_region_shrink(uint32_t granules);
/* Free granules at the top of the break, none when somebody else moved it. */
uint32_t _mt_region_top(uint32_t *dirty);

static inline uint64_t bits__word(const uint64_t *bits, uint32_t word)
{
	return bits[word * BITS_STEP];
}

static inline void bit__set(uint64_t *bits, uint32_t at)
{
	bits[at / 64 * BITS_STEP] |= (uint64_t)1 << (at % 64);
}

static inline void bit__clear(uint64_t *bits, uint32_t at)
{
	bits[at / 64 * BITS_STEP] &= ~((uint64_t)1 << (at % 64));
}

static inline bool bit__is_set(const uint64_t *bits, uint32_t at)
{
	return bits__word(bits, at / 64) >> (at % 64) & 1;
}

/* Granules just obtained or given free again. */
void _mt_region_mark_free(struct region *region, uint32_t at, uint32_t granules);

#endif
