/* SPDX-License-Identifier: MIT */
/*
 * The allocator under test, as a table of functions: the same tests run against libc's allocator
 * (is the test right?), against mtalloc preloaded or linked in under malloc's names (api_libc.c)
 * and against the library with only mt_ names (api_mt.c). A table in another file also keeps the
 * compiler from using what it knows of malloc: it may drop a block that nobody reads.
 */
#ifndef TESTS_ALLOC_API_H
#define TESTS_ALLOC_API_H

#include <malloc.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "lib/mtalloc/mtalloc.h"

struct alloc_api {
	void *(*malloc)(size_t size);
	void *(*calloc)(size_t count, size_t size);
	void *(*realloc)(void *p, size_t size);
	void *(*reallocarray)(void *p, size_t count, size_t size);
	void (*free)(void *p);
	void *(*aligned_alloc)(size_t alignment, size_t size);
	int (*posix_memalign)(void **p, size_t alignment, size_t size);
	void *(*memalign)(size_t alignment, size_t size);
	void *(*valloc)(size_t size);
	void *(*pvalloc)(size_t size);
	size_t (*malloc_usable_size)(void *p);
	int (*malloc_trim)(size_t pad);
	int (*mallopt)(int param, int value);
	struct mallinfo (*mallinfo)(void);
	struct mallinfo2 (*mallinfo2)(void);
	int (*malloc_info)(int options, FILE *to);
	void (*malloc_stats)(void);
	/* C23: NULL where the allocator is libc's and older than that. */
	void (*free_sized)(void *p, size_t size);
	void (*free_aligned_sized)(void *p, size_t alignment, size_t size);
	/* mtalloc's count of its system calls; NULL for libc's allocator. */
	struct mt_os_counts (*os_counts)(void);
	/* Walks every invariant where the library is built for tests, and ends the program at one that
	 * does not hold. */
	void (*verify)(void);
};

extern struct alloc_api A;

/* Is it mtalloc? As the environment says (ALLOC=mtalloc|libc); a wrong answer is a failure: a
 * preload that did not take place must not pass for tested. */
bool alloc__is_mtalloc(void);
/* Has it only the blocks of the test itself? Not where libc and others use it too. */
bool alloc__is_alone(void);
/* Is it checking (check=1)? Then blocks end where they were asked to. */
bool alloc__is_checking(void);

#endif
