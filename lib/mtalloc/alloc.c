// SPDX-License-Identifier: MIT
/*
 * malloc and free: the fast paths, and the choice of the way behind them.
 *
 * The fast paths have no branch for tracing, checking or filling: these make the tests fail that
 * are there anyway (struct fast), so that every call goes the slow way.
 */
#include "alloc.h"
#include "names.h"
#include "pass.h"
#include "region.h"
#include "trace.h"

#include <errno.h>
#include <string.h>

_Atomic bool _mt_ready;

/* ---- beginning ------------------------------------------------------------------------------ */

void _mt_fast_switch(void)
{
	uint32_t secret;
	bool slow, pass;

	/* One at a time, since semaphores are looked at; and forks keep away from this lock. */
	_mt_spans_lock();
	slow = _mt_options.check || _mt_options.perturb;
	pass = !slow && _mt_trace_may_pass();
	secret = (uint32_t)_mt_fast.key ^ (pass ? PASS_SECRET : 0);
	/* One bit that no offset has: a whole complement would make an offset of LINK_END. */
	secret ^= slow || (trace__is_held() && !pass) ? UINT32_C(1) << 31 : 0;
	atomic_store_explicit(&_mt_fast.malloc_secret, secret, memory_order_relaxed);
	atomic_store_explicit(&_mt_fast.real_key, slow ? 0 : _mt_fast.key, memory_order_relaxed);
	atomic_store_explicit(&_mt_fast.passing, pass ? PASS_KEY : 0, memory_order_relaxed);
	_mt_region_show((slow ? 0 : SHOWN_TO_REAL) | (pass ? SHOWN_TO_PASSED : 0) |
			(slow || _mt_tracing ? 0 : SHOWN_TO_FREE));
	_mt_spans_unlock();
}

MT_COLD void _mt_init(void)
{
	static struct lock once;
	int saved = errno;

	lock__acquire(&once);
	if (!atomic_load_explicit(&_mt_ready, memory_order_relaxed)) {
		_mt_os_init();
		_mt_fast.key = (uint64_t)LINK_TAG << 32 | _mt_os_random();
		_mt_no_span.free = link__encode(LINK_END);
		_mt_regions_init();
		_mt_classes_init();
		_mt_options_init();
		_mt_heaps_init();
		_mt_fast_switch();
		_mt_layout_init();
		atomic_store_explicit(&_mt_ready, true, memory_order_release);
	}
	lock__release(&once);
	errno = saved;
}

/* ---- taking --------------------------------------------------------------------------------- */

static void *alloc_in(struct heap *heap, size_t size, bool *zero)
{
	if (size <= SLAB_MAX)
		return _mt_slab_alloc(heap, class__of(size), zero);
	return _mt_arena_alloc(heap, size, zero);
}

static void *alloc_owned(size_t size, bool *zero)
{
	struct heap *heap = _mt_heap();
	void *block;

	if (likely(heap))
		return alloc_in(heap, size, zero);
	heap = _mt_heap_shared();
	block = alloc_in(heap, size, zero);
	_mt_heap_shared_unlock();
	return block;
}

void *_mt_alloc(size_t size, bool *zero)
{
	int saved = errno;
	void *block = NULL;

	ready();
	if (size < _mt_options.mmap_threshold && size <= RUN_MAX)
		block = alloc_owned(size, zero);
	else if (size >= _mt_options.mmap_threshold)
		block = _mt_large_alloc(size, ALIGNMENT, zero);
	/* Also when no run was to be had, or no mapping. */
	if (unlikely(!block) && size > SLAB_MAX)
		block = _mt_big_alloc(size, zero);
	if (unlikely(!block) && size > SLAB_MAX && size < _mt_options.mmap_threshold)
		block = _mt_large_alloc(size, ALIGNMENT, zero);
	errno = block ? saved : ENOMEM;
	return block;
}

static MT_COLD void *checked_malloc(size_t size)
{
	bool zero;
	void *block = _mt_check_alloc(size, ALIGNMENT, &zero);

	if (block && _mt_options.perturb)
		memset(block, _mt_options.perturb ^ 0xff, size);
	return block;
}

/* Not a part of its callers, which would save registers for it. */
__attribute__((noinline)) static void *malloc_untraced(size_t size)
{
	bool zero;

	ready();
	if (unlikely(_mt_options.check || _mt_options.perturb))
		return checked_malloc(size);
	return _mt_alloc(size, &zero);
}

/* The current slab for a size of up to SMALL_MAX. */
static inline struct span *slab_for(size_t size)
{
	return _mt_thread.direct[(size + ALIGNMENT - 1) / ALIGNMENT];
}

/* The block of the slab that was freed last, at offset. */
static inline void *take_freed(struct span *span, uint64_t offset)
{
	char *block = span->start + offset;

	span->free = *block__word(block);
	span->used++;
	/* No link any more: a free of the block must not look like a second one. */
	*block__word(block) = 0;
	return block;
}

/* The same of whatever slab it is for the size; NULL when there is none. */
static inline void *small_freed(size_t size, uint64_t key)
{
	struct span *span = size <= SMALL_MAX ? slab_for(size) : &_mt_no_span;
	uint64_t offset = span->free ^ key;

	return likely(offset < GRANULE) ? take_freed(span, offset) : NULL;
}

/* The key that decodes links, or does not. */
static inline uint64_t malloc_key(void)
{
	return atomic_load_explicit(&_mt_fast.malloc_key, memory_order_relaxed);
}

/* The same for what has been told, or is not to be. */
static inline uint64_t real_key(void)
{
	return atomic_load_explicit(&_mt_fast.real_key, memory_order_relaxed);
}

/* Whether offset is no multiple of the slab's block size: the product's lower half shows it. */
static inline bool is_inside(const struct span *span, uint64_t offset)
{
#if defined(__x86_64__)
	uint64_t product;
	bool inside;

	/* The compiler would spend a register and an instruction more. */
	__asm__("mov %[magic], %[product]\n\t"
		"imul %[offset], %[product]\n\t"
		"cmp %[magic], %[product]"
		: [product] "=&r"(product), "=@ccae"(inside)
		: [magic] "m"(span->magic), [offset] "r"(offset));
	return inside;
#else
	return offset * span->magic >= span->magic;
#endif
}

/*
 * Behind the fast path: the next block of the slab that was never given out. NULL when there is none,
 * or it is the first one on a page: what others freed comes before another page is touched.
 */
static inline __attribute__((always_inline)) void *take_next(struct span *span, bool *zero)
{
	const struct size_class *class = &_mt_classes[span->class_id];
	uint32_t fresh = slab__fresh(span);

	if (unlikely(fresh > class->last))
		return NULL;
	if (class__is_at_page(class, fresh) &&
	    atomic_load_explicit(&_mt_thread.heap->pending, memory_order_relaxed))
		return NULL;
	return slab__take_fresh(span, class, fresh, zero);
}

/*
 * A block of a size that the fast path does not know, without a lock; NULL when that is not all, or
 * when calls are to be told, checked or filled: then no link can be decoded.
 */
static inline __attribute__((always_inline)) void *take_medium(size_t size, uint64_t key, bool *zero)
{
	const struct heap *heap = _mt_thread.heap;
	struct span *span;
	uint64_t offset;

	if (unlikely(size <= SMALL_MAX || size > SLAB_MAX || size >= _mt_options.mmap_threshold ||
		     !heap))
		return NULL;
	span = heap->current[class__of(size)];
	offset = span->free ^ key;
	if (offset == LINK_END)
		return take_next(span, zero);
	if (unlikely(offset >= GRANULE || is_inside(span, offset)))
		return NULL;
	*zero = false;
	return take_freed(span, offset);
}

__attribute__((noinline)) static void *malloc_slow(size_t size)
{
	bool zero;
	void *block = take_medium(size, malloc_key(), &zero);

	if (likely(block))
		return block;
	if (unlikely(trace__wanted() || _mt_tracing))
		return pass__alloc(size) ? _mt_real_malloc(size) : _mt_traced_malloc(size);
	return malloc_untraced(size);
}

/* The slab has no freed block. */
__attribute__((noinline)) static void *malloc_next(size_t size, struct span *span)
{
	bool zero;
	void *block = take_next(span, &zero);

	return likely(block) ? block : malloc_slow(size);
}

/* The same of a call that may pass. */
__attribute__((noinline)) static void *malloc_next_passed(size_t size, struct span *span)
{
	bool zero;
	void *block;

	if (!pass__counts(size))
		return malloc_slow(size);
	block = take_next(span, &zero);
	return likely(block) ? block : malloc_untraced(size);
}

MT_API void *mt_malloc(size_t size)
{
	if (likely(size <= SMALL_MAX)) {
		struct span *span = slab_for(size);
		uint64_t offset = span->free ^ malloc_key();

		if (likely(offset < GRANULE))
			return take_freed(span, offset);
		if (likely(offset == LINK_END))
			return malloc_next(size, span);
		offset ^= RACY(_mt_fast.passing);
		if (offset < GRANULE && pass__counts(size))
			return take_freed(span, offset);
		if (offset == LINK_END)
			return malloc_next_passed(size, span);
	}
	return malloc_slow(size);
}

/*
 * Much of a large block may be zero, as its last user left it: that is looked at, not written, so
 * that pages nobody used stay what they are.
 */
__attribute__((noinline)) static void clear_pages(char *at, size_t bytes)
{
	const char *end = at + bytes;

	while (at < end) {
		size_t left = (size_t)(end - at) < PAGE ? (size_t)(end - at) : PAGE;
		const char *page_end = at + left;

		for (const uint64_t *word = (const uint64_t *)at; at + 64 <= page_end; word += 8) {
			if (word[0] | word[1] | word[2] | word[3] | word[4] | word[5] | word[6] |
			    word[7])
				break;
			at += 64;
		}
		while (at < page_end && !*at)
			at++;
		memset(at, 0, (size_t)(page_end - at));
		at += page_end - at;
	}
}

void *_mt_real_malloc(size_t size)
{
	void *block = small_freed(size, real_key());
	bool zero;

	if (likely(block))
		return block;
	if (unlikely(size > SMALL_MAX))
		block = take_medium(size, real_key(), &zero);
	else if ((slab_for(size)->free ^ real_key()) == LINK_END)
		block = take_next(slab_for(size), &zero);
	return likely(block) ? block : malloc_untraced(size);
}

__attribute__((noinline)) static void *calloc_untraced(size_t bytes)
{
	bool zero = false;
	void *block;

	ready();
	block = unlikely(_mt_options.check) ? _mt_check_alloc(bytes, ALIGNMENT, &zero) :
					      _mt_alloc(bytes, &zero);
	if (block && !zero) {
		if (unlikely(bytes > SLAB_MAX))
			clear_pages(block, bytes);
		else
			memset(block, 0, bytes);
	}
	return block;
}

/* Called at the end, so that what traces it finds the caller. */
__attribute__((noinline)) static void *calloc_slow(size_t count, size_t size)
{
	void *block = NULL;
	size_t bytes;
	bool zero;

	if (unlikely(__builtin_mul_overflow(count, size, &bytes))) {
		errno = ENOMEM;
		return NULL;
	}
	if (bytes > SMALL_MAX)
		block = take_medium(bytes, malloc_key(), &zero);
	else if ((slab_for(bytes)->free ^ malloc_key()) == LINK_END)
		block = take_next(slab_for(bytes), &zero);
	if (likely(block))
		return zero ? block : memset(block, 0, bytes);
	if (unlikely(trace__wanted() || _mt_tracing))
		return pass__alloc(bytes) ? _mt_real_calloc(count, size) :
					    _mt_traced_calloc(count, size);
	return calloc_untraced(bytes);
}

MT_API void *mt_calloc(size_t count, size_t size)
{
	size_t bytes;

	if (likely(!__builtin_mul_overflow(count, size, &bytes) && bytes <= SMALL_MAX)) {
		struct span *span = slab_for(bytes);
		uint64_t offset = span->free ^ malloc_key();

		if (likely(offset < GRANULE))
			return memset(take_freed(span, offset), 0, bytes);
		offset ^= RACY(_mt_fast.passing);
		if (offset < GRANULE && pass__counts(bytes))
			return memset(take_freed(span, offset), 0, bytes);
	}
	return calloc_slow(count, size);
}

/* The product is known not to overflow. */
void *_mt_real_calloc(size_t count, size_t size)
{
	size_t bytes = count * size;
	void *block = small_freed(bytes, real_key());
	bool zero = false;

	if (!block && bytes > SMALL_MAX)
		block = take_medium(bytes, real_key(), &zero);
	else if (!block && (slab_for(bytes)->free ^ real_key()) == LINK_END)
		block = take_next(slab_for(bytes), &zero);
	if (unlikely(!block))
		return calloc_untraced(bytes);
	return zero ? block : memset(block, 0, bytes);
}

/* ---- giving back ---------------------------------------------------------------------------- */

size_t _mt_slab_block_size(const void *block)
{
	uintptr_t at = ((uintptr_t)block - _mt_fast.base) >> GRANULE_SHIFT;
	uint64_t offset = (uint16_t)(uintptr_t)block;
	const struct span *span;

	if (unlikely(at >= RACY(_mt_fast.real_granules)))
		return 0;
	span = &_mt_fast.spans[at];
	if (unlikely(atomic_load_explicit(&span->kind, memory_order_acquire) != SPAN_SLAB ||
		     is_inside(span, offset) || offset >> UNIT_SHIFT >= slab__fresh(span) ||
		     slab__in_hole(span, block)))
		return 0;
	return _mt_classes[span->class_id].size;
}

/*
 * Ends the program unless the block is live; what it can hold. Whether it is free, a slab's block
 * only shows when it is looked at, which may be the first that is done to its page.
 */
static size_t live_size(const struct span *span, const void *block, const char *caller, bool look)
{
	uint8_t kind = span ? atomic_load_explicit(&span->kind, memory_order_relaxed) : SPAN_NONE;
	struct heap *heap = _mt_thread.heap;
	bool may_be_free;
	size_t size;

	switch (kind) {
	case SPAN_NONE:
		size = _mt_large_size(block);
		if (!size)
			_mt_die(caller, block, "not a block of this allocator, or freed before", 0);
		return size;
	case SPAN_FREE:
		_mt_die(caller, block, "double free, its memory was given back", 0);
	case SPAN_SLAB:
		size = _mt_classes[span->class_id].size;
		if (unlikely(!_mt_slab_is_block(span, block)))
			_mt_die(caller, block, "not the start of a block, or never given out", size);
		if (unlikely(slab__in_hole(span, block)))
			_mt_die(caller, block, "double free, its page was given back", size);
		may_be_free = look && *block__word(block) >> 32 == LINK_TAG;
		if (unlikely(may_be_free) &&
		    (_mt_slab_has_free(span, block) || _mt_heap_has_freed(heap, span, block)))
			_mt_die(caller, block, "double free", size);
		return size;
	case SPAN_ARENA:
		size = _mt_arena_size(span, block);
		if (unlikely(!size))
			_mt_die(caller, block, "not the start of a live block", 0);
		if (unlikely(_mt_arena_waits(span, block)))
			_mt_die(caller, block, "double free", size);
		return size;
	case SPAN_BIG:
		if (unlikely(block != span->start))
			_mt_die(caller, block, "not the start of a block", span->bytes);
		return span->bytes;
	}
	_mt_die(caller, block, "not the start of a block", 0);
}

size_t _mt_size_of(const void *block, const char *caller)
{
	return live_size(_mt_span_of(block), block, caller, true);
}

size_t _mt_usable_size(const void *block)
{
	size_t size = _mt_slab_block_size(block);

	if (likely(size))
		return size;
	return live_size(_mt_span_of(block), block, "malloc_usable_size", false);
}

void _mt_free_block(void *block)
{
	struct span *span = _mt_span_of(block);
	struct heap *heap = _mt_thread.heap;
	size_t size = live_size(span, block, "free", true);
	int saved = errno;

	switch (span ? atomic_load_explicit(&span->kind, memory_order_relaxed) : SPAN_NONE) {
	case SPAN_SLAB:
	case SPAN_ARENA:
		if (!heap || atomic_load_explicit(&span->heap, memory_order_relaxed) != heap->id)
			_mt_heap_remote_free(heap, span, block, size);
		else if (span->kind == SPAN_SLAB)
			_mt_slab_free(heap, span, block);
		else
			_mt_arena_free(heap, span, block);
		break;
	case SPAN_BIG:
		_mt_big_free(span);
		break;
	default:
		_mt_large_free(block);
	}
	errno = saved;
}

static void free_untraced(void *block)
{
	if (unlikely(_mt_options.check || _mt_options.perturb))
		_mt_check_free(block);
	else
		_mt_free_block(block);
}

__attribute__((noinline)) static void free_slow(void *block)
{
	if (!block)
		return;
	if (unlikely(_mt_tracing) && pass__is_open() && pass__is_unsampled(block))
		free_untraced(block);
	else if (unlikely(_mt_tracing))
		_mt_traced_free(block);
	else
		free_untraced(block);
}

/* A block of a slab in region 0 that is not the thread's, or has no room: still without locks. */
__attribute__((noinline)) static void free_elsewhere(struct span *span, void *block)
{
	struct heap *heap = _mt_thread.heap;
	uint64_t offset = (uint16_t)(uintptr_t)block;

	if (unlikely(!heap)) {
		int saved = errno;

		/* So that it has outboxes: who frees once for others will go on with it. */
		heap = _mt_heap();
		errno = saved;
	}
	if (unlikely(!heap || atomic_load_explicit(&span->kind, memory_order_acquire) != SPAN_SLAB ||
		     is_inside(span, offset) || offset >> UNIT_SHIFT >= slab__fresh(span) ||
		     slab__in_hole(span, block) || block__looks_free(block)))
		free_untraced(block);
	else if (atomic_load_explicit(&span->heap, memory_order_relaxed) != heap->id)
		_mt_heap_remote_free(heap, span, block, _mt_classes[span->class_id].size);
	else
		_mt_slab_free(heap, span, block);
}

/* The fast path emptied the slab. */
__attribute__((noinline)) static void emptied(struct span *span)
{
	int saved = errno;

	_mt_slab_emptied(_mt_thread.heap, span);
	errno = saved;
}

/* slow: for what is not in the first so many granules; but blocks that pass are in those that are passed. */
static inline __attribute__((always_inline)) void free_by(void *block,
							  const _Atomic uintptr_t *granules,
							  const _Atomic uintptr_t *passed,
							  void (*slow)(void *))
{
	uintptr_t at = ((uintptr_t)block - _mt_fast.base) >> GRANULE_SHIFT;
	struct span *span;
	uint64_t offset;

	if (unlikely(at >= RACY(*granules)) &&
	    (!passed || at >= RACY(*passed) || !pass__is_unsampled(block)))
		return slow(block);
	span = &_mt_fast.spans[at];
	if (unlikely(RACY(span->owner) != thread__self()))
		return free_elsewhere(span, block);
	/* Regions begin at a multiple of a granule. */
	offset = (uint16_t)(uintptr_t)block;
	if (unlikely(is_inside(span, offset) || block__looks_free(block)))
		return slow(block);
	*block__word(block) = span->free;
	span->free = link__encode((uint32_t)offset);
	if (unlikely(--span->used == 0))
		emptied(span);
}

MT_API void mt_free(void *block)
{
	free_by(block, &_mt_fast.granules, &_mt_fast.passed_granules, free_slow);
}

void _mt_real_free(void *block)
{
	free_by(block, &_mt_fast.real_granules, NULL, free_untraced);
}

MT_ALSO(void *, malloc, (size_t), mt_malloc)
MT_ALSO(void *, calloc, (size_t, size_t), mt_calloc)
MT_ALSO(void, free, (void *), mt_free)
MT_ALSO(void, cfree, (void *), mt_free)
MT_ALSO(void *, __libc_malloc, (size_t), mt_malloc)
MT_ALSO(void *, __libc_calloc, (size_t, size_t), mt_calloc)
MT_ALSO(void, __libc_free, (void *), mt_free)
