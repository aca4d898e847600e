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
	__typeof__(agent_##name)(name) __attribute__((alias("agent_" #name))) AGENT_PUBLIC

static unsigned log2_of(size_t align)
{
	return align ? (unsigned)__builtin_ctzl(align) & RING_ALIGN : 0;
}

static unsigned failed(const void *p, size_t size)
{
	return !p && size ? RING_FAILED : 0;
}

/*
 * What a wrapper does when it has found `next`: makes `call`, a call of next, tells of it, and returns. They are
 * macros because a stack begins in the wrapper's own frame.
 *
 * A call that takes memory. old: the block that it may move, or NULL. tell: puts down what it has `made`.
 */
#define TELL(op, size, old, call, tell)                                     \
	do {                                                                \
		struct producer_thread *t = producer__self();               \
		enum call_way way = call__begin(t, FRAME(), op, size, old); \
		__typeof__(call) made;                                      \
                                                                            \
		if (way != CALL_TOLD)                                       \
			return call__untold(t, way, call);                  \
		call__enter(t);                                             \
		made = call;                                                \
		call__leave(t);                                             \
		call__whose(t, next);                                       \
		tell;                                                       \
		call__end(t);                                               \
		return made;                                                \
	} while (0)

/* Likewise, of a new block. low: log2 of the alignment. */
#define TELL_MADE(op, size, low, call) \
	TELL(op, size, NULL, call, call__made(t, op, made, size, failed(made, size) | (low)))

/* A call that frees p. size: as the caller says it, 0: it does not. */
#define TELL_FREED(op, p, size, low, call)                                                 \
	do {                                                                               \
		struct producer_thread *t = producer__self();                              \
		enum call_way way = (p) ? call__begin(t, FRAME(), op, 0, p) : CALL_UNSEEN; \
                                                                                           \
		if (way != CALL_TOLD) {                                                    \
			call;                                                              \
			call__ended(t, way);                                               \
			return;                                                            \
		}                                                                          \
		call__freed(t, op, p, size, low);                                          \
		call__enter(t);                                                            \
		call;                                                                      \
		call__leave(t);                                                            \
		call__end(t);                                                              \
	} while (0)

/* The rest of what may pass: it is not to save registers for that. */
#define REST __attribute__((noinline)) static

REST void *malloc_rest(size_t size)
{
	malloc_fn *next = NEXT(malloc, malloc_fn *);

	if (PRODUCER_UNLIKELY(!next))
		return arena__take(size);
	TELL_MADE(HEAP_MALLOC, size, 0, next(size));
}

void *agent_malloc(size_t size)
{
	if (PRODUCER_LIKELY(call__passes(producer__self(), size)))
		return ((malloc_fn *)_next[NEXT_malloc])(size);
	return malloc_rest(size);
}

static inline __attribute__((always_inline)) void free_by(free_fn *next, void *p)
{
	walk__watch_free(p, (uintptr_t)__builtin_return_address(0));
	if (PRODUCER_UNLIKELY(!next || arena__has(p)))
		return;
	TELL_FREED(HEAP_FREE, p, 0, 0, next(p));
}

REST void free_rest(void *p)
{
	free_by(NEXT(free, free_fn *), p);
}

void agent_free(void *p)
{
	if (PRODUCER_LIKELY(call__frees_unsampled(p)))
		((free_fn *)_next[NEXT_free])(p);
	else
		free_rest(p);
}

/* Of old: as free. */
void agent_cfree(void *p)
{
	free_by(NEXT(cfree, free_fn *) ?: NEXT(free, free_fn *), p);
}

REST void *calloc_rest(size_t count, size_t size)
{
	calloc_fn *next = NEXT(calloc, calloc_fn *);
	size_t bytes;
	bool overflow = __builtin_mul_overflow(count, size, &bytes);

	if (PRODUCER_UNLIKELY(!next))
		return overflow ? NULL : arena__take(bytes); /* which is zero */
	TELL(HEAP_CALLOC, overflow ? UINT64_MAX : bytes, NULL, next(count, size),
	     PRODUCER_UNLIKELY(overflow) ?
		     call__moved(t, HEAP_CALLOC, made, UINT64_MAX, made ? 0 : RING_FAILED, NULL,
				 HEAP_OVERFLOW) :
		     call__made(t, HEAP_CALLOC, made, bytes, failed(made, bytes)));
}

void *agent_calloc(size_t count, size_t size)
{
	size_t bytes;

	if (PRODUCER_LIKELY(!__builtin_mul_overflow(count, size, &bytes) &&
			    call__passes(producer__self(), bytes)))
		return ((calloc_fn *)_next[NEXT_calloc])(count, size);
	return calloc_rest(count, size);
}

/* A block of the arena moves to the allocator. */
static void *leave_arena(void *old, size_t size)
{
	void *p = agent_malloc(size);
	size_t had = arena__size(old);

	return p ? memcpy(p, old, had < size ? had : size) : NULL;
}

REST void *realloc_rest(void *old, size_t size)
{
	realloc_fn *next = NEXT(realloc, realloc_fn *);

	if (PRODUCER_UNLIKELY(arena__has(old)))
		return leave_arena(old, size);
	if (PRODUCER_UNLIKELY(!next))
		return old ? NULL : arena__take(size);
	TELL(HEAP_REALLOC, size, old, next(old, size),
	     call__moved(t, HEAP_REALLOC, made, size, failed(made, size), old, 0));
}

void *agent_realloc(void *old, size_t size)
{
	if (PRODUCER_LIKELY(call__frees_unsampled(old) && call__passes(producer__self(), size)))
		return ((realloc_fn *)_next[NEXT_realloc])(old, size);
	return realloc_rest(old, size);
}

void *agent_reallocarray(void *old, size_t count, size_t size)
{
	reallocarray_fn *next = NEXT(reallocarray, reallocarray_fn *);
	size_t bytes;
	bool overflow = __builtin_mul_overflow(count, size, &bytes);
	uint64_t asked = overflow ? UINT64_MAX : bytes;

	if (PRODUCER_UNLIKELY(!next || arena__has(old))) {
		if (!overflow)
			return agent_realloc(old, bytes);
		errno = ENOMEM;
		return NULL;
	}
	TELL(HEAP_REALLOCARRAY, asked, old, next(old, count, size),
	     call__moved(t, HEAP_REALLOCARRAY, made, asked, failed(made, asked), old,
			 overflow ? HEAP_OVERFLOW : 0));
}

/* aligned_alloc and memalign. */
static inline __attribute__((always_inline)) void *align_by(calloc_fn *next, unsigned op,
							    size_t align, size_t size)
{
	if (PRODUCER_UNLIKELY(!next)) {
		errno = ENOMEM;
		return NULL;
	}
	TELL_MADE(op, size, log2_of(align), next(align, size));
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
	posix_memalign_fn *next = NEXT(posix_memalign, posix_memalign_fn *);

	if (PRODUCER_UNLIKELY(!next))
		return ENOMEM;
	TELL(HEAP_POSIX_MEMALIGN, size, NULL, next(out, align, size),
	     call__made(t, HEAP_POSIX_MEMALIGN, made ? NULL : *out, size,
			(made ? RING_FAILED : 0) | log2_of(align)));
}

/* valloc and pvalloc. */
static inline __attribute__((always_inline)) void *page_by(malloc_fn *next, unsigned op, size_t size)
{
	if (PRODUCER_UNLIKELY(!next)) {
		errno = ENOMEM;
		return NULL;
	}
	TELL_MADE(op, size, 0, next(size));
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
	free_sized_fn *next = NEXT(free_sized, free_sized_fn *);

	if (!next || arena__has(p))
		agent_free(p);
	else
		TELL_FREED(HEAP_FREE_SIZED, p, size, 0, next(p, size));
}

void agent_free_aligned_sized(void *p, size_t align, size_t size)
{
	free_aligned_sized_fn *next = NEXT(free_aligned_sized, free_aligned_sized_fn *);

	if (!next || arena__has(p))
		agent_free(p);
	else
		TELL_FREED(HEAP_FREE_ALIGNED_SIZED, p, size, log2_of(align), next(p, align, size));
}

/* jemalloc's own. The low six bits of its flags are the alignment's logarithm. Who calls them has
 * found jemalloc: there is one behind ours. */

void *agent_mallocx(size_t size, int flags)
{
	mallocx_fn *next = NEXT(mallocx, mallocx_fn *);

	if (PRODUCER_UNLIKELY(!next))
		return NULL;
	TELL_MADE(HEAP_MALLOCX, size, (unsigned)flags & RING_ALIGN, next(size, flags));
}

void *agent_rallocx(void *old, size_t size, int flags)
{
	rallocx_fn *next = NEXT(rallocx, rallocx_fn *);

	if (PRODUCER_UNLIKELY(!next))
		return NULL;
	TELL(HEAP_RALLOCX, size, old, next(old, size, flags),
	     call__moved(t, HEAP_RALLOCX, made, size,
			 failed(made, size) | ((unsigned)flags & RING_ALIGN), old, 0));
}

size_t agent_xallocx(void *p, size_t size, size_t extra, int flags)
{
	xallocx_fn *next = NEXT(xallocx, xallocx_fn *);

	if (PRODUCER_UNLIKELY(!next))
		return 0;
	TELL(HEAP_XALLOCX, size, p, next(p, size, extra, flags),
	     call__moved(t, HEAP_XALLOCX, p, made, 0, p, 0));
}

void agent_dallocx(void *p, int flags)
{
	dallocx_fn *next = NEXT(dallocx, dallocx_fn *);

	if (!next || arena__has(p))
		agent_free(p);
	else
		TELL_FREED(HEAP_DALLOCX, p, 0, 0, next(p, flags));
}

void agent_sdallocx(void *p, size_t size, int flags)
{
	sdallocx_fn *next = NEXT(sdallocx, sdallocx_fn *);

	if (!next || arena__has(p))
		agent_free(p);
	else
		TELL_FREED(HEAP_SDALLOCX, p, size, 0, next(p, size, flags));
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
