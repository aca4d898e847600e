// SPDX-License-Identifier: MIT
/*
 * C++: operator new and delete in every form, by their mangled names, so that no C++ library is
 * needed. What the standard wants of a failed new is asked of the program's C++ library, if it has
 * one. An exception from a new-handler passes through. The nothrow forms have to catch it, which only
 * the C++ library can: its own ones do, and call the throwing forms, which are here. In a static
 * program there is no way to them; there it passes through.
 */
#ifdef MT_OVERRIDE

#include <dlfcn.h>
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

static inline void *new (size_t size, size_t alignment)
{
	void *block = attempt(size, alignment);

	return likely(block) ? block : retry(size, alignment, true);
}

/* In a static program nobody but the linker could say where the next function of a name is. */
#pragma weak dlsym

/* The C++ library's own form of that name, if its handler has to be asked. */
static MT_COLD void *nothrow_of_library(const char *name)
{
	if (!get_new_handler || !get_new_handler() || !dlsym)
		return NULL;
	return dlsym(RTLD_NEXT, name);
}

/* No jump to a function that is found at run time: who places a probe where this one returns could
 * not follow it. */
#define STAY(block) __asm__("" : "+r"(block))

static inline void *new_or_null(size_t size, const void *tag, const char *name)
{
	void *block = attempt(size, 0);
	void *(*library)(size_t, const void *);

	if (likely(block))
		return block;
	library = (void *(*)(size_t, const void *))nothrow_of_library(name);
	block = library ? library(size, tag) : retry(size, 0, false);
	STAY(block);
	return block;
}

static inline void *aligned_or_null(size_t size, size_t alignment, const void *tag, const char *name)
{
	void *block = attempt(size, alignment);
	void *(*library)(size_t, size_t, const void *);

	if (likely(block))
		return block;
	library = (void *(*)(size_t, size_t, const void *))nothrow_of_library(name);
	block = library ? library(size, alignment, tag) : retry(size, alignment, false);
	STAY(block);
	return block;
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
	return new (size, 0);
}

void *new_array(size_t size)
{
	return new (size, 0);
}

void *new_nothrow(size_t size, const void *tag)
{
	return new_or_null(size, tag, "_Znw" SIZE "RKSt9nothrow_t");
}

void *new_array_nothrow(size_t size, const void *tag)
{
	return new_or_null(size, tag, "_Zna" SIZE "RKSt9nothrow_t");
}

void *new_aligned(size_t size, size_t alignment)
{
	return new (size, alignment);
}

void *new_array_aligned(size_t size, size_t alignment)
{
	return new (size, alignment);
}

void *new_aligned_nothrow(size_t size, size_t alignment, const void *tag)
{
	return aligned_or_null(size, alignment, tag, "_Znw" SIZE "St11align_val_tRKSt9nothrow_t");
}

void *new_array_aligned_nothrow(size_t size, size_t alignment, const void *tag)
{
	return aligned_or_null(size, alignment, tag, "_Zna" SIZE "St11align_val_tRKSt9nothrow_t");
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
