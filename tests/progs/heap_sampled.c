// FLAGS: -fno-builtin
/* SPDX-License-Identifier: MIT */
/*
 * Every way to a block and back, by several threads and a child: blocks that are resized, freed by another
 * thread than the one that made them, freed by the child of a fork. In the end none of them lives.
 * Each is of 48 bytes at least, so that one sample in a byte is each of them. Blocks are resized by
 * one thread alone: when a realloc frees is known to no more than its duration. Arguments: threads, blocks
 * of each, whether there is a child.
 */
#include <pthread.h>

#include "prog.h"

#define LEAST 48
#define INHERITED 1000

static unsigned long threads, blocks;
static void **shared; /* blocks to be freed by the next thread */
static pthread_barrier_t made_all;

struct counts {
	unsigned long made, bytes, moved, freed;
};
static struct counts *all; /* of every process */

static PROG_NOINLINE void *own_make(unsigned long i, struct counts *c)
{
	size_t size = LEAST + i % 400;
	void *p = NULL;

	switch (i % 6) {
	case 0:
		p = calloc(3, size);
		size *= 3;
		break;
	case 1:
		p = aligned_alloc(64, size = (size + 63) & ~63UL);
		break;
	case 2:
		if (posix_memalign(&p, 256, size))
			p = NULL;
		break;
	case 3:
		p = realloc(NULL, size);
		break;
	default:
		p = malloc(size);
	}
	if (!p)
		prog__die("own_make");
	c->made++;
	c->bytes += size;
	return p;
}

static PROG_NOINLINE void *own_resize(void *p, size_t size, struct counts *c)
{
	p = size % 2 ? realloc(p, size) : reallocarray(p, 2, size / 2);
	if (!p)
		prog__die("own_resize");
	c->moved++;
	c->bytes += size;
	return p;
}

static PROG_NOINLINE void own_free(void *p, struct counts *c)
{
	free(p);
	c->freed++;
}

static void add(const struct counts *c)
{
	__atomic_add_fetch(&all->made, c->made, __ATOMIC_RELAXED);
	__atomic_add_fetch(&all->bytes, c->bytes, __ATOMIC_RELAXED);
	__atomic_add_fetch(&all->moved, c->moved, __ATOMIC_RELAXED);
	__atomic_add_fetch(&all->freed, c->freed, __ATOMIC_RELAXED);
}

static void *pass_on(void *arg)
{
	unsigned long self = (unsigned long)arg;
	struct counts c = {0};

	for (unsigned long i = 0; i < blocks; i++)
		own_free(own_make(i, &c), &c);
	for (unsigned long i = 0; i < blocks; i++)
		shared[self * blocks + i] = own_make(i, &c);
	pthread_barrier_wait(&made_all);
	for (unsigned long i = 0; i < blocks; i++)
		own_free(shared[(self + 1) % threads * blocks + i], &c);
	add(&c);
	return NULL;
}

/* Each block through sizes up and down. */
static void resize(void)
{
	static const size_t sizes[] = {64, 5000, 49, 300000, 100, 70};
	struct counts c = {0};

	for (unsigned long i = 0; i < blocks / 10; i++) {
		void *p = own_make(i, &c);

		for (size_t k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++)
			p = own_resize(p, sizes[k], &c);
		own_free(p, &c);
	}
	add(&c);
}

/* A child frees what it has inherited, and so does its parent. */
static void inherit(void)
{
	static void *kept[INHERITED];
	struct counts c = {0};
	int status;
	pid_t pid;

	for (unsigned long i = 0; i < INHERITED; i++)
		kept[i] = own_make(i, &c);
	add(&c);
	c = (struct counts){0};
	pid = fork();
	if (pid < 0)
		prog__die("fork");
	for (unsigned long i = 0; i < INHERITED; i++) {
		own_free(kept[i], &c);
		own_free(own_make(i, &c), &c);
	}
	add(&c);
	if (!pid)
		_exit(0);
	if (waitpid(pid, &status, 0) != pid || status)
		prog__die("child");
}

int main(int argc, char **argv)
{
	pthread_t thread[64];

	prog__start(&argc, &argv);
	threads = prog__number(argc, argv, 1, 4);
	blocks = prog__number(argc, argv, 2, 1000);
	if (threads > sizeof(thread) / sizeof(thread[0]))
		return 1;
	all = mmap(NULL, PROG_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	shared = mmap(NULL, threads * blocks * sizeof(*shared), PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (all == MAP_FAILED || shared == MAP_FAILED)
		prog__die("mmap");
	pthread_barrier_init(&made_all, NULL, (unsigned)threads);
	prog__ready();
	resize();
	if (prog__number(argc, argv, 3, 1))
		inherit();
	for (unsigned long i = 0; i < threads; i++)
		if (pthread_create(&thread[i], NULL, pass_on, (void *)i))
			prog__die("pthread_create");
	for (unsigned long i = 0; i < threads; i++)
		pthread_join(thread[i], NULL);
	prog__print("{\"made\":%lu,\"moved\":%lu,\"bytes\":%lu,\"freed\":%lu}\n", all->made,
		    all->moved, all->bytes, all->freed);
	prog__end();
	return 0;
}
