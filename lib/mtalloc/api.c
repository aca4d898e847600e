// SPDX-License-Identifier: MIT
/* The functions around malloc and free: resizing, alignment, sizes. */
#include <errno.h>
#include <string.h>

#include "alloc.h"
#include "names.h"
#include "pass.h"
#include "trace.h"

static bool checking(void)
{
	return unlikely(_mt_options.check);
}

/* ---- realloc -------------------------------------------------------------------------------- */

/* real: the call that this is a part of is no more to be told. */
static inline __attribute__((always_inline)) void *move(void *block, size_t have, size_t size,
							bool real)
{
	void *moved = real ? _mt_real_malloc(size) : mt_malloc(size);

	if (!moved)
		return NULL;
	memcpy(moved, block, have < size ? have : size);
	if (real)
		_mt_real_free(block);
	else
		mt_free(block);
	return moved;
}

static bool stays_in_slab(size_t have, size_t size)
{
	return size <= have && (size > have / 2 || have <= 64);
}

/* The block as it is, or resized where it stands, or NULL. */
static void *resize_in_place(void *block, size_t have, size_t size)
{
	struct span *span = _mt_span_of(block);
	struct heap *heap = _mt_thread.heap;
	bool fits = size <= have;

	switch (span ? atomic_load_explicit(&span->kind, memory_order_relaxed) : SPAN_NONE) {
	case SPAN_SLAB:
		return stays_in_slab(have, size) ? block : NULL;
	case SPAN_ARENA:
		if (size <= SLAB_MAX || size > RUN_MAX)
			return NULL;
		if (heap && atomic_load_explicit(&span->heap, memory_order_relaxed) == heap->id)
			return _mt_arena_resize(heap, span, block, size) ? block : NULL;
		return fits && size > have / 2 ? block : NULL;
	case SPAN_BIG:
		return fits && size > have / 2 ? block : NULL;
	}
	/* A mapping is resized by one call, whatever is in it. */
	if (size <= SLAB_MAX)
		return NULL;
	span = NULL;
	block = _mt_large_resize(block, size);
	return block;
}

void *_mt_real_realloc(void *block, size_t size)
{
	void *resized;
	size_t have;
	int saved = errno;

	if (!block)
		return _mt_real_malloc(size);
	if (!size) {
		_mt_real_free(block);
		return NULL;
	}
	if (size > PTRDIFF_MAX) {
		errno = ENOMEM;
		return NULL;
	}
	if (checking())
		return move(block, _mt_check_size(block, "realloc"), size, true);
	have = _mt_size_of(block, "realloc");
	resized = resize_in_place(block, have, size);
	if (!resized)
		resized = move(block, have, size, true);
	/* Smaller, and no memory to move it to: it may stay. */
	if (!resized && size <= have)
		resized = block;
	if (resized)
		errno = saved;
	return resized;
}

/* Of a block of a slab, without what can go wrong; NULL: not here. */
static inline __attribute__((always_inline)) void *resize_small(void *block, size_t size, bool real)
{
	size_t have = _mt_slab_block_size(block);

	if (unlikely(!have || !size || size > RUN_MAX || block__looks_free(block)))
		return NULL;
	return likely(stays_in_slab(have, size)) ? block : move(block, have, size, real);
}

__attribute__((noinline)) static void *realloc_passed(void *block, size_t size)
{
	void *resized = block ? resize_small(block, size, true) : NULL;

	return likely(resized) ? resized : _mt_real_realloc(block, size);
}

MT_API void *mt_realloc(void *block, size_t size)
{
	void *resized;

	if (unlikely(trace__wanted()))
		return pass__realloc(block, size) ? realloc_passed(block, size) :
						    _mt_traced_realloc(block, size);
	if (!block)
		return mt_malloc(size);
	resized = resize_small(block, size, false);
	return likely(resized) ? resized : _mt_real_realloc(block, size);
}

void *_mt_real_reallocarray(void *block, size_t count, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(count, size, &bytes)) {
		errno = ENOMEM;
		return NULL;
	}
	return _mt_real_realloc(block, bytes);
}

MT_API void *mt_reallocarray(void *block, size_t count, size_t size)
{
	return trace__wanted() ? _mt_traced_reallocarray(block, count, size) :
				 _mt_real_reallocarray(block, count, size);
}

/* ---- alignment ------------------------------------------------------------------------------ */

/* The smallest class whose blocks all stand at multiples of alignment; 0: there is none. */
static size_t aligned_class(size_t size, size_t alignment)
{
	if (size > SLAB_MAX || alignment > SLAB_MAX)
		return 0;
	for (int i = class__of(size); i < CLASSES; i++)
		if (_mt_classes[i].size % alignment == 0)
			return _mt_classes[i].size;
	return 0;
}

void *_mt_alloc_aligned(size_t size, size_t alignment, bool *zero)
{
	size_t class_size;
	void *block = NULL;
	int saved = errno;

	ready();
	if (alignment <= ALIGNMENT)
		return _mt_alloc(size, zero);
	if (size > PTRDIFF_MAX - alignment) {
		errno = ENOMEM;
		return NULL;
	}
	class_size = aligned_class(size, alignment);
	if (class_size && class_size < _mt_options.mmap_threshold)
		return _mt_alloc(class_size, zero);
	/* Runs of pages stand at pages. */
	if (alignment <= PAGE && size <= RUN_MAX && SLAB_MAX + 1 < _mt_options.mmap_threshold)
		return _mt_alloc(size > SLAB_MAX ? size : SLAB_MAX + 1, zero);
	block = _mt_large_alloc(size, alignment, zero);
	if (!block && alignment <= GRANULE)
		block = _mt_big_alloc(size, zero);
	errno = block ? saved : ENOMEM;
	return block;
}

static void *alloc_aligned(size_t size, size_t alignment)
{
	bool zero;
	void *block;

	ready();
	if (!checking() && !_mt_options.perturb)
		return _mt_alloc_aligned(size, alignment, &zero);
	block = _mt_check_alloc(size, alignment, &zero);
	if (block && _mt_options.perturb)
		memset(block, _mt_options.perturb ^ 0xff, size);
	return block;
}

static bool is_power_of_two(size_t value)
{
	return value && !(value & (value - 1));
}

void *_mt_real_aligned_alloc(size_t alignment, size_t size)
{
	if (!is_power_of_two(alignment)) {
		errno = EINVAL;
		return NULL;
	}
	return alloc_aligned(size, alignment);
}

MT_API void *mt_aligned_alloc(size_t alignment, size_t size)
{
	return trace__wanted() ? _mt_traced_aligned_alloc(alignment, size) :
				 _mt_real_aligned_alloc(alignment, size);
}

void *_mt_real_memalign(size_t alignment, size_t size)
{
	size_t power = ALIGNMENT;

	/* As glibc: what is no power of two is rounded up to one. */
	while (power < alignment) {
		if (__builtin_mul_overflow(power, (size_t)2, &power)) {
			errno = EINVAL;
			return NULL;
		}
	}
	return alloc_aligned(size, power);
}

MT_API void *mt_memalign(size_t alignment, size_t size)
{
	return trace__wanted() ? _mt_traced_memalign(alignment, size) :
				 _mt_real_memalign(alignment, size);
}

int _mt_real_posix_memalign(void **block, size_t alignment, size_t size)
{
	int saved = errno;
	void *memory;

	if (!is_power_of_two(alignment) || alignment % sizeof(void *))
		return EINVAL;
	memory = alloc_aligned(size, alignment);
	errno = saved;
	if (!memory)
		return ENOMEM;
	*block = memory;
	return 0;
}

MT_API int mt_posix_memalign(void **block, size_t alignment, size_t size)
{
	return trace__wanted() ? _mt_traced_posix_memalign(block, alignment, size) :
				 _mt_real_posix_memalign(block, alignment, size);
}

void *_mt_real_valloc(size_t size)
{
	ready();
	return alloc_aligned(size, _mt_os_page);
}

MT_API void *mt_valloc(size_t size)
{
	return trace__wanted() ? _mt_traced_valloc(size) : _mt_real_valloc(size);
}

void *_mt_real_pvalloc(size_t size)
{
	size_t bytes;

	ready();
	if (__builtin_add_overflow(size, _mt_os_page - 1, &bytes)) {
		errno = ENOMEM;
		return NULL;
	}
	bytes &= ~(_mt_os_page - 1);
	return alloc_aligned(bytes ? bytes : _mt_os_page, _mt_os_page);
}

MT_API void *mt_pvalloc(size_t size)
{
	return trace__wanted() ? _mt_traced_pvalloc(size) : _mt_real_pvalloc(size);
}

/* ---- the rest ------------------------------------------------------------------------------- */

MT_API void mt_free_sized(void *block, size_t size)
{
	if (trace__wanted())
		_mt_traced_free_sized(block, size);
	else
		mt_free(block);
}

MT_API void mt_free_aligned_sized(void *block, size_t alignment, size_t size)
{
	if (trace__wanted())
		_mt_traced_free_aligned_sized(block, alignment, size);
	else
		mt_free(block);
}

MT_API size_t mt_malloc_usable_size(void *block)
{
	if (!block)
		return 0;
	if (checking())
		return _mt_check_size(block, "malloc_usable_size");
	return _mt_usable_size(block);
}

static size_t given_back(void)
{
	struct mt_os_counts counts = mt_os_counts();

	return counts.sbrk_shrink + counts.munmap + counts.madvise;
}

MT_API int mt_malloc_trim(size_t pad)
{
	int saved = errno;
	size_t before;

	ready();
	before = given_back();
	if (!MUTANT(TRIM_NOTHING)) {
		_mt_heap_trim(_mt_thread.heap);
		_mt_large_trim();
		_mt_span_trim(pad);
	}
	errno = saved;
	return given_back() != before;
}

MT_ALSO(void *, realloc, (void *, size_t), mt_realloc)
MT_ALSO(void *, reallocarray, (void *, size_t, size_t), mt_reallocarray)
MT_ALSO(void *, aligned_alloc, (size_t, size_t), mt_aligned_alloc)
MT_ALSO(void *, memalign, (size_t, size_t), mt_memalign)
MT_ALSO(int, posix_memalign, (void **, size_t, size_t), mt_posix_memalign)
MT_ALSO(void *, valloc, (size_t), mt_valloc)
MT_ALSO(void *, pvalloc, (size_t), mt_pvalloc)
MT_ALSO(void, free_sized, (void *, size_t), mt_free_sized)
MT_ALSO(void, free_aligned_sized, (void *, size_t, size_t), mt_free_aligned_sized)
MT_ALSO(size_t, malloc_usable_size, (void *), mt_malloc_usable_size)
MT_ALSO(int, malloc_trim, (size_t), mt_malloc_trim)
MT_ALSO(void *, __libc_realloc, (void *, size_t), mt_realloc)
MT_ALSO(void *, __libc_memalign, (size_t, size_t), mt_memalign)
MT_ALSO(void *, __libc_valloc, (size_t), mt_valloc)
MT_ALSO(void *, __libc_pvalloc, (size_t), mt_pvalloc)
MT_ALSO(void *, __libc_reallocarray, (void *, size_t, size_t), mt_reallocarray)
