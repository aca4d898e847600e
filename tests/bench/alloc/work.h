/* SPDX-License-Identifier: MIT */
/*
 * What the allocator benchmarks share: arguments, random numbers, threads, and
 * blocks that check themselves.
 *
 * Each program is run as PROGRAM [SCALE [THREADS]] and does a fixed amount of
 * work, SCALE percent of its usual one, shared out among the threads. It is a
 * plain user of malloc and free: who measures it does so from outside.
 *
 * A block starts with its size and ends with a byte made of it; both are
 * looked at when it is dropped, and the bytes made and dropped must add up
 * at the end. An allocator that hands out memory twice, loses a block's
 * content or moves it wrongly fails here rather than wins.
 */
#ifndef WORK_H
#define WORK_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WORK_UNUSED __attribute__((unused))
#define WORK_NOINLINE __attribute__((noinline))
#define WORK_THREADS 64
#define WORK_STR2(x) #x
#define WORK_STR(x) WORK_STR2(x)
/* What must hold, or the run is worth nothing. */
#define WORK_CHECK(condition)                                                       \
	do {                                                                        \
		if (!(condition))                                                   \
			work__die(__FILE__ ":" WORK_STR(__LINE__) ": " #condition); \
	} while (0)

struct rng {
	uint64_t state;
};

static unsigned long work__scale = 100;
static unsigned work__threads = 2;
static _Atomic uint64_t work__made, work__dropped;
static __thread uint64_t work__my_made, work__my_dropped;

static WORK_UNUSED _Noreturn void work__die(const char *what)
{
	dprintf(2, "%s: failed%s%s\n", what, errno ? ": " : "", errno ? strerror(errno) : "");
	_exit(99);
}

/* Take SCALE and THREADS: by default, as many threads as processors, 2 to 8. */
static WORK_UNUSED void work__start(int argc, char **argv)
{
	long processors = sysconf(_SC_NPROCESSORS_ONLN);

	work__threads = processors < 2 ? 2 : processors > 8 ? 8 : (unsigned)processors;
	if (argc > 1)
		work__scale = strtoul(argv[1], NULL, 10);
	if (argc > 2)
		work__threads = (unsigned)strtoul(argv[2], NULL, 10);
	errno = 0;
	WORK_CHECK(work__scale > 0);
	WORK_CHECK(work__threads > 0 && work__threads <= WORK_THREADS);
}

/* So much of n as SCALE says, at least 1. */
static WORK_UNUSED size_t work__scaled(size_t n)
{
	n = n * work__scale / 100;
	return n ? n : 1;
}

/* Each thread before it ends. */
static WORK_UNUSED void work__settle(void)
{
	atomic_fetch_add(&work__made, work__my_made);
	atomic_fetch_add(&work__dropped, work__my_dropped);
	work__my_made = work__my_dropped = 0;
}

/* The exit status, once every thread has settled: all that was made was dropped, whole. */
static WORK_UNUSED int work__end(void)
{
	work__settle();
	WORK_CHECK(work__made == work__dropped);
	return 0;
}

/* --- random numbers: an xorshift, multiplied ------------------------------------------------ */

static WORK_UNUSED struct rng rng__seed(uint64_t seed)
{
	return (struct rng){(seed + 1) * 0x9e3779b97f4a7c15u};
}

static WORK_UNUSED uint32_t rng__next(struct rng *r)
{
	uint64_t x = r->state;

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	r->state = x;
	return (uint32_t)((x * 0x2545f4914f6cdd1du) >> 32);
}

/* 0 to n - 1. */
static WORK_UNUSED uint32_t rng__below(struct rng *r, uint32_t n)
{
	return (uint32_t)(((uint64_t)rng__next(r) * n) >> 32);
}

/* low to high, both included, evenly. */
static WORK_UNUSED size_t rng__between(struct rng *r, size_t low, size_t high)
{
	return low + rng__below(r, (uint32_t)(high - low + 1));
}

/* 2^low to 2^high - 1, each power of two as often as the next: small ones are common. */
static WORK_UNUSED size_t rng__skewed(struct rng *r, unsigned low, unsigned high)
{
	unsigned bits = low + rng__below(r, high - low);

	return ((size_t)1 << bits) + rng__below(r, 1u << bits);
}

/* --- blocks ---------------------------------------------------------------------------------- */

static inline void block__mark(void *p, size_t size)
{
	((unsigned char *)p)[size - 1] = (unsigned char)(size * 167);
	*(size_t *)p = size;
}

static inline size_t block__check(const void *p)
{
	size_t size = *(const size_t *)p;

	WORK_CHECK(size == 8 || ((const unsigned char *)p)[size - 1] == (unsigned char)(size * 167));
	return size;
}

/* size: at least 8. */
static inline void *block__new(size_t size)
{
	void *p = malloc(size);

	if (!p)
		work__die("malloc");
	block__mark(p, size);
	work__my_made += size;
	return p;
}

/* As block__new(), and all of it written to. */
static WORK_UNUSED void *block__new_filled(size_t size)
{
	void *p = malloc(size);

	if (!p)
		work__die("malloc");
	memset(p, 0x5a, size);
	block__mark(p, size);
	work__my_made += size;
	return p;
}

static inline void block__drop(void *p)
{
	if (!p)
		return;
	work__my_dropped += block__check(p);
	free(p);
}

static WORK_UNUSED void *block__resize(void *p, size_t size)
{
	size_t old = block__check(p);

	work__my_dropped += old;
	p = realloc(p, size);
	if (!p)
		work__die("realloc");
	WORK_CHECK(*(size_t *)p == old);
	block__mark(p, size);
	work__my_made += size;
	return p;
}

/* --- threads --------------------------------------------------------------------------------- */

struct worker {
	pthread_t thread;
	unsigned index;
	void (*work)(unsigned index);
};

static WORK_UNUSED void *worker__main(void *arg)
{
	struct worker *w = arg;

	w->work(w->index);
	work__settle();
	return NULL;
}

/* Run work(0) to work(n - 1), each in a thread of its own, and wait for all. */
static WORK_UNUSED void work__parallel(unsigned n, void (*work)(unsigned index))
{
	struct worker workers[WORK_THREADS];

	WORK_CHECK(n <= WORK_THREADS);
	for (unsigned i = 0; i < n; i++) {
		workers[i] = (struct worker){.index = i, .work = work};
		errno = pthread_create(&workers[i].thread, NULL, worker__main, &workers[i]);
		WORK_CHECK(!errno);
	}
	for (unsigned i = 0; i < n; i++)
		pthread_join(workers[i].thread, NULL);
}

#endif /* WORK_H */
