/* SPDX-License-Identifier: MIT */
/* What the allocator says of itself, and the settings it takes: mallopt(), the environment. */
#include <ctype.h>
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/alloc/api.h"
#include "tests/alloc/case.h"
#include "tests/alloc/fill.h"

#define MIB ((size_t)1 << 20)
#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

/* ---- mallinfo ---- */

static void check_sums(const struct mallinfo2 *m)
{
	CHECK_EQ(m->arena, m->uordblks + m->fordblks);
	CHECK_LE(m->smblks, m->ordblks);
	CHECK_LE(m->fsmblks, m->fordblks);
	CHECK_LE(m->keepcost, m->fordblks);
	CHECK((m->hblks == 0) == (m->hblkhd == 0));
}

static void mallinfo_adds_up(void)
{
	static void *small[10000], *large[20];
	struct mallinfo2 at_start, m, after;
	size_t small_bytes = 0, large_bytes = 0;

	A.free(A.malloc(1));
	at_start = A.mallinfo2();
	check_sums(&at_start);
	for (size_t i = 0; i < LENGTH(small); i++) {
		small[i] = A.malloc(i % 1000);
		small_bytes += A.malloc_usable_size(small[i]);
	}
	for (size_t i = 0; i < LENGTH(large); i++) {
		large[i] = A.malloc(MIB + i * 10000);
		large_bytes += A.malloc_usable_size(large[i]);
	}
	m = A.mallinfo2();
	check_sums(&m);
	CHECK_EQ(m.hblks - at_start.hblks, LENGTH(large));
	CHECK_LE(large_bytes, m.hblkhd - at_start.hblkhd);
	CHECK_LE(m.hblkhd - at_start.hblkhd, large_bytes + LENGTH(large) * 65536);
	CHECK_LE(small_bytes, m.uordblks - at_start.uordblks);
	CHECK_LE(m.uordblks - at_start.uordblks, small_bytes + small_bytes / 50);
	for (size_t i = 0; i < LENGTH(small); i++)
		A.free(small[i]);
	for (size_t i = 0; i < LENGTH(large); i++)
		A.free(large[i]);
	after = A.mallinfo2();
	check_sums(&after);
	CHECK_EQ(after.hblks, at_start.hblks);
	CHECK_EQ(after.uordblks, at_start.uordblks);
}

static void mallinfo_is_mallinfo2_in_ints(void)
{
	struct mallinfo2 wide;
	struct mallinfo m;

	for (size_t i = 0; i < 1000; i++)
		CHECK(A.malloc(i));
	CHECK(A.malloc(MIB));
	wide = A.mallinfo2();
	m = A.mallinfo();
	CHECK_EQ(m.arena, wide.arena);
	CHECK_EQ(m.ordblks, wide.ordblks);
	CHECK_EQ(m.hblks, wide.hblks);
	CHECK_EQ(m.hblkhd, wide.hblkhd);
	CHECK_EQ(m.uordblks, wide.uordblks);
	CHECK_EQ(m.fordblks, wide.fordblks);
	CHECK_EQ(m.keepcost, wide.keepcost);
}

/* Blocks of a thread that is there, and of one that is gone. */
static pthread_barrier_t barrier;

static void *hold_some(void *arg)
{
	void **p = arg;

	for (size_t i = 0; i < 1000; i++)
		p[i] = A.malloc(100);
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	return NULL;
}

static void mallinfo_counts_all_threads(void)
{
	static void *p[1000];
	struct mallinfo2 before, m;
	pthread_t thread;

	A.free(A.malloc(1));
	before = A.mallinfo2();
	pthread_barrier_init(&barrier, NULL, 2);
	CHECK_EQ(pthread_create(&thread, NULL, hold_some, p), 0);
	pthread_barrier_wait(&barrier);
	m = A.mallinfo2();
	check_sums(&m);
	CHECK_LE(100 * 1000, m.uordblks - before.uordblks);
	pthread_barrier_wait(&barrier);
	pthread_join(thread, NULL);
	m = A.mallinfo2();
	check_sums(&m);
	CHECK_LE(100 * 1000, m.uordblks - before.uordblks);
	for (size_t i = 0; i < 1000; i++)
		A.free(p[i]);
	m = A.mallinfo2();
	check_sums(&m);
	/* A few may be on their way to where they belong. */
	CHECK_LE(m.uordblks, before.uordblks + 100 * 1000 / 4);
}

/* ---- malloc_info ---- */

/* Well-formed: every element closed in order, attributes quoted; returns the elements' number. */
static size_t check_xml(const char *text)
{
	char open[20][40];
	size_t depth = 0, elements = 0;

	while (isspace((unsigned char)*text))
		text++;
	while (*text) {
		const char *close = strchr(text, '>');
		char name[40] = "";
		size_t quotes = 0;

		CHECK_MSG(*text == '<' && close, "no element: %.60s", text);
		for (const char *c = text; c < close; c++)
			quotes += *c == '"';
		CHECK_EQ(quotes % 2, 0);
		if (text[1] == '?') {
			CHECK(depth == 0 && elements == 0);
		} else if (text[1] == '/') {
			CHECK_EQ(sscanf(text + 2, "%39[a-zA-Z0-9_-]", name), 1);
			CHECK(depth > 0);
			CHECK_MSG(!strcmp(open[depth - 1], name), "%s closed within %s", name,
				  open[depth - 1]);
			depth--;
		} else {
			CHECK_EQ(sscanf(text + 1, "%39[a-zA-Z0-9_-]", name), 1);
			CHECK(depth > 0 || elements == 0);
			elements++;
			if (close[-1] != '/') {
				CHECK(depth < LENGTH(open));
				strcpy(open[depth++], name);
			}
		}
		text = close + 1;
		/* Text between elements is not forbidden, brackets in it are. */
		text += strcspn(text, "<");
	}
	CHECK_EQ(depth, 0);
	return elements;
}

static void malloc_info_is_xml(void)
{
	static char text[1 << 20];
	FILE *file = tmpfile();
	size_t length;

	CHECK(file);
	for (size_t i = 0; i < 5000; i++)
		CHECK(A.malloc(i));
	CHECK_EQ(A.malloc_info(0, file), 0);
	CHECK_EQ(fflush(file), 0);
	rewind(file);
	length = fread(text, 1, sizeof(text) - 1, file);
	text[length] = '\0';
	CHECK(!strncmp(text, "<malloc version=\"", 17) || !strncmp(text, "<?xml", 5));
	CHECK_LE(3, check_xml(text));
	CHECK(strstr(text, "</malloc>"));
	fclose(file);
}

static void malloc_info_refuses_options(void)
{
	FILE *file = tmpfile();
	int result;

	CHECK(file);
	/* The manual says -1 and errno, glibc's code returns the error. */
	errno = 0;
	result = A.malloc_info(1, file);
	CHECK(result == EINVAL || (result == -1 && errno == EINVAL));
	CHECK_EQ(fflush(file), 0);
	CHECK_EQ(ftell(file), 0);
	fclose(file);
}

static void print_stats(void *arg)
{
	(void)arg;
	CHECK(A.malloc(12345));
	A.malloc_stats();
}

static void malloc_stats_prints_to_stderr(void)
{
	struct outcome out;

	child__run(print_stats, NULL, &out);
	CHECK_EQ(out.status, 0);
	CHECK_MSG(strpbrk(out.text, "0123456789") && strstr(out.text, "in use"), "stderr: %s",
		  out.text);
}

/* ---- mallopt ---- */

static void mallopt_takes_what_glibc_takes(void)
{
	CHECK_EQ(A.mallopt(M_MMAP_THRESHOLD, 1 << 20), 1);
	CHECK_EQ(A.mallopt(M_TRIM_THRESHOLD, 1 << 20), 1);
	CHECK_EQ(A.mallopt(M_TOP_PAD, 1 << 16), 1);
	CHECK_EQ(A.mallopt(M_MMAP_MAX, 1000), 1);
	CHECK_EQ(A.mallopt(M_PERTURB, 0), 1);
	CHECK_EQ(A.mallopt(M_ARENA_MAX, 2), 1);
	CHECK_EQ(A.mallopt(M_ARENA_TEST, 2), 1);
	CHECK_EQ(A.mallopt(M_MXFAST, 64), 1);
	CHECK_EQ(A.mallopt(M_CHECK_ACTION, 3), 1);
}

/* An unknown parameter is refused; glibc itself takes it. */
static void mallopt_refuses_what_nobody_knows(void)
{
	CHECK_EQ(A.mallopt(12345, 1), 0);
	CHECK_EQ(A.mallopt(-12345, 1), 0);
}

/* How many of the blocks of a size are mappings of their own. */
static size_t mapped_one_by_one(size_t size)
{
	size_t before = A.mallinfo2().hblks;
	void *p = A.malloc(size), *q = A.malloc(size);
	size_t n;

	CHECK(p && q);
	fill__block(p, size, 1);
	fill__block(q, size, 2);
	n = A.mallinfo2().hblks - before;
	CHECK(fill__holds(p, size, size, 1));
	A.free(p);
	CHECK(fill__holds(q, size, size, 2));
	A.free(q);
	return n;
}

static void the_mmap_threshold_can_be_set(void)
{
	CHECK_EQ(mapped_one_by_one(100000), 0);
	CHECK_EQ(mapped_one_by_one(200000), 2);
	CHECK_EQ(A.mallopt(M_MMAP_THRESHOLD, 1 << 20), 1);
	CHECK_EQ(mapped_one_by_one(200000), 0);
	CHECK_EQ(mapped_one_by_one(900000), 0);
	CHECK_EQ(mapped_one_by_one(2000000), 2);
	CHECK_EQ(A.mallopt(M_MMAP_THRESHOLD, 64 * 1024), 1);
	CHECK_EQ(mapped_one_by_one(60000), 0);
	CHECK_EQ(mapped_one_by_one(70000), 2);
}

/* None at all: large blocks then come from the break. */
static void mmap_max_of_0_means_no_mappings(void)
{
	CHECK_EQ(A.mallopt(M_MMAP_MAX, 0), 1);
	CHECK_EQ(mapped_one_by_one(200000), 0);
	CHECK_EQ(mapped_one_by_one(30 * MIB), 0);
	CHECK_EQ(A.mallopt(M_MMAP_MAX, 65536), 1);
	CHECK_EQ(mapped_one_by_one(30 * MIB), 2);
}

static void mmap_max_bounds_the_number_of_mappings(void)
{
	void *p[10];
	size_t before = A.mallinfo2().hblks;

	CHECK_EQ(A.mallopt(M_MMAP_MAX, (int)before + 3), 1);
	for (size_t i = 0; i < LENGTH(p); i++) {
		p[i] = A.malloc(MIB);
		CHECK(p[i]);
		fill__block(p[i], MIB, i);
	}
	CHECK_EQ(A.mallinfo2().hblks - before, 3);
	for (size_t i = 0; i < LENGTH(p); i++) {
		CHECK(fill__holds(p[i], MIB, MIB, i));
		A.free(p[i]);
	}
	CHECK_EQ(A.mallinfo2().hblks, before);
}

/* As glibc: memory given out is filled with the complement of the value, calloc's with zeros. */
static void check_perturbed(unsigned char value)
{
	for (size_t size = 1; size < 300000; size = size * 3 + 1) {
		unsigned char *p = A.malloc(size);

		for (size_t i = 0; i < size; i++)
			CHECK_EQ(p[i], (unsigned char)~value);
		memset(p, 7, size);
		A.free(p);
		p = A.malloc(size);
		for (size_t i = 0; i < size; i++)
			CHECK_EQ(p[i], (unsigned char)~value);
		A.free(p);
		p = A.calloc(1, size);
		CHECK(fill__is_zero(p, size));
		A.free(p);
	}
}

static void perturb_fills(void)
{
	CHECK_EQ(A.mallopt(M_PERTURB, 0xa5), 1);
	check_perturbed(0xa5);
	CHECK_EQ(A.mallopt(M_PERTURB, 0x3c), 1);
	check_perturbed(0x3c);
}

static void the_top_pad_makes_fewer_steps(void)
{
	struct mt_os_counts before, after;

	A.free(A.malloc(1));
	CHECK_EQ(A.mallopt(M_TOP_PAD, 64 << 20), 1);
	/* The first growth after it takes the pad along. */
	for (int i = 0; i < 300; i++)
		CHECK(A.malloc(1000));
	before = A.os_counts();
	for (int i = 0; i < 50000; i++)
		CHECK(A.malloc(1000));
	after = A.os_counts();
	CHECK_EQ(after.sbrk_grow - before.sbrk_grow, 0);
}

/* ---- the environment ---- */

static void in_threshold_64k(void)
{
	CHECK_EQ(mapped_one_by_one(60000), 0);
	CHECK_EQ(mapped_one_by_one(70000), 2);
}

static void in_threshold_1m(void)
{
	CHECK_EQ(mapped_one_by_one(1000000), 0);
	CHECK_EQ(mapped_one_by_one(1100000), 2);
}

static void in_no_mappings(void)
{
	CHECK_EQ(mapped_one_by_one(5 * MIB), 0);
}

static void in_perturbed(void)
{
	check_perturbed(165);
}

static void in_defaults(void)
{
	CHECK_EQ(mapped_one_by_one(100000), 0);
	CHECK_EQ(mapped_one_by_one(200000), 2);
}

static void the_environment_sets_what_mallopt_does(void)
{
	static const struct {
		const char *variable, *inner;
	} settings[] = {
		{"MTALLOC_OPTIONS=mmap_threshold=64K", "in_threshold_64k"},
		{"MTALLOC_OPTIONS=mmap_threshold=65536", "in_threshold_64k"},
		{"MTALLOC_OPTIONS=mmap_threshold=1M", "in_threshold_1m"},
		{"MTALLOC_OPTIONS=decay_ms=100,mmap_threshold=1M", "in_threshold_1m"},
		{"MTALLOC_OPTIONS=mmap_threshold=1024K,trim_threshold=2M", "in_threshold_1m"},
		{"MALLOC_MMAP_THRESHOLD_=65536", "in_threshold_64k"},
		{"MALLOC_MMAP_MAX_=0", "in_no_mappings"},
		{"MALLOC_PERTURB_=165", "in_perturbed"},
		{"MALLOC_TRIM_THRESHOLD_=100000", "in_defaults"},
		{"MALLOC_TOP_PAD_=100000", "in_defaults"},
		{"MALLOC_ARENA_MAX=1", "in_defaults"},
		{"MTALLOC_OPTIONS=", "in_defaults"},
	};
	struct outcome out;

	for (size_t i = 0; i < LENGTH(settings); i++) {
		child__exec(settings[i].inner, settings[i].variable, &out);
		CHECK_MSG(out.status == 0, "%s: status %#x, stderr %s", settings[i].variable,
			  (unsigned int)out.status, out.text);
	}
}

/* What cannot be understood changes nothing and does not hurt. */
static void nonsense_in_the_environment_is_ignored(void)
{
	static const char *const nonsense[] = {
		"MTALLOC_OPTIONS=,,,",
		"MTALLOC_OPTIONS==",
		"MTALLOC_OPTIONS=mmap_threshold",
		"MTALLOC_OPTIONS=mmap_threshold=",
		"MTALLOC_OPTIONS=mmap_threshold=abc",
		"MTALLOC_OPTIONS=mmap_threshold=-1",
		"MTALLOC_OPTIONS=mmap_threshold=99999999999999999999999999",
		"MTALLOC_OPTIONS=no_such_option=1",
		"MTALLOC_OPTIONS=mmap_thresholdx=64K",
		"MALLOC_MMAP_THRESHOLD_=abc",
		"MALLOC_MMAP_THRESHOLD_=",
		"MALLOC_MMAP_MAX_=-",
		"MALLOC_PERTURB_=",
	};
	struct outcome out;

	for (size_t i = 0; i < LENGTH(nonsense); i++) {
		child__exec("in_defaults", nonsense[i], &out);
		CHECK_MSG(out.status == 0, "%s: status %#x, stderr %s", nonsense[i],
			  (unsigned int)out.status, out.text);
	}
}

static void in_exit(void)
{
	CHECK(A.malloc(1000));
	exit(0);
}

static void stats_are_printed_at_exit_when_asked_for(void)
{
	struct outcome out;

	child__exec("in_exit", "MTALLOC_OPTIONS=stats=1", &out);
	CHECK_EQ(out.status, 0);
	CHECK_MSG(strstr(out.text, "in use"), "stderr: %s", out.text);
	child__exec("in_exit", "MTALLOC_OPTIONS=stats=0", &out);
	CHECK_EQ(out.status, 0);
	CHECK_EQ(out.length, 0);
}

/* ---- trim ---- */

/* 1 exactly when something was given back: what is kept for the next use is, at the least. */
static void trim_says_whether_it_gave_back(void)
{
	static void *p[20000];
	struct mt_os_counts before, after;
	bool gave_back;
	int said;

	for (int round = 0; round < 5; round++) {
		for (size_t i = 0; i < LENGTH(p); i++) {
			p[i] = A.malloc(1000);
			memset(p[i], 1, 1000);
		}
		for (size_t i = 0; i < LENGTH(p); i++)
			A.free(p[i]);
		before = A.os_counts();
		said = A.malloc_trim(0);
		after = A.os_counts();
		gave_back = after.sbrk_shrink + after.madvise + after.munmap !=
			    before.sbrk_shrink + before.madvise + before.munmap;
		CHECK_EQ(said, gave_back);
		CHECK_EQ(A.malloc_trim(0), 0);
	}
	/* The rounds swing: from the second one on something is kept. */
	CHECK(gave_back);
	A.verify();
}

static const struct test_case cases[] = {
	CASE(mallinfo_adds_up),
	CASE(mallinfo_is_mallinfo2_in_ints),
	CASE(mallinfo_counts_all_threads),
	CASE(malloc_info_is_xml),
	CASE(malloc_info_refuses_options),
	CASE(malloc_stats_prints_to_stderr),
	CASE(mallopt_takes_what_glibc_takes),
	CASE(mallopt_refuses_what_nobody_knows),
	CASE(the_mmap_threshold_can_be_set),
	CASE(mmap_max_of_0_means_no_mappings),
	CASE(mmap_max_bounds_the_number_of_mappings),
	CASE(perturb_fills),
	CASE(the_top_pad_makes_fewer_steps),
	CASE(the_environment_sets_what_mallopt_does),
	CASE(nonsense_in_the_environment_is_ignored),
	CASE(stats_are_printed_at_exit_when_asked_for),
	CASE(trim_says_whether_it_gave_back),
	INNER(in_threshold_64k),
	INNER(in_threshold_1m),
	INNER(in_no_mappings),
	INNER(in_perturbed),
	INNER(in_defaults),
	INNER(in_exit),
};

CASES_MAIN(cases)
