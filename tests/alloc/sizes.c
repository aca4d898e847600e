/* SPDX-License-Identifier: MIT */
/* Every size from 0 to 1 MiB, through each way to get a block: alignment, contents, neighbours. */
#include <stdint.h>
#include <string.h>

#include "tests/alloc/api.h"
#include "tests/alloc/case.h"
#include "tests/alloc/fill.h"

#define LAST ((size_t)1 << 20)
#define WINDOW 16
/* Up to here blocks are written and read whole. */
#define WHOLE 2048

struct block {
	unsigned char *p;
	size_t size;
};

/* A coarser walk where the program runs slowly (valgrind, sanitizers). */
static size_t stride(size_t size)
{
	size_t coarse = env__number("ALLOC_SLOWNESS", 1) - 1;

	return size < WHOLE ? 1 : 1 + coarse * (1 + size / 64);
}

/* 64 bytes at each end, or all of a small block. */
static void stamp(const struct block *b)
{
	if (b->size <= WHOLE) {
		fill__range(b->p, 0, b->size, b->size);
	} else {
		fill__range(b->p, 0, 64, b->size);
		fill__range(b->p, b->size - 64, b->size, b->size);
	}
}

static bool stamp_holds(const struct block *b, size_t kept)
{
	if (b->size <= WHOLE)
		return fill__range_holds(b->p, 0, kept, b->size);
	return fill__range_holds(b->p, 0, kept < 64 ? kept : 64, b->size) &&
	       (kept < b->size || fill__range_holds(b->p, b->size - 64, b->size, b->size));
}

static void let_go(struct block *b)
{
	if (!b->p)
		return;
	CHECK_MSG(stamp_holds(b, b->size), "the contents of %zu bytes changed", b->size);
	A.free(b->p);
	b->p = NULL;
}

/* A window of blocks of neighbouring sizes is alive at any time. */
static void of_malloc(void)
{
	struct block window[WINDOW] = {0};
	size_t i = 0;

	for (size_t n = 0; n <= LAST; n += stride(n), i++) {
		struct block *b = &window[i % WINDOW];

		let_go(b);
		*b = (struct block){.p = A.malloc(n), .size = n};
		CHECK_MSG(b->p, "malloc(%zu)", n);
		CHECK_MSG(((uintptr_t)b->p & 15) == 0, "malloc(%zu) is %p", n, (void *)b->p);
		CHECK_LE(n, A.malloc_usable_size(b->p));
		stamp(b);
	}
	for (i = 0; i < WINDOW; i++)
		let_go(&window[i]);
	A.verify();
}

/* Each size after the same bytes were dirtied through the size before. */
static void of_calloc(void)
{
	for (size_t n = 0; n <= LAST; n += stride(n) + n / 512) {
		unsigned char *p = A.calloc(1, n);

		CHECK_MSG(p, "calloc(%zu)", n);
		CHECK_MSG(((uintptr_t)p & 15) == 0, "calloc(%zu) is %p", n, (void *)p);
		CHECK_MSG(fill__is_zero(p, n), "calloc(%zu) is not zero", n);
		memset(p, 0xff, n);
		A.free(p);
	}
	A.verify();
}

/* One block grows by a byte at a time from 0 to 1 MiB, and shrinks again. */
static void of_realloc(void)
{
	struct block b = {.p = A.malloc(0), .size = 0};

	for (size_t n = 1; n <= LAST; n += stride(n) + n / 2048) {
		b.p = A.realloc(b.p, n);
		CHECK_MSG(b.p, "realloc to %zu", n);
		CHECK_MSG(((uintptr_t)b.p & 15) == 0, "realloc to %zu is %p", n, (void *)b.p);
		CHECK_MSG(stamp_holds(&b, b.size), "realloc from %zu to %zu", b.size, n);
		b.size = n;
		stamp(&b);
	}
	while (b.size > 1) {
		size_t n = b.size - (stride(b.size) + b.size / 2048);

		n = n && n < b.size ? n : 1;
		b.p = A.realloc(b.p, n);
		CHECK_MSG(b.p, "realloc to %zu", n);
		CHECK_MSG(stamp_holds(&b, n), "realloc from %zu to %zu", b.size, n);
		b.size = n;
		stamp(&b);
	}
	A.free(b.p);
	A.verify();
}

/* Every size to 4 KiB at every alignment to 4 KiB, with a block of the next alignment beside it. */
static void of_aligned_alloc(void)
{
	struct block window[WINDOW] = {0};
	size_t i = 0, coarse = env__number("ALLOC_SLOWNESS", 1);

	for (size_t n = 0; n <= 4096; n += coarse) {
		for (size_t alignment = 16; alignment <= 4096; alignment *= 2, i++) {
			struct block *b = &window[i % WINDOW];

			let_go(b);
			*b = (struct block){.p = A.aligned_alloc(alignment, n), .size = n};
			CHECK_MSG(b->p, "aligned_alloc(%zu, %zu)", alignment, n);
			CHECK_MSG(((uintptr_t)b->p & (alignment - 1)) == 0,
				  "aligned_alloc(%zu, %zu) is %p", alignment, n, (void *)b->p);
			CHECK_LE(n, A.malloc_usable_size(b->p));
			stamp(b);
		}
	}
	for (i = 0; i < WINDOW; i++)
		let_go(&window[i]);
	A.verify();
}

/* Every size to 32 KiB alive at once: 512 MiB of blocks, which must not share a byte. */
static void all_at_once(void)
{
	static struct block b[32769];
	size_t last = sizeof(b) / sizeof(b[0]) / env__number("ALLOC_SLOWNESS", 1);

	for (size_t n = 0; n < last; n++) {
		b[n] = (struct block){.p = A.malloc(n), .size = n};
		CHECK(b[n].p);
		stamp(&b[n]);
	}
	A.verify();
	for (size_t n = 0; n < last; n += 2)
		let_go(&b[n]);
	A.verify();
	for (size_t n = 0; n < last; n += 2) {
		b[n].p = A.calloc(n, 1);
		CHECK(b[n].p && fill__is_zero(b[n].p, n));
		stamp(&b[n]);
	}
	for (size_t n = 0; n < last; n++)
		let_go(&b[n]);
	A.verify();
}

static const struct test_case cases[] = {
	CASE(of_malloc),	CASE(of_calloc),   CASE(of_realloc),
	CASE(of_aligned_alloc), CASE(all_at_once),
};

CASES_MAIN(cases)
