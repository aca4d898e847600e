/* SPDX-License-Identifier: MIT */
/*
 * peak SHAPE [MIB]: a live set of a sixteenth of MIB (1,024) that stays, then MIB
 * of blocks made, written to and all freed again; then it waits and does
 * nothing. At each stage it prints a word and reads a line: "live" (the live
 * set is there), "peak", "freed", "trimmed" (after malloc_trim(0)).
 *
 *   small    16 to 1,023 bytes, freed in order
 *   mixed    16 bytes to 64 KiB, freed in random order
 *   pinned   as mixed, and one small block made after all the others stays
 *   large    1 to 25 MiB
 *   threads  mixed, made and freed by four threads, which then wait too
 *   crossed  mixed, made by four threads, freed by the main thread
 */
#include "tests/bench/alloc/work.h"

#include <malloc.h>
#include <sys/mman.h>

#define PEAK_THREADS 4

struct share {
	void **blocks;
	size_t count, capacity;
};

static struct share shares[PEAK_THREADS], stay;
static pthread_barrier_t made, told, freed, over;
static size_t peak_bytes;
static const char *shape;

static bool shape_is(const char *name)
{
	return !strcmp(shape, name);
}

static size_t any_size(struct rng *r)
{
	if (shape_is("small"))
		return rng__skewed(r, 4, 10);
	if (shape_is("large"))
		return rng__between(r, 1 << 20, 25 << 20);
	return rng__skewed(r, 4, 16);
}

/* Room for pointers, from the kernel itself: it is no part of what is measured. */
static void prepare(struct share *s, size_t bytes)
{
	s->capacity = bytes / 16;
	s->blocks = mmap(NULL, s->capacity * sizeof(*s->blocks), PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	WORK_CHECK(s->blocks != MAP_FAILED);
}

static void fill(struct share *s, size_t bytes, struct rng *rng)
{
	for (size_t done = 0; done < bytes && s->count < s->capacity;) {
		size_t size = any_size(rng);

		s->blocks[s->count++] = block__new_filled(size);
		done += size;
	}
}

static void shuffle(struct share *s, struct rng *rng)
{
	for (size_t i = s->count; i > 1; i--) {
		size_t k = rng__below(rng, (uint32_t)i);
		void *p = s->blocks[k];

		s->blocks[k] = s->blocks[i - 1];
		s->blocks[i - 1] = p;
	}
}

static void empty(struct share *s, struct rng *rng)
{
	if (!shape_is("small"))
		shuffle(s, rng);
	for (size_t i = 0; i < s->count; i++)
		block__drop(s->blocks[i]);
	munmap(s->blocks, s->capacity * sizeof(*s->blocks));
}

static void stage(const char *name)
{
	char c;

	WORK_CHECK(dprintf(1, "%s\n", name) > 0);
	do
		WORK_CHECK(read(0, &c, 1) == 1);
	while (c != '\n');
}

static void *thread(void *arg)
{
	struct share *s = arg;
	struct rng rng = rng__seed((uint64_t)(s - shares) + 700);

	fill(s, peak_bytes / PEAK_THREADS, &rng);
	pthread_barrier_wait(&made);
	pthread_barrier_wait(&told);
	if (shape_is("threads"))
		empty(s, &rng);
	pthread_barrier_wait(&freed);
	pthread_barrier_wait(&over);
	work__settle();
	return NULL;
}

static void in_threads(struct rng *rng)
{
	pthread_t threads[PEAK_THREADS];

	pthread_barrier_init(&made, NULL, PEAK_THREADS + 1);
	pthread_barrier_init(&told, NULL, PEAK_THREADS + 1);
	pthread_barrier_init(&freed, NULL, PEAK_THREADS + 1);
	pthread_barrier_init(&over, NULL, PEAK_THREADS + 1);
	for (unsigned i = 0; i < PEAK_THREADS; i++) {
		prepare(&shares[i], peak_bytes / PEAK_THREADS);
		errno = pthread_create(&threads[i], NULL, thread, &shares[i]);
		WORK_CHECK(!errno);
	}
	pthread_barrier_wait(&made);
	stage("peak");
	pthread_barrier_wait(&told);
	if (shape_is("crossed"))
		for (unsigned i = 0; i < PEAK_THREADS; i++)
			empty(&shares[i], rng);
	pthread_barrier_wait(&freed);
	stage("freed");
	malloc_trim(0);
	stage("trimmed");
	pthread_barrier_wait(&over);
	for (unsigned i = 0; i < PEAK_THREADS; i++)
		pthread_join(threads[i], NULL);
}

int main(int argc, char **argv)
{
	struct rng rng = rng__seed(12);
	void *pin = NULL;

	shape = argc > 1 ? argv[1] : "mixed";
	peak_bytes = (argc > 2 ? strtoul(argv[2], NULL, 10) : 1024) << 20;
	prepare(&stay, peak_bytes / 16);
	fill(&stay, peak_bytes / 16, &rng);
	stage("live");
	if (shape_is("threads") || shape_is("crossed")) {
		in_threads(&rng);
	} else {
		prepare(&shares[0], peak_bytes);
		fill(&shares[0], peak_bytes, &rng);
		if (shape_is("pinned"))
			pin = block__new(100);
		stage("peak");
		empty(&shares[0], &rng);
		stage("freed");
		malloc_trim(0);
		stage("trimmed");
	}
	block__drop(pin);
	empty(&stay, &rng);
	return work__end();
}
