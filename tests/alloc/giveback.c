/* SPDX-License-Identifier: MIT */
/* What is free goes back to the kernel: by malloc_trim(), and without any call. */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/alloc/api.h"
#include "tests/alloc/case.h"
#include "tests/alloc/fill.h"

#define PAGE ((size_t)4096)
#define MIB ((size_t)1 << 20)

static const size_t sizes[] = {500, 3000, 20000, 100000, 1 << 18};
#define SIZES (sizeof(sizes) / sizeof(sizes[0]))

static size_t resident(void)
{
	char text[100];
	unsigned long size, pages;
	int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
	ssize_t n = read(fd, text, sizeof(text) - 1);

	close(fd);
	CHECK(n > 0);
	text[n] = '\0';
	CHECK_EQ(sscanf(text, "%lu %lu", &size, &pages), 2);
	return pages * PAGE;
}

#define PEAK_BLOCKS 600000
static unsigned char *peak[PEAK_BLOCKS];

static size_t fill_peak(size_t size)
{
	size_t count = 256 * MIB / size;

	CHECK_LE(count, PEAK_BLOCKS);
	for (size_t i = 0; i < count; i++) {
		peak[i] = A.malloc(size);
		CHECK(peak[i]);
		memset(peak[i], 1, size);
	}
	return count;
}

/* At once: what goes back goes back in the frees. */
static void check_resident(size_t most, const char *what)
{
	CHECK_MSG(resident() <= most, "%s: %zu kB stay resident, wanted %zu kB", what,
		  resident() / 1024, most / 1024);
}

static void trim_leaves_what_is_alive(void)
{
	memset(peak, 0, sizeof(peak));
	for (size_t i = 0; i < SIZES; i++) {
		size_t size = sizes[i], before, alive = 0, count;

		A.malloc_trim(0);
		before = resident();
		count = fill_peak(size);
		CHECK_LE(before + 250 * MIB, resident());
		/* Every tenth megabyte stays. */
		for (size_t b = 0; b < count; b++) {
			if (b * size / MIB % 10 == 0) {
				alive += size;
			} else {
				A.free(peak[b]);
				peak[b] = NULL;
			}
		}
		A.malloc_trim(0);
		CHECK_LE(resident(), before + alive + alive / 10 + MIB);
		for (size_t b = 0; b < count; b++)
			A.free(peak[b]);
		A.malloc_trim(0);
		CHECK_LE(resident(), before + before / 10 + 2 * MIB);
	}
}

/* One of 20 blocks stays: what lies between goes back, what stays keeps its contents, and the room
 * between is used again. */
static void sparse_survivors_do_not_keep_what_lies_between(void)
{
	static const size_t of[] = {64, 500, 1000, 3328, 5000, 12000};

	for (size_t i = 0; i < sizeof(of) / sizeof(of[0]); i++) {
		size_t size = of[i], before, count, alive = 0;

		A.malloc_trim(0);
		memset(peak, 0, sizeof(peak));
		before = resident();
		count = 32 * MIB / size;
		for (size_t b = 0; b < count; b++) {
			peak[b] = A.malloc(size);
			CHECK(peak[b]);
			fill__block(peak[b], size, b);
		}
		for (size_t b = 0; b < count; b++) {
			if (b % 20 == 0) {
				alive += size;
				continue;
			}
			A.free(peak[b]);
			peak[b] = NULL;
		}
		A.malloc_trim(0);
		A.verify();
		/* A page at each end of a survivor, where survivors are not on every page anyway. */
		if (size * 20 > 4 * PAGE)
			CHECK_LE(resident(), before + alive + count / 20 * 2 * PAGE + 2 * MIB);
		for (size_t b = 0; b < count; b++) {
			if (peak[b]) {
				CHECK(fill__holds(peak[b], size, size, b));
				continue;
			}
			peak[b] = b % 3 ? A.malloc(size) : A.calloc(1, size);
			CHECK(peak[b] && (b % 3 || fill__is_zero(peak[b], size)));
			fill__block(peak[b], size, b);
		}
		A.verify();
		for (size_t b = 0; b < count; b++) {
			CHECK(fill__holds(peak[b], size, size, b));
			A.free(peak[b]);
		}
	}
}

static void rise_and_fall(void *arg)
{
	size_t size = *(const size_t *)arg, before, count;

	A.free(A.malloc(1));
	memset(peak, 0, sizeof(peak));
	before = resident();
	count = fill_peak(size);
	CHECK_LE(before + 250 * MIB, resident());
	for (size_t b = 0; b < count; b++)
		A.free(peak[b]);
	check_resident(before + before / 10 + 16 * MIB, "all was freed");
}

static void in_fresh_process(void (*function)(void *), size_t size)
{
	struct outcome out;

	child__run(function, &size, &out);
	CHECK_MSG(out.status == 0, "blocks of %zu bytes", size);
}

static void a_freed_peak_goes_back_without_a_call(void)
{
	for (size_t i = 0; i < SIZES; i++)
		in_fresh_process(rise_and_fall, sizes[i]);
}

/* Whatever sees to it is there in a child of a process that has worked as well. */
static void a_freed_peak_goes_back_in_a_forked_child(void)
{
	static void *p[500];

	for (size_t i = 0; i < 500; i++)
		p[i] = A.malloc(100 + i);
	for (size_t i = 0; i < 500; i++)
		A.free(p[i]);
	in_fresh_process(rise_and_fall, 20000);
}

static struct {
	pthread_barrier_t made, over;
	size_t size, count;
} maker;

static void *make_and_wait(void *arg)
{
	(void)arg;
	maker.count = fill_peak(maker.size);
	pthread_barrier_wait(&maker.made);
	pthread_barrier_wait(&maker.over);
	return NULL;
}

/* In an order in which nothing is free as a whole before the end; the maker is not there. */
static void rise_here_and_fall_there(void *arg)
{
	uint64_t rnd = 5;
	pthread_t thread;
	size_t before;

	maker.size = *(const size_t *)arg;
	A.free(A.malloc(1));
	memset(peak, 0, sizeof(peak));
	before = resident();
	CHECK_EQ(pthread_barrier_init(&maker.made, NULL, 2), 0);
	CHECK_EQ(pthread_barrier_init(&maker.over, NULL, 2), 0);
	CHECK_EQ(pthread_create(&thread, NULL, make_and_wait, NULL), 0);
	pthread_barrier_wait(&maker.made);
	CHECK_LE(before + 250 * MIB, resident());
	for (size_t left = maker.count; left; left--) {
		size_t at = rnd__below(&rnd, left);

		A.free(peak[at]);
		peak[at] = peak[left - 1];
	}
	check_resident(before + before / 10 + 6 * MIB, "another thread's was freed");
	A.verify();
	A.malloc_trim(0);
	check_resident(before + before / 10 + 3 * MIB, "that was trimmed");
	pthread_barrier_wait(&maker.over);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	A.verify();
}

static void a_peak_that_another_thread_frees_goes_back(void)
{
	for (size_t i = 0; i < SIZES; i++)
		in_fresh_process(rise_here_and_fall_there, sizes[i]);
}

/* Less waits than anybody looks at, until a trim. */
static void trim_reaches_what_waits_for_others(void)
{
	pthread_t thread;
	size_t count, before;

	A.free(A.malloc(1));
	CHECK_EQ(pthread_barrier_init(&maker.made, NULL, 2), 0);
	CHECK_EQ(pthread_barrier_init(&maker.over, NULL, 2), 0);
	maker.size = 500;
	memset(peak, 0, sizeof(peak));
	CHECK_EQ(pthread_create(&thread, NULL, make_and_wait, NULL), 0);
	pthread_barrier_wait(&maker.made);
	count = 3 * MIB / maker.size;
	before = resident();
	for (size_t b = 0; b < count; b++)
		A.free(peak[b]);
#ifndef MT_TEST
	CHECK_LE(before, resident() + MIB);
#endif
	A.malloc_trim(0);
	CHECK_LE(resident() + 2 * MIB, before);
	for (size_t b = count; b < maker.count; b++)
		A.free(peak[b]);
	pthread_barrier_wait(&maker.over);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	A.verify();
}

/* One live block at the top pins the break, not the pages below it. */
static void a_pinned_top_does_not_keep_the_rest(void)
{
	size_t before, count;

	memset(peak, 0, sizeof(peak));
	before = resident();
	count = fill_peak(2000);
	for (size_t b = 0; b + 1 < count; b++)
		A.free(peak[b]);
	check_resident(before + before / 10 + 16 * MIB, "all but the last was freed");
	CHECK(peak[count - 1][1999] == 1);
	A.free(peak[count - 1]);
}

static void the_top_of_the_break_is_returned(void)
{
	char *before, *at_peak;
	size_t count;

	A.free(A.malloc(1));
	memset(peak, 0, sizeof(peak));
	before = sbrk(0);
	count = fill_peak(1000);
	at_peak = sbrk(0);
	CHECK_LE(256 * MIB, at_peak - before);
	for (size_t b = count; b-- > 0;)
		A.free(peak[b]);
	A.malloc_trim(0);
	CHECK_LE((char *)sbrk(0) - before, 2 * MIB);
}

/* Memory that is kept and was never written to is not written to by calloc() either. */
static void calloc_leaves_alone_what_is_zero(void)
{
	static const size_t of[] = {40000, 1 << 20};

	for (size_t i = 0; i < sizeof(of) / sizeof(of[0]); i++) {
		size_t size = of[i], count = 24 * MIB / size, before = resident();

		memset(peak, 0, sizeof(peak));
		for (unsigned int round = 0; round < 20; round++) {
			for (size_t b = 0; b < count; b++) {
				peak[b] = A.calloc(1, size);
				CHECK(peak[b] && fill__is_zero(peak[b], size));
				memset(peak[b] + size / 2, 0xff, 100 + round);
			}
			for (size_t b = 0; b < count; b++)
				A.free(peak[b]);
		}
		CHECK_LE(resident(), before + count * 3 * PAGE + 4 * MIB);
	}
}

static const struct test_case cases[] = {
	CASE(trim_leaves_what_is_alive),
	CASE(sparse_survivors_do_not_keep_what_lies_between),
	CASE(a_freed_peak_goes_back_without_a_call),
	CASE(a_freed_peak_goes_back_in_a_forked_child),
	CASE(a_peak_that_another_thread_frees_goes_back),
	CASE(trim_reaches_what_waits_for_others),
	CASE(a_pinned_top_does_not_keep_the_rest),
	CASE(the_top_of_the_break_is_returned),
	CASE(calloc_leaves_alone_what_is_zero),
};

CASES_MAIN(cases)
