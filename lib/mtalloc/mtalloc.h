/* SPDX-License-Identifier: MIT */
/*
 * mtalloc: a general-purpose allocator for production. Small and medium memory comes from the
 * program break, large from mmap.
 *
 * Three libraries are built from one source:
 *
 *   libmtalloc.so            defines malloc and its family: LD_PRELOAD, or -lmtalloc
 *   libmtalloc.a             the same for static linking
 *   libmtalloc-prefixed.a    only the names below, beside another malloc
 *
 * Each function does what the function of the same name without mt_ does, as POSIX, C23 and the
 * manual of glibc say it; where they leave a choice:
 *
 *   mt_malloc(0)             a unique block of 16 bytes
 *   mt_realloc(p, 0)         frees p and returns NULL, errno is kept
 *   alignment                16 bytes, or what was asked, a power of two
 *   out of memory            NULL and ENOMEM, the heap stays whole
 *   mt_free                  keeps errno; ends the program with one line when the pointer is not
 *                            a live block
 *   mt_malloc_usable_size    what may be written; at least what was asked for
 *
 * All are safe to call from any thread, before and after libc's own initialisation, in
 * destructors, and in the child of a fork. None is safe in a signal handler.
 */
#ifndef MTALLOC_H
#define MTALLOC_H

#include <stddef.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#define MT_NOTHROW noexcept
#else
#define MT_NOTHROW
#endif

#define MTALLOC_VERSION "0.1.0"

void *mt_malloc(size_t size) MT_NOTHROW __attribute__((malloc, alloc_size(1), warn_unused_result));
void *mt_calloc(size_t count, size_t size) MT_NOTHROW
	__attribute__((malloc, alloc_size(1, 2), warn_unused_result));
void *mt_realloc(void *block, size_t size) MT_NOTHROW
	__attribute__((alloc_size(2), warn_unused_result));
void *mt_reallocarray(void *block, size_t count, size_t size) MT_NOTHROW
	__attribute__((alloc_size(2, 3), warn_unused_result));
void mt_free(void *block) MT_NOTHROW;
void mt_free_sized(void *block, size_t size) MT_NOTHROW;
void mt_free_aligned_sized(void *block, size_t alignment, size_t size) MT_NOTHROW;

void *mt_aligned_alloc(size_t alignment, size_t size) MT_NOTHROW
	__attribute__((malloc, alloc_size(2), alloc_align(1), warn_unused_result));
void *mt_memalign(size_t alignment, size_t size) MT_NOTHROW
	__attribute__((malloc, alloc_size(2), warn_unused_result));
int mt_posix_memalign(void **block, size_t alignment, size_t size) MT_NOTHROW
	__attribute__((warn_unused_result));
void *mt_valloc(size_t size) MT_NOTHROW __attribute__((malloc, warn_unused_result));
void *mt_pvalloc(size_t size) MT_NOTHROW __attribute__((malloc, warn_unused_result));

size_t mt_malloc_usable_size(void *block) MT_NOTHROW;

/* Gives back to the kernel what it can, keeping pad bytes at the top of the break; 1 if it did. */
int mt_malloc_trim(size_t pad) MT_NOTHROW;

/* The M_* parameters of <malloc.h>; 1 when accepted. */
int mt_mallopt(int parameter, int value) MT_NOTHROW;

/* Laid out as struct mallinfo and struct mallinfo2 of <malloc.h>. */
struct mt_mallinfo {
	int arena, ordblks, smblks, hblks, hblkhd, usmblks, fsmblks, uordblks, fordblks, keepcost;
};

struct mt_mallinfo2 {
	size_t arena; /* bytes in the break and in regions mapped in its place */
	size_t ordblks; /* free blocks */
	size_t smblks; /* free blocks of up to 1024 bytes, part of ordblks */
	size_t hblks; /* blocks mapped one by one */
	size_t hblkhd; /* bytes in them */
	size_t usmblks; /* 0 */
	size_t fsmblks; /* bytes in smblks */
	size_t uordblks; /* bytes in blocks in use, mapped ones left out */
	size_t fordblks; /* arena - uordblks */
	size_t keepcost; /* free bytes at the top of the break */
};

struct mt_mallinfo mt_mallinfo(void) MT_NOTHROW;
struct mt_mallinfo2 mt_mallinfo2(void) MT_NOTHROW;
int mt_malloc_info(int options, FILE *out) MT_NOTHROW;
void mt_malloc_stats(void) MT_NOTHROW;

/* System calls the allocator made, by kind. */
struct mt_os_counts {
	size_t sbrk_grow; /* sbrk() that moved the break up */
	size_t sbrk_shrink; /* sbrk() that moved it down */
	size_t mmap;
	size_t munmap;
	size_t mremap;
	size_t madvise;
	size_t failed; /* those of all kinds that the kernel refused */
};

struct mt_os_counts mt_os_counts(void) MT_NOTHROW;

#undef MT_NOTHROW
#ifdef __cplusplus
}
#endif
#endif
