// SPDX-License-Identifier: MIT
/*
 * Heaps: who owns what, and the heaps of threads that ended. Blocks that other threads free are
 * remote.c's.
 *
 * When a thread ends, its heap becomes an orphan. A new thread takes it as it is; others take
 * single slabs from it; who frees the last block of a span there gives the span back.
 */
#include <pthread.h>

#include "alloc.h"
#include "layout.h"
#include "otel.h"
#include "verify.h"

/* A thread that ends is often followed by one that does the same. */
#define ORPHANS_KEEP_PAGES 256

__thread struct thread _mt_thread = {
	.direct = {[0 ... SMALL_MAX / ALIGNMENT] = &_mt_no_span},
};

static struct lock heaps_lock, shared_lock;
/* The first thread's and that of threads that end, and behind them, on the same page, where all are. */
MT_TABLE static struct {
	struct heap first, shared;
	struct heap *by_id[HEAPS + 1];
} heaps;
static uint32_t heap_count;
static struct heap *unused;
static struct heap *orphans;
static _Atomic uint32_t orphan_count;
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

/* Under the lock: what their arenas have free is kept up to a limit for all of them, the last first. */
static void purge_orphans(void)
{
	size_t left = ORPHANS_KEEP_PAGES;

	for (struct heap *heap = orphans; heap; heap = heap->next) {
		_mt_arena_purge(heap, left);
		left -= heap->dirty_pages < left ? heap->dirty_pages : left;
	}
}

void _mt_heap_drain_orphan(struct heap *heap)
{
	struct span *strays = NULL;

	lock__acquire(&heaps_lock);
	if (heap->state == HEAP_ORPHAN || heap->state == HEAP_UNUSED) {
		_mt_heap_drain(heap, &strays);
		if (heap->state == HEAP_ORPHAN && heap->dirty_pages)
			purge_orphans();
		retire_if_empty(heap);
	}
	lock__release(&heaps_lock);
	_mt_heap_hand_on(strays);
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

	_mt_trace_thread_ends();
	_mt_thread.ended = 1;
	_mt_heap_collect(heap);
	_mt_slab_release_empty(heap);
	for (int i = 0; i < CLASSES; i++)
		_mt_heap_set_current(heap, i, &_mt_no_span);
	_mt_thread.heap = NULL;
	set_owner(heap, 0);
	_mt_arena_release_empty(heap);
	lock__acquire(&heaps_lock);
	atomic_store(&heap->state, HEAP_ORPHAN);
	heap->next = orphans;
	orphans = heap;
	atomic_fetch_add(&orphan_count, 1);
	if (heap->dirty_pages)
		purge_orphans();
	/* Who put a span on the list before it saw the new state left it to us. */
	_mt_heap_drain(heap, &strays);
	retire_if_empty(heap);
	lock__release(&heaps_lock);
	_mt_heap_hand_on(strays);
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
	heaps.by_id[heap->id] = heap;
	heap->waiting_limit = WAITING_MIN;
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
		heap = heap_count == 1 ? &heaps.first : _mt_meta_alloc(sizeof(*heap));
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
	return heaps.by_id[id];
}

struct heap *_mt_heap_shared(void)
{
	lock__acquire(&shared_lock);
	return &heaps.shared;
}

void _mt_heap_shared_unlock(void)
{
	lock__release(&shared_lock);
}

/* What waits for threads that go on, and all of those that are gone. */
static void trim_others(void)
{
	uint32_t count;

	lock__acquire(&heaps_lock);
	count = heap_count;
	for (struct heap *heap = orphans; heap; heap = heap->next) {
		_mt_slab_punch_all(heap, GRANULE_UNITS);
		_mt_arena_purge(heap, 0);
	}
	lock__release(&heaps_lock);
	for (uint32_t i = 1; i <= count; i++)
		if (heaps.by_id[i]->state == HEAP_ACTIVE)
			_mt_heap_sweep(heaps.by_id[i]);
}

void _mt_heap_trim(struct heap *heap)
{
	if (heap) {
		_mt_heap_collect(heap);
		_mt_slab_release_empty(heap);
		_mt_slab_punch_all(heap, GRANULE_UNITS);
		_mt_arena_release_empty(heap);
		_mt_arena_purge(heap, 0);
	}
	heap = _mt_heap_shared();
	_mt_heap_collect(heap);
	_mt_heap_shared_unlock();
	trim_others();
}

/* ---- fork ----------------------------------------------------------------------------------- */

static void before_fork(void)
{
	_mt_trace_before_fork();
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
	if (span->kind == SPAN_SLAB && heaps.by_id[id] && heaps.by_id[id]->state == HEAP_FROZEN)
		atomic_store_explicit(&span->owner, 0, memory_order_relaxed);
}

/* The other threads are not here: what they were changing stays as it is, and is not used. */
static void in_child(void)
{
	for (uint32_t i = 1; i <= heap_count; i++)
		if (heaps.by_id[i] != _mt_thread.heap && heaps.by_id[i]->state == HEAP_ACTIVE)
			atomic_store(&heaps.by_id[i]->state, HEAP_FROZEN);
	after_fork();
	_mt_otel_in_child();
	/* A thread of the child may get the address of one that is not here. */
	_mt_span_each(disown_frozen, NULL);
	_mt_trace_in_child();
}

__attribute__((constructor)) static void watch_forks(void)
{
	_mt_init();
	pthread_atfork(before_fork, after_fork, in_child);
}

void _mt_heaps_init(void)
{
	heap__init(&heaps.shared, HEAP_SHARED);
	have_key = pthread_key_create(&key, thread_ends) == 0;
}

void _mt_heap_layout(struct mt_layout *layout)
{
	layout->heaps = (uintptr_t)heaps.by_id;
	layout->heap_count = (uintptr_t)&heap_count;
}

#ifdef MT_TEST
void _mt_heaps_verify(void (*visit)(const struct heap *heap))
{
	uint32_t count = 0;

	lock__acquire(&heaps_lock);
	for (const struct heap *heap = orphans; heap; heap = heap->next, count++) {
		HOLDS(heap->state == HEAP_ORPHAN && !heap->thread, heap);
		visit(heap);
	}
	HOLDS(count == orphan_count, NULL);
	for (const struct heap *heap = unused; heap; heap = heap->next)
		HOLDS(heap->state == HEAP_UNUSED && !heap->spans, heap);
	for (uint32_t i = 1; i <= heap_count; i++)
		HOLDS(heaps.by_id[i] && heaps.by_id[i]->id == i, heaps.by_id[i]);
	lock__release(&heaps_lock);
}
#endif
