// SPDX-License-Identifier: MIT
/*
 * Regions grow.
 *
 * The break grows by doubling up to 4 MiB and by an eighth from there, so that N bytes cost
 * O(log N) calls; pages that nobody touches cost nothing. Other callers of sbrk are survived: what
 * they took stays a hole of granules that are not ours.
 */
#include "region.h"

#include <errno.h>

#define DOUBLING_UNTIL ((size_t)4 << 20)
#define MAPPING_MIN ((size_t)1 << 20)
#define MAPPING_MAX ((size_t)64 << 20)

MT_TABLE static struct span break_spans[BREAK_GRANULES];
MT_TABLE static uint64_t break_bits[BREAK_GRANULES / 64 * BITS_STEP];
/* As long as they are enough: beside what is touched anyway. */
#define FIRST_GRANULES 256
static uint64_t first_bits[FIRST_GRANULES / 64 * BITS_STEP];
static unsigned int shown; /* enum shown_to */
static char *break_end; /* where the break is if nobody else moved it */

MT_TABLE struct region _mt_regions[REGIONS];
_Atomic uint32_t _mt_region_count;

void _mt_regions_init(void)
{
	_mt_regions[0].spans = break_spans;
	_mt_regions[0].free = first_bits;
	_mt_regions[0].dirty = first_bits + 1;
	atomic_store_explicit(&_mt_region_count, 1, memory_order_release);
}

static uintptr_t granule_up(uintptr_t address)
{
	return (address + GRANULE - 1) & ~(uintptr_t)(GRANULE - 1);
}

void _mt_region_mark_free(struct region *region, uint32_t at, uint32_t granules)
{
	for (uint32_t i = at; i < at + granules; i++) {
		struct span *span = &region->spans[i];

		span->start = region->base + ((size_t)i << GRANULE_SHIFT);
		atomic_store_explicit(&span->kind, SPAN_FREE, memory_order_relaxed);
		bit__set(region->free, i);
		if (span->clean)
			bit__set(region->dirty, i);
	}
	if (at / 64 < region->low_free)
		region->low_free = at / 64;
	if (at / 64 < region->low_dirty)
		region->low_dirty = at / 64;
}

static void show_to(enum shown_to whom, _Atomic uintptr_t *end)
{
	atomic_store_explicit(end, shown & whom ? _mt_regions[0].granules : 0, memory_order_release);
}

/* The new end of region 0, for those who may see it. */
static void set_break_granules(uint32_t granules)
{
	_mt_regions[0].granules = granules;
	show_to(SHOWN_TO_REAL, &_mt_fast.real_granules);
	show_to(SHOWN_TO_PASSED, &_mt_fast.passed_granules);
	show_to(SHOWN_TO_FREE, &_mt_fast.granules);
}

void _mt_region_show(unsigned int to)
{
	shown = to;
	set_break_granules(_mt_regions[0].granules);
}

/* How much to ask for when so much is needed. */
static size_t growth(size_t needed)
{
	size_t size = (size_t)_mt_regions[0].granules << GRANULE_SHIFT;
	size_t step = size < DOUBLING_UNTIL ? size : size / 8;

	if (MUTANT(FIRST_GROWTH) && !size)
		step = 64 * _mt_os_page;
	if (MUTANT(CONSTANT_GROWTH))
		return (needed / (33 * _mt_os_page) + 1) * 33 * _mt_os_page;
	if (size >= DOUBLING_UNTIL && step < DOUBLING_UNTIL)
		step = DOUBLING_UNTIL;
	if (step < FIRST_PAGES * _mt_os_page)
		step = FIRST_PAGES * _mt_os_page;
	if (_mt_options.top_pad && step < needed + _mt_options.top_pad)
		step = needed + _mt_options.top_pad;
	if (step < needed)
		step = needed;
	return (step + _mt_os_page - 1) & ~(_mt_os_page - 1);
}

/* Region 0 shall have a bit for each of so many granules. */
static void make_bits(uint32_t granules)
{
	struct region *region = &_mt_regions[0];

	if (granules <= FIRST_GRANULES || region->free == break_bits)
		return;
	__builtin_memcpy(break_bits, first_bits, sizeof(first_bits));
	region->free = break_bits;
	region->dirty = break_bits + 1;
}

/* Takes over [old, old + bytes), which the break just grew by. */
static void take_break(char *old, size_t bytes)
{
	struct region *region = &_mt_regions[0];
	uintptr_t from, to;
	uint32_t at, end;

	if (!region->base) {
		region->base = (char *)granule_up((uintptr_t)old);
		_mt_fast.base = (uintptr_t)region->base;
		_mt_fast.spans = region->spans;
		break_end = old;
	}
	/* Whole granules only; the rest of the last one comes with the next growth. */
	from = old == break_end ?
		       (uintptr_t)region->base + ((uintptr_t)region->granules << GRANULE_SHIFT) :
		       granule_up((uintptr_t)old);
	break_end = old + bytes;
	to = (uintptr_t)break_end & ~(uintptr_t)(GRANULE - 1);
	if (to <= from)
		return;
	at = (uint32_t)((from - (uintptr_t)region->base) >> GRANULE_SHIFT);
	end = (uint32_t)((to - (uintptr_t)region->base) >> GRANULE_SHIFT);
	make_bits(end);
	_mt_region_mark_free(region, at, end - at);
	set_break_granules(end);
}

/* Free granules at the end of region 0, whether or not the break can go on from there. */
static uint32_t free_tail(void)
{
	const struct region *region = &_mt_regions[0];
	uint32_t at = region->granules;

	while (at && bit__is_set(region->free, at - 1))
		at--;
	return region->granules - at;
}

static bool fits_the_table(const char *end)
{
	const struct region *region = &_mt_regions[0];

	return !region->base || (size_t)(end - region->base) <= (size_t)BREAK_GRANULES
									<< GRANULE_SHIFT;
}

/* How much the break has to grow by for so many granules, its free tail counted in. */
static size_t break_needs(uint32_t granules)
{
	const struct region *region = &_mt_regions[0];
	const char *now = _mt_os_break();
	uintptr_t from;

	if (!now)
		return 0;
	if (region->base && now == break_end)
		from = (uintptr_t)region->base +
		       ((uintptr_t)(region->granules - free_tail()) << GRANULE_SHIFT);
	else
		from = granule_up((uintptr_t)now);
	from += (uintptr_t)granules << GRANULE_SHIFT;
	if (from <= (uintptr_t)now)
		return _mt_os_page;
	return from - (uintptr_t)now;
}

static bool grow_break(uint32_t granules)
{
	/* More than once only when somebody else moves the break meanwhile. */
	for (int tries = 0; tries < 8; tries++) {
		size_t needed = break_needs(granules), bytes;
		char *old;

		if (!needed || needed > PTRDIFF_MAX / 2 || !fits_the_table(_mt_os_break() + needed))
			return false;
		needed = (needed + _mt_os_page - 1) & ~(_mt_os_page - 1);
		bytes = growth(needed);
		if (!fits_the_table(_mt_os_break() + bytes))
			bytes = needed;
		old = _mt_os_sbrk((intptr_t)bytes);
		if (!old && bytes > needed) {
			bytes = needed;
			old = _mt_os_sbrk((intptr_t)bytes);
		}
		if (!old)
			return false;
		if (_mt_regions[0].base && old < break_end) {
			/* Somebody lowered the break into our memory: nothing can mend that. */
			_mt_die("sbrk", old,
				"the break was lowered below the heap's end by another caller", 0);
		}
		take_break(old, bytes);
		if (free_tail() >= granules)
			return true;
	}
	return false;
}

static bool map_region(uint32_t granules)
{
	uint32_t count = atomic_load_explicit(&_mt_region_count, memory_order_relaxed);
	size_t needed = (size_t)granules << GRANULE_SHIFT, bytes = 0;
	uint32_t words;
	struct region *region;
	char *memory;

	if (count == REGIONS)
		return false;
	for (uint32_t i = 0; i < count; i++)
		bytes += (size_t)_mt_regions[i].granules << GRANULE_SHIFT;
	bytes = bytes / 8 < MAPPING_MIN ? MAPPING_MIN : bytes / 8;
	bytes = (bytes > MAPPING_MAX && count < REGIONS / 2) ? MAPPING_MAX : bytes;
	bytes &= ~(GRANULE - 1);
	if (bytes < needed)
		bytes = needed;
	/* One granule more than is used: the kernel aligns to pages only. */
	memory = _mt_os_map(bytes + GRANULE);
	if (!memory && bytes > needed) {
		bytes = needed;
		memory = _mt_os_map(bytes + GRANULE);
	}
	if (!memory)
		return false;
	region = &_mt_regions[count];
	granules = (uint32_t)(bytes >> GRANULE_SHIFT);
	words = (granules + 63) / 64;
	region->spans = _mt_meta_alloc(granules * sizeof(struct span) +
				       words * BITS_STEP * sizeof(uint64_t));
	if (!region->spans) {
		_mt_os_unmap(memory, bytes + GRANULE);
		return false;
	}
	region->free = (uint64_t *)(region->spans + granules);
	region->dirty = region->free + 1;
	region->base = (char *)granule_up((uintptr_t)memory);
	region->granules = granules;
	_mt_region_mark_free(region, 0, granules);
	atomic_store_explicit(&_mt_region_count, count + 1, memory_order_release);
	return true;
}

bool _mt_region_grow(uint32_t granules)
{
	return grow_break(granules) || map_region(granules);
}

uint32_t _mt_region_top(uint32_t *dirty)
{
	const struct region *region = &_mt_regions[0];
	uint32_t at = region->granules;

	*dirty = 0;
	if (!at || !bit__is_set(region->free, at - 1) || _mt_os_break() != break_end)
		return 0;
	while (at && bit__is_set(region->free, at - 1)) {
		at--;
		*dirty += bit__is_set(region->dirty, at);
	}
	return region->granules - at;
}

bool _mt_region_shrink(uint32_t granules)
{
	struct region *region = &_mt_regions[0];
	uint32_t end = region->granules - granules;
	char *new_end = region->base + ((size_t)end << GRANULE_SHIFT);

	if (MUTANT(NEVER_LOWER) || _mt_os_break() != break_end || !_mt_os_sbrk(new_end - break_end))
		return false;
	for (uint32_t i = end; i < region->granules; i++) {
		bit__clear(region->free, i);
		bit__clear(region->dirty, i);
		region->spans[i].clean = 0;
		atomic_store_explicit(&region->spans[i].kind, SPAN_NONE, memory_order_relaxed);
	}
	break_end = new_end;
	set_break_granules(end);
	return true;
}
