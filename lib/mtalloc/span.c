// SPDX-License-Identifier: MIT
/*
 * Spans: granules given out and taken back, and free memory given back to the kernel.
 *
 * Granules that were used before are taken first, then the lowest: so that little memory is
 * touched, and the top of the break gets free. What is free and dirty is kept up to a share of what
 * is in use, and to what the program's use swings by (swing.h); beyond that it is given back,
 * from the top down.
 */
#include "region.h"
#include "verify.h"

/* Dirty free memory that is kept in any case, and the share of the memory in use. */
#define KEEP_BYTES ((size_t)1 << 20)
#define KEEP_SHARE 32
#define SWING_LIMIT ((size_t)32 << 20)

static struct lock span_lock;
static struct swing swing;
static size_t dirty_bytes;
static bool some_freed;

/* With a value, so that it is in a part of the file: the kernel counts tracers nowhere else. */
struct fast _mt_fast = {.malloc_tag = LINK_TAG};

void _mt_spans_lock(void)
{
	lock__acquire(&span_lock);
}

void _mt_spans_unlock(void)
{
	lock__release(&span_lock);
}

static struct region *region_of(const struct span *span)
{
	uint32_t count = atomic_load_explicit(&_mt_region_count, memory_order_acquire);

	for (uint32_t i = 1; i < count; i++) {
		struct region *region = &_mt_regions[i];

		if (span >= region->spans && span < region->spans + region->granules)
			return region;
	}
	return &_mt_regions[0];
}

/* Region and index in one number; 0 is none. */
uint32_t _mt_span_id(const struct span *span)
{
	struct region *region = region_of(span);

	return ((uint32_t)(region - _mt_regions) << 24 | (uint32_t)(span - region->spans)) + 1;
}

struct span *_mt_span_by_id(uint32_t id)
{
	return id ? &_mt_regions[(id - 1) >> 24].spans[(id - 1) & 0xffffff] : NULL;
}

struct span *_mt_span_of(const void *pointer)
{
	uint32_t count = atomic_load_explicit(&_mt_region_count, memory_order_acquire);

	for (uint32_t i = 0; i < count; i++) {
		struct region *region = &_mt_regions[i];
		uintptr_t at = ((uintptr_t)pointer - (uintptr_t)region->base) >> GRANULE_SHIFT;
		uint32_t granules = i ? region->granules : BREAK_GRANULES;
		struct span *span;
		uint8_t kind;

		if (!region->base || at >= granules)
			continue;
		span = &region->spans[at];
		kind = atomic_load_explicit(&span->kind, memory_order_relaxed);
		/* The table of the break is longer than the break: a mapping may stand there. */
		if (kind != SPAN_NONE)
			return kind == SPAN_REST ? span->first : span;
	}
	return NULL;
}

static size_t dirty_of(const struct span *span)
{
	return (size_t)span->clean << PAGE_SHIFT;
}

/* ---- taking --------------------------------------------------------------------------------- */

/* The first bit at or after word *low; moves *low up to it. */
static uint32_t first_bit(const uint64_t *bits, uint32_t granules, uint32_t *low)
{
	uint32_t words = (granules + 63) / 64;

	while (*low < words && !bits__word(bits, *low))
		++*low;
	if (*low >= words)
		return granules;
	return *low * 64 + (uint32_t)__builtin_ctzll(bits__word(bits, *low));
}

/* The first run of so many bits; granules when there is none. */
static uint32_t first_run(const uint64_t *bits, uint32_t granules, uint32_t low, uint32_t length)
{
	uint32_t at = low * 64, run = 0;

	while (at < granules) {
		uint64_t word = bits__word(bits, at / 64) >> (at % 64);

		if (!word) {
			run = 0;
			at = (at / 64 + 1) * 64;
			continue;
		}
		if (!(word & 1)) {
			run = 0;
			at += (uint32_t)__builtin_ctzll(word);
			continue;
		}
		/* Ones up to the next zero, or the word's end. */
		uint32_t left = 64 - at % 64;
		uint32_t ones = word == ~(uint64_t)0 ? 64 : (uint32_t)__builtin_ctzll(~word);

		ones = ones < left ? ones : left;
		run += ones;
		at += ones;
		if (run >= length)
			return at - run;
	}
	return granules;
}

static uint32_t find(struct region *region, uint32_t granules)
{
	uint32_t at;

	if (granules > 1)
		return first_run(region->free, region->granules, region->low_free, granules);
	at = first_bit(region->dirty, region->granules, &region->low_dirty);
	if (at < region->granules)
		return at;
	return first_bit(region->free, region->granules, &region->low_free);
}

static struct span *take(struct region *region, uint32_t at, uint32_t granules, enum span_kind kind)
{
	struct span *first = &region->spans[at];
	size_t fetched = 0;

	for (uint32_t i = at; i < at + granules; i++) {
		struct span *span = &region->spans[i];

		if (bit__is_set(region->dirty, i))
			dirty_bytes -= dirty_of(span);
		else
			fetched += GRANULE;
		bit__clear(region->free, i);
		bit__clear(region->dirty, i);
		span->first = first;
		span->flags = 0;
		if (i != at)
			atomic_store_explicit(&span->kind, SPAN_REST, memory_order_relaxed);
	}
	first->next = first->prev = 0;
	first->used = 0;
	slab__set_fresh(first, 0);
	atomic_store_explicit(&first->remote, 0, memory_order_relaxed);
	atomic_store_explicit(&first->kind, (uint8_t)kind, memory_order_relaxed);
	swing__up(&swing, (size_t)granules << GRANULE_SHIFT);
	swing__fetched(&swing, fetched);
	swing__spare(&swing, dirty_bytes);
	return first;
}

static struct span *take_any(uint32_t granules, enum span_kind kind)
{
	uint32_t count = atomic_load_explicit(&_mt_region_count, memory_order_relaxed);

	for (uint32_t i = 0; i < count; i++) {
		struct region *region = &_mt_regions[i];
		uint32_t at = find(region, granules);

		if (at < region->granules)
			return take(region, at, granules, kind);
	}
	return NULL;
}

struct span *_mt_span_alloc(uint32_t granules, enum span_kind kind)
{
	struct span *span;

	lock__acquire(&span_lock);
	/* Nothing ever came back: nobody needs to know what time it is. */
	if (some_freed)
		swing__tick(&swing, _mt_os_now_ms(), _mt_options.decay_ms);
	span = take_any(granules, kind);
	if (!span && _mt_region_grow(granules))
		span = take_any(granules, kind);
	lock__release(&span_lock);
	return span;
}

/* ---- giving back ---------------------------------------------------------------------------- */

static void discard(struct region *region, uint32_t at, uint32_t granules)
{
	if (!_mt_os_discard(region->base + ((size_t)at << GRANULE_SHIFT),
			    (size_t)granules << GRANULE_SHIFT))
		return;
	for (uint32_t i = at; i < at + granules; i++) {
		dirty_bytes -= dirty_of(&region->spans[i]);
		swing__gave(&swing, dirty_of(&region->spans[i]));
		region->spans[i].clean = 0;
		bit__clear(region->dirty, i);
	}
}

/* Gives back dirty granules from the top of the region down until that little is left. */
static void purge_region(struct region *region, size_t target)
{
	uint32_t end = region->granules;

	while (end && dirty_bytes > target) {
		uint32_t at, length = 0;
		uint64_t word = bits__word(region->dirty, (end - 1) / 64);

		if (!word) {
			end = (end - 1) / 64 * 64;
			continue;
		}
		if (!bit__is_set(region->dirty, end - 1)) {
			end--;
			continue;
		}
		at = end;
		size_t left = dirty_bytes;

		while (at && bit__is_set(region->dirty, at - 1) && left > target) {
			at--;
			length++;
			left -= dirty_of(&region->spans[at]);
		}
		discard(region, at, length);
		end = at;
	}
}

static void purge(size_t target)
{
	uint32_t count = atomic_load_explicit(&_mt_region_count, memory_order_relaxed);

	while (count-- && dirty_bytes > target)
		purge_region(&_mt_regions[count], target);
}

/* Lowers the break when enough that was used is free at its top. */
static bool trim_top(size_t threshold, size_t pad)
{
	uint32_t dirty = 0, top, keep;

	if (dirty_bytes < threshold)
		return false;
	top = _mt_region_top(&dirty);
	keep = (uint32_t)((pad + GRANULE - 1) >> GRANULE_SHIFT);
	if (top <= keep || ((size_t)dirty << GRANULE_SHIFT) < threshold)
		return false;
	size_t gone = 0;
	const struct region *region = &_mt_regions[0];

	for (uint32_t i = region->granules - (top - keep); i < region->granules; i++)
		if (bit__is_set(region->dirty, i))
			gone += dirty_of(&region->spans[i]);
	if (!_mt_region_shrink(top - keep))
		return false;
	dirty_bytes -= gone;
	swing__gave(&swing, gone);
	return true;
}

/* Keeps what is worth keeping. */
static void settle(void)
{
	size_t share = swing.level / KEEP_SHARE;
	size_t base = share > KEEP_BYTES ? share : KEEP_BYTES;
	size_t swings = swing__keep(&swing, SWING_LIMIT);

	if (_mt_options.trim_threshold != SIZE_MAX)
		trim_top((_mt_options.trim_threshold > share ? _mt_options.trim_threshold : share) +
				 swings,
			 _mt_options.top_pad);
	if (dirty_bytes > base + swings)
		purge(base / 2 + swings);
}

void _mt_span_free(struct span *span, uint32_t granules)
{
	struct region *region;
	uint32_t at;

	lock__acquire(&span_lock);
	region = region_of(span);
	at = (uint32_t)(span - region->spans);
	some_freed = true;
	atomic_store_explicit(&span->owner, 0, memory_order_relaxed);
	for (uint32_t i = 0; i < granules; i++)
		dirty_bytes += dirty_of(&span[i]);
	_mt_region_mark_free(region, at, granules);
	swing__down(&swing, (size_t)granules << GRANULE_SHIFT);
	swing__spare(&swing, dirty_bytes);
	swing__tick(&swing, _mt_os_now_ms(), _mt_options.decay_ms);
	settle();
	lock__release(&span_lock);
}

bool _mt_span_trim(size_t pad)
{
	size_t before;
	bool lowered;

	lock__acquire(&span_lock);
	before = dirty_bytes;
	lowered = trim_top(1, pad);
	purge(0);
	lowered |= dirty_bytes < before;
	lock__release(&span_lock);
	return lowered;
}

/* ---- looking -------------------------------------------------------------------------------- */

void _mt_span_info(struct span_info *info)
{
	uint32_t count, dirty;

	*info = (struct span_info){0};
	lock__acquire(&span_lock);
	count = atomic_load_explicit(&_mt_region_count, memory_order_relaxed);
	for (uint32_t r = 0; r < count; r++) {
		const struct region *region = &_mt_regions[r];

		for (uint32_t i = 0; i < region->granules; i++) {
			uint8_t kind =
				atomic_load_explicit(&region->spans[i].kind, memory_order_relaxed);

			if (kind != SPAN_NONE)
				info->bytes += GRANULE;
			if (kind == SPAN_FREE)
				info->free_bytes += GRANULE;
		}
	}
	if (_mt_regions[0].base)
		info->top_bytes = (size_t)_mt_region_top(&dirty) << GRANULE_SHIFT;
	lock__release(&span_lock);
}

void _mt_span_each(void (*visit)(struct span *span, void *context), void *context)
{
	uint32_t count;

	lock__acquire(&span_lock);
	count = atomic_load_explicit(&_mt_region_count, memory_order_relaxed);
	for (uint32_t r = 0; r < count; r++) {
		struct region *region = &_mt_regions[r];

		for (uint32_t i = 0; i < region->granules; i++) {
			uint8_t kind =
				atomic_load_explicit(&region->spans[i].kind, memory_order_relaxed);

			if (kind >= SPAN_SLAB)
				visit(&region->spans[i], context);
		}
	}
	lock__release(&span_lock);
}

#ifdef MT_TEST
/* What stands behind the first granule of a span; how many granules it is. */
static uint32_t verify_rest(const struct region *region, uint32_t at)
{
	struct span *first = &region->spans[at];
	uint32_t granules = 1;

	if (first->kind == SPAN_ARENA)
		granules = ARENA_GRANULES;
	else if (first->kind == SPAN_BIG)
		granules = (uint32_t)(first->bytes >> GRANULE_SHIFT);
	HOLDS(granules && at + granules <= region->granules, first->start);
	for (uint32_t i = at + 1; i < at + granules; i++) {
		HOLDS(region->spans[i].kind == SPAN_REST, region->spans[i].start);
		HOLDS(region->spans[i].first == first, region->spans[i].start);
	}
	return granules;
}

void _mt_span_verify(void)
{
	uint32_t count = atomic_load_explicit(&_mt_region_count, memory_order_relaxed);
	size_t dirty = 0, in_use = 0;

	for (uint32_t r = 0; r < count; r++) {
		const struct region *region = &_mt_regions[r];
		uint32_t in_span = 0;

		for (uint32_t i = 0; i < region->granules; i++) {
			const struct span *span = &region->spans[i];
			bool is_free = span->kind == SPAN_FREE;

			HOLDS(span->clean <= GRANULE_PAGES, span->start);
			HOLDS(bit__is_set(region->free, i) == is_free, span->start);
			HOLDS(bit__is_set(region->dirty, i) == (is_free && span->clean), span->start);
			HOLDS(!is_free || (i / 64 >= region->low_free &&
					   (!span->clean || i / 64 >= region->low_dirty)),
			      span->start);
			if (is_free)
				dirty += dirty_of(span);
			if (span->kind != SPAN_NONE)
				HOLDS(span->start == region->base + ((size_t)i << GRANULE_SHIFT),
				      span->start);
			if (span->kind >= SPAN_SLAB)
				in_span = verify_rest(region, i);
			HOLDS((in_span != 0) == (span->kind >= SPAN_REST), span->start);
			in_use += in_span ? GRANULE : 0;
			in_span -= in_span != 0;
		}
		HOLDS(!in_span, region);
	}
	HOLDS(dirty == dirty_bytes, NULL);
	HOLDS(in_use == swing.level, NULL);
}
#endif
