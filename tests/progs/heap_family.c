// FLAGS: -fno-builtin
/* SPDX-License-Identifier: MIT */
/*
 * Every function of the malloc family a known number of times with known sizes, from four
 * threads, or as many as the argument says: what it asked for, what lives at the end, as it
 * counts it itself. What one thread allocates the next one frees.
 *
 * The threads are there before the phase and stay until it is over, since a C library allocates
 * for a thread too.
 */
#include <malloc.h>
#include <pthread.h>

#include "prog.h"

#define THREADS 4 /* at most */
#define ROUNDS 200

struct tally {
	unsigned long calls[8]; /* malloc calloc realloc reallocarray aligned posix free failed */
	unsigned long bytes, live_blocks, live_bytes;
};

enum { MALLOC, CALLOC, REALLOC, REALLOCARRAY, ALIGNED, POSIX, FREE, FAILED };

static struct tally tallies[THREADS];
static void *handed[THREADS][ROUNDS];
static size_t handed_bytes[THREADS][ROUNDS];
static pthread_barrier_t barrier;
static unsigned nthreads;

/* What the compiler must not see through. */
static void *keep(void *p)
{
	__asm__ volatile("" : "+r"(p) : : "memory");
	return p;
}

static void *took(struct tally *t, int which, void *p, size_t bytes)
{
	t->calls[which]++;
	t->bytes += bytes;
	if (!keep(p))
		prog__die("allocation");
	t->live_blocks++;
	t->live_bytes += bytes;
	return p;
}

static void gave(struct tally *t, void *p, size_t bytes)
{
	free(keep(p));
	t->calls[FREE]++;
	t->live_blocks--;
	t->live_bytes -= bytes;
}

static void one_round(struct tally *t, unsigned self, size_t i)
{
	size_t size = 16 + 7 * i;
	void *a = took(t, MALLOC, malloc(size), size), *b, *c, *d, *e, *f;

	b = took(t, CALLOC, calloc(i + 1, 24), 24 * (i + 1));
	t->live_blocks--;
	t->live_bytes -= size;
	a = took(t, REALLOC, realloc(keep(a), size + 3000), size + 3000);
	c = took(t, REALLOCARRAY, reallocarray(NULL, i + 1, 40), 40 * (i + 1));
	d = took(t, ALIGNED, aligned_alloc(64, 128), 128);
	e = took(t, ALIGNED, memalign(256, size), size);
	if (posix_memalign(&f, 512, size))
		prog__die("posix_memalign");
	took(t, POSIX, f, size);
	free(keep(NULL));
	gave(t, b, 24 * (i + 1));
	gave(t, d, 128);
	gave(t, e, size);
	/* Every tenth of two kinds is leaked; the others go to the next thread. */
	if (i % 10)
		gave(t, c, 40 * (i + 1));
	if (i % 10 != 5)
		gave(t, f, size);
	handed[self][i] = a;
	handed_bytes[self][i] = size + 3000;
}

static void *run(void *number)
{
	unsigned self = (unsigned)(uintptr_t)number, from = (self + 1) % nthreads;
	struct tally *t = &tallies[self];

	pthread_barrier_wait(&barrier);
	for (size_t i = 0; i < ROUNDS; i++)
		one_round(t, self, i);
	if (keep(malloc((size_t)1 << 62)))
		prog__die("a failing malloc");
	t->calls[MALLOC]++;
	t->calls[FAILED]++;
	pthread_barrier_wait(&barrier);
	for (size_t i = 0; i < ROUNDS; i++)
		gave(t, handed[from][i], handed_bytes[from][i]);
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier); /* until the tracer has gone */
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t threads[THREADS];
	struct tally sum = {0};

	prog__start(&argc, &argv);
	nthreads = prog__number(argc, argv, 1, THREADS);
	if (nthreads < 1 || nthreads > THREADS)
		return 2;
	pthread_barrier_init(&barrier, NULL, nthreads + 1);
	for (uintptr_t i = 0; i < nthreads; i++)
		if (pthread_create(&threads[i], NULL, run, (void *)i))
			prog__die("pthread_create");
	prog__ready();
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	for (unsigned i = 0; i < nthreads; i++) {
		for (unsigned j = 0; j < 8; j++)
			sum.calls[j] += tallies[i].calls[j];
		sum.bytes += tallies[i].bytes;
		sum.live_blocks += tallies[i].live_blocks;
		sum.live_bytes += tallies[i].live_bytes;
	}
	prog__print("{\"malloc\": %lu, \"calloc\": %lu, \"realloc\": %lu, \"reallocarray\": %lu, "
		    "\"aligned\": %lu, \"posix_memalign\": %lu, \"free\": %lu, \"failed\": %lu, "
		    "\"bytes\": %lu, \"live_blocks\": %lu, \"live_bytes\": %lu}\n",
		    sum.calls[MALLOC], sum.calls[CALLOC], sum.calls[REALLOC],
		    sum.calls[REALLOCARRAY], sum.calls[ALIGNED], sum.calls[POSIX], sum.calls[FREE],
		    sum.calls[FAILED], sum.bytes, sum.live_blocks, sum.live_bytes);
	prog__end();
	pthread_barrier_wait(&barrier);
	for (unsigned i = 0; i < nthreads; i++)
		pthread_join(threads[i], NULL);
	return 0;
}
