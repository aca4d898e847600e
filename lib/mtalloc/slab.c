// SPDX-License-Identifier: MIT
/*
 * Slabs: 64 KiB cut in equal blocks.
 *
 * A slab gives out the blocks that came back, last first, and then those it never gave out, in
 * order; nothing is prepared ahead, so no page is touched before its user touches it. A slab
 * without room is in no queue and has no owner, so the first free into it comes here by the check
 * of the owner that the fast path makes anyway. The slab that a heap takes blocks from counts as
 * used once more: it is not given back when its last block is, or a block that comes and goes
 * would take it along each time.
 */
#include "internal.h"

/*
 * After so many slabs of memory that was not touched before, the sparse ones are looked through:
 * those with at most so many blocks.
 */
#define GROWN_MIN 16
#define SPARSE_BLOCKS 8
#define PATIENCE_MAX 6
/* A heap falls when it has a fifth less spans than before and so many less. */
#define FALL_MIN 16
/* Then so small a share of its runs is kept of free ones. */
#define FALL_KEEPS 32

struct size_class _mt_classes[CLASSES];

struct span _mt_no_span = {.free = ~(uint64_t)0, .fresh = UINT16_MAX};

void _mt_classes_init(void)
{
	for (unsigned int i = 0; i < CLASSES; i++) {
		struct size_class *class = &_mt_classes[i];
		unsigned int shift = i < 16 ? 0 : i / 8 - 1;
		unsigned int units = (i - shift * 8 + 1) << shift;

		class->size = units << UNIT_SHIFT;
		class->units = (uint16_t)units;
		class->last = (uint16_t)(GRANULE_UNITS - units);
		class->magic = ~(uint64_t)0 / class->size + 1;
	}
}

bool _mt_slab_is_block(const struct span *span, const void *block)
{
	uint64_t offset = (uint64_t)((const char *)block - span->start);

	return offset * span->magic < span->magic && offset < (uint64_t)slab__fresh(span)
								      << UNIT_SHIFT;
}

MT_RACY bool _mt_slab_has_free(const struct span *span, const void *block)
{
	uint64_t wanted = (uint64_t)((const char *)block - span->start);
	uint64_t link = __atomic_load_n(&span->free, __ATOMIC_RELAXED);

	for (unsigned int steps = 0; steps <= GRANULE_UNITS; steps++) {
		uint64_t offset = link__decode(link);

		if (offset == wanted)
			return true;
		if (offset >= GRANULE)
			return false;
		link = __atomic_load_n(block__word(span->start + offset), __ATOMIC_RELAXED);
	}
	return false;
}

/* ---- taking --------------------------------------------------------------------------------- */

/* What is filled again soon was better left alone: twice as much is waited for the next time. */
static void look_through(struct heap *heap)
{
	if (heap->refilled > heap->punched / 2)
		heap->patience += heap->patience < PATIENCE_MAX;
	else if (heap->punched && heap->patience)
		heap->patience--;
	heap->grown = heap->punched = heap->refilled = 0;
	_mt_slab_punch_all(heap, SPARSE_BLOCKS);
}

static struct span *slab__new(struct heap *heap, int class_id)
{
	struct span *span = _mt_span_alloc(1, SPAN_SLAB);

	if (!span)
		return NULL;
	span->magic = _mt_classes[class_id].magic;
	span->free = link__encode(LINK_END);
	span->class_id = (uint8_t)class_id;
	atomic_store_explicit(&span->heap, heap->id, memory_order_relaxed);
	slab__set_holes(span, 0);
	slab__set_owner(heap, span);
	if (++heap->spans > heap->spans_high)
		heap->spans_high = heap->spans;
	_mt_queue_push(&heap->queue[class_id], span);
	/* More memory is about to be touched: is there some that serves nobody? */
	if (!span->clean && ++heap->grown > (GROWN_MIN + heap->spans / 8) << heap->patience)
		look_through(heap);
	return span;
}

static bool has_room(const struct span *span)
{
	return link__decode(span->free) != LINK_END || span->holes ||
	       slab__fresh(span) <= _mt_classes[span->class_id].last;
}

/* The next slab of the class with room: the current one has none. NULL without memory. */
static struct span *slab__next(struct heap *heap, int class_id)
{
	struct span *span = heap->current[class_id];

	if (_mt_heap_take_in(heap)) {
		span = heap->current[class_id];
		if (span != &_mt_no_span && has_room(span))
			return span;
	}
	if (span != &_mt_no_span) {
		_mt_queue_remove(&heap->queue[class_id], span);
		span->flags |= SPAN_FULL;
		atomic_store_explicit(&span->owner, 0, memory_order_relaxed);
	}
	span = _mt_span_by_id(heap->queue[class_id].first);
	/* More memory is wanted, perhaps by others too: they get theirs. */
	if (!span)
		_mt_heap_flush(heap);
	if (!span)
		span = _mt_heap_adopt(heap, class_id);
	if (!span)
		span = slab__new(heap, class_id);
	_mt_heap_set_current(heap, class_id, span ? span : &_mt_no_span);
	return span;
}

void *_mt_slab_alloc(struct heap *heap, int class_id, bool *zero)
{
	struct span *span = heap->current[class_id];
	const struct size_class *class = &_mt_classes[class_id];

	do {
		uint64_t offset = link__decode(span->free);
		char *block;

		*zero = false;
		if (offset < GRANULE) {
			block = span->start + offset;
			if (unlikely(!_mt_slab_is_block(span, block)))
				_mt_die("malloc", block, "corrupted free list, written after free?",
					class->size);
			span->free = *block__word(block);
			span->used++;
			*block__word(block) = 0;
			return block;
		}
		if (unlikely(offset != LINK_END && span != &_mt_no_span))
			_mt_die("malloc", span->start,
				"corrupted free list in this slab, written after free?", class->size);
		if (slab__fresh(span) <= class->last) {
			/* Before another page is touched: has somebody freed a block? */
			if (class__is_at_page(class, slab__fresh(span)) && _mt_heap_take_in(heap)) {
				span = heap->current[class_id];
				continue;
			}
			return slab__take_fresh(span, class, slab__fresh(span), zero);
		}
		if (span->holes)
			_mt_slab_fill_hole(heap, span);
		else
			span = slab__next(heap, class_id);
	} while (span);
	return NULL;
}

/* ---- giving back ---------------------------------------------------------------------------- */

/*
 * The heap is not what it was: of each class it keeps a slab to take blocks from, perhaps for nothing
 * any more. Empty ones go at once, the others when they get empty, since they are not current now.
 */
static void fall(struct heap *heap)
{
	heap->spans_high = heap->spans;
	_mt_slab_release_empty(heap);
	for (int i = 0; i < CLASSES; i++)
		_mt_heap_set_current(heap, i, &_mt_no_span);
	_mt_arena_purge(heap, heap->run_pages / FALL_KEEPS);
}

static void slab__release(struct heap *heap, struct span *span)
{
	_mt_queue_remove(&heap->queue[span->class_id], span);
	heap->spans--;
	if (span->clean * PAGE_UNITS < slab__fresh(span))
		span->clean = (uint8_t)((slab__fresh(span) + PAGE_UNITS - 1) / PAGE_UNITS);
	while (span->clean && span->holes >> (span->clean - 1) & 1)
		span->clean--;
	slab__set_holes(span, 0);
	_mt_span_free(span, 1);
	if (heap->spans + heap->spans / 4 + FALL_MIN <= heap->spans_high)
		fall(heap);
}

void _mt_slab_free_list(struct heap *heap, struct span *span, struct freed freed)
{
	int class_id = span->class_id;
	uint32_t count = freed.count;

	if (unlikely(freed.pages))
		count += _mt_slab_blocks_on(span, freed.pages);
	if (unlikely(slab__blocks(span) < count))
		_mt_die("free", span->start + freed.head, "double free", _mt_classes[class_id].size);
	if (likely(freed.count)) {
		*block__word(span->start + freed.tail) = span->free;
		span->free = link__encode(freed.head);
	}
	if (unlikely(freed.pages)) {
		slab__set_holes(span, span->holes | freed.pages);
		/* A full one has no owner. */
		atomic_store_explicit(&span->owner, 0, memory_order_relaxed);
	}
	span->used = (uint16_t)(span->used - count);
	if (span->flags & SPAN_FULL && count) {
		span->flags &= (uint8_t)~SPAN_FULL;
		slab__set_owner(heap, span);
		_mt_queue_push(&heap->queue[class_id], span);
		if (heap->current[class_id] == &_mt_no_span && heap->thread)
			_mt_heap_set_current(heap, class_id, span);
	}
	if (span->used == 0)
		slab__release(heap, span);
}

void _mt_slab_free(struct heap *heap, struct span *span, void *block)
{
	uint32_t offset = (uint32_t)((char *)block - span->start);

	_mt_slab_free_list(heap, span, (struct freed){.head = offset, .tail = offset, .count = 1});
}

void _mt_slab_emptied(struct heap *heap, struct span *span)
{
	slab__release(heap, span);
}

void _mt_slab_release_empty(struct heap *heap)
{
	for (int i = 0; i < CLASSES; i++) {
		struct span *span = heap->current[i];

		if (span == &_mt_no_span || slab__blocks(span))
			continue;
		_mt_heap_set_current(heap, i, &_mt_no_span);
		slab__release(heap, span);
		span = _mt_span_by_id(heap->queue[i].first);
		_mt_heap_set_current(heap, i, span ? span : &_mt_no_span);
	}
}
