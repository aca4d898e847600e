// FLAGS: -fno-builtin
/* SPDX-License-Identifier: MIT */
/*
 * Threads that allocate before anybody looks: blocks of many sizes, of which every third is freed, so
 * that all of malloc's lists of free ones have some; and large ones. Then they wait, as does the
 * program. Arguments: threads beside the first, blocks of each (1, which is freed again, for comparison),
 * 1: to move the break by itself in the end; 2: each thread goes on to a second heap of its arena, and
 * leaves 48 bytes of the first one, too few for malloc to free them; 3: the first thread frees in the
 * others' stead, half of which end before.
 */
#include <malloc.h>
#include <pthread.h>

#include "prog.h"

#define LARGE 200000
#define BLOCKS_MAX 100000
#define HEAP_BYTES (64UL << 20) /* of an arena that is not the first */
#define STEP 50000UL

#define THREADS_MAX 16

static unsigned long blocks, more, live, bytes;
static void **made_by[THREADS_MAX];
static pthread_barrier_t done;
static int hold[2];

static void keep(void *block)
{
	__atomic_add_fetch(&live, 1, __ATOMIC_RELAXED);
	__atomic_add_fetch(&bytes, malloc_usable_size(block), __ATOMIC_RELAXED);
}

static size_t size_of(unsigned long i, uint64_t random)
{
	if (i % 50 == 0)
		return LARGE + i * 100;
	return i % 50 == 25 ? 17000 + i * 17 % 100000 : random % 3000;
}

static void **fill(bool keeps_all)
{
	void **made = calloc(blocks, sizeof(*made));
	uint64_t r = 1;

	if (!made)
		prog__die("calloc");
	keep(made);
	for (unsigned long i = 0; i < blocks; i++) {
		r = r * 6364136223846793005ULL + 1442695040888963407ULL;
		made[i] = malloc(size_of(i, r >> 33));
		if (!made[i])
			prog__die("malloc");
	}
	for (unsigned long i = 0; i < blocks; i++)
		if (i % 3)
			keep(made[i]);
		else if (!keeps_all)
			free(made[i]);
	return made;
}

static void free_every_third(void **made)
{
	for (unsigned long i = 0; i < blocks; i += 3)
		free(made[i]);
}

static char *kept(size_t size)
{
	char *p = malloc(size);

	if (!p)
		prog__die("malloc");
	keep(p);
	return p;
}

static void leave_a_heap(void)
{
	uintptr_t end = ((uintptr_t)kept(STEP) | (HEAP_BYTES - 1)) + 1, top;

	do {
		char *p = kept(STEP);

		top = (uintptr_t)p + malloc_usable_size(p) - sizeof(size_t);
	} while (end - top > 2 * STEP);
	/* With its header it takes all but those. */
	kept(end - top - 48 - sizeof(size_t));
	kept(STEP);
}

static void *work(void *arg)
{
	uintptr_t number = (uintptr_t)arg;
	char c;

	if (more == 2 && blocks > 1)
		leave_a_heap();
	made_by[number] = fill(more == 3);
	pthread_barrier_wait(&done);
	if (more == 3 && number % 2)
		return NULL;
	/* Until the program ends: a thread that ends empties its cache. */
	while (read(hold[0], &c, 1) > 0)
		continue;
	return arg;
}

int main(int argc, char **argv)
{
	pthread_t t[THREADS_MAX];
	unsigned long threads;

	prog__start(&argc, &argv);
	threads = prog__number(argc, argv, 1, 2);
	blocks = prog__number(argc, argv, 2, 1000);
	more = prog__number(argc, argv, 3, 0);
	if (blocks > BLOCKS_MAX || threads > THREADS_MAX || pipe(hold) ||
	    pthread_barrier_init(&done, NULL, (unsigned)threads + 1))
		prog__die("too much");
	for (uintptr_t i = 0; i < threads; i++)
		if (pthread_create(&t[i], NULL, work, (void *)i))
			prog__die("pthread_create");
	fill(false);
	pthread_barrier_wait(&done);
	for (unsigned long i = 0; more == 3 && i < threads; i++) {
		if (i % 2)
			pthread_join(t[i], NULL);
		free_every_third(made_by[i]);
	}
	if (more == 1 && sbrk(PROG_PAGE) == (void *)-1)
		prog__die("sbrk");
	prog__ready();
	free(malloc(10));
	prog__print("{\"blocks\":%lu,\"bytes\":%lu}\n", live, bytes);
	prog__end();
	return 0;
}
