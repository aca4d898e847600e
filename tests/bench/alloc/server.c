/* SPDX-License-Identifier: MIT */
/*
 * Server threads that pass blocks on: chains of threads, each of which takes
 * over its predecessor's blocks, replaces them at random many times and ends
 * with starting its successor. Blocks are freed by another thread than the one
 * that made them, which is gone by then.
 */
#include "tests/bench/alloc/work.h"

#define SLOTS 1000
#define GENERATIONS 40

struct chain {
	pthread_t previous;
	unsigned generation;
	struct rng rng;
	pthread_barrier_t *over;
	void *slots[SLOTS];
};

static size_t turns;

static void *serve(void *arg)
{
	struct chain *c = arg;
	pthread_t self = pthread_self();

	if (c->generation)
		pthread_join(c->previous, NULL);
	for (size_t i = 0; i < turns; i++) {
		size_t at = rng__below(&c->rng, SLOTS);

		block__drop(c->slots[at]);
		c->slots[at] = block__new(rng__between(&c->rng, 10, 500));
	}
	work__settle();
	c->previous = self;
	if (++c->generation < GENERATIONS) {
		pthread_t next;

		errno = pthread_create(&next, NULL, serve, c);
		WORK_CHECK(!errno);
	} else {
		pthread_barrier_wait(c->over);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	static struct chain chains[WORK_THREADS];
	pthread_barrier_t over;

	work__start(argc, argv);
	turns = work__scaled(12000000) / GENERATIONS / work__threads + 1;
	WORK_CHECK(!pthread_barrier_init(&over, NULL, work__threads + 1));
	for (unsigned i = 0; i < work__threads; i++) {
		pthread_t first;

		chains[i].rng = rng__seed(100 + i);
		chains[i].over = &over;
		errno = pthread_create(&first, NULL, serve, &chains[i]);
		WORK_CHECK(!errno);
	}
	pthread_barrier_wait(&over);
	for (unsigned i = 0; i < work__threads; i++) {
		pthread_join(chains[i].previous, NULL);
		for (size_t k = 0; k < SLOTS; k++)
			block__drop(chains[i].slots[k]);
	}
	return work__end();
}
