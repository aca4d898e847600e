// SPDX-License-Identifier: MIT
/*
 * Arenas: 1 MiB cut in runs of pages, for blocks between those of slabs and the mmap threshold.
 * What is free stands in bitmaps apart: a block is not touched, neither given out nor taken back.
 * The lowest run that fits is taken, free neighbours are one run at once.
 */
#include "arena.h"

/* Shorter runs are of no use: slabs serve them. */
#define RUN_PAGES_MIN (SLAB_MAX / PAGE + 1)
/* Free pages that were written are kept up to this and a share of those in use. */
#define KEEP_PAGES 256
#define KEEP_SHARE 32
#define SWING_LIMIT ((size_t)16 << 20)

static bool is_set(const uint64_t *bits, unsigned int at)
{
	return bits[at / 64] >> (at % 64) & 1;
}

/* The bits of a word that stand for pages from at to before end; there are some. */
static inline uint64_t mask_of(unsigned int word, unsigned int at, unsigned int end)
{
	uint64_t mask = ~(uint64_t)0;

	if (at > word * 64)
		mask <<= at % 64;
	if (end < word * 64 + 64)
		mask &= ~(~(uint64_t)0 << end % 64);
	return mask;
}

static void set(uint64_t *bits, unsigned int at, unsigned int count, bool value)
{
	unsigned int end = at + count;

	for (unsigned int word = at / 64; word * 64 < end; word++) {
		uint64_t mask = mask_of(word, at, end);

		if (value)
			bits[word] |= mask;
		else
			bits[word] &= ~mask;
	}
}

/* First page at or after at whose bit is value. */
static unsigned int next(const uint64_t *bits, unsigned int at, bool value)
{
	while (at < ARENA_PAGES) {
		uint64_t word = (value ? bits[at / 64] : ~bits[at / 64]) >> (at % 64);

		if (word)
			return at + (unsigned int)__builtin_ctzll(word);
		at = (at / 64 + 1) * 64;
	}
	return ARENA_PAGES;
}

static unsigned int page_of(const struct span *span, const void *block)
{
	return (unsigned int)(((const char *)block - span->start) >> PAGE_SHIFT);
}

/* ARENA_PAGES when there is none; then longest is right. */
static unsigned int arena__find(struct arena *arena, unsigned int pages)
{
	unsigned int longest = 0, at = 0;

	for (;;) {
		unsigned int end;

		at = next(arena->free, at, true);
		if (at == ARENA_PAGES)
			break;
		end = next(arena->free, at, false);
		if (end - at >= pages)
			return at;
		longest = end - at > longest ? end - at : longest;
		at = end;
	}
	arena->longest = (uint16_t)longest;
	return ARENA_PAGES;
}

static inline unsigned int count_bits(uint64_t bits)
{
	/* They come in runs: mostly all of them are alike. */
	if (!bits)
		return 0;
	bits >>= __builtin_ctzll(bits);
	if (!(bits & (bits + 1)))
		return 64 - (unsigned int)__builtin_clzll(bits);
	return (unsigned int)__builtin_popcountll(bits);
}

static unsigned int count_dirty(const struct arena *arena, unsigned int at, unsigned int pages)
{
	unsigned int dirty = 0, end = at + pages;

	for (unsigned int word = at / 64; word * 64 < end; word++)
		dirty += count_bits(arena->dirty[word] & mask_of(word, at, end));
	return dirty;
}

/* Takes the pages out of what is free; whether all of them are zero. */
static bool arena__take(struct heap *heap, struct arena *arena, unsigned int at, unsigned int pages)
{
	unsigned int dirty = 0, end = at + pages;

	for (unsigned int word = at / 64; word * 64 < end; word++) {
		uint64_t mask = mask_of(word, at, end);

		arena->free[word] &= ~mask;
		dirty += count_bits(arena->dirty[word] & mask);
		arena->dirty[word] &= ~mask;
	}
	heap->dirty_pages -= dirty;
	heap->run_pages += pages;
	swing__up(&heap->run_swing, pages * PAGE);
	swing__fetched(&heap->run_swing, (pages - dirty) * PAGE);
	swing__spare(&heap->run_swing, heap->dirty_pages * PAGE);
	return dirty == 0;
}

static struct span *arena__new(struct heap *heap)
{
	struct arena *arena = _mt_meta_alloc(sizeof(*arena));
	struct span *span = arena ? _mt_span_alloc(ARENA_GRANULES, SPAN_ARENA) : NULL;

	if (!span) {
		_mt_meta_free(arena, sizeof(*arena));
		return NULL;
	}
	set(arena->free, 0, ARENA_PAGES, true);
	for (unsigned int i = 0; i < ARENA_GRANULES; i++) {
		unsigned int dirty = span[i].clean;

		set(arena->dirty, i * GRANULE_PAGES, dirty, true);
		heap->dirty_pages += dirty;
	}
	arena->longest = ARENA_PAGES;
	span->arena = arena;
	atomic_store_explicit(&span->heap, heap->id, memory_order_relaxed);
	if (++heap->spans > heap->spans_high)
		heap->spans_high = heap->spans;
	_mt_queue_push(&heap->arenas, span);
	return span;
}

static void *run__take(struct heap *heap, struct span *span, unsigned int at, unsigned int pages,
		       bool *zero)
{
	*zero = arena__take(heap, span->arena, at, pages);
	__atomic_store_n(&span->arena->pages[at], (uint8_t)pages, __ATOMIC_RELAXED);
	span->used++;
	return span->start + at * PAGE;
}

static void *alloc_listed(struct heap *heap, unsigned int pages, bool *zero)
{
	struct span *span = _mt_span_by_id(heap->arenas.first), *after;

	for (; span; span = after) {
		unsigned int at;

		after = _mt_span_by_id(span->next);
		if (span->arena->longest < pages)
			continue;
		at = arena__find(span->arena, pages);
		if (at < ARENA_PAGES)
			return run__take(heap, span, at, pages, zero);
		if (span->arena->longest < RUN_PAGES_MIN)
			_mt_queue_remove(&heap->arenas, span);
	}
	return NULL;
}

void *_mt_arena_alloc(struct heap *heap, size_t bytes, bool *zero)
{
	unsigned int pages = (unsigned int)((bytes + PAGE - 1) >> PAGE_SHIFT);
	struct span *span;
	void *block = alloc_listed(heap, pages, zero);

	if (!block && _mt_heap_collect(heap))
		block = alloc_listed(heap, pages, zero);
	if (!block && _mt_heap_adopt(heap, -1))
		block = alloc_listed(heap, pages, zero);
	if (block)
		return block;
	span = arena__new(heap);
	return span ? run__take(heap, span, 0, pages, zero) : NULL;
}

/* ---- giving back ---------------------------------------------------------------------------- */

static void arena__discard(struct heap *heap, struct span *span, unsigned int at, unsigned int end)
{
	unsigned int step = (unsigned int)(_mt_os_page / PAGE);

	at = (at + step - 1) / step * step;
	end = end / step * step;
	if (at >= end || !_mt_os_discard(span->start + at * PAGE, (end - at) * PAGE))
		return;
	set(span->arena->dirty, at, end - at, false);
	heap->dirty_pages -= end - at;
	swing__gave(&heap->run_swing, (end - at) * PAGE);
}

static void purge(struct heap *heap, size_t target)
{
	struct span *span = _mt_span_by_id(heap->arenas.last);

	for (; span && heap->dirty_pages > target; span = _mt_span_by_id(span->prev)) {
		unsigned int at = 0, end;

		while (heap->dirty_pages > target &&
		       (at = next(span->arena->dirty, at, true)) < ARENA_PAGES) {
			end = next(span->arena->dirty, at, false);
			arena__discard(heap, span, at, end);
			at = end;
		}
	}
}

void _mt_arena_purge(struct heap *heap, size_t keep_pages)
{
	purge(heap, keep_pages);
}

static void settle(struct heap *heap)
{
	size_t share = heap->run_pages / KEEP_SHARE;
	size_t base = share > KEEP_PAGES ? share : KEEP_PAGES;
	size_t swings;

	if (heap->dirty_pages <= base)
		return;
	swing__tick(&heap->run_swing, _mt_os_now_ms(), _mt_options.decay_ms);
	swings = swing__keep(&heap->run_swing, SWING_LIMIT) / PAGE;
	if (heap->dirty_pages > base + swings)
		purge(heap, base / 2 + swings);
}

static void arena__release(struct heap *heap, struct span *span)
{
	struct arena *arena = span->arena;

	for (unsigned int i = 0; i < ARENA_GRANULES; i++) {
		unsigned int dirty = GRANULE_PAGES;

		while (dirty && !is_set(arena->dirty, i * GRANULE_PAGES + dirty - 1))
			dirty--;
		span[i].clean = (uint8_t)dirty;
	}
	heap->dirty_pages -= count_dirty(arena, 0, ARENA_PAGES);
	heap->spans--;
	if (heap->spare_arena == span)
		heap->spare_arena = NULL;
	_mt_queue_remove(&heap->arenas, span);
	_mt_meta_free(arena, sizeof(*arena));
	_mt_span_free(span, ARENA_GRANULES);
}

static void give_back(struct heap *heap, struct span *span, unsigned int at, unsigned int pages,
		      bool dirty)
{
	struct arena *arena = span->arena;
	unsigned int end = at + pages;

	for (unsigned int word = at / 64; word * 64 < end; word++) {
		uint64_t mask = mask_of(word, at, end);

		arena->free[word] |= mask;
		if (dirty)
			arena->dirty[word] |= mask;
	}
	heap->dirty_pages += dirty ? pages : 0;
	heap->run_pages -= pages;
	swing__down(&heap->run_swing, pages * PAGE);
	swing__spare(&heap->run_swing, heap->dirty_pages * PAGE);
	arena->longest = ARENA_PAGES;
	if (!(span->flags & SPAN_LISTED))
		_mt_queue_push(&heap->arenas, span);
}

static void run__free(struct heap *heap, struct span *span, unsigned int at, bool dirty)
{
	unsigned int pages = span->arena->pages[at];

	if (unlikely(!pages))
		_mt_die("free", span->start + at * PAGE, "double free", 0);
	__atomic_store_n(&span->arena->pages[at], 0, __ATOMIC_RELAXED);
	span->used--;
	give_back(heap, span, at, pages, dirty);
}

/* After runs were freed. */
static void tidy(struct heap *heap, struct span *span)
{
	struct span *spare = heap->spare_arena;

	/* One without a block stays, or a block that comes and goes would take it along. */
	if (span->used == 0 && !heap->thread) {
		arena__release(heap, span);
	} else if (span->used == 0 && spare != span) {
		bool other = spare && spare->used == 0;

		heap->spare_arena = other && spare < span ? spare : span;
		if (other)
			arena__release(heap, spare < span ? span : spare);
	}
	settle(heap);
}

void _mt_arena_free(struct heap *heap, struct span *span, void *block)
{
	run__free(heap, span, page_of(span, block), true);
	tidy(heap, span);
}

/* ---- runs that other threads freed ---------------------------------------------------------- */

uint32_t _mt_arena_wait(struct span *span, void *block)
{
	uint16_t *waits = &span->arena->waits[page_of(span, block)];

	if (unlikely(__atomic_exchange_n(waits, WAITS, __ATOMIC_RELAXED)))
		_mt_die("free", block, "double free", 0);
	return (uint32_t)((char *)block - span->start);
}

void _mt_arena_link(struct span *span, uint32_t offset, uint32_t next)
{
	uint16_t *waits = &span->arena->waits[offset >> PAGE_SHIFT];
	uint16_t clean = __atomic_load_n(waits, __ATOMIC_RELAXED) & WAITS_CLEAN;

	__atomic_store_n(waits, (uint16_t)(WAITS | clean | next >> PAGE_SHIFT), __ATOMIC_RELAXED);
}

bool _mt_arena_waits(const struct span *span, const void *block)
{
	return __atomic_load_n(&span->arena->waits[page_of(span, block)], __ATOMIC_RELAXED);
}

/* The run's entry; ends the program when it is none that waits. */
static uint16_t waiting(const struct span *span, unsigned int at)
{
	uint16_t waits = __atomic_load_n(&span->arena->waits[at], __ATOMIC_RELAXED);

	if (unlikely(!waits || !span->arena->pages[at]))
		_mt_die("malloc", span->start + at * PAGE, "corrupted list of freed blocks", 0);
	return waits;
}

void _mt_arena_free_list(struct heap *heap, struct span *span, struct freed freed)
{
	unsigned int at = freed.head >> PAGE_SHIFT;

	if (!freed.count)
		return;
	for (; freed.count; freed.count--) {
		uint16_t waits = waiting(span, at);

		__atomic_store_n(&span->arena->waits[at], 0, __ATOMIC_RELAXED);
		run__free(heap, span, at, !(waits & WAITS_CLEAN));
		at = waits % ARENA_PAGES;
	}
	tidy(heap, span);
}

void _mt_arena_punch_freed(struct span *span, struct freed freed)
{
	uint64_t pages[ARENA_WORDS] = {0}, gone[ARENA_WORDS] = {0};
	unsigned int step = (unsigned int)(_mt_os_page / PAGE), at = freed.head >> PAGE_SHIFT, end;

	for (uint32_t left = freed.count; left; left--) {
		uint16_t waits = waiting(span, at);

		if (!(waits & WAITS_CLEAN))
			set(pages, at, span->arena->pages[at], true);
		at = waits % ARENA_PAGES;
	}
	/* Neighbours in one call. */
	for (at = 0; (at = next(pages, at, true)) < ARENA_PAGES; at = end) {
		unsigned int from = (at + step - 1) / step * step, to;

		end = next(pages, at, false);
		to = end / step * step;
		if (from < to && _mt_os_discard(span->start + from * PAGE, (to - from) * PAGE))
			set(gone, from, to - from, true);
	}
	at = freed.head >> PAGE_SHIFT;
	for (uint32_t left = freed.count; left; left--) {
		uint16_t waits = waiting(span, at);

		if (next(gone, at, false) >= at + span->arena->pages[at])
			__atomic_store_n(&span->arena->waits[at], waits | WAITS_CLEAN,
					 __ATOMIC_RELAXED);
		at = waits % ARENA_PAGES;
	}
}

/* ---- looking, resizing ---------------------------------------------------------------------- */

size_t _mt_arena_size(const struct span *span, const void *block)
{
	size_t offset = (size_t)((const char *)block - span->start);

	if (offset % PAGE || offset >= ARENA_PAGES * PAGE)
		return 0;
	return __atomic_load_n(&span->arena->pages[offset >> PAGE_SHIFT], __ATOMIC_RELAXED) * PAGE;
}

bool _mt_arena_resize(struct heap *heap, struct span *span, void *block, size_t bytes)
{
	struct arena *arena = span->arena;
	unsigned int at = page_of(span, block);
	unsigned int have = arena->pages[at];
	unsigned int want = (unsigned int)((bytes + PAGE - 1) >> PAGE_SHIFT);

	if (want > have) {
		unsigned int end = at + have;

		if (at + want > ARENA_PAGES || end == ARENA_PAGES || !is_set(arena->free, end) ||
		    next(arena->free, end, false) < at + want)
			return false;
		arena__take(heap, arena, end, want - have);
	} else if (want < have) {
		give_back(heap, span, at + want, have - want, true);
	}
	__atomic_store_n(&arena->pages[at], (uint8_t)want, __ATOMIC_RELAXED);
	return true;
}

void _mt_arena_release_empty(struct heap *heap)
{
	struct span *span = _mt_span_by_id(heap->arenas.first), *after;

	for (; span; span = after) {
		after = _mt_span_by_id(span->next);
		if (span->used == 0)
			arena__release(heap, span);
	}
}

void _mt_arena_move(struct heap *from, struct heap *to, struct span *span)
{
	unsigned int dirty = count_dirty(span->arena, 0, ARENA_PAGES), used = ARENA_PAGES;

	for (unsigned int i = 0; i < ARENA_WORDS; i++)
		used -= (unsigned int)__builtin_popcountll(span->arena->free[i]);
	if (from->spare_arena == span)
		from->spare_arena = NULL;
	from->dirty_pages -= dirty;
	to->dirty_pages += dirty;
	from->run_pages -= used;
	to->run_pages += used;
	swing__down(&from->run_swing, used * PAGE);
	swing__up(&to->run_swing, used * PAGE);
}

size_t _mt_arena_used(const struct span *span)
{
	size_t used = ARENA_PAGES;

	for (unsigned int i = 0; i < ARENA_WORDS; i++)
		used -= (size_t)__builtin_popcountll(span->arena->free[i]);
	return used * PAGE;
}
