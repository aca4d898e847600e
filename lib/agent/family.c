// SPDX-License-Identifier: MIT
/* The C functions of the malloc family. */
#include <errno.h>
#include <string.h>

#include "lib/agent/agent.h"

#define NEXT(name, type) ((type)next__get(NEXT_##name))
#define FRAME() __builtin_frame_address(0)

typedef void *malloc_fn(size_t);
typedef void free_fn(void *);
typedef void *calloc_fn(size_t, size_t); /* aligned_alloc and memalign too */
typedef void *realloc_fn(void *, size_t);
typedef void *reallocarray_fn(void *, size_t, size_t);
typedef int posix_memalign_fn(void **, size_t, size_t);
typedef void free_sized_fn(void *, size_t);
typedef void free_aligned_sized_fn(void *, size_t, size_t);
typedef void *mallocx_fn(size_t, int);
typedef void *rallocx_fn(void *, size_t, int);
typedef size_t xallocx_fn(void *, size_t, size_t, int);
typedef void dallocx_fn(void *, int);
typedef void sdallocx_fn(void *, size_t, int);

/* The names as others see them: the compiler knows what malloc is, and would make calls of it. */
#define EXPORT(name) \
	__typeof__(agent_##name) name __attribute__((alias("agent_" #name))) AGENT_PUBLIC

static unsigned log2_of(size_t align)
{
	return align ? (unsigned)__builtin_ctzl(align) & RING_ALIGN : 0;
}

static unsigned failed(const void *p, size_t size)
{
	return !p && size ? RING_FAILED : 0;
}

/* Whether a free is to be told; else *way says how it is to be left. */
static inline __attribute__((always_inline)) bool begin_free(struct producer_thread *t, void *sp,
							     unsigned op, void *p, enum call_way *way)
{
	*way = p ? call__begin(t, sp, op, 0, p) : CALL_UNSEEN;
	return *way == CALL_TOLD;
}

void *agent_malloc(size_t size)
{
	struct producer_thread *t = producer__self();
	enum call_way way;
	malloc_fn *next = NEXT(malloc, malloc_fn *);
	void *p;

	if (PRODUCER_UNLIKELY(!next))
		return arena__take(size);
	way = call__begin(t, FRAME(), HEAP_MALLOC, size, NULL);
	if (way != CALL_TOLD)
		return call__untold(t, way, next(size));
	call__enter(t);
	p = next(size);
	call__leave(t);
	call__whose(t, next);
	call__made(t, HEAP_MALLOC, p, size, failed(p, size));
	call__end(t);
	return p;
}

static inline __attribute__((always_inline)) void free_by(free_fn *next, void *p)
{
	struct producer_thread *t = producer__self();
	enum call_way way;

	walk__watch_free(p, (uintptr_t)__builtin_return_address(0));
	if (PRODUCER_UNLIKELY(!next || arena__has(p)))
		return;
	if (!begin_free(t, FRAME(), HEAP_FREE, p, &way)) {
		next(p);
		call__ended(t, way);
		return;
	}
	call__freed(t, HEAP_FREE, p, 0, 0);
	call__enter(t);
	next(p);
	call__leave(t);
	call__end(t);
}

void agent_free(void *p)
{
	free_by(NEXT(free, free_fn *), p);
}

/* Of old: as free. */
void agent_cfree(void *p)
{
	free_by(NEXT(cfree, free_fn *) ?: NEXT(free, free_fn *), p);
}

void *agent_calloc(size_t count, size_t size)
{
	struct producer_thread *t = producer__self();
	enum call_way way;
	calloc_fn *next = NEXT(calloc, calloc_fn *);
	size_t bytes;
	bool overflow = __builtin_mul_overflow(count, size, &bytes);
	void *p;

	if (PRODUCER_UNLIKELY(!next))
		return overflow ? NULL : arena__take(bytes); /* which is zero */
	way = call__begin(t, FRAME(), HEAP_CALLOC, overflow ? UINT64_MAX : bytes, NULL);
	if (way != CALL_TOLD)
		return call__untold(t, way, next(count, size));
	call__enter(t);
	p = next(count, size);
	call__leave(t);
	call__whose(t, next);
	if (PRODUCER_UNLIKELY(overflow))
		call__moved(t, HEAP_CALLOC, p, UINT64_MAX, p ? 0 : RING_FAILED, NULL, HEAP_OVERFLOW);
	else
		call__made(t, HEAP_CALLOC, p, bytes, failed(p, bytes));
	call__end(t);
	return p;
}

/* A block of the arena moves to the allocator. */
static void *leave_arena(void *old, size_t size)
{
	void *p = agent_malloc(size);
	size_t had = arena__size(old);

	return p ? memcpy(p, old, had < size ? had : size) : NULL;
}

void *agent_realloc(void *old, size_t size)
{
	struct producer_thread *t = producer__self();
	enum call_way way;
	realloc_fn *next = NEXT(realloc, realloc_fn *);
	void *p;

	if (PRODUCER_UNLIKELY(arena__has(old)))
		return leave_arena(old, size);
	if (PRODUCER_UNLIKELY(!next))
		return old ? NULL : arena__take(size);
	way = call__begin(t, FRAME(), HEAP_REALLOC, size, old);
	if (way != CALL_TOLD)
		return call__untold(t, way, next(old, size));
	call__enter(t);
	p = next(old, size);
	call__leave(t);
	call__whose(t, next);
	call__moved(t, HEAP_REALLOC, p, size, failed(p, size), old, 0);
	call__end(t);
	return p;
}

void *agent_reallocarray(void *old, size_t count, size_t size)
{
	struct producer_thread *t = producer__self();
	enum call_way way;
	reallocarray_fn *next = NEXT(reallocarray, reallocarray_fn *);
	size_t bytes;
	bool overflow = __builtin_mul_overflow(count, size, &bytes);
	void *p;

	if (PRODUCER_UNLIKELY(!next || arena__has(old))) {
		if (!overflow)
			return agent_realloc(old, bytes);
		errno = ENOMEM;
		return NULL;
	}
	way = call__begin(t, FRAME(), HEAP_REALLOCARRAY, overflow ? UINT64_MAX : bytes, old);
	if (way != CALL_TOLD)
		return call__untold(t, way, next(old, count, size));
	call__enter(t);
	p = next(old, count, size);
	call__leave(t);
	call__whose(t, next);
	call__moved(t, HEAP_REALLOCARRAY, p, overflow ? UINT64_MAX : bytes,
		    !p && (overflow || bytes) ? RING_FAILED : 0, old, overflow ? HEAP_OVERFLOW : 0);
	call__end(t);
	return p;
}

/* aligned_alloc and memalign. */
static inline __attribute__((always_inline)) void *align_by(calloc_fn *next, unsigned op,
							    size_t align, size_t size)
{
	struct producer_thread *t = producer__self();
	enum call_way way;
	void *p;

	if (PRODUCER_UNLIKELY(!next)) {
		errno = ENOMEM;
		return NULL;
	}
	way = call__begin(t, FRAME(), op, size, NULL);
	if (way != CALL_TOLD)
		return call__untold(t, way, next(align, size));
	call__enter(t);
	p = next(align, size);
	call__leave(t);
	call__whose(t, next);
	call__made(t, op, p, size, failed(p, size) | log2_of(align));
	call__end(t);
	return p;
}

void *agent_aligned_alloc(size_t align, size_t size)
{
	return align_by(NEXT(aligned_alloc, calloc_fn *), HEAP_ALIGNED_ALLOC, align, size);
}

void *agent_memalign(size_t align, size_t size)
{
	return align_by(NEXT(memalign, calloc_fn *), HEAP_MEMALIGN, align, size);
}

int agent_posix_memalign(void **out, size_t align, size_t size)
{
	struct producer_thread *t = producer__self();
	enum call_way way;
	posix_memalign_fn *next = NEXT(posix_memalign, posix_memalign_fn *);
	int err;

	if (PRODUCER_UNLIKELY(!next))
		return ENOMEM;
	way = call__begin(t, FRAME(), HEAP_POSIX_MEMALIGN, size, NULL);
	if (way != CALL_TOLD)
		return call__untold(t, way, next(out, align, size));
	call__enter(t);
	err = next(out, align, size);
	call__leave(t);
	call__whose(t, next);
	call__made(t, HEAP_POSIX_MEMALIGN, err ? NULL : *out, size,
		   (err ? RING_FAILED : 0) | log2_of(align));
	call__end(t);
	return err;
}

/* valloc and pvalloc. */
static inline __attribute__((always_inline)) void *page_by(malloc_fn *next, unsigned op, size_t size)
{
	struct producer_thread *t = producer__self();
	enum call_way way;
	void *p;

	if (PRODUCER_UNLIKELY(!next)) {
		errno = ENOMEM;
		return NULL;
	}
	way = call__begin(t, FRAME(), op, size, NULL);
	if (way != CALL_TOLD)
		return call__untold(t, way, next(size));
	call__enter(t);
	p = next(size);
	call__leave(t);
	call__whose(t, next);
	call__made(t, op, p, size, failed(p, size));
	call__end(t);
	return p;
}

void *agent_valloc(size_t size)
{
	return page_by(NEXT(valloc, malloc_fn *), HEAP_VALLOC, size);
}

void *agent_pvalloc(size_t size)
{
	return page_by(NEXT(pvalloc, malloc_fn *), HEAP_PVALLOC, size);
}

void agent_free_sized(void *p, size_t size)
{
	struct producer_thread *t = producer__self();
	enum call_way way;
	free_sized_fn *next = NEXT(free_sized, free_sized_fn *);

	if (!next || arena__has(p)) {
		agent_free(p);
		return;
	}
	if (!begin_free(t, FRAME(), HEAP_FREE_SIZED, p, &way)) {
		next(p, size);
		call__ended(t, way);
		return;
	}
	call__freed(t, HEAP_FREE_SIZED, p, size, 0);
	call__enter(t);
	next(p, size);
	call__leave(t);
	call__end(t);
}

void agent_free_aligned_sized(void *p, size_t align, size_t size)
{
	struct producer_thread *t = producer__self();
	enum call_way way;
	free_aligned_sized_fn *next = NEXT(free_aligned_sized, free_aligned_sized_fn *);

	if (!next || arena__has(p)) {
		agent_free(p);
		return;
	}
	if (!begin_free(t, FRAME(), HEAP_FREE_ALIGNED_SIZED, p, &way)) {
		next(p, align, size);
		call__ended(t, way);
		return;
	}
	call__freed(t, HEAP_FREE_ALIGNED_SIZED, p, size, log2_of(align));
	call__enter(t);
	next(p, align, size);
	call__leave(t);
	call__end(t);
}

/* jemalloc's own. The low six bits of its flags are the alignment's logarithm. Who calls them has
 * found jemalloc: there is one behind ours. */

void *agent_mallocx(size_t size, int flags)
{
	struct producer_thread *t = producer__self();
	enum call_way way;
	mallocx_fn *next = NEXT(mallocx, mallocx_fn *);
	void *p;

	if (PRODUCER_UNLIKELY(!next))
		return NULL;
	way = call__begin(t, FRAME(), HEAP_MALLOCX, size, NULL);
	if (way != CALL_TOLD)
		return call__untold(t, way, next(size, flags));
	call__enter(t);
	p = next(size, flags);
	call__leave(t);
	call__whose(t, next);
	call__made(t, HEAP_MALLOCX, p, size, failed(p, size) | ((unsigned)flags & RING_ALIGN));
	call__end(t);
	return p;
}

void *agent_rallocx(void *old, size_t size, int flags)
{
	struct producer_thread *t = producer__self();
	enum call_way way;
	rallocx_fn *next = NEXT(rallocx, rallocx_fn *);
	void *p;

	if (PRODUCER_UNLIKELY(!next))
		return NULL;
	way = call__begin(t, FRAME(), HEAP_RALLOCX, size, old);
	if (way != CALL_TOLD)
		return call__untold(t, way, next(old, size, flags));
	call__enter(t);
	p = next(old, size, flags);
	call__leave(t);
	call__whose(t, next);
	call__moved(t, HEAP_RALLOCX, p, size, failed(p, size) | ((unsigned)flags & RING_ALIGN), old,
		    0);
	call__end(t);
	return p;
}

size_t agent_xallocx(void *p, size_t size, size_t extra, int flags)
{
	struct producer_thread *t = producer__self();
	enum call_way way;
	xallocx_fn *next = NEXT(xallocx, xallocx_fn *);
	size_t now;

	if (PRODUCER_UNLIKELY(!next))
		return 0;
	way = call__begin(t, FRAME(), HEAP_XALLOCX, size, p);
	if (way != CALL_TOLD)
		return call__untold(t, way, next(p, size, extra, flags));
	call__enter(t);
	now = next(p, size, extra, flags);
	call__leave(t);
	call__whose(t, next);
	call__moved(t, HEAP_XALLOCX, p, now, 0, p, 0);
	call__end(t);
	return now;
}

void agent_dallocx(void *p, int flags)
{
	struct producer_thread *t = producer__self();
	enum call_way way;
	dallocx_fn *next = NEXT(dallocx, dallocx_fn *);

	if (!next || arena__has(p)) {
		agent_free(p);
		return;
	}
	if (!begin_free(t, FRAME(), HEAP_DALLOCX, p, &way)) {
		next(p, flags);
		call__ended(t, way);
		return;
	}
	call__freed(t, HEAP_DALLOCX, p, 0, 0);
	call__enter(t);
	next(p, flags);
	call__leave(t);
	call__end(t);
}

void agent_sdallocx(void *p, size_t size, int flags)
{
	struct producer_thread *t = producer__self();
	enum call_way way;
	sdallocx_fn *next = NEXT(sdallocx, sdallocx_fn *);

	if (!next || arena__has(p)) {
		agent_free(p);
		return;
	}
	if (!begin_free(t, FRAME(), HEAP_SDALLOCX, p, &way)) {
		next(p, size, flags);
		call__ended(t, way);
		return;
	}
	call__freed(t, HEAP_SDALLOCX, p, size, 0);
	call__enter(t);
	next(p, size, flags);
	call__leave(t);
	call__end(t);
}

const void *agent__malloc(void)
{
	return (const void *)agent_malloc;
}

const void *agent__free(void)
{
	return (const void *)agent_free;
}

EXPORT(malloc);
EXPORT(free);
EXPORT(cfree);
EXPORT(calloc);
EXPORT(realloc);
EXPORT(reallocarray);
EXPORT(aligned_alloc);
EXPORT(memalign);
EXPORT(posix_memalign);
EXPORT(valloc);
EXPORT(pvalloc);
EXPORT(free_sized);
EXPORT(free_aligned_sized);
EXPORT(mallocx);
EXPORT(rallocx);
EXPORT(xallocx);
EXPORT(dallocx);
EXPORT(sdallocx);
