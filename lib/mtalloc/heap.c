// SPDX-License-Identifier: MIT
/*
 * Heaps: who owns what, blocks that other threads free, and the heaps of threads that ended.
 *
 * A block that a thread frees and does not own goes into an outbox of the thread, with others of
 * the same span, and from there by one exchange onto the span's list of remote frees. Who finds
 * that list empty puts the span on the list of its heap, which the heap's thread empties when it
 * runs out of blocks. Nobody waits.
 *
 * When a thread ends, its heap becomes an orphan. A new thread takes it as it is; others take
 * single slabs from it; who frees the last block of a span there gives the span back. A span may
 * change its heap while somebody is putting it on the list of the old one: whoever empties a list
 * hands such a span on.
 */
#include <pthread.h>

#include "alloc.h"

/* Outboxes are emptied early when much memory waits in one. */
#define OUTBOX_BYTES 4096
#define OUTBOX_BLOCKS 32
/* When more than this waits for a thread that does not come, those who free give memory back. */
#define WAITING_BYTES ((size_t)4 << 20)

__thread struct thread _mt_thread = {
	.direct = {[0 ... SMALL_MAX / ALIGNMENT] = &_mt_no_span},
};

static struct lock heaps_lock, shared_lock;
static struct heap *heaps[HEAPS + 1];
static uint32_t heap_count;
static struct heap *unused;
static struct heap *orphans;
static _Atomic uint32_t orphan_count;
/* The first thread's, and of threads that end. */
static struct heap first_heap, shared_heap;
static pthread_key_t key;
static bool have_key;

/* ---- queues --------------------------------------------------------------------------------- */

void _mt_queue_push(struct queue *queue, struct span *span)
{
	uint32_t id = _mt_span_id(span);

	span->prev = queue->last;
	span->next = 0;
	if (queue->last)
		_mt_span_by_id(queue->last)->next = id;
	else
		queue->first = id;
	queue->last = id;
	span->flags |= SPAN_LISTED;
}

void _mt_queue_remove(struct queue *queue, struct span *span)
{
	if (!(span->flags & SPAN_LISTED))
		return;
	if (span->prev)
		_mt_span_by_id(span->prev)->next = span->next;
	else
		queue->first = span->next;
	if (span->next)
		_mt_span_by_id(span->next)->prev = span->prev;
	else
		queue->last = span->prev;
	span->next = span->prev = 0;
	span->flags &= (uint8_t)~SPAN_LISTED;
}

/* ---- blocks that others freed --------------------------------------------------------------- */

static void drain_arena(struct heap *heap, struct span *span, struct freed freed)
{
	uint64_t offset = freed.head;

	for (; freed.count; freed.count--) {
		char *block = span->start + offset;

		if (unlikely(offset >= ARENA_PAGES * PAGE || !_mt_arena_size(span, block)))
			_mt_die("malloc", span->start,
				"corrupted list of freed blocks, written after free or freed twice?",
				0);
		offset = link__decode(*block__word(block));
		_mt_arena_free(heap, span, block);
	}
}

/* False when somebody is giving the span's memory back: later. */
static bool drain_span(struct heap *heap, struct span *span)
{
	uint64_t remote = atomic_load_explicit(&span->remote, memory_order_relaxed);
	struct freed freed;

	do {
		if (remote == REMOTE_CLAIMED)
			return false;
	} while (!atomic_compare_exchange_weak_explicit(&span->remote, &remote, 0,
							memory_order_acq_rel, memory_order_relaxed));
	freed = freed__unpack(remote);
	if (remote == REMOTE_WHOLE)
		_mt_slab_renew(heap, span);
	else if (!remote)
		return true;
	else if (atomic_load_explicit(&span->kind, memory_order_relaxed) == SPAN_SLAB)
		_mt_slab_free_list(heap, span, freed);
	else
		drain_arena(heap, span, freed);
	return true;
}

static void drain_orphan(struct heap *heap);

/* The span has remote frees: its heap shall know. */
static void notify(struct span *span)
{
	struct heap *heap = heaps[atomic_load_explicit(&span->heap, memory_order_acquire)];
	uint32_t id = _mt_span_id(span), old, state;

	old = atomic_load_explicit(&heap->pending, memory_order_relaxed);
	do {
		span->pending = old;
	} while (!atomic_compare_exchange_weak_explicit(&heap->pending, &old, id,
							memory_order_seq_cst, memory_order_relaxed));
	state = atomic_load_explicit(&heap->state, memory_order_seq_cst);
	if (unlikely(state == HEAP_ORPHAN || state == HEAP_UNUSED))
		drain_orphan(heap);
}

/* Whether there was something. Spans that left the heap, or have to wait, are to be handed on. */
static bool drain(struct heap *heap, struct span **strays)
{
	uint32_t id;

	if (!atomic_load_explicit(&heap->pending, memory_order_relaxed))
		return false;
	id = atomic_exchange_explicit(&heap->pending, 0, memory_order_seq_cst);
	atomic_store_explicit(&heap->waiting, 0, memory_order_relaxed);
	while (id) {
		struct span *span = _mt_span_by_id(id);

		id = span->pending;
		if (atomic_load_explicit(&span->heap, memory_order_relaxed) == heap->id) {
			if (drain_span(heap, span))
				continue;
		}
		span->pending = *strays ? _mt_span_id(*strays) : 0;
		*strays = span;
	}
	return true;
}

static void hand_on(struct span *strays)
{
	while (strays) {
		struct span *span = strays;

		strays = _mt_span_by_id(span->pending);
		notify(span);
	}
}

/* So much more waits for the heap of the span; whether that is more than shall stay with it. */
static bool add_waiting(struct span *span, size_t bytes)
{
	struct heap *heap = heaps[atomic_load_explicit(&span->heap, memory_order_acquire)];

	return atomic_fetch_add_explicit(&heap->waiting, bytes, memory_order_relaxed) > WAITING_BYTES;
}

/* All blocks of the slab, and much waits already: nobody else can touch it, so the memory goes. */
static void give_back_whole(struct span *span)
{
	_mt_os_discard(span->start, GRANULE);
	atomic_store_explicit(&span->remote, REMOTE_WHOLE, memory_order_release);
}

static void outbox__flush(struct outbox *box)
{
	struct span *span = box->span;
	struct freed all = box->freed;
	uint32_t count = all.count, capacity = UINT32_MAX;
	uint64_t old, new;

	if (!count)
		return;
	box->freed.count = 0;
	box->span = NULL;
	if (add_waiting(span, count * box->bytes) &&
	    atomic_load_explicit(&span->kind, memory_order_relaxed) == SPAN_SLAB)
		capacity = (uint32_t)(GRANULE / box->bytes);
	old = atomic_load_explicit(&span->remote, memory_order_relaxed);
	do {
		struct freed before = freed__unpack(old);

		if (unlikely(old >= REMOTE_WHOLE))
			_mt_die("free", span->start + all.head,
				"double free, its memory was given back", box->bytes);
		*block__word(span->start + box->freed.tail) =
			link__encode(old ? before.head : LINK_END);
		all.tail = old ? before.tail : box->freed.tail;
		all.count = before.count + count;
		new = all.count == capacity ? REMOTE_CLAIMED : freed__pack(all);
	} while (!atomic_compare_exchange_weak_explicit(&span->remote, &old, new,
							memory_order_acq_rel, memory_order_relaxed));
	if (new == REMOTE_CLAIMED)
		give_back_whole(span);
	if (!old)
		notify(span);
}

static void outbox__put(struct outbox *box, struct span *span, void *block)
{
	uint32_t offset = (uint32_t)((char *)block - span->start);

	/* Seen as free from now on; the flush puts the list behind the tail. */
	*block__word(block) = link__encode(box->freed.count ? box->freed.head : LINK_END);
	if (!box->freed.count)
		box->freed.tail = offset;
	box->freed.head = offset;
	box->freed.count++;
	box->span = span;
}

void _mt_heap_remote_free(struct heap *mine, struct span *span, void *block, size_t bytes)
{
	struct outbox single = {.bytes = (uint32_t)bytes}, *box;

	/* A run's pages but the first, which has the link. */
	if (bytes > SLAB_MAX && add_waiting(span, 0))
		_mt_os_discard((char *)block + _mt_os_page, bytes - _mt_os_page);
	if (!mine) {
		outbox__put(&single, span, block);
		outbox__flush(&single);
		return;
	}
	box = &mine->outbox[((uintptr_t)span >> 6) % OUTBOXES];
	if (box->span != span) {
		outbox__flush(box);
		box->bytes = (uint32_t)bytes;
		box->left = bytes < OUTBOX_BYTES / OUTBOX_BLOCKS ? OUTBOX_BLOCKS :
								   (uint32_t)(OUTBOX_BYTES / bytes);
	}
	outbox__put(box, span, block);
	if (box->freed.count >= box->left)
		outbox__flush(box);
}

MT_RACY static bool chain_has(const struct span *span, uint64_t offset, uint32_t count,
			      uint64_t wanted)
{
	for (; count && offset < ARENA_PAGES * PAGE; count--) {
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

static void flush_all(struct heap *heap)
{
	for (int i = 0; i < OUTBOXES; i++)
		outbox__flush(&heap->outbox[i]);
}

bool _mt_heap_collect(struct heap *heap)
{
	struct span *strays = NULL;
	bool some;

	if (heap->state != HEAP_SHARED)
		flush_all(heap);
	some = drain(heap, &strays);
	hand_on(strays);
	return some;
}

/* ---- ended threads -------------------------------------------------------------------------- */

static void orphans_remove(struct heap *heap)
{
	for (struct heap **at = &orphans; *at; at = &(*at)->next) {
		if (*at != heap)
			continue;
		*at = heap->next;
		atomic_fetch_sub(&orphan_count, 1);
		return;
	}
}

/* Under the lock: an orphan without spans can be used for any thread. */
static void retire_if_empty(struct heap *heap)
{
	if (heap->spans || heap->state != HEAP_ORPHAN)
		return;
	orphans_remove(heap);
	heap->state = HEAP_UNUSED;
	heap->next = unused;
	unused = heap;
}

static void drain_orphan(struct heap *heap)
{
	struct span *strays = NULL;

	lock__acquire(&heaps_lock);
	if (heap->state == HEAP_ORPHAN || heap->state == HEAP_UNUSED) {
		drain(heap, &strays);
		if (heap->state == HEAP_ORPHAN)
			_mt_arena_purge(heap);
		retire_if_empty(heap);
	}
	lock__release(&heaps_lock);
	hand_on(strays);
}

static void set_owner(struct heap *heap, uintptr_t thread)
{
	heap->thread = thread;
	for (int i = 0; i < CLASSES; i++) {
		struct span *span = _mt_span_by_id(heap->queue[i].first);

		for (; span; span = _mt_span_by_id(span->next))
			slab__set_owner(heap, span);
	}
}

static void thread_ends(void *argument)
{
	struct heap *heap = argument;
	struct span *strays = NULL;

	_mt_thread.ended = 1;
	_mt_heap_collect(heap);
	_mt_slab_release_empty(heap);
	for (int i = 0; i < CLASSES; i++)
		_mt_heap_set_current(heap, i, &_mt_no_span);
	_mt_thread.heap = NULL;
	set_owner(heap, 0);
	_mt_arena_release_empty(heap);
	_mt_arena_purge(heap);
	lock__acquire(&heaps_lock);
	atomic_store(&heap->state, HEAP_ORPHAN);
	heap->next = orphans;
	orphans = heap;
	atomic_fetch_add(&orphan_count, 1);
	/* Who put a span on the list before it saw the new state left it to us. */
	drain(heap, &strays);
	retire_if_empty(heap);
	lock__release(&heaps_lock);
	hand_on(strays);
}

struct span *_mt_heap_adopt(struct heap *heap, int class_id)
{
	struct span *span = NULL;

	if (!atomic_load_explicit(&orphan_count, memory_order_relaxed))
		return NULL;
	lock__acquire(&heaps_lock);
	for (struct heap *orphan = orphans; orphan && !span; orphan = orphan->next) {
		struct queue *from = class_id < 0 ? &orphan->arenas : &orphan->queue[class_id];

		span = _mt_span_by_id(from->first);
		if (!span)
			continue;
		_mt_queue_remove(from, span);
		orphan->spans--;
		heap->spans++;
		if (class_id < 0)
			_mt_arena_move(orphan, heap, span);
		atomic_store_explicit(&span->heap, heap->id, memory_order_release);
		if (class_id >= 0)
			slab__set_owner(heap, span);
		_mt_queue_push(class_id < 0 ? &heap->arenas : &heap->queue[class_id], span);
		retire_if_empty(orphan);
		break;
	}
	lock__release(&heaps_lock);
	return span;
}

/* ---- threads -------------------------------------------------------------------------------- */

void _mt_heap_set_current(struct heap *heap, int class_id, struct span *span)
{
	struct span *old = heap->current[class_id];
	uint32_t from, to;

	if (old != &_mt_no_span && old->flags & SPAN_CURRENT) {
		old->flags &= (uint8_t)~SPAN_CURRENT;
		old->used--;
	}
	if (span != &_mt_no_span) {
		span->flags |= SPAN_CURRENT;
		span->used++;
	}
	heap->current[class_id] = span;
	to = _mt_classes[class_id].size >> UNIT_SHIFT;
	if (heap != _mt_thread.heap || to > SMALL_MAX >> UNIT_SHIFT)
		return;
	from = class_id ? (_mt_classes[class_id - 1].size >> UNIT_SHIFT) + 1 : 0;
	for (uint32_t i = from; i <= to; i++)
		_mt_thread.direct[i] = span;
}

static void heap__init(struct heap *heap, enum heap_state state)
{
	heap->id = (uint16_t)++heap_count;
	heaps[heap->id] = heap;
	for (int i = 0; i < CLASSES; i++)
		heap->current[i] = &_mt_no_span;
	atomic_store(&heap->state, state);
}

/* Under the lock. */
static struct heap *find_heap(void)
{
	struct heap *heap = orphans ? orphans : unused;

	if (heap && heap == orphans) {
		orphans_remove(heap);
	} else if (heap) {
		unused = heap->next;
	} else if (heap_count < HEAPS) {
		heap = heap_count == 1 ? &first_heap : _mt_meta_alloc(sizeof(*heap));
		if (heap)
			heap__init(heap, HEAP_ACTIVE);
	}
	return heap;
}

struct heap *_mt_heap(void)
{
	struct heap *heap = _mt_thread.heap;

	if (likely(heap) || _mt_thread.ended)
		return heap;
	lock__acquire(&heaps_lock);
	heap = find_heap();
	if (heap)
		atomic_store(&heap->state, HEAP_ACTIVE);
	lock__release(&heaps_lock);
	if (!heap)
		return NULL;
	_mt_thread.heap = heap;
	set_owner(heap, thread__self());
	for (int i = 0; i < CLASSES; i++) {
		struct span *span = _mt_span_by_id(heap->queue[i].first);

		_mt_heap_set_current(heap, i, span ? span : &_mt_no_span);
	}
	/* May allocate, so comes last. Without it the heap stays when the thread ends. */
	if (have_key)
		pthread_setspecific(key, heap);
	return heap;
}

struct heap *_mt_heap_by_id(uint16_t id)
{
	return heaps[id];
}

struct heap *_mt_heap_shared(void)
{
	lock__acquire(&shared_lock);
	return &shared_heap;
}

void _mt_heap_shared_unlock(void)
{
	lock__release(&shared_lock);
}

void _mt_heap_trim(struct heap *heap)
{
	if (heap) {
		_mt_heap_collect(heap);
		_mt_slab_release_empty(heap);
		_mt_slab_punch_all(heap, GRANULE_UNITS);
		_mt_arena_release_empty(heap);
		_mt_arena_purge(heap);
	}
	heap = _mt_heap_shared();
	_mt_heap_collect(heap);
	_mt_heap_shared_unlock();
}

/* ---- fork ----------------------------------------------------------------------------------- */

static void before_fork(void)
{
	_mt_check_lock();
	lock__acquire(&shared_lock);
	lock__acquire(&heaps_lock);
	_mt_spans_lock();
	_mt_large_lock();
	_mt_meta_lock();
}

static void after_fork(void)
{
	_mt_meta_unlock();
	_mt_large_unlock();
	_mt_spans_unlock();
	lock__release(&heaps_lock);
	lock__release(&shared_lock);
	_mt_check_unlock();
}

static void disown_frozen(struct span *span, void *context)
{
	uint16_t id = atomic_load_explicit(&span->heap, memory_order_relaxed);

	(void)context;
	if (span->kind == SPAN_SLAB && heaps[id] && heaps[id]->state == HEAP_FROZEN)
		atomic_store_explicit(&span->owner, 0, memory_order_relaxed);
}

/* The other threads are not here: what they were changing stays as it is, and is not used. */
static void in_child(void)
{
	for (uint32_t i = 1; i <= heap_count; i++)
		if (heaps[i] != _mt_thread.heap && heaps[i]->state == HEAP_ACTIVE)
			atomic_store(&heaps[i]->state, HEAP_FROZEN);
	after_fork();
	/* A thread of the child may get the address of one that is not here. */
	_mt_span_each(disown_frozen, NULL);
}

__attribute__((constructor)) static void watch_forks(void)
{
	_mt_init();
	pthread_atfork(before_fork, after_fork, in_child);
}

void _mt_heaps_init(void)
{
	heap__init(&shared_heap, HEAP_SHARED);
	have_key = pthread_key_create(&key, thread_ends) == 0;
}
