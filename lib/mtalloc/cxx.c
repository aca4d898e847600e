// SPDX-License-Identifier: MIT
/*
 * C++: operator new and delete in every form, by their mangled names, so that no C++ library is
 * needed. What the standard wants of a failed new is asked of the program's C++ library, if it has
 * one. An exception from a new-handler passes through; from the nothrow forms too, where the
 * standard wants it caught.
 */
#ifdef MT_OVERRIDE

#include <errno.h>
#include <stdlib.h>

#include "alloc.h"

#if defined(__LP64__)
#define SIZE "m"
#else
#define SIZE "j"
#endif
#define NAMED(name) __asm__(name) MT_API

typedef void (*new_handler)(void);

/* std::get_new_handler() and std::__throw_bad_alloc() */
__attribute__((weak)) extern new_handler get_new_handler(void) __asm__("_ZSt15get_new_handlerv");
__attribute__((weak)) extern void throw_bad_alloc(void) __asm__("_ZSt17__throw_bad_allocv");

static void *attempt(size_t size, size_t alignment)
{
	return alignment <= ALIGNMENT ? mt_malloc(size) : mt_memalign(alignment, size);
}

static MT_COLD void *retry(size_t size, size_t alignment, bool throws)
{
	for (;;) {
		new_handler handler = get_new_handler ? get_new_handler() : NULL;
		void *block;

		if (!handler)
			break;
		handler();
		block = attempt(size, alignment);
		if (block)
			return block;
	}
	if (!throws)
		return NULL;
	if (throw_bad_alloc)
		throw_bad_alloc();
	_mt_die("operator new", NULL, "out of memory", size);
}

static inline void *new (size_t size, size_t alignment, bool throws)
{
	void *block = attempt(size, alignment);

	return likely(block) ? block : retry(size, alignment, throws);
}

void *new_plain(size_t size) NAMED("_Znw" SIZE);
void *new_array(size_t size) NAMED("_Zna" SIZE);
void *new_nothrow(size_t size, const void *tag) NAMED("_Znw" SIZE "RKSt9nothrow_t");
void *new_array_nothrow(size_t size, const void *tag) NAMED("_Zna" SIZE "RKSt9nothrow_t");
void *new_aligned(size_t size, size_t alignment) NAMED("_Znw" SIZE "St11align_val_t");
void *new_array_aligned(size_t size, size_t alignment) NAMED("_Zna" SIZE "St11align_val_t");
void *new_aligned_nothrow(size_t size, size_t alignment, const void *tag)
	NAMED("_Znw" SIZE "St11align_val_tRKSt9nothrow_t");
void *new_array_aligned_nothrow(size_t size, size_t alignment, const void *tag)
	NAMED("_Zna" SIZE "St11align_val_tRKSt9nothrow_t");

void *new_plain(size_t size)
{
	return new (size, 0, true);
}

void *new_array(size_t size)
{
	return new (size, 0, true);
}

void *new_nothrow(size_t size, const void *tag)
{
	(void)tag;
	return new (size, 0, false);
}

void *new_array_nothrow(size_t size, const void *tag)
{
	(void)tag;
	return new (size, 0, false);
}

void *new_aligned(size_t size, size_t alignment)
{
	return new (size, alignment, true);
}

void *new_array_aligned(size_t size, size_t alignment)
{
	return new (size, alignment, true);
}

void *new_aligned_nothrow(size_t size, size_t alignment, const void *tag)
{
	(void)tag;
	return new (size, alignment, false);
}

void *new_array_aligned_nothrow(size_t size, size_t alignment, const void *tag)
{
	(void)tag;
	return new (size, alignment, false);
}

/* Whatever more a form of delete is told, the block itself says it too. */
#define DELETE(function, name)                  \
	void function(void *block) NAMED(name); \
	void function(void *block)              \
	{                                       \
		mt_free(block);                 \
	}

DELETE(delete_plain, "_ZdlPv")
DELETE(delete_array, "_ZdaPv")
DELETE(delete_nothrow, "_ZdlPvRKSt9nothrow_t")
DELETE(delete_array_nothrow, "_ZdaPvRKSt9nothrow_t")
DELETE(delete_sized, "_ZdlPv" SIZE)
DELETE(delete_array_sized, "_ZdaPv" SIZE)
DELETE(delete_aligned, "_ZdlPvSt11align_val_t")
DELETE(delete_array_aligned, "_ZdaPvSt11align_val_t")
DELETE(delete_sized_aligned, "_ZdlPv" SIZE "St11align_val_t")
DELETE(delete_array_sized_aligned, "_ZdaPv" SIZE "St11align_val_t")
DELETE(delete_aligned_nothrow, "_ZdlPvSt11align_val_tRKSt9nothrow_t")
DELETE(delete_array_aligned_nothrow, "_ZdaPvSt11align_val_tRKSt9nothrow_t")

#else
typedef int no_operators_beside_another_allocator;
#endif
