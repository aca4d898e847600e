/* SPDX-License-Identifier: MIT */
/* What the manual pages and the standards say of each function: results, errors, errno, edges. */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tests/alloc/api.h"
#include "tests/alloc/case.h"
#include "tests/alloc/fill.h"

#define PAGE 4096
/* No call sets errno to this. */
#define UNTOUCHED 4711
#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

static bool aligned_to(const void *p, size_t alignment)
{
	return ((uintptr_t)p & (alignment - 1)) == 0;
}

/* Sizes no machine can serve: above PTRDIFF_MAX, and at each place where an addition overflows. */
static const size_t impossible[] = {
	(size_t)PTRDIFF_MAX + 1,
	SIZE_MAX / 2 + PAGE,
	SIZE_MAX - 2 * 1024 * 1024,
	SIZE_MAX - 2 * PAGE,
	SIZE_MAX - PAGE,
	SIZE_MAX - PAGE + 1,
	SIZE_MAX - 64,
	SIZE_MAX - 16,
	SIZE_MAX - 15,
	SIZE_MAX - 7,
	SIZE_MAX - 1,
	SIZE_MAX,
};

static void malloc_of_0_gives_blocks_of_their_own(void)
{
	void *p[64];

	for (size_t i = 0; i < LENGTH(p); i++) {
		p[i] = A.malloc(0);
		CHECK(p[i]);
		CHECK(aligned_to(p[i], 16));
		for (size_t j = 0; j < i; j++)
			CHECK(p[i] != p[j]);
	}
	for (size_t i = 0; i < LENGTH(p); i++)
		A.free(p[i]);
}

static void impossible_sizes_are_enomem(void)
{
	void *kept = A.malloc(100), *p;

	CHECK(kept);
	fill__block(kept, 100, 1);
	for (size_t i = 0; i < LENGTH(impossible); i++) {
		size_t size = impossible[i];

#define REFUSED(call)                                                                         \
	do {                                                                                  \
		errno = UNTOUCHED;                                                            \
		CHECK_MSG((call) == NULL, "%s succeeds, size %#zx", #call, size);             \
		CHECK_MSG(errno == ENOMEM, "%s: errno is %d, size %#zx", #call, errno, size); \
	} while (0)
		REFUSED(A.malloc(size));
		REFUSED(A.calloc(1, size));
		REFUSED(A.calloc(size, 1));
		REFUSED(A.realloc(NULL, size));
		REFUSED(A.realloc(kept, size));
		REFUSED(A.reallocarray(NULL, 1, size));
		REFUSED(A.reallocarray(kept, size, 1));
		REFUSED(A.aligned_alloc(16, size & ~(size_t)15));
		REFUSED(A.aligned_alloc(64, size & ~(size_t)63));
		REFUSED(A.memalign(64, size));
		REFUSED(A.memalign(PAGE, size));
		REFUSED(A.valloc(size));
		REFUSED(A.pvalloc(size));
#undef REFUSED
		for (size_t alignment = sizeof(void *); alignment <= 1 << 20; alignment *= 2) {
			p = kept;
			errno = UNTOUCHED;
			CHECK_EQ(A.posix_memalign(&p, alignment, size), ENOMEM);
			CHECK(p == kept);
		}
	}
	CHECK(fill__holds(kept, 100, 100, 1));
	A.free(kept);
}

static void products_that_overflow_are_enomem(void)
{
	static const struct {
		size_t count, size;
	} products[] = {
		{SIZE_MAX, 2},
		{2, SIZE_MAX},
		{SIZE_MAX, SIZE_MAX},
		{SIZE_MAX / 2 + 1, 2},
		{SIZE_MAX / 16 + 1, 16},
		{(size_t)1 << 32, (size_t)1 << 32},
		{((size_t)1 << 32) + 1, (size_t)1 << 32},
		{(size_t)1 << 63, 2},
		{(size_t)1 << 33, (size_t)1 << 33},
		{SIZE_MAX / 3 + 1, 3},
	};
	char *kept = A.malloc(32);

	strcpy(kept, "what was there");
	for (size_t i = 0; i < LENGTH(products); i++) {
		size_t n = products[i].count, size = products[i].size;

		errno = UNTOUCHED;
		CHECK(!A.calloc(n, size));
		CHECK_EQ(errno, ENOMEM);
		errno = UNTOUCHED;
		CHECK(!A.reallocarray(NULL, n, size));
		CHECK_EQ(errno, ENOMEM);
		errno = UNTOUCHED;
		CHECK(!A.reallocarray(kept, n, size));
		CHECK_EQ(errno, ENOMEM);
		CHECK(!strcmp(kept, "what was there"));
	}
	A.free(kept);
}

static void free_keeps_errno(void)
{
	static const size_t sizes[] = {0,      1,	16,	 100,	   1000,     10000,
				       100000, 1 << 17, 1000000, 10 << 20, 100 << 20};

	for (int round = 0; round < 3; round++) {
		for (size_t i = 0; i < LENGTH(sizes); i++) {
			void *p = A.malloc(sizes[i]);

			CHECK(p);
			memset(p, 1, sizes[i] < PAGE ? sizes[i] : PAGE);
			errno = UNTOUCHED;
			A.free(p);
			CHECK_EQ(errno, UNTOUCHED);
		}
	}
	errno = UNTOUCHED;
	A.free(NULL);
	CHECK_EQ(errno, UNTOUCHED);
}

/* Many at once, so that pages are given back while errno is looked at. */
static void free_of_a_peak_keeps_errno(void)
{
	static void *p[20000];

	for (size_t i = 0; i < LENGTH(p); i++) {
		p[i] = A.malloc(1 + i % 5000);
		CHECK(p[i]);
	}
	for (size_t i = 0; i < LENGTH(p); i++) {
		errno = UNTOUCHED;
		A.free(p[i]);
		CHECK_EQ(errno, UNTOUCHED);
	}
}

static void calloc_is_zero_in_used_memory(void)
{
	static const size_t sizes[] = {1,    8,	    24,	   100,	   512,	   1000,   4096,   5000,
				       8192, 20000, 65536, 100000, 131072, 200000, 1 << 20};
	void *p[8];

	for (int round = 0; round < 50; round++) {
		for (size_t i = 0; i < LENGTH(sizes); i++) {
			size_t n = sizes[i];

			for (size_t j = 0; j < LENGTH(p); j++) {
				p[j] = j & 1 ? A.calloc(1, n) : A.calloc(n, 1);
				CHECK(p[j]);
				CHECK_MSG(fill__is_zero(p[j], n), "calloc of %zu is not zero", n);
				memset(p[j], 0xa5, A.malloc_usable_size(p[j]));
			}
			for (size_t j = 0; j < LENGTH(p); j++)
				A.free(p[j]);
		}
	}
}

static void calloc_of_nothing_gives_a_block(void)
{
	void *p = A.calloc(0, 100), *q = A.calloc(100, 0), *r = A.calloc(0, SIZE_MAX);

	CHECK(p && q && r && p != q && q != r && p != r);
	A.free(p);
	A.free(q);
	A.free(r);
}

static void realloc_of_null_is_malloc(void)
{
	void *p = A.realloc(NULL, 100), *q = A.realloc(NULL, 0);

	CHECK(p && q && p != q);
	fill__block(p, 100, 7);
	p = A.realloc(p, 10);
	CHECK(p && fill__holds(p, 100, 10, 7));
	A.free(p);
	A.free(q);
}

/* As glibc: the block is freed and NULL comes back. Were it not freed, this would be 4.8 GB. */
static void realloc_to_0_frees(void)
{
	struct rlimit two_gib = {(rlim_t)2 << 30, (rlim_t)2 << 30};

	/* ASan's shadow alone is above any such limit. */
#ifndef __SANITIZE_ADDRESS__
	CHECK_EQ(setrlimit(RLIMIT_AS, &two_gib), 0);
#else
	(void)two_gib;
#endif
	for (int i = 0; i < 300; i++) {
		void *p = A.malloc(16 << 20);

		CHECK(p);
		memset(p, 1, 2 * PAGE);
		errno = UNTOUCHED;
		p = A.realloc(p, 0);
		CHECK(!p);
		CHECK_EQ(errno, UNTOUCHED);
	}
}

static void realloc_keeps_contents_from_any_size_to_any(void)
{
	static const size_t sizes[] = {
		1,	2,	8,	15,	16,	17,	24,	 63,	  64,	  65,
		100,	128,	200,	500,	1000,	1024,	1025,	 2000,	  4000,	  4096,
		4097,	8000,	16000,	16384,	32768,	32769,	50000,	 65535,	  65536,  65537,
		100000, 131071, 131072, 131073, 200000, 262144, 1000000, 2097152, 5000000};

	for (size_t i = 0; i < LENGTH(sizes); i++) {
		for (size_t j = 0; j < LENGTH(sizes); j++) {
			size_t from = sizes[i], to = sizes[j], kept = from < to ? from : to;
			uint64_t key = i * 1000 + j;
			void *before = A.malloc(from), *next = A.malloc(from), *p;

			CHECK(before && next);
			fill__block(before, from, key);
			fill__block(next, from, key + 1);
			p = A.realloc(before, to);
			CHECK(p);
			CHECK(aligned_to(p, 16));
			CHECK_LE(to, A.malloc_usable_size(p));
			CHECK_MSG(fill__holds(p, from, kept, key), "realloc %zu to %zu", from, to);
			fill__block(p, to, key + 2);
			CHECK_MSG(fill__holds(next, from, from, key + 1),
				  "realloc %zu to %zu wrote into another block", from, to);
			CHECK(fill__holds(p, to, to, key + 2));
			A.free(next);
			A.free(p);
		}
	}
}

/* Growing by little steps, as a string does, past every class and into mmap and back. */
static void realloc_in_small_steps(void)
{
	unsigned char *p = NULL;
	size_t n = 0;

	for (size_t step = 1; n < 3 << 20; step += 1 + step / 8) {
		p = A.realloc(p, n + step);
		CHECK(p);
		memset(p + n, (int)(n & 0xff), step);
		n += step;
	}
	while (n > 1) {
		size_t less = n - 1 - n / 9;

		CHECK(p[0] == 0);
		p = A.realloc(p, less ? less : 1);
		CHECK(p);
		n = less;
	}
	A.free(p);
}

static void a_failed_realloc_leaves_the_block(void)
{
	static const size_t sizes[] = {1, 100, 5000, 50000, 200000, 3 << 20};

	for (size_t i = 0; i < LENGTH(sizes); i++) {
		void *p = A.malloc(sizes[i]);

		CHECK(p);
		fill__block(p, sizes[i], i);
		for (size_t j = 0; j < LENGTH(impossible); j++) {
			errno = UNTOUCHED;
			CHECK(!A.realloc(p, impossible[j]));
			CHECK_EQ(errno, ENOMEM);
			CHECK(fill__holds(p, sizes[i], sizes[i], i));
		}
		/* More than any machine has, but not above PTRDIFF_MAX. */
		CHECK(!A.realloc(p, (size_t)1 << 50));
		CHECK_EQ(errno, ENOMEM);
		CHECK(fill__holds(p, sizes[i], sizes[i], i));
		A.free(p);
	}
}

static void reallocarray_multiplies(void)
{
	void *p = A.reallocarray(NULL, 10, 10);

	CHECK(p && A.malloc_usable_size(p) >= 100);
	fill__block(p, 100, 3);
	p = A.reallocarray(p, 1000, 100);
	CHECK(p && A.malloc_usable_size(p) >= 100000);
	CHECK(fill__holds(p, 100, 100, 3));
	p = A.reallocarray(p, 7, 3);
	CHECK(p && fill__holds(p, 100, 21, 3));
	A.free(p);
}

static const size_t aligned_sizes[] = {0,     1,      3,      16,     40,     100,
				       1000,  4095,   4096,   4097,   8192,   30000,
				       65536, 100000, 131072, 200000, 1 << 20};

static void aligned_alloc_aligns(void)
{
	void *p[4];

	for (size_t alignment = 1; alignment <= 16 << 20; alignment *= 2) {
		for (size_t i = 0; i < LENGTH(aligned_sizes); i++) {
			size_t n = aligned_sizes[i];

			for (size_t j = 0; j < LENGTH(p); j++) {
				p[j] = A.aligned_alloc(alignment, n);
				CHECK_MSG(p[j], "aligned_alloc(%zu, %zu)", alignment, n);
				CHECK_MSG(aligned_to(p[j], alignment), "aligned_alloc(%zu, %zu)",
					  alignment, n);
				CHECK_LE(n, A.malloc_usable_size(p[j]));
				fill__block(p[j], n, alignment + j);
			}
			for (size_t j = 0; j < LENGTH(p); j++) {
				CHECK(fill__holds(p[j], n, n, alignment + j));
				A.free(p[j]);
			}
		}
	}
}

static void memalign_valloc_and_pvalloc_align(void)
{
	for (size_t i = 0; i < LENGTH(aligned_sizes); i++) {
		size_t n = aligned_sizes[i], pages = (n + PAGE - 1) / PAGE * PAGE;
		void *p = A.valloc(n), *q = A.pvalloc(n), *r;

		CHECK(p && aligned_to(p, PAGE) && A.malloc_usable_size(p) >= n);
		CHECK(q && aligned_to(q, PAGE) && A.malloc_usable_size(q) >= pages);
		fill__block(p, n, 1);
		fill__block(q, pages, 2);
		for (size_t alignment = 1; alignment <= 4 << 20; alignment *= 2) {
			r = A.memalign(alignment, n);
			CHECK(r && aligned_to(r, alignment) && A.malloc_usable_size(r) >= n);
			fill__block(r, n, 3);
			A.free(r);
		}
		CHECK(fill__holds(p, n, n, 1) && fill__holds(q, pages, pages, 2));
		A.free(p);
		A.free(q);
	}
}

static void posix_memalign_aligns(void)
{
	for (size_t alignment = sizeof(void *); alignment <= 16 << 20; alignment *= 2) {
		for (size_t i = 0; i < LENGTH(aligned_sizes); i++) {
			size_t n = aligned_sizes[i];
			void *p = NULL;

			errno = UNTOUCHED;
			CHECK_EQ(A.posix_memalign(&p, alignment, n), 0);
			CHECK(n == 0 || p);
			CHECK(aligned_to(p, alignment));
			CHECK_LE(n, A.malloc_usable_size(p));
			fill__block(p, n, n);
			CHECK(fill__holds(p, n, n, n));
			A.free(p);
		}
	}
}

static void posix_memalign_refuses_bad_alignment(void)
{
	static const size_t bad[] = {0,
				     1,
				     2,
				     4,
				     3,
				     5,
				     6,
				     7,
				     9,
				     12,
				     15,
				     17,
				     24,
				     48,
				     100,
				     4095,
				     4097,
				     6144,
				     65537,
				     SIZE_MAX,
				     SIZE_MAX - 7,
				     ((size_t)1 << 63) + 8};
	int there;

	for (size_t i = 0; i < LENGTH(bad); i++) {
		void *p = &there;

		errno = UNTOUCHED;
		CHECK_MSG(A.posix_memalign(&p, bad[i], 100) == EINVAL, "alignment %zu", bad[i]);
		CHECK(p == &there);
		CHECK_EQ(errno, UNTOUCHED);
		/* The alignment is looked at before the size. */
		CHECK_EQ(A.posix_memalign(&p, bad[i], SIZE_MAX), EINVAL);
		CHECK(p == &there);
		CHECK_EQ(errno, UNTOUCHED);
	}
}

static void alignments_beyond_memory_are_enomem(void)
{
	for (unsigned int bit = 48; bit < 64; bit++) {
		size_t alignment = (size_t)1 << bit;
		int there;
		void *p = &there;

		CHECK_EQ(A.posix_memalign(&p, alignment, 1), ENOMEM);
		CHECK(p == &there);
		errno = UNTOUCHED;
		CHECK(!A.aligned_alloc(alignment, alignment));
		CHECK_EQ(errno, ENOMEM);
		errno = UNTOUCHED;
		CHECK(!A.memalign(alignment, 1));
		CHECK_EQ(errno, ENOMEM);
	}
}

/* C17 7.22.3.1, and glibc from 2.38 on; older ones round up. */
static void aligned_alloc_refuses_bad_alignment(void)
{
	static const size_t bad[] = {0, 3, 5, 6, 7, 9, 12, 24, 48, 100, 4095, 65537, SIZE_MAX};

	for (size_t i = 0; i < LENGTH(bad); i++) {
		errno = UNTOUCHED;
		CHECK_MSG(!A.aligned_alloc(bad[i], 4096), "alignment %zu", bad[i]);
		CHECK_EQ(errno, EINVAL);
	}
}

/* Old programs pass memalign() what is no power of two: refused, or rounded up as glibc does. */
static void memalign_refuses_or_rounds_bad_alignment(void)
{
	static const size_t bad[] = {3, 24, 100, 4095, 5000};

	for (size_t i = 0; i < LENGTH(bad); i++) {
		size_t power = 1;
		void *p;

		while (power < bad[i])
			power *= 2;
		errno = UNTOUCHED;
		p = A.memalign(bad[i], 100);
		CHECK(p ? aligned_to(p, power) : errno == EINVAL);
		A.free(p);
	}
	errno = UNTOUCHED;
	CHECK(!A.memalign(SIZE_MAX, 100));
	CHECK(errno == EINVAL || errno == ENOMEM);
}

/* Blocks of every alignment among each other, through realloc. */
static void realloc_of_aligned_blocks(void)
{
	static const size_t to[] = {1, 50, 3000, 4096, 70000, 140000, 2 << 20};

	for (size_t alignment = 16; alignment <= 1 << 20; alignment *= 4) {
		for (size_t i = 0; i < LENGTH(aligned_sizes); i++) {
			for (size_t j = 0; j < LENGTH(to); j++) {
				size_t n = aligned_sizes[i];
				unsigned char *p = A.aligned_alloc(alignment, n);

				CHECK(p);
				fill__block(p, n, alignment + n);
				p = A.realloc(p, to[j]);
				CHECK(p && A.malloc_usable_size(p) >= to[j]);
				CHECK(fill__holds(p, n, n < to[j] ? n : to[j], alignment + n));
				fill__block(p, to[j], 9);
				A.free(p);
			}
		}
	}
}

static void all_usable_bytes_can_be_used(void)
{
	static void *p[2000];
	static size_t usable[2000];
	uint64_t rnd = 99;

	CHECK_EQ(A.malloc_usable_size(NULL), 0);
	for (size_t i = 0; i < LENGTH(p); i++) {
		size_t n = rnd__below(&rnd, 1 << (1 + i % 17));

		p[i] = i % 7 ? A.malloc(n) : A.aligned_alloc((size_t)16 << i % 9, n);
		CHECK(p[i]);
		usable[i] = A.malloc_usable_size(p[i]);
		CHECK_LE(n, usable[i]);
		fill__block(p[i], usable[i], i);
	}
	for (size_t i = 0; i < LENGTH(p); i++) {
		CHECK(fill__holds(p[i], usable[i], usable[i], i));
		CHECK_EQ(A.malloc_usable_size(p[i]), usable[i]);
		/* What is usable now does not move when it is asked for. */
		if (!alloc__is_checking())
			CHECK(A.realloc(p[i], usable[i]) == p[i]);
	}
	for (size_t i = 0; i < LENGTH(p); i += 2)
		A.free(p[i]);
	for (size_t i = 1; i < LENGTH(p); i += 2) {
		CHECK(fill__holds(p[i], usable[i], usable[i], i));
		A.free(p[i]);
	}
}

/* The slack may differ, but no size takes more than a quarter more and a page is not multiplied. */
static void usable_sizes_are_not_wasteful(void)
{
	for (size_t n = 1; n <= 1 << 20; n += 1 + n / 64) {
		void *p = A.malloc(n);

		CHECK(p);
		CHECK_LE(A.malloc_usable_size(p), n + n / 4 + 16);
		A.free(p);
	}
}

static void free_sized_frees(void)
{
	static const size_t sizes[] = {0, 1, 16, 100, 1000, 5000, 70000, 131072, 200000, 4 << 20};

	CHECK(A.free_sized && A.free_aligned_sized);
	A.free_sized(NULL, 0);
	A.free_aligned_sized(NULL, 64, 0);
	for (int round = 0; round < 2000; round++) {
		for (size_t i = 0; i < LENGTH(sizes); i++) {
			void *p = A.malloc(sizes[i]), *q = A.aligned_alloc(64, sizes[i]);
			void *r = A.calloc(sizes[i], 1), *s = A.realloc(A.malloc(1), sizes[i] + 1);

			CHECK(p && q && r && s);
			errno = UNTOUCHED;
			A.free_sized(p, sizes[i]);
			A.free_aligned_sized(q, 64, sizes[i]);
			A.free_sized(r, sizes[i]);
			A.free_sized(s, sizes[i] + 1);
			CHECK_EQ(errno, UNTOUCHED);
		}
	}
}

/* Blocks that are there at one time share no byte; every live pair of 3,000. */
static void live_blocks_do_not_overlap(void)
{
	static struct {
		uintptr_t from, to;
	} live[3000];
	uint64_t rnd = 5;

	for (size_t i = 0; i < LENGTH(live); i++) {
		size_t n = rnd__below(&rnd, 1 << (1 + i % 15));
		void *p = i % 3 == 0 ? A.malloc(n) :
			  i % 3 == 1 ? A.calloc(1, n) :
				       A.memalign((size_t)1 << i % 14, n);

		CHECK(p);
		live[i].from = (uintptr_t)p;
		live[i].to = (uintptr_t)p + A.malloc_usable_size(p);
		for (size_t j = 0; j < i; j++)
			CHECK_MSG(live[i].to <= live[j].from || live[j].to <= live[i].from,
				  "blocks %#lx-%#lx and %#lx-%#lx", live[i].from, live[i].to,
				  live[j].from, live[j].to);
	}
	for (size_t i = 0; i < LENGTH(live); i++)
		A.free((void *)live[i].from);
}

/* Under valgrind the break ends at 8 MiB; what comes then has to go on in mappings. */
static void more_than_8_mib_at_one_time(void)
{
	static const size_t sizes[] = {400, 4000, 40000};
	static void *p[LENGTH(sizes)][30000];
	size_t large = 9 << 20;
	void *q = A.malloc(large);

	CHECK(q);
	fill__block(q, large, 1);
	for (size_t i = 0; i < LENGTH(sizes); i++)
		for (size_t j = 0; j < (12 << 20) / sizes[i] && j < 30000; j++) {
			p[i][j] = A.malloc(sizes[i]);
			CHECK(p[i][j]);
			fill__block(p[i][j], 48, i + j);
		}
	q = A.realloc(q, 2 * large);
	CHECK(q && fill__holds(q, large, large, 1));
	for (size_t i = 0; i < LENGTH(sizes); i++)
		for (size_t j = 0; j < (12 << 20) / sizes[i] && j < 30000; j++) {
			p[i][j] = A.realloc(p[i][j], sizes[i] * 2);
			CHECK(p[i][j] && fill__holds(p[i][j], 48, 48, i + j));
			A.free(p[i][j]);
		}
	A.free(q);
}

static const struct test_case cases[] = {
	CASE(malloc_of_0_gives_blocks_of_their_own),
	CASE(impossible_sizes_are_enomem),
	CASE(products_that_overflow_are_enomem),
	CASE(free_keeps_errno),
	CASE(free_of_a_peak_keeps_errno),
	CASE(calloc_is_zero_in_used_memory),
	CASE(calloc_of_nothing_gives_a_block),
	CASE(realloc_of_null_is_malloc),
	CASE(realloc_to_0_frees),
	CASE(realloc_keeps_contents_from_any_size_to_any),
	CASE(realloc_in_small_steps),
	CASE(a_failed_realloc_leaves_the_block),
	CASE(reallocarray_multiplies),
	CASE(aligned_alloc_aligns),
	CASE(memalign_valloc_and_pvalloc_align),
	CASE(posix_memalign_aligns),
	CASE(posix_memalign_refuses_bad_alignment),
	CASE(alignments_beyond_memory_are_enomem),
	CASE_OF_MTALLOC(aligned_alloc_refuses_bad_alignment),
	CASE(memalign_refuses_or_rounds_bad_alignment),
	CASE(realloc_of_aligned_blocks),
	CASE(all_usable_bytes_can_be_used),
	CASE_OF_MTALLOC(usable_sizes_are_not_wasteful),
	CASE_OF_MTALLOC(free_sized_frees),
	CASE(live_blocks_do_not_overlap),
	CASE(more_than_8_mib_at_one_time),
};

CASES_MAIN(cases)
