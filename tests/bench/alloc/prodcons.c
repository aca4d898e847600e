/* SPDX-License-Identifier: MIT */
/*
 * Producers and consumers: one half of the threads only makes blocks, the
 * other half only frees them, through a queue of bounded length.
 */
#include "tests/bench/alloc/work.h"

#define BATCH 64
#define QUEUE 256

struct batch {
	unsigned count;
	void *blocks[BATCH];
};

static struct {
	pthread_mutex_t lock;
	pthread_cond_t filled, emptied;
	struct batch ring[QUEUE];
	size_t head, tail;
	unsigned producers;
} queue = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, PTHREAD_COND_INITIALIZER, .head = 0};

static unsigned pairs;
static size_t batches;

static void put(const struct batch *b)
{
	pthread_mutex_lock(&queue.lock);
	while (queue.head - queue.tail == QUEUE)
		pthread_cond_wait(&queue.emptied, &queue.lock);
	queue.ring[queue.head++ % QUEUE] = *b;
	pthread_cond_signal(&queue.filled);
	pthread_mutex_unlock(&queue.lock);
}

/* false: nothing more will come. */
static bool get(struct batch *b)
{
	bool there;

	pthread_mutex_lock(&queue.lock);
	while (queue.head == queue.tail && queue.producers)
		pthread_cond_wait(&queue.filled, &queue.lock);
	there = queue.head != queue.tail;
	if (there)
		*b = queue.ring[queue.tail++ % QUEUE];
	pthread_cond_signal(&queue.emptied);
	pthread_mutex_unlock(&queue.lock);
	return there;
}

static void produce(unsigned index)
{
	struct rng rng = rng__seed(200 + index);

	for (size_t i = 0; i < batches; i++) {
		struct batch b = {.count = BATCH};

		for (unsigned k = 0; k < BATCH; k++)
			b.blocks[k] = block__new(rng__skewed(&rng, 4, 9));
		put(&b);
	}
	pthread_mutex_lock(&queue.lock);
	queue.producers--;
	pthread_cond_broadcast(&queue.filled);
	pthread_mutex_unlock(&queue.lock);
}

static void consume(void)
{
	struct batch b;

	while (get(&b))
		for (unsigned k = 0; k < b.count; k++)
			block__drop(b.blocks[k]);
}

static void work(unsigned index)
{
	if (index < pairs)
		produce(index);
	else
		consume();
}

int main(int argc, char **argv)
{
	work__start(argc, argv);
	pairs = work__threads > 1 ? work__threads / 2 : 1;
	batches = work__scaled(6000000) / BATCH / pairs + 1;
	queue.producers = pairs;
	work__parallel(2 * pairs, work);
	return work__end();
}
