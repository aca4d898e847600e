/* SPDX-License-Identifier: MIT */
/*
 * The pattern of mtalloc towards the kernel, as its documents promise it: counted by its own layer
 * and seen by the process from outside of it (where the break is, faults, pages that are there).
 *
 * Each measured stretch stands between two marks, calls of access(2) on names that do not exist:
 * under strace the runner counts the calls between them and compares with the line printed here.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tests/alloc/api.h"
#include "tests/alloc/case.h"
#include "tests/alloc/fill.h"

#define PAGE ((size_t)4096)
#define MIB ((size_t)1 << 20)

struct stretch {
	const char *name;
	struct mt_os_counts calls;
	char *from, *to; /* the break */
	long faults;
};

static long faults(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_minflt + usage.ru_majflt;
}

static void mark(const char *what, const char *name)
{
	char path[100];

	snprintf(path, sizeof(path), "/mark/%s/%s", what, name);
	access(path, F_OK);
}

static struct stretch begin(const char *name)
{
	struct stretch s = {.name = name};

	mark("begin", name);
	s.from = sbrk(0);
	s.calls = A.os_counts();
	s.faults = faults();
	return s;
}

static void end_any(struct stretch *s)
{
	struct mt_os_counts was = s->calls, is;

	s->faults = faults() - s->faults;
	is = A.os_counts();
	s->to = sbrk(0);
	mark("end", s->name);
	s->calls = (struct mt_os_counts){
		.sbrk_grow = is.sbrk_grow - was.sbrk_grow,
		.sbrk_shrink = is.sbrk_shrink - was.sbrk_shrink,
		.mmap = is.mmap - was.mmap,
		.munmap = is.munmap - was.munmap,
		.mremap = is.mremap - was.mremap,
		.madvise = is.madvise - was.madvise,
		.failed = is.failed - was.failed,
	};
	printf("pattern %s brk=%zu mmap=%zu munmap=%zu mremap=%zu madvise=%zu faults=%ld\n",
	       s->name, s->calls.sbrk_grow + s->calls.sbrk_shrink, s->calls.mmap, s->calls.munmap,
	       s->calls.mremap, s->calls.madvise, s->faults);
	fflush(stdout);
}

static void end(struct stretch *s)
{
	end_any(s);
	CHECK_EQ(s->calls.failed, 0);
}

#define CHECK_CALLS(s, grow, shrink, map, unmap, remap, advise) \
	do {                                                    \
		CHECK_EQ((s).calls.sbrk_grow, grow);            \
		CHECK_EQ((s).calls.sbrk_shrink, shrink);        \
		CHECK_EQ((s).calls.mmap, map);                  \
		CHECK_EQ((s).calls.munmap, unmap);              \
		CHECK_EQ((s).calls.mremap, remap);              \
		CHECK_EQ((s).calls.madvise, advise);            \
	} while (0)

/* What printf() and the counting itself need is there before the first stretch. */
static void warm(void)
{
	struct stretch s;

	printf("pattern\n");
	s = begin("warm");
	end(&s);
	CHECK_CALLS(s, 0, 0, 0, 0, 0, 0);
}

/* ---- growth ---- */

static void the_first_allocation_is_33_pages(void)
{
	struct stretch s;

	warm();
	s = begin("first");
	CHECK(A.malloc(1));
	end(&s);
	CHECK_CALLS(s, 1, 0, 0, 0, 0, 0);
	CHECK_EQ(s.to - s.from, 33 * PAGE);
	s = begin("second");
	CHECK(A.malloc(1));
	end(&s);
	CHECK_CALLS(s, 0, 0, 0, 0, 0, 0);
	CHECK(s.to == s.from);
}

static void growth_is_geometric(void)
{
	size_t got = 0, calls = 0;

	warm();
	A.free(A.malloc(1));
	for (size_t bytes = MIB; bytes <= 256 * MIB; bytes *= 2) {
		struct stretch s = begin("doubling");

		for (; got < bytes; got += 112)
			CHECK(A.malloc(112));
		end(&s);
		CHECK_EQ(s.calls.mmap + s.calls.munmap + s.calls.madvise + s.calls.sbrk_shrink, 0);
		/* A constant for each doubling: 8 is growth by an eighth at a time. */
		if (bytes > MIB)
			CHECK_LE(s.calls.sbrk_grow, 8);
		calls += s.calls.sbrk_grow;
	}
	CHECK_LE(3, calls);
}

/* ---- large blocks ---- */

static void from_the_threshold_on_a_block_is_one_mmap(void)
{
	static const size_t sizes[] = {128 * 1024, 128 * 1024 + 1, 200000,
				       MIB,	   5 * MIB + 17,   64 * MIB};
	struct stretch s;
	void *p;

	warm();
	A.free(A.malloc(1));
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		s = begin("large");
		p = A.malloc(sizes[i]);
		end(&s);
		CHECK(p);
		CHECK_CALLS(s, 0, 0, 1, 0, 0, 0);
		/* Kept alive: each further one is fresh. */
	}
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		s = begin("large_calloc");
		p = A.calloc(1, sizes[i]);
		end(&s);
		CHECK(p);
		CHECK_CALLS(s, 0, 0, 1, 0, 0, 0);
		CHECK_LE(s.faults, 4);
	}
}

static void below_the_threshold_there_is_no_mmap(void)
{
	struct stretch s;

	warm();
	s = begin("below");
	for (size_t size = 1; size < 128 * 1024; size += 1021)
		CHECK(A.malloc(size));
	CHECK(A.malloc(128 * 1024 - 1));
	end(&s);
	CHECK_EQ(s.calls.mmap + s.calls.munmap + s.calls.mremap + s.calls.madvise, 0);
}

/* More than any cache may keep: what is beyond it is one munmap each. */
static void a_large_free_is_one_munmap_or_is_kept(void)
{
	enum { BLOCKS = 64 };
	static void *p[BLOCKS];
	struct stretch s;
	size_t unmapped = 0;

	warm();
	for (size_t i = 0; i < BLOCKS; i++)
		p[i] = A.malloc(16 * MIB);
	for (size_t i = 0; i < BLOCKS; i++) {
		s = begin("large_free");
		A.free(p[i]);
		end(&s);
		CHECK_EQ(s.calls.sbrk_grow + s.calls.sbrk_shrink + s.calls.mmap + s.calls.mremap, 0);
		CHECK_LE(s.calls.munmap, 1);
		unmapped += s.calls.munmap;
	}
	/* At most a quarter of 1 GiB may be kept, even for a moment. */
	CHECK_LE(BLOCKS * 3 / 4, unmapped);
}

static void a_large_realloc_is_one_mremap_and_copies_nothing(void)
{
	static const size_t to[] = {2 * MIB, 10 * MIB, 100 * MIB, 3 * MIB, MIB};
	size_t n = MIB;
	unsigned char *p;
	struct stretch s;

	warm();
	p = A.malloc(n);
	memset(p, 1, n);
	for (size_t i = 0; i < sizeof(to) / sizeof(to[0]); i++) {
		s = begin("large_realloc");
		p = A.realloc(p, to[i]);
		end(&s);
		CHECK(p);
		CHECK_CALLS(s, 0, 0, 0, 0, 1, 0);
		CHECK_LE(s.faults, 4);
		for (size_t at = 0; at < MIB; at += PAGE)
			CHECK_EQ(p[at], 1);
		n = to[i];
		memset(p, 1, n);
	}
}

/* ---- pages ---- */

/* Is the page in memory? As the kernel's own page tables say. */
static bool page_is_there(const void *p)
{
	static int fd = -1;
	uint64_t entry = 0;

	if (fd < 0)
		fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	CHECK(fd >= 0);
	CHECK_EQ(pread(fd, &entry, 8, (off_t)((uintptr_t)p / PAGE * 8)), 8);
	return entry >> 63;
}

static void untouched(void *(*allocate)(size_t), size_t size)
{
	static uintptr_t block[4000];
	size_t count = 64 * MIB / (size + 100);

	count = count < 4000 ? count : 4000;
	for (size_t i = 0; i < count; i++) {
		block[i] = (uintptr_t)allocate(size);
		CHECK(block[i]);
	}
	for (size_t i = 0; i < count; i++)
		for (uintptr_t at = block[i] & ~(PAGE - 1); at < block[i] + size; at += PAGE)
			CHECK_MSG(!page_is_there((void *)at),
				  "page %#zx of block %zu of %zu bytes is there before its user came",
				  at - (block[i] & ~(PAGE - 1)), i, size);
}

static void *zeroed(size_t size)
{
	return A.calloc(1, size);
}

static void *aligned(size_t size)
{
	return A.aligned_alloc(256, size);
}

static void *asked(size_t size)
{
	void *p = A.malloc(size);

	CHECK_LE(size, A.malloc_usable_size(p));
	return p;
}

struct touching {
	void *(*allocate)(size_t);
	size_t size;
};

static void untouched_in_child(void *arg)
{
	const struct touching *t = arg;

	untouched(t->allocate, t->size);
}

static void no_page_of_a_block_is_touched_before_its_user_comes(void)
{
	static const size_t sizes[] = {1,    16,    48,	   100,	   500,	   1024,   2000,
				       4096, 10000, 20000, 100000, 131072, 500000, 3 * MIB};
	void *(*const by[])(size_t) = {A.malloc, zeroed, aligned, asked};
	struct outcome out;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		for (size_t b = 0; b < sizeof(by) / sizeof(by[0]); b++) {
			/* A fresh heap each: memory that was used once is there. */
			struct touching t = {by[b], sizes[i]};

			child__run(untouched_in_child, &t, &out);
			CHECK_MSG(out.status == 0, "size %zu, way %zu", sizes[i], b);
		}
	}
}

/* ---- steady state ---- */

#define LIVE 200

static void *live[LIVE], *others[LIVE];

static void churn_in(void **live, uint64_t seed, size_t smallest, size_t largest, unsigned long steps)
{
	uint64_t rnd = seed;

	for (unsigned long i = 0; i < steps; i++) {
		size_t at = rnd__below(&rnd, LIVE);
		size_t size = smallest + rnd__below(&rnd, largest - smallest + 1);
		unsigned char *p;

		A.free(live[at]);
		p = A.malloc(size);
		CHECK(p);
		for (size_t b = 0; b < size; b += PAGE)
			p[b] = 1;
		p[size - 1] = 1;
		live[at] = p;
	}
}

static void churn(uint64_t seed, size_t smallest, size_t largest, unsigned long steps)
{
	churn_in(live, seed, smallest, largest, steps);
}

static unsigned long now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (unsigned long)now.tv_sec * 1000 + (unsigned long)now.tv_nsec / 1000000;
}

/* Rounds of churn; the longest that one took, in ms. */
static unsigned long rounds_of(int rounds, size_t smallest, size_t largest, unsigned long steps)
{
	unsigned long longest = 0;

	for (int round = 0; round < rounds; round++) {
		unsigned long from = now_ms(), took;

		churn(99, smallest, largest, steps);
		took = now_ms() - from;
		longest = took > longest ? took : longest;
	}
	return longest;
}

/*
 * The same sequence again and again: after the first rounds everything is there. A machine that let
 * the process stand still for as long as memory is kept for (500 ms) made it an idle one: again.
 */
static void steady(const char *name, size_t smallest, size_t largest, unsigned long steps)
{
	unsigned long longest = 0;
	struct stretch s;

	for (size_t i = 0; i < LIVE; i++) {
		A.free(live[i]);
		live[i] = NULL;
	}
	for (int tries = 0; tries < 5 && (!tries || longest >= 400); tries++) {
		longest = rounds_of(20, smallest, largest, steps);
		s = begin(name);
		longest += rounds_of(5, smallest, largest, steps);
		end(&s);
	}
	CHECK_CALLS(s, 0, 0, 0, 0, 0, 0);
	CHECK_EQ(s.faults, 0);
}

static void steady_churn_needs_nothing_of_the_kernel(void)
{
	warm();
	steady("steady_small", 16, 1000, 20000);
	steady("steady_medium", 1000, 30000, 20000);
	steady("steady_upto_threshold", 20000, 131071, 4000);
	steady("steady_mixed", 1, 60000, 10000);
}

/* Blocks of one size, one after the other; the longest that one took, in ms. */
static unsigned long large_one_by_one(int times, size_t size)
{
	unsigned long longest = 0;

	for (int i = 0; i < times; i++) {
		unsigned long from = now_ms(), took;
		unsigned char *p = A.malloc(size);

		CHECK(p);
		for (size_t b = 0; b < size; b += PAGE)
			p[b] = 1;
		A.free(p);
		took = now_ms() - from;
		longest = took > longest ? took : longest;
	}
	return longest;
}

/* As above: not where the process stood still. */
static void steady_large(size_t size)
{
	unsigned long longest = 0;
	struct stretch s;

	for (int tries = 0; tries < 5 && (!tries || longest >= 400); tries++) {
		longest = large_one_by_one(20, size);
		s = begin("steady_large");
		longest += large_one_by_one(100, size);
		end(&s);
	}
	CHECK_CALLS(s, 0, 0, 0, 0, 0, 0);
	CHECK_EQ(s.faults, 0);
}

static void large_blocks_kept_and_dropped_need_nothing(void)
{
	warm();
	steady_large(128 * 1024);
	steady_large(MIB);
	steady_large(5 * MIB);
	steady_large(25 * MIB);
}

/*
 * Blocks of such sizes that do not fit one into another's place: what is free lies in pieces, and what
 * was given back for that would be wanted again. Counted is a stretch that is longer than two of the
 * windows in which memory is found to be of no use; one of the first few has to be without a call and
 * without a fault.
 */
#define REST_MS 1500
#define REST_TRIES 8

static void comes_to_rest(const char *name, size_t smallest, size_t largest)
{
	struct stretch s;

	for (int tries = 0; tries < REST_TRIES; tries++) {
		unsigned long from = now_ms();

		s = begin(name);
		do
			churn(99, smallest, largest, 4000);
		while (now_ms() - from < REST_MS);
		end_any(&s);
		if (!s.faults && !s.calls.sbrk_grow && !s.calls.mmap && !s.calls.munmap &&
		    !s.calls.mremap && !s.calls.madvise)
			break;
	}
	CHECK_CALLS(s, 0, 0, 0, 0, 0, 0);
	CHECK_EQ(s.faults, 0);
}

static void churn_of_mappings_comes_to_rest(void)
{
	warm();
	comes_to_rest("rest_mappings", 128 * 1024, MIB);
}

static void churn_of_all_sizes_comes_to_rest(void)
{
	warm();
	comes_to_rest("rest_all", 1, MIB / 2);
}

static _Atomic bool over;

static void *churn_beside(void *arg)
{
	(void)arg;
	while (!over)
		churn_in(others, 77, 1, MIB, 1000);
	return NULL;
}

static void churn_of_two_threads_comes_to_rest(void)
{
	pthread_t thread;

	warm();
	CHECK_EQ(pthread_create(&thread, NULL, churn_beside, NULL), 0);
	comes_to_rest("rest_threads", 1, MIB);
	over = true;
	CHECK_EQ(pthread_join(thread, NULL), 0);
}

static const struct test_case cases[] = {
	CASE_ALONE(the_first_allocation_is_33_pages),
	CASE(growth_is_geometric),
	CASE(from_the_threshold_on_a_block_is_one_mmap),
	CASE(below_the_threshold_there_is_no_mmap),
	CASE(a_large_free_is_one_munmap_or_is_kept),
	CASE(a_large_realloc_is_one_mremap_and_copies_nothing),
	CASE_ALONE(no_page_of_a_block_is_touched_before_its_user_comes),
	CASE(steady_churn_needs_nothing_of_the_kernel),
	CASE(large_blocks_kept_and_dropped_need_nothing),
	CASE(churn_of_mappings_comes_to_rest),
	CASE(churn_of_all_sizes_comes_to_rest),
	CASE(churn_of_two_threads_comes_to_rest),
};

CASES_MAIN(cases)
