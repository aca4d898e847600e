/* SPDX-License-Identifier: MIT */
/* Misuse that has to end the program: one line that names the pointer and says what it is. */
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/alloc/api.h"
#include "tests/alloc/case.h"
#include "tests/alloc/fill.h"

/* The pointer a child is about to misuse, shared with it: the line has to name it. */
static void **bad;

__attribute__((constructor)) static void share(void)
{
	bad = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (bad == MAP_FAILED)
		abort();
}

static void must_trap(void (*function)(void *), void *arg, const char *what)
{
	struct outcome out;

	*bad = NULL;
	child__run(function, arg, &out);
	CHECK_MSG(*bad, "the child did not come to the misuse: %s", out.text);
	outcome__check_trap(&out, *bad, what);
}

static const size_t sizes[] = {1, 16, 100, 1000, 4096, 10000, 40000, 100000, 200000, 3 << 20};
#define EACH_SIZE(i) for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)

static void *block_among_others(size_t size)
{
	static void *others[40];
	void *p;

	for (size_t i = 0; i < 20; i++)
		others[i] = A.malloc(size);
	p = A.malloc(size);
	for (size_t i = 20; i < 40; i++)
		others[i] = A.malloc(size);
	CHECK(p && others[39]);
	return p;
}

static void free_twice(void *arg)
{
	void *p = block_among_others((size_t)arg);

	A.free(p);
	*bad = p;
	A.free(p);
}

static void double_free(void)
{
	EACH_SIZE(i) must_trap(free_twice, (void *)sizes[i], NULL);
}

static void free_twice_with_others_between(void *arg)
{
	void *p = block_among_others((size_t)arg), *q = A.malloc((size_t)arg);
	void *r = A.malloc((size_t)arg);

	A.free(p);
	A.free(q);
	A.free(r);
	*bad = p;
	A.free(p);
}

static void double_free_later(void)
{
	EACH_SIZE(i) must_trap(free_twice_with_others_between, (void *)sizes[i], NULL);
}

static void *free_in_thread(void *p)
{
	A.free(p);
	return NULL;
}

static void free_in_two_threads(void *arg)
{
	void *p = block_among_others((size_t)arg);
	pthread_t thread;

	pthread_create(&thread, NULL, free_in_thread, p);
	pthread_join(thread, NULL);
	*bad = p;
	A.free(p);
}

static void double_free_by_two_threads(void)
{
	EACH_SIZE(i) must_trap(free_in_two_threads, (void *)sizes[i], NULL);
}

static void free_twice_in_another_thread(void *arg)
{
	void *p = block_among_others((size_t)arg);
	pthread_t thread;

	pthread_create(&thread, NULL, free_in_thread, p);
	pthread_join(thread, NULL);
	*bad = p;
	pthread_create(&thread, NULL, free_in_thread, p);
	pthread_join(thread, NULL);
}

static void double_free_by_a_foreign_thread(void)
{
	EACH_SIZE(i) must_trap(free_twice_in_another_thread, (void *)sizes[i], NULL);
}

static size_t inner_offset;

static void free_inside(void *arg)
{
	char *p = block_among_others((size_t)arg);

	*bad = p + inner_offset;
	A.free(*bad);
}

static void not_the_start_of_a_block(void)
{
	static const size_t offsets[] = {1, 8, 16, 48, 4096, 8192};

	for (size_t o = 0; o < sizeof(offsets) / sizeof(offsets[0]); o++) {
		inner_offset = offsets[o];
		EACH_SIZE(i)
		{
			if (sizes[i] > inner_offset)
				must_trap(free_inside, (void *)sizes[i], NULL);
		}
	}
}

static void free_below(void *arg)
{
	char *p = block_among_others((size_t)arg);

	*bad = p - 8;
	A.free(*bad);
}

static void before_the_start_of_a_block(void)
{
	EACH_SIZE(i) must_trap(free_below, (void *)sizes[i], NULL);
}

static void free_given(void *p)
{
	A.free(A.malloc(100));
	*bad = p;
	A.free(p);
}

static void realloc_given(void *p)
{
	A.free(A.malloc(100));
	*bad = p;
	A.free(A.realloc(p, 5000));
}

static int some_data = 1;

static void pointers_that_never_were_blocks(void)
{
	static char zeroed[100000];
	char on_stack[100];
	char *mapped =
		mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	void *const pointers[] = {
		on_stack,
		on_stack + 16,
		&some_data,
		zeroed,
		zeroed + 50000,
		mapped,
		mapped + 16,
		mapped + 4096,
		(void *)(uintptr_t)&free_given,
		(void *)16,
		(void *)4096,
		(void *)0x123456789000,
		(void *)(1UL << 63),
		(void *)0xffff888000000000,
		(void *)UINTPTR_MAX,
		(void *)(UINTPTR_MAX - 15),
		(void *)(UINTPTR_MAX - 4095),
	};

	CHECK(mapped != MAP_FAILED);
	memset(on_stack, 0, sizeof(on_stack));
	for (size_t i = 0; i < sizeof(pointers) / sizeof(pointers[0]); i++) {
		must_trap(free_given, pointers[i], NULL);
		must_trap(realloc_given, pointers[i], NULL);
	}
}

static void free_foreign_break(void *arg)
{
	char *p;

	(void)arg;
	A.free(A.malloc(100));
	p = sbrk(8192);
	*bad = p + 4096 - ((uintptr_t)p & 4095);
	A.free(*bad);
}

static void foreign_memory_in_the_break(void)
{
	must_trap(free_foreign_break, NULL, NULL);
}

static void free_beyond_the_last(void *arg)
{
	(void)arg;
	A.free(A.malloc(100));
	*bad = (char *)sbrk(0) + 4096;
	A.free(*bad);
}

static void above_the_break(void)
{
	must_trap(free_beyond_the_last, NULL, NULL);
}

/* A whole heap of blocks is freed and given back; one of them is freed once more. */
static void free_after_return(void *arg)
{
	static void *p[3000];
	size_t size = (size_t)arg, count = (64 << 20) / size;

	if (count > 3000)
		count = 3000;
	for (size_t i = 0; i < count; i++) {
		p[i] = A.malloc(size);
		CHECK(p[i]);
		memset(p[i], 1, size < 64 ? size : 64);
	}
	for (size_t i = 0; i < count; i++)
		A.free(p[i]);
	A.malloc_trim(0);
	*bad = p[count / 2];
	A.free(*bad);
}

static void a_free_after_the_page_was_returned(void)
{
	EACH_SIZE(i) must_trap(free_after_return, (void *)sizes[i], NULL);
}

/* Most blocks of some slabs are freed and the pages between the others given back; then each freed
 * one is freed again, also those that reach into a page that is still there. */
#define SPARSE 60
static size_t sparse_at;

static void free_in_sparse_slab(void *arg)
{
	static void *p[SPARSE];

	for (size_t i = 0; i < SPARSE; i++) {
		p[i] = A.malloc((size_t)arg);
		CHECK(p[i]);
		memset(p[i], 1, (size_t)arg);
	}
	for (size_t i = 0; i < SPARSE; i++)
		if (i % 20)
			A.free(p[i]);
	A.malloc_trim(0);
	*bad = p[sparse_at];
	A.free(*bad);
}

static void a_double_free_beside_live_blocks_after_a_trim(void)
{
	static const size_t some[] = {100, 1000, 3328, 5000, 12000};

	for (size_t i = 0; i < sizeof(some) / sizeof(some[0]); i++)
		for (sparse_at = 1; sparse_at < SPARSE; sparse_at += sparse_at % 20 == 19 ? 2 : 1)
			must_trap(free_in_sparse_slab, (void *)some[i], NULL);
}

static void realloc_freed(void *arg)
{
	void *p = block_among_others((size_t)arg);

	A.free(p);
	*bad = p;
	A.free(A.realloc(p, (size_t)arg * 3));
}

static void realloc_of_a_freed_block(void)
{
	EACH_SIZE(i) must_trap(realloc_freed, (void *)sizes[i], NULL);
}

/* ---- free lists within freed blocks ---- */

static uint64_t overwrite_with;

/* Freed blocks are written to, as an overflow of a neighbour or a stale pointer does; then blocks
 * of the size are taken and given. Coming out alive counts as a miss. */
static void overwrite_freed(void *arg)
{
	static uint64_t *p[2000];
	size_t size = (size_t)arg;

	*bad = &overwrite_with;
	for (size_t i = 0; i < 2000; i++)
		p[i] = A.malloc(size);
	for (size_t i = 0; i < 2000; i++)
		if (i % 4)
			A.free(p[i]);
	for (size_t i = 0; i < 2000; i++) {
		if (i % 4) {
			p[i][0] = overwrite_with;
			if (size >= 16)
				p[i][1] = overwrite_with;
		}
	}
	for (size_t i = 0; i < 4000; i++)
		p[i % 2000] = A.malloc(size);
}

static void a_free_list_that_was_written_to(void)
{
	static uint64_t target[64];
	const uint64_t values[] = {0,
				   1,
				   0x4141414141414141,
				   (uint64_t)(uintptr_t)target,
				   (uint64_t)(uintptr_t)&values,
				   UINT64_MAX};
	static const size_t small[] = {16, 32, 100, 512, 1024};
	struct outcome out;

	for (size_t v = 0; v < sizeof(values) / sizeof(values[0]); v++) {
		for (size_t i = 0; i < sizeof(small) / sizeof(small[0]); i++) {
			overwrite_with = values[v];
			child__run(overwrite_freed, (void *)small[i], &out);
			outcome__check_trap(&out, NULL, NULL);
		}
	}
}

/* One byte past the end of a full block is its neighbour's, never the allocator's. */
static void a_one_byte_overflow_hurts_no_metadata(void)
{
	static unsigned char *p[500];

	for (size_t size = 16; size <= 4096; size *= 2) {
		for (size_t i = 0; i < 500; i++) {
			p[i] = A.malloc(size);
			CHECK(p[i]);
		}
		for (size_t i = 0; i < 500; i++) {
			size_t usable = A.malloc_usable_size(p[i]);

			memset(p[i], 0xff, usable);
			if (i < 499 && p[i] + usable == p[i + 1])
				p[i][usable] = 0xff;
		}
		A.verify();
		for (size_t i = 0; i < 500; i++)
			A.free(p[i]);
		A.verify();
	}
}

static const struct test_case cases[] = {
	CASE(double_free),
	CASE(double_free_later),
	CASE(double_free_by_two_threads),
	CASE(double_free_by_a_foreign_thread),
	CASE(not_the_start_of_a_block),
	CASE(before_the_start_of_a_block),
	CASE(pointers_that_never_were_blocks),
	CASE(foreign_memory_in_the_break),
	CASE(above_the_break),
	CASE(a_free_after_the_page_was_returned),
	CASE(a_double_free_beside_live_blocks_after_a_trim),
	CASE(realloc_of_a_freed_block),
	CASE(a_free_list_that_was_written_to),
	CASE(a_one_byte_overflow_hurts_no_metadata),
};

CASES_MAIN(cases)
