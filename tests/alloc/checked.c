/* SPDX-License-Identifier: MIT */
/* MTALLOC_OPTIONS=check=1: what else is found then. The runner sets it for this program. */
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/alloc/api.h"
#include "tests/alloc/case.h"
#include "tests/alloc/fill.h"

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

static const size_t sizes[] = {1, 7, 16, 24, 100, 1000, 5000, 20000, 100000, 200000, 1 << 20};

static void **bad;

__attribute__((constructor)) static void share(void)
{
	bad = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

static void must_trap(void (*function)(void *), size_t size)
{
	struct outcome out;

	*bad = NULL;
	child__run(function, (void *)size, &out);
	CHECK_MSG(*bad, "the child did not come to the misuse: %s", out.text);
	outcome__check_trap(&out, *bad, NULL);
}

static size_t overflow_by;

static void write_behind(void *arg)
{
	size_t size = (size_t)arg;
	unsigned char *p = A.malloc(size);

	CHECK(p);
	*bad = p;
	memset(p, 0, size + overflow_by);
	A.free(p);
}

static void a_write_behind_the_end_is_seen_at_free(void)
{
	static const size_t by[] = {1, 2, 8};

	for (size_t o = 0; o < LENGTH(by); o++) {
		overflow_by = by[o];
		for (size_t i = 0; i < LENGTH(sizes); i++)
			must_trap(write_behind, sizes[i]);
	}
}

static void realloc_behind(void *arg)
{
	size_t size = (size_t)arg;
	unsigned char *p = A.realloc(A.malloc(size / 2 + 1), size);

	CHECK(p);
	*bad = p;
	p[size] ^= 0x55;
	A.free(A.realloc(p, size * 2));
}

static void a_write_behind_the_end_is_seen_at_realloc(void)
{
	for (size_t i = 0; i < LENGTH(sizes); i++)
		must_trap(realloc_behind, sizes[i]);
}

static void write_behind_aligned(void *arg)
{
	size_t size = (size_t)arg;
	unsigned char *p = A.aligned_alloc(256, size);

	CHECK(p && ((uintptr_t)p & 255) == 0);
	*bad = p;
	p[size] ^= 0x55;
	A.free(p);
}

static void a_write_behind_an_aligned_block_is_seen(void)
{
	for (size_t i = 0; i < LENGTH(sizes); i++)
		must_trap(write_behind_aligned, sizes[i]);
}

static void write_after_free(void *arg)
{
	size_t size = (size_t)arg;
	unsigned char *p = A.malloc(size);

	CHECK(p);
	A.free(p);
	*bad = p;
	p[size / 2] ^= 0x55;
	/* The quarantine is bounded: it lets go of the block when others follow. */
	for (int i = 0; i < 200000; i++)
		A.free(A.malloc(100 + (size_t)i % 3000));
}

/* Of blocks that are not mappings of their own, whose pages may be gone. */
static void a_write_to_a_freed_block_is_seen(void)
{
	for (size_t i = 0; i < LENGTH(sizes); i++)
		if (sizes[i] < 16384)
			must_trap(write_after_free, sizes[i]);
}

static void free_twice(void *arg)
{
	unsigned char *p = A.malloc((size_t)arg);

	CHECK(p);
	A.free(p);
	*bad = p;
	A.free(p);
}

static void a_double_free_is_seen(void)
{
	for (size_t i = 0; i < LENGTH(sizes); i++)
		must_trap(free_twice, sizes[i]);
}

static void usable_is_what_was_asked_for(void)
{
	for (size_t size = 1; size < 300000; size += 1 + size / 7) {
		unsigned char *p = A.malloc(size);

		CHECK_EQ(A.malloc_usable_size(p), size);
		A.free(p);
	}
}

/* Neither old contents nor zeros that a program could take for granted. */
static void fresh_and_freed_memory_is_junk(void)
{
	for (size_t i = 0; i < LENGTH(sizes); i++) {
		size_t size = sizes[i];
		unsigned char *p = A.malloc(size);
		unsigned char first = p[0];

		CHECK(first != 0);
		for (size_t at = 0; at < size; at++)
			CHECK_EQ(p[at], first);
		memset(p, 0, size);
		A.free(p);
		p = A.calloc(1, size);
		CHECK(fill__is_zero(p, size));
		A.free(p);
	}
}

static const struct test_case cases[] = {
	CASE(a_write_behind_the_end_is_seen_at_free),
	CASE(a_write_behind_the_end_is_seen_at_realloc),
	CASE(a_write_behind_an_aligned_block_is_seen),
	CASE(a_write_to_a_freed_block_is_seen),
	CASE(a_double_free_is_seen),
	CASE(usable_is_what_was_asked_for),
	CASE(fresh_and_freed_memory_is_junk),
};

CASES_MAIN(cases)
