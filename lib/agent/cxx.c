// SPDX-License-Identifier: MIT
/*
 * C++'s operators. Arguments are passed on as they came, in registers: size or block first, then
 * alignment, size or nothrow as the form has it.
 *
 * An operator new may throw, through our frame. Our personality routine ends the call then; it
 * has no landing pad and needs nothing of a C++ library, which a C program has not got. The memory of
 * the exception is asked for before that, and freed by whoever catches it: it is no part of the call.
 */
#include "lib/agent/agent.h"

/* clang knows no noclone, and makes no clones of what it does not inline. */
#ifdef __clang__
#define ONE_PIECE __attribute__((noinline))
#else
#define ONE_PIECE __attribute__((noinline, noclone))
#endif

typedef void *new_fn(size_t size, size_t b, size_t c);
typedef void delete_fn(void *p, size_t b, size_t c);
typedef void *exception_fn(size_t size);

#define UNWIND_CLEANUP_PHASE 2 /* of the Itanium ABI */
#define UNWIND_CONTINUE 8

__attribute__((used, visibility("hidden"))) int
_agent_personality(int version, int actions, uint64_t class, void *exception, void *context)
{
	struct producer_thread *t = producer__self();

	(void)version, (void)class, (void)exception, (void)context;
	if (actions & UNWIND_CLEANUP_PHASE && t->inside) {
		call__leave(t);
		if (!t->told) {
			call__over(t);
			call__made(t, t->op, NULL, 1, RING_FAILED);
		}
		call__end(t);
	}
	return UNWIND_CONTINUE;
}

ONE_PIECE static void *tell_new(new_fn *next, unsigned op, size_t size, size_t b, size_t c,
				size_t align)
{
	struct producer_thread *t = producer__self();
	enum call_way way;
	uint64_t start;
	void *p;

	__asm__ volatile(".cfi_personality 0x1b, _agent_personality");
	way = call__begin(t, __builtin_frame_address(0), op, size, NULL);
	if (way != CALL_TOLD)
		return call__untold(t, way, next(size, b, c));
	start = t->start;
	call__enter(t);
	p = next(size, b, c);
	/* It has thrown and caught an exception itself, and so has been told as one that failed. */
	if (PRODUCER_UNLIKELY(t->start != start)) {
		if (!p)
			return NULL;
		way = call__begin(t, __builtin_frame_address(0), op, size, NULL);
		if (way != CALL_TOLD)
			return call__untold(t, way, p);
	}
	call__leave(t);
	call__whose(t, next);
	call__made(t, op, p, size,
		   (p ? 0 : RING_FAILED) | (align ? (unsigned)__builtin_ctzl(align) : 0));
	call__end(t);
	return p;
}

static inline void *new_by(enum next_index which, unsigned op, size_t size, size_t b, size_t c,
			   size_t align)
{
	new_fn *next = (new_fn *)next__get(which);

	if (!next) /* nobody can throw, then */
		return ((void *(*)(size_t))agent__malloc())(size);
	if (!next__is_allocators(which))
		return next(size, b, c);
	return tell_new(next, op, size, b, c, align);
}

static inline void delete_by(enum next_index which, unsigned op, void *p, size_t b, size_t c,
			     size_t size, size_t align)
{
	struct producer_thread *t = producer__self();
	delete_fn *next = (delete_fn *)next__get(which);
	enum call_way way = CALL_UNSEEN;

	if (!next) {
		((void (*)(void *))agent__free())(p);
		return;
	}
	if (p && next__is_allocators(which))
		way = call__begin(t, __builtin_frame_address(0), op, 0, p);
	if (way != CALL_TOLD) {
		next(p, b, c);
		call__ended(t, way);
		return;
	}
	call__freed(t, op, p, size, align ? (unsigned)__builtin_ctzl(align) : 0);
	call__enter(t);
	next(p, b, c);
	call__leave(t);
	call__end(t);
}

/* A check takes "void *" for a product. */
#define NEW(symbol, name, op, align)                                                                 \
	AGENT_PUBLIC void *symbol(size_t size, size_t b, size_t c) /* NOLINT(*-macro-parentheses) */ \
	{                                                                                            \
		return new_by(NEXT_##name, op, size, b, c, align);                                   \
	}
#define DELETE(symbol, name, op, size, align)                     \
	AGENT_PUBLIC void symbol(void *p, size_t b, size_t c)     \
	{                                                         \
		delete_by(NEXT_##name, op, p, b, c, size, align); \
	}

NEW(_Znwm, new, HEAP_NEW, 0)
NEW(_ZnwmRKSt9nothrow_t, new_nothrow, HEAP_NEW, 0)
NEW(_ZnwmSt11align_val_t, new_aligned, HEAP_NEW, b)
NEW(_ZnwmSt11align_val_tRKSt9nothrow_t, new_aligned_nothrow, HEAP_NEW, b)
NEW(_Znam, new_array, HEAP_NEW_ARRAY, 0)
NEW(_ZnamRKSt9nothrow_t, new_array_nothrow, HEAP_NEW_ARRAY, 0)
NEW(_ZnamSt11align_val_t, new_array_aligned, HEAP_NEW_ARRAY, b)
NEW(_ZnamSt11align_val_tRKSt9nothrow_t, new_array_aligned_nothrow, HEAP_NEW_ARRAY, b)
DELETE(_ZdlPv, delete, HEAP_DELETE, 0, 0)
DELETE(_ZdlPvRKSt9nothrow_t, delete_nothrow, HEAP_DELETE, 0, 0)
DELETE(_ZdlPvm, delete_sized, HEAP_DELETE, b, 0)
DELETE(_ZdlPvSt11align_val_t, delete_aligned, HEAP_DELETE, 0, b)
DELETE(_ZdlPvSt11align_val_tRKSt9nothrow_t, delete_aligned_nothrow, HEAP_DELETE, 0, b)
DELETE(_ZdlPvmSt11align_val_t, delete_sized_aligned, HEAP_DELETE, b, c)
DELETE(_ZdaPv, delete_array, HEAP_DELETE_ARRAY, 0, 0)
DELETE(_ZdaPvRKSt9nothrow_t, delete_array_nothrow, HEAP_DELETE_ARRAY, 0, 0)
DELETE(_ZdaPvm, delete_array_sized, HEAP_DELETE_ARRAY, b, 0)
DELETE(_ZdaPvSt11align_val_t, delete_array_aligned, HEAP_DELETE_ARRAY, 0, b)
DELETE(_ZdaPvSt11align_val_tRKSt9nothrow_t, delete_array_aligned_nothrow, HEAP_DELETE_ARRAY, 0, b)
DELETE(_ZdaPvmSt11align_val_t, delete_array_sized_aligned, HEAP_DELETE_ARRAY, b, c)

AGENT_PUBLIC void *__cxa_allocate_exception(size_t size)
{
	exception_fn *next = (exception_fn *)next__get(NEXT_allocate_exception);

	/* A library that has C++'s own linked in, and was loaded by somebody who shows it to nobody. */
	if (!next)
		next = (exception_fn *)next__find_for(NEXT_allocate_exception,
						      __builtin_return_address(0));
	if (!next)
		__builtin_trap();
	call__throw(producer__self());
	return next(size);
}
