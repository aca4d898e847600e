// SPDX-License-Identifier: MIT
/*
 * All invariants, walked, for the tests. What is looked at is what nobody changes meanwhile: the
 * spans and the mappings under their locks, the heap of the thread that asks, and the heaps of
 * threads that are gone. Of what other threads own, only what their spans are.
 */
#ifdef MT_TEST

#include "verify.h"

#include <string.h>

#include "arena.h"

/* ---- slabs ---------------------------------------------------------------------------------- */

struct seen {
	uint64_t bits[GRANULE_UNITS / 64]; /* blocks, by the unit they begin at */
	uint32_t count;
};

static void see(struct seen *seen, const struct span *span, uint64_t offset)
{
	uint64_t unit = offset >> UNIT_SHIFT;

	HOLDS(offset < GRANULE, span->start);
	HOLDS(_mt_slab_is_block(span, span->start + offset), span->start + offset);
	HOLDS(!(seen->bits[unit / 64] >> (unit % 64) & 1), span->start + offset);
	seen->bits[unit / 64] |= (uint64_t)1 << (unit % 64);
	seen->count++;
}

static uint64_t link_of(const struct span *span, uint64_t offset)
{
	return link__decode(*block__word(span->start + offset));
}

static uint32_t pages_of(const struct span *span, uint32_t offset)
{
	uint32_t last = (offset + _mt_classes[span->class_id].size - 1) >> PAGE_SHIFT;

	return (2u << last) - (1u << (offset >> PAGE_SHIFT));
}

/*
 * What other threads freed is still given out as far as the slab is concerned. While they put more
 * there the word changes, and what was read may be half of two states.
 */
MT_RACY static void verify_remote(const struct span *span, struct seen *seen)
{
	uint64_t word = atomic_load_explicit(&span->remote, memory_order_acquire);
	struct freed freed = freed__unpack(word);
	uint64_t offset = freed.head;

	HOLDS(freed.count <= GRANULE_UNITS, span->start);
	HOLDS(!(freed.pages & span->holes), span->start);
	for (uint32_t left = freed.count; left; left--) {
		if (offset >= GRANULE || !_mt_slab_is_block(span, span->start + offset) ||
		    (pages_of(span, (uint32_t)offset) & freed.pages)) {
			HOLDS(atomic_load(&span->remote) != word, span->start + freed.head);
			return;
		}
		see(seen, span, offset);
		if (left == 1)
			HOLDS(offset == freed.tail || atomic_load(&span->remote) != word,
			      span->start + offset);
		offset = link_of(span, offset);
	}
}

static void verify_slab(const struct heap *heap, const struct span *span)
{
	const struct size_class *class = &_mt_classes[span->class_id];
	uint32_t given = ((uint32_t)slab__fresh(span) << UNIT_SHIFT) / class->size, on_holes = 0;
	uintptr_t owner = atomic_load_explicit(&span->owner, memory_order_relaxed);
	uint64_t offset = link__decode(span->free);
	bool full = span->flags & SPAN_FULL;
	struct seen seen;

	memset(&seen, 0, sizeof(seen));
	HOLDS(span->class_id < CLASSES, span->start);
	HOLDS(span->magic == class->magic, span->start);
	HOLDS(given * class->size == slab__fresh(span) << UNIT_SHIFT, span->start);
	HOLDS(given <= GRANULE / class->size, span->start);
	for (; offset != LINK_END; offset = link_of(span, offset)) {
		see(&seen, span, offset);
		HOLDS(!(pages_of(span, (uint32_t)offset) & span->holes), span->start + offset);
	}
	for (uint32_t i = 0; i < given; i++)
		on_holes += (pages_of(span, i * class->size) & span->holes) != 0;
	HOLDS(seen.count + on_holes + slab__blocks(span) == given, span->start);
	HOLDS(!span->holes || on_holes, span->start);
	HOLDS(full == !(span->flags & SPAN_LISTED), span->start);
	HOLDS(!full || (!(span->flags & SPAN_CURRENT) && seen.count == 0 && !span->holes &&
			slab__fresh(span) > class->last),
	      span->start);
	HOLDS(owner == (full || span->holes ? 0 : heap->thread), span->start);
	HOLDS(span->used || full, span->start);
	verify_remote(span, &seen);
}

/* ---- arenas --------------------------------------------------------------------------------- */

static bool bit(const uint64_t *bits, unsigned int at)
{
	return bits[at / 64] >> (at % 64) & 1;
}

/* The account of one heap's spans. */
struct account {
	const struct heap *heap;
	uint32_t spans, run_pages, dirty_pages;
};

static void verify_arena(struct account *account, const struct span *span)
{
	const struct arena *arena = span->arena;
	unsigned int runs = 0, free = 0, longest = 0;

	for (unsigned int at = 0; at < ARENA_PAGES;) {
		unsigned int pages = arena->pages[at];

		HOLDS(pages || bit(arena->free, at), span->start + at * PAGE);
		HOLDS(pages <= RUN_MAX / PAGE && at + pages <= ARENA_PAGES, span->start + at * PAGE);
		HOLDS(pages || !arena->waits[at], span->start + at * PAGE);
		if (!pages) {
			account->dirty_pages += bit(arena->dirty, at);
			longest = ++free > longest ? free : longest;
			at++;
			continue;
		}
		for (unsigned int i = at; i < at + pages; i++) {
			HOLDS(!bit(arena->free, i) && !bit(arena->dirty, i), span->start + i * PAGE);
			HOLDS(i == at || !arena->pages[i], span->start + i * PAGE);
		}
		runs++;
		free = 0;
		at += pages;
		account->run_pages += pages;
	}
	HOLDS(runs == span->used, span->start);
	HOLDS(longest <= arena->longest, span->start);
	HOLDS(atomic_load_explicit(&span->owner, memory_order_relaxed) == 0, span->start);
	HOLDS(span->flags & SPAN_LISTED || arena->longest < SLAB_MAX / PAGE + 1, span->start);
}

/* ---- heaps ---------------------------------------------------------------------------------- */

static void verify_queue(const struct heap *heap, const struct queue *queue, enum span_kind kind)
{
	const struct span *before = NULL, *span = _mt_span_by_id(queue->first);

	for (; span; before = span, span = _mt_span_by_id(span->next)) {
		HOLDS(span->kind == kind && span->flags & SPAN_LISTED, span->start);
		HOLDS(span->heap == heap->id, span->start);
		HOLDS(_mt_span_by_id(span->prev) == before, span->start);
	}
	HOLDS(_mt_span_by_id(queue->last) == before, before ? before->start : NULL);
}

static void verify_class(const struct heap *heap, int class_id)
{
	const struct span *current = heap->current[class_id], *span;
	bool found = current == &_mt_no_span;

	verify_queue(heap, &heap->queue[class_id], SPAN_SLAB);
	for (span = _mt_span_by_id(heap->queue[class_id].first); span;
	     span = _mt_span_by_id(span->next)) {
		HOLDS(span->class_id == class_id, span->start);
		HOLDS(!(span->flags & SPAN_CURRENT) == (span != current), span->start);
		found |= span == current;
	}
	HOLDS(found, current->start);
}

/* Its list and its sums; the arena's dirty pages count where they are full, too. */
static void verify_mine(struct span *span, void *context)
{
	struct account *account = context;

	if (atomic_load_explicit(&span->kind, memory_order_relaxed) == SPAN_BIG ||
	    atomic_load_explicit(&span->heap, memory_order_relaxed) != account->heap->id)
		return;
	account->spans++;
	if (atomic_load_explicit(&span->kind, memory_order_relaxed) == SPAN_SLAB)
		verify_slab(account->heap, span);
	else
		verify_arena(account, span);
}

static void verify_heap(const struct heap *heap)
{
	struct account account = {.heap = heap};

	HOLDS(_mt_heap_by_id(heap->id) == heap, heap);
	for (int i = 0; i < CLASSES; i++)
		verify_class(heap, i);
	verify_queue(heap, &heap->arenas, SPAN_ARENA);
	_mt_span_each(verify_mine, &account);
	HOLDS(account.spans == heap->spans, heap);
	HOLDS(account.run_pages == heap->run_pages, heap);
	HOLDS(account.dirty_pages == heap->dirty_pages, heap);
	HOLDS(heap->run_swing.level == heap->run_pages * PAGE, heap);
}

/* Of the thread that asks: outboxes, and what the fast paths read. */
static void verify_thread(const struct heap *heap)
{
	for (int i = 0; i < OUTBOXES; i++) {
		const struct outbox *box = &heap->outbox[i];

		HOLDS(!box->freed.count == !box->span, box);
		HOLDS(!box->span || box->span->heap != heap->id || box->freed.count < box->left, box);
	}
	for (size_t i = 0; i < sizeof(_mt_thread.direct) / sizeof(_mt_thread.direct[0]); i++)
		HOLDS(_mt_thread.direct[i] == heap->current[class__of(i * ALIGNMENT)], heap);
	HOLDS(heap->thread == thread__self(), heap);
}

void mt__verify(void)
{
	const struct heap *heap = _mt_thread.heap;

	if (!atomic_load_explicit(&_mt_ready, memory_order_acquire))
		return;
	_mt_spans_lock();
	_mt_span_verify();
	_mt_spans_unlock();
	_mt_large_verify();
	if (heap) {
		verify_heap(heap);
		verify_thread(heap);
	}
	_mt_heaps_verify(verify_heap);
}

#else
typedef int nothing_to_verify_without_tests;
#endif
