/* SPDX-License-Identifier: MIT */
/*
 * When the kernel says no: limits, a mapping in the break's way, other callers of sbrk(), the
 * number of mappings at its end. What could not be had is ENOMEM, what was there stays whole, and
 * when there is memory again it goes on.
 */
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tests/alloc/api.h"
#include "tests/alloc/case.h"
#include "tests/alloc/fill.h"

#define PAGE ((size_t)4096)
#define MANY 400000
#define ROOM ((size_t)48 << 20)

/* Far more than the room there is; static, so that it needs none itself. */
static struct {
	void *p;
	size_t size;
} held[MANY];
static size_t held_count;

/* The kernel's count of what the limit is on, in bytes. */
static size_t status_bytes(const char *key)
{
	char line[200];
	size_t value = 0;
	FILE *status = fopen("/proc/self/status", "re");

	CHECK(status);
	while (fgets(line, sizeof(line), status))
		if (!strncmp(line, key, strlen(key)))
			value = strtoul(line + strlen(key), NULL, 10) * 1024;
	fclose(status);
	CHECK(value);
	return value;
}

static void set_limit(int resource, size_t bytes)
{
	struct rlimit limit;

	CHECK_EQ(getrlimit(resource, &limit), 0);
	limit.rlim_cur = bytes == SIZE_MAX ? limit.rlim_max : bytes;
	CHECK_EQ(setrlimit(resource, &limit), 0);
}

/* Takes blocks until there are no more; true when the end was reached as documented. */
static bool hold_until_enomem(uint64_t *rnd, size_t smallest, size_t largest)
{
	while (held_count < MANY) {
		size_t size = smallest + rnd__below(rnd, largest - smallest + 1);
		void *p;

		errno = 0;
		p = held_count % 3 ? A.malloc(size) : A.calloc(1, size);
		if (!p) {
			CHECK_EQ(errno, ENOMEM);
			return true;
		}
		fill__block(p, size, held_count);
		held[held_count].p = p;
		held[held_count++].size = size;
	}
	return false;
}

static void check_held(void)
{
	for (size_t i = 0; i < held_count; i++)
		if (held[i].p)
			CHECK_MSG(fill__holds(held[i].p, held[i].size, held[i].size, i),
				  "block %zu of %zu bytes changed", i, held[i].size);
}

static void drop(size_t first, size_t step)
{
	for (size_t i = first; i < held_count; i += step) {
		A.free(held[i].p);
		held[i].p = NULL;
	}
}

static void drop_all(void)
{
	drop(0, 1);
	held_count = 0;
}

/* At the end of the room: every function refuses, nothing is lost, what is freed can be had. */
static void exhaust(size_t smallest, size_t largest)
{
	uint64_t rnd = 42;
	size_t i, again, dropped;
	void *p;

	CHECK(hold_until_enomem(&rnd, smallest, largest));
	A.verify();
	check_held();
	/* The whole room once more cannot be there. */
	CHECK(!A.malloc(ROOM));
	CHECK_EQ(errno, ENOMEM);
	CHECK(!A.calloc(ROOM / 16, 16));
	CHECK(!A.aligned_alloc(1 << 16, ROOM));
	p = &p;
	CHECK_EQ(A.posix_memalign(&p, 64, ROOM), ENOMEM);
	CHECK(p == &p);
	CHECK(!A.realloc(held[0].p, ROOM));
	CHECK_EQ(errno, ENOMEM);
	check_held();
	A.verify();
	/* Blocks like those that were freed are there again. */
	drop(0, 2);
	for (i = 0, again = 0; i < held_count; i += 2, again++) {
		held[i].p = A.malloc(held[i].size);
		if (!held[i].p)
			break;
		fill__block(held[i].p, held[i].size, i);
	}
	dropped = (held_count + 1) / 2;
	CHECK_LE(smallest == largest ? dropped * 3 / 4 : dropped / 2, again);
	check_held();
	drop_all();
	A.verify();
}

static void under_limit(int resource, const char *status_key)
{
	static const size_t sizes[][2] = {{100, 100},	    {200, 200},	    {5000, 5000},
					  {1, 3000},	    {40000, 40000}, {1, 100000},
					  {200000, 200000}, {1, 600000}};

	A.free(A.malloc(1));
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		A.malloc_trim(0);
		set_limit(resource, status_bytes(status_key) + ROOM - ROOM / 4);
		exhaust(sizes[i][0], sizes[i][1]);
	}
	/* With the limit gone all is as before. */
	set_limit(resource, SIZE_MAX);
	held[0].p = A.malloc(2 * ROOM);
	CHECK(held[0].p);
	A.free(held[0].p);
	for (held_count = 0; held_count < 100000; held_count++) {
		held[held_count].p = A.malloc(held[held_count].size = 1000);
		CHECK(held[held_count].p);
		fill__block(held[held_count].p, 1000, held_count);
	}
	check_held();
	drop_all();
	A.verify();
}

static void rlimit_data(void)
{
	under_limit(RLIMIT_DATA, "VmData:");
}

static void rlimit_as(void)
{
	under_limit(RLIMIT_AS, "VmSize:");
}

static pthread_barrier_t nothing_left;

/* A thread that starts when nothing can be had gets NULL, and does not die. */
static void *allocate_with_nothing_left(void *arg)
{
	(void)arg;
	pthread_barrier_wait(&nothing_left);
	for (size_t size = 1; size < 1 << 20; size *= 2) {
		void *p;

		errno = 0;
		p = A.malloc(size);
		CHECK(p || errno == ENOMEM);
		if (p)
			fill__block(p, size, 1);
		A.free(p);
	}
	return NULL;
}

static void threads_that_start_with_nothing_left(void)
{
	pthread_t thread[4];
	uint64_t rnd = 7;

	CHECK_EQ(pthread_barrier_init(&nothing_left, NULL, 5), 0);
	/* Their stacks are there, their heaps are not. */
	for (size_t t = 0; t < 4; t++)
		CHECK_EQ(pthread_create(&thread[t], NULL, allocate_with_nothing_left, NULL), 0);
	set_limit(RLIMIT_AS, status_bytes("VmSize:") + ROOM);
	CHECK(hold_until_enomem(&rnd, 1, 5000));
	pthread_barrier_wait(&nothing_left);
	for (size_t t = 0; t < 4; t++)
		CHECK_EQ(pthread_join(thread[t], NULL), 0);
	check_held();
	drop_all();
	A.verify();
}

/* ---- the break's way ---- */

static void hold(size_t count, uint64_t seed, size_t largest)
{
	uint64_t rnd = seed;

	for (size_t i = 0; i < count && held_count < MANY; i++, held_count++) {
		size_t size = rnd__below(&rnd, largest) + 1;

		held[held_count].p = A.malloc(held[held_count].size = size);
		CHECK_MSG(held[held_count].p, "malloc(%zu): errno %d", size, errno);
		fill__block(held[held_count].p, size, held_count);
	}
}

static void an_obstacle(size_t distance)
{
	char *at;
	void *obstacle;

	hold(1000, 1, 2000);
	at = (char *)(((uintptr_t)sbrk(0) + PAGE - 1) & ~(PAGE - 1)) + distance;
	obstacle =
		mmap(at, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	CHECK(obstacle == at);
	/* 60 MiB of small blocks and some large ones. */
	hold(60000, 2, 2000);
	hold(50, 3, 1000000);
	check_held();
	A.verify();
	for (int round = 0; round < 4; round++) {
		drop((size_t)round, 4);
		A.verify();
		check_held();
	}
	held_count = 0;
	/* The way is free again. */
	CHECK_EQ(munmap(obstacle, PAGE), 0);
	hold(60000, 4, 2000);
	check_held();
	drop_all();
	A.malloc_trim(0);
	A.verify();
}

static void a_mapping_right_at_the_break(void)
{
	an_obstacle(0);
}

static void a_mapping_one_page_above_the_break(void)
{
	an_obstacle(PAGE);
}

static void a_mapping_some_way_above_the_break(void)
{
	an_obstacle((size_t)5 << 20);
}

/* ---- other callers of sbrk() ---- */

#define FOREIGN 200

static void foreign_calls_of_sbrk(void)
{
	static struct {
		char *at;
		size_t size;
	} foreign[FOREIGN];
	uint64_t rnd = 3;

	for (size_t i = 0; i < FOREIGN; i++) {
		size_t size = i % 3 ? 1 + rnd__below(&rnd, 20000) : PAGE * (1 + i % 40);

		hold(300, i + 1, i % 10 ? 1000 : 60000);
		foreign[i].at = sbrk((intptr_t)size);
		CHECK(foreign[i].at != (char *)-1);
		foreign[i].size = size;
		CHECK_MSG(fill__is_zero(foreign[i].at, size), "foreign memory is not fresh");
		fill__range((unsigned char *)foreign[i].at, 0, size, i);
		if (i % 7 == 0)
			drop(i % 5, 5);
		if (i % 20 == 19) {
			drop_all();
			A.malloc_trim(0);
			A.verify();
		}
		for (size_t j = 0; j <= i; j++)
			CHECK_MSG(fill__range_holds((unsigned char *)foreign[j].at, 0,
						    foreign[j].size, j),
				  "foreign memory %zu was written", j);
	}
	check_held();
	drop_all();
	A.malloc_trim(0);
	A.verify();
	for (size_t j = 0; j < FOREIGN; j++)
		CHECK(fill__range_holds((unsigned char *)foreign[j].at, 0, foreign[j].size, j));
}

/* A caller that takes from the top and gives it back, as alloca()-like arenas of old do. */
static void foreign_memory_given_back(void)
{
	for (size_t i = 0; i < 200; i++) {
		char *top, *now;

		hold(200, i + 1, 3000);
		top = sbrk((intptr_t)(PAGE * (1 + i % 9)));
		CHECK(top != (char *)-1);
		memset(top, 0x77, PAGE * (1 + i % 9));
		hold(20, i + 1, 500);
		now = sbrk(0);
		/* Only if nobody took more in between. */
		if (now == top + PAGE * (1 + i % 9))
			CHECK(sbrk(-(intptr_t)(PAGE * (1 + i % 9))) == now);
		hold(200, i + 1, 3000);
		if (i % 10 == 9) {
			check_held();
			drop_all();
		}
	}
	drop_all();
	A.malloc_trim(0);
	A.verify();
}

/* ---- the number of mappings ---- */

/* At vm.max_map_count not even munmap() of a part works: a free may not fail nor lose its block. */
static void no_more_mappings_can_be_had(void)
{
	static void *large[64];
	size_t mapped = 0, last;
	char *p;

	for (size_t i = 0; i < 64; i++) {
		large[i] = A.malloc(300000 + i * 4096);
		CHECK(large[i]);
		fill__block(large[i], 300000, i);
	}
	hold(20000, 5, 3000);
	/* Neighbours of different protection are not merged. */
	for (;; mapped++) {
		p = mmap(NULL, PAGE, mapped & 1 ? PROT_READ : PROT_NONE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (p == MAP_FAILED)
			break;
		/* A machine without the limit has nothing to test here. */
		if (mapped > 2000000)
			case__skip("no limit on the number of mappings");
	}
	CHECK_EQ(errno, ENOMEM);
	for (size_t i = 0; i < 64; i += 2) {
		errno = 4711;
		A.free(large[i]);
		CHECK_EQ(errno, 4711);
		large[i] = NULL;
	}
	drop(0, 2);
	A.malloc_trim(0);
	A.verify();
	check_held();
	for (last = 0; last < 2000; last++) {
		void *q = A.malloc(last * 200);

		CHECK(q || errno == ENOMEM);
		if (q)
			fill__block(q, last * 200, last);
		A.free(q);
	}
	for (size_t i = 1; i < 64; i += 2) {
		void *q;

		CHECK(fill__holds(large[i], 300000, 300000, i));
		q = A.realloc(large[i], 600000);
		CHECK(q || errno == ENOMEM);
		CHECK(fill__holds(q ? q : large[i], 300000, FILL_EDGE, i));
		A.free(q ? q : large[i]);
	}
	check_held();
	drop_all();
	A.verify();
}

static const struct test_case cases[] = {
	CASE(rlimit_data),
	CASE(rlimit_as),
	CASE(threads_that_start_with_nothing_left),
	CASE(a_mapping_right_at_the_break),
	CASE(a_mapping_one_page_above_the_break),
	CASE(a_mapping_some_way_above_the_break),
	CASE(foreign_calls_of_sbrk),
	CASE(foreign_memory_given_back),
	CASE(no_more_mappings_can_be_had),
};

CASES_MAIN(cases)
