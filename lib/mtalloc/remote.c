// SPDX-License-Identifier: MIT
/*
 * Blocks that a thread frees and does not own.
 *
 * They go into an outbox of the thread, with others of the same span, and from there by one
 * exchange onto the span's list of remote frees (span->remote). Who finds that list empty puts the
 * span on the list of its heap, which the heap's thread empties when it runs out of blocks. Nobody
 * waits. A span may change its heap while somebody is putting it on the list of the old one:
 * whoever empties a list hands such a span on.
 *
 * What waits on a list can be used by nobody. When much does, and the heap's thread does not come,
 * those who free give the pages back that hold nothing else, and note it in the list. A thread that
 * does come soon after would have been better off with the pages: so much is left to it from then
 * on.
 */
#include "alloc.h"

/* Outboxes are emptied early when much memory waits in one. */
#define OUTBOX_BYTES 4096
#define OUTBOX_BLOCKS 32

/* ---- lists ---------------------------------------------------------------------------------- */

static bool is_slab(const struct span *span)
{
	return atomic_load_explicit(&span->kind, memory_order_relaxed) == SPAN_SLAB;
}

static struct heap *heap_of(const struct span *span)
{
	return _mt_heap_by_id(atomic_load_explicit(&span->heap, memory_order_acquire));
}

/* The span has remote frees: its heap shall know. */
static void notify(struct span *span)
{
	struct heap *heap = heap_of(span);
	uint32_t id = _mt_span_id(span), old, state;

	old = atomic_load_explicit(&heap->pending, memory_order_relaxed);
	do {
		span->pending = old;
	} while (!atomic_compare_exchange_weak_explicit(&heap->pending, &old, id,
							memory_order_seq_cst, memory_order_relaxed));
	state = atomic_load_explicit(&heap->state, memory_order_seq_cst);
	if (unlikely(state == HEAP_ORPHAN || state == HEAP_UNUSED))
		_mt_heap_drain_orphan(heap);
}

static void push(struct span *span, struct freed freed)
{
	bool slab = is_slab(span);
	uint64_t old = atomic_load_explicit(&span->remote, memory_order_relaxed);
	struct freed before, all;

	do {
		before = freed__unpack(old);
		all = freed;
		all.pages |= before.pages;
		if (before.count && freed.count) {
			if (slab)
				*block__word(span->start + freed.tail) = link__encode(before.head);
			else
				_mt_arena_link(span, freed.tail, before.head);
			all.tail = before.tail;
			all.count += before.count;
		} else if (before.count) {
			all.head = before.head;
			all.tail = before.tail;
			all.count = before.count;
		}
	} while (!atomic_compare_exchange_weak_explicit(&span->remote, &old, freed__pack(all),
							memory_order_acq_rel, memory_order_relaxed));
	if (!old)
		notify(span);
}

MT_RACY static bool chain_has(const struct span *span, uint64_t offset, uint32_t count,
			      uint64_t wanted)
{
	for (; count && offset < GRANULE; count--) {
		if (offset == wanted)
			return true;
		offset = link__decode(
			__atomic_load_n(block__word(span->start + offset), __ATOMIC_RELAXED));
	}
	return false;
}

bool _mt_heap_has_freed(const struct heap *mine, const struct span *span, const void *block)
{
	struct freed remote =
		freed__unpack(atomic_load_explicit(&span->remote, memory_order_acquire));
	uint64_t wanted = (uint64_t)((const char *)block - span->start);

	for (int i = 0; mine && i < OUTBOXES; i++) {
		const struct outbox *box = &mine->outbox[i];

		if (box->span == span && chain_has(span, box->freed.head, box->freed.count, wanted))
			return true;
	}
	return chain_has(span, remote.head, remote.count, wanted);
}

/* ---- taking in ------------------------------------------------------------------------------ */

/* Memory was given back meanwhile: whether that was rash shows now. */
static void learn(struct heap *heap)
{
	uint64_t given_ms = atomic_load_explicit(&heap->swept_ms, memory_order_relaxed);
	size_t limit = atomic_load_explicit(&heap->waiting_limit, memory_order_relaxed);

	if (_mt_os_now_ms() - given_ms > _mt_options.decay_ms)
		limit = WAITING_MIN;
	else if (limit < WAITING_MAX)
		limit *= 2;
	atomic_store_explicit(&heap->waiting_limit, limit, memory_order_relaxed);
}

bool _mt_heap_drain(struct heap *heap, struct span **strays)
{
	uint32_t id;

	if (!atomic_load_explicit(&heap->pending, memory_order_relaxed))
		return false;
	id = atomic_exchange_explicit(&heap->pending, 0, memory_order_seq_cst);
	atomic_store_explicit(&heap->waiting, 0, memory_order_relaxed);
	if (unlikely(atomic_load_explicit(&heap->swept, memory_order_relaxed))) {
		learn(heap);
		atomic_store_explicit(&heap->swept, false, memory_order_relaxed);
	}
	while (id) {
		struct span *span = _mt_span_by_id(id);
		struct freed freed;

		id = span->pending;
		if (atomic_load_explicit(&span->heap, memory_order_relaxed) != heap->id) {
			span->pending = *strays ? _mt_span_id(*strays) : 0;
			*strays = span;
			continue;
		}
		freed = freed__unpack(
			atomic_exchange_explicit(&span->remote, 0, memory_order_acq_rel));
		if (is_slab(span))
			_mt_slab_free_list(heap, span, freed);
		else
			_mt_arena_free_list(heap, span, freed);
	}
	return true;
}

void _mt_heap_hand_on(struct span *strays)
{
	while (strays) {
		struct span *span = strays;

		strays = _mt_span_by_id(span->pending);
		notify(span);
	}
}

/* ---- giving back in a heap's stead ---------------------------------------------------------- */

/* Takes the list, gives back what it covers, and puts the rest there again. */
static void punch(struct span *span)
{
	uint64_t word = atomic_load_explicit(&span->remote, memory_order_relaxed);
	struct freed freed;

	do {
		freed = freed__unpack(word);
		if (!freed.count)
			return;
	} while (!atomic_compare_exchange_weak_explicit(&span->remote, &word,
							REMOTE_TAKEN | word >> 48 << 48,
							memory_order_acq_rel, memory_order_relaxed));
	freed.pages = 0;
	if (is_slab(span))
		_mt_slab_punch_freed(span, &freed);
	else
		_mt_arena_punch_freed(span, freed);
	push(span, freed);
}

/*
 * Whether all blocks that are given out wait. While the heap's thread takes and frees: what comes
 * out is a hint only, and not too low. Volatile, or the compiler makes the caller read it, whom the
 * sanitizer watches.
 */
MT_RACY static bool seems_whole(const volatile struct span *span, struct freed freed, size_t bytes)
{
	size_t gone = (size_t)__builtin_popcount(freed.pages) * PAGE / bytes;
	size_t count = freed.count + (freed.pages ? gone + 2 : 0);

	return count + (span->flags & SPAN_CURRENT ? 1 : 0) >= span->used;
}

void _mt_heap_sweep(struct heap *heap)
{
	uint32_t id = atomic_exchange_explicit(&heap->pending, 0, memory_order_seq_cst);

	/* Nobody else takes a span's list in while it is not on its heap's. */
	while (id) {
		struct span *span = _mt_span_by_id(id);

		id = span->pending;
		punch(span);
		notify(span);
	}
}

/* So much more waits for the heap; whether that is more than shall. */
static bool add_waiting(struct heap *heap, size_t bytes)
{
	size_t before = atomic_fetch_add_explicit(&heap->waiting, bytes, memory_order_relaxed);
	size_t now = before + bytes;

	if (!before)
		atomic_store_explicit(&heap->waiting_ms, _mt_os_now_ms(), memory_order_relaxed);
	if (now <= WAITING_MIN)
		return false;
	if (now <= atomic_load_explicit(&heap->waiting_limit, memory_order_relaxed) &&
	    _mt_os_now_ms() - atomic_load_explicit(&heap->waiting_ms, memory_order_relaxed) <
		    _mt_options.decay_ms)
		return false;
	return true;
}

/* Puts the blocks on the span's list. */
static void pass(struct span *span, struct freed freed, size_t bytes)
{
	struct heap *heap = heap_of(span);

	push(span, freed);
	if (likely(!add_waiting(heap, freed.count * bytes)))
		return;
	freed = freed__unpack(atomic_load_explicit(&span->remote, memory_order_relaxed));
	if (!atomic_exchange_explicit(&heap->swept, true, memory_order_relaxed)) {
		atomic_store_explicit(&heap->swept_ms, _mt_os_now_ms(), memory_order_relaxed);
		_mt_heap_sweep(heap);
	} else if (!is_slab(span) || seems_whole(span, freed, bytes)) {
		punch(span);
	}
}

/* ---- outboxes ------------------------------------------------------------------------------- */

static void outbox__flush(struct outbox *box)
{
	struct span *span = box->span;
	struct freed freed = box->freed;

	if (!freed.count)
		return;
	box->freed.count = 0;
	box->span = NULL;
	pass(span, freed, box->bytes);
}

static unsigned int outbox_of(const struct span *span)
{
	return ((uintptr_t)span >> 6) % OUTBOXES;
}

static void outbox__put(struct outbox *box, struct span *span, void *block)
{
	uint32_t offset = (uint32_t)((char *)block - span->start);

	/* Seen as free from now on; push() puts the list behind the tail. */
	*block__word(block) = link__encode(box->freed.count ? box->freed.head : LINK_END);
	if (!box->freed.count)
		box->freed.tail = offset;
	box->freed.head = offset;
	box->freed.count++;
	box->span = span;
}

/* The first block of its span in the outbox, or the last one that fits. */
static __attribute__((noinline)) void put_slowly(struct heap *mine, struct span *span, void *block,
						 size_t bytes)
{
	struct outbox single = {.bytes = (uint32_t)bytes}, *box;
	unsigned int at = outbox_of(span);

	if (bytes > SLAB_MAX) {
		uint32_t offset = _mt_arena_wait(span, block);

		pass(span, (struct freed){.head = offset, .tail = offset, .count = 1}, bytes);
		return;
	}
	if (!mine) {
		outbox__put(&single, span, block);
		outbox__flush(&single);
		return;
	}
	box = &mine->outbox[at];
	if (box->span != span) {
		outbox__flush(box);
		box->bytes = (uint32_t)bytes;
		box->left = bytes < OUTBOX_BYTES / OUTBOX_BLOCKS ? OUTBOX_BLOCKS :
								   (uint32_t)(OUTBOX_BYTES / bytes);
		mine->posted |= 1u << at;
	}
	outbox__put(box, span, block);
	if (box->freed.count >= box->left) {
		outbox__flush(box);
		mine->posted &= ~(1u << at);
	}
}

void _mt_heap_remote_free(struct heap *mine, struct span *span, void *block, size_t bytes)
{
	struct outbox *box = mine ? &mine->outbox[outbox_of(span)] : NULL;

	if (unlikely(!box || box->span != span || box->freed.count + 1 >= box->left))
		return put_slowly(mine, span, block, bytes);
	*block__word(block) = link__encode(box->freed.head);
	box->freed.head = (uint32_t)((char *)block - span->start);
	box->freed.count++;
}

static void flush_all(struct heap *heap)
{
	while (heap->posted) {
		outbox__flush(&heap->outbox[__builtin_ctz(heap->posted)]);
		heap->posted &= heap->posted - 1;
	}
}

bool _mt_heap_take_in(struct heap *heap)
{
	struct span *strays = NULL;
	bool some = _mt_heap_drain(heap, &strays);

	_mt_heap_hand_on(strays);
	return some;
}

void _mt_heap_flush(struct heap *heap)
{
	if (heap->state != HEAP_SHARED)
		flush_all(heap);
}

bool _mt_heap_collect(struct heap *heap)
{
	_mt_heap_flush(heap);
	return _mt_heap_take_in(heap);
}
