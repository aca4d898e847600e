// SPDX-License-Identifier: MIT
/* The calls as records. */
#include "alloc.h"
#include "otel.h"

#include "lib/trace/producer.h"

bool _mt_tracing;

/* ---- one call ------------------------------------------------------------------------------- */

static unsigned int log2_of(size_t alignment)
{
	return alignment ? (unsigned int)__builtin_ctzl(alignment) & RING_ALIGN : 0;
}

static unsigned int failed(const void *block, size_t size)
{
	return !block && size ? RING_FAILED : 0;
}

/* Whether all calls are told to one tracer of the ring plane, who is there. */
static inline bool goes_on_plainly(const struct producer_thread *t)
{
	return call__is_plain(t) && atomic_load_explicit(&_mt_probes.offers, memory_order_relaxed) &&
	       !trace__is_held() && !__atomic_load_n(&_producer.p.segment->closed, __ATOMIC_RELAXED);
}

__attribute__((noinline)) static enum call_way begin_other(struct producer_thread *t,
							   const void *frame, unsigned int op,
							   size_t size, const void *block)
{
	ready();
	return _mt_trace_goes_on() ? call__begin(t, frame, op, size, block) : CALL_UNSEEN;
}

static inline enum call_way begin(struct producer_thread *t, const void *frame, unsigned int op,
				  size_t size, const void *block)
{
	if (unlikely(!goes_on_plainly(t)))
		return begin_other(t, frame, op, size, block);
	call__begin_plain(t, frame, op);
	return CALL_TOLD;
}

#define BEGIN(t, op, size, block) begin(t, __builtin_frame_address(0), op, size, block)

/*
 * An allocation: of `size` bytes by `call`, in `function`. That has jumped here, so whoever called it
 * is this function's caller.
 */
#define TELL(op, function, size, low, call)                                  \
	do {                                                                 \
		struct producer_thread *t = producer__self();                \
		enum call_way way = BEGIN(t, op, size, NULL);                \
		void *made;                                                  \
                                                                             \
		if (way != CALL_TOLD)                                        \
			return call__untold(t, way, OTEL(NULL, size, call)); \
		call__enter(t);                                              \
		made = OTEL(NULL, size, call);                               \
		call__leave(t);                                              \
		call__whose(t, function);                                    \
		call__made(t, op, made, size, failed(made, size) | (low));   \
		call__end(t);                                                \
		return made;                                                 \
	} while (0)

void *_mt_traced_malloc(size_t size)
{
	TELL(HEAP_MALLOC, mt_malloc, size, 0, _mt_real_malloc(size));
}

/* The product is known not to overflow. */
void *_mt_traced_calloc(size_t count, size_t size)
{
	TELL(HEAP_CALLOC, mt_calloc, count * size, 0, _mt_real_calloc(count, size));
}

void *_mt_traced_aligned_alloc(size_t alignment, size_t size)
{
	TELL(HEAP_ALIGNED_ALLOC, mt_aligned_alloc, size, log2_of(alignment),
	     _mt_real_aligned_alloc(alignment, size));
}

void *_mt_traced_memalign(size_t alignment, size_t size)
{
	TELL(HEAP_MEMALIGN, mt_memalign, size, log2_of(alignment),
	     _mt_real_memalign(alignment, size));
}

void *_mt_traced_valloc(size_t size)
{
	TELL(HEAP_VALLOC, mt_valloc, size, 0, _mt_real_valloc(size));
}

void *_mt_traced_pvalloc(size_t size)
{
	TELL(HEAP_PVALLOC, mt_pvalloc, size, 0, _mt_real_pvalloc(size));
}

static int posix_memalign_by(void **block, size_t alignment, size_t size)
{
	int err = 0;

	OTEL(NULL, size, (err = _mt_real_posix_memalign(block, alignment, size)) ? NULL : *block);
	return err;
}

int _mt_traced_posix_memalign(void **block, size_t alignment, size_t size)
{
	struct producer_thread *t = producer__self();
	enum call_way way = BEGIN(t, HEAP_POSIX_MEMALIGN, size, NULL);
	int err;

	if (way != CALL_TOLD)
		return call__untold(t, way, posix_memalign_by(block, alignment, size));
	call__enter(t);
	err = posix_memalign_by(block, alignment, size);
	call__leave(t);
	call__whose(t, mt_posix_memalign);
	call__made(t, HEAP_POSIX_MEMALIGN, err ? NULL : *block, size,
		   (err ? RING_FAILED : 0) | log2_of(alignment));
	call__end(t);
	return err;
}

void *_mt_traced_realloc(void *block, size_t size)
{
	struct producer_thread *t = producer__self();
	enum call_way way = BEGIN(t, HEAP_REALLOC, size, block);
	void *moved;

	if (way != CALL_TOLD)
		return call__untold(t, way, OTEL(block, size, _mt_real_realloc(block, size)));
	call__enter(t);
	moved = OTEL(block, size, _mt_real_realloc(block, size));
	call__leave(t);
	call__whose(t, mt_realloc);
	call__moved(t, HEAP_REALLOC, moved, size, failed(moved, size), block, 0);
	call__end(t);
	return moved;
}

void *_mt_traced_reallocarray(void *block, size_t count, size_t size)
{
	struct producer_thread *t = producer__self();
	size_t bytes;
	bool overflow = __builtin_mul_overflow(count, size, &bytes);
	enum call_way way;
	void *moved;

	way = BEGIN(t, HEAP_REALLOCARRAY, overflow ? SIZE_MAX : bytes, block);
	if (way != CALL_TOLD)
		return call__untold(t, way,
				    OTEL(block, overflow ? SIZE_MAX : bytes,
					 _mt_real_reallocarray(block, count, size)));
	call__enter(t);
	moved = OTEL(block, overflow ? SIZE_MAX : bytes, _mt_real_reallocarray(block, count, size));
	call__leave(t);
	call__whose(t, mt_reallocarray);
	call__moved(t, HEAP_REALLOCARRAY, moved, overflow ? UINT64_MAX : bytes,
		    !moved && (overflow || bytes) ? RING_FAILED : 0, block,
		    overflow ? HEAP_OVERFLOW : 0);
	call__end(t);
	return moved;
}

static inline __attribute__((always_inline)) void free_by(unsigned int op, const void *frame,
							  void *block, size_t size, size_t alignment)
{
	struct producer_thread *t = producer__self();
	enum call_way way = begin(t, frame, op, 0, block);

	if (otel__listened())
		_mt_otel_free(block);
	if (way != CALL_TOLD) {
		_mt_real_free(block);
		call__ended(t, way);
		return;
	}
	call__freed(t, op, block, size, log2_of(alignment));
	call__enter(t);
	_mt_real_free(block);
	call__leave(t);
	call__end(t);
}

void _mt_traced_free(void *block)
{
	walk__watch_free(block, (uintptr_t)__builtin_return_address(0));
	free_by(HEAP_FREE, __builtin_frame_address(0), block, 0, 0);
}

void _mt_traced_free_sized(void *block, size_t size)
{
	if (block)
		free_by(HEAP_FREE_SIZED, __builtin_frame_address(0), block, size, 0);
}

void _mt_traced_free_aligned_sized(void *block, size_t alignment, size_t size)
{
	if (block)
		free_by(HEAP_FREE_ALIGNED_SIZED, __builtin_frame_address(0), block, size, alignment);
}

void _mt_trace_thread_ends(void)
{
	producer__leave_thread(producer__self());
}
