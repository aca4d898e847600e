/* SPDX-License-Identifier: MIT */
/*
 * Threads that allocate before anybody looks: blocks of many sizes, of which every third is freed, so
 * that all of malloc's lists of free ones have some; and large ones. Then they wait, as does the
 * program. Arguments: threads beside the first, blocks of each (1, which is freed again, for comparison),
 * 1: to move the break by itself in the end; 2: each thread goes on to a second heap of its arena, and
 * leaves 48 bytes of the first one, too few for malloc to free them.
 */
#include <malloc.h>
#include <pthread.h>

#include "prog.h"

#define LARGE 200000
#define BLOCKS_MAX 100000
#define HEAP_BYTES (64UL << 20) /* of an arena that is not the first */
#define STEP 50000UL

static unsigned long blocks, live, bytes;
static pthread_barrier_t done;
static int hold[2];

static void keep(void *block)
{
	__atomic_add_fetch(&live, 1, __ATOMIC_RELAXED);
	__atomic_add_fetch(&bytes, malloc_usable_size(block), __ATOMIC_RELAXED);
}

static void fill(void)
{
	static __thread void *made[BLOCKS_MAX];
	uint64_t r = 1;

	for (unsigned long i = 0; i < blocks; i++) {
		r = r * 6364136223846793005ULL + 1442695040888963407ULL;
		made[i] = malloc(i % 50 ? (r >> 33) % 3000 : LARGE + i * 100);
		if (!made[i])
			prog__die("malloc");
	}
	for (unsigned long i = 0; i < blocks; i++)
		if (i % 3)
			keep(made[i]);
		else
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
	char c;

	if (arg && blocks > 1)
		leave_a_heap();
	fill();
	pthread_barrier_wait(&done);
	/* Until the program ends: a thread that ends empties its cache. */
	while (read(hold[0], &c, 1) > 0)
		continue;
	return arg;
}

int main(int argc, char **argv)
{
	unsigned long threads, more;
	pthread_t t;

	prog__start(&argc, &argv);
	threads = prog__number(argc, argv, 1, 2);
	blocks = prog__number(argc, argv, 2, 1000);
	more = prog__number(argc, argv, 3, 0);
	if (blocks > BLOCKS_MAX || pipe(hold) ||
	    pthread_barrier_init(&done, NULL, (unsigned)threads + 1))
		prog__die("too much");
	for (unsigned long i = 0; i < threads; i++)
		if (pthread_create(&t, NULL, work, more == 2 ? &t : NULL))
			prog__die("pthread_create");
	fill();
	pthread_barrier_wait(&done);
	if (more == 1 && sbrk(PROG_PAGE) == (void *)-1)
		prog__die("sbrk");
	prog__ready();
	prog__print("{\"blocks\":%lu,\"bytes\":%lu}\n", live, bytes);
	prog__end();
	return 0;
}
