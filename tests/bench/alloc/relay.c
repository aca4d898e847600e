/* SPDX-License-Identifier: MIT */
/*
 * Threads in a ring: each makes batches of blocks for the next one and frees
 * what it gets from the one before. Every block is freed by a thread that did
 * not make it, and each thread does both. Third argument "far": larger
 * blocks, a part of which stays with its maker for a while.
 */
#include "tests/bench/alloc/work.h"

#define BATCH 120
#define AHEAD 64 /* batches on their way to a thread, at most */
#define KEPT 512

struct batch {
	struct batch *next;
	void *blocks[BATCH];
};

struct inbox {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct batch *first, **last;
	unsigned length;
};

static struct inbox inboxes[WORK_THREADS];
static size_t batches;
static bool far;

static void send(struct inbox *to, struct batch *b)
{
	b->next = NULL;
	pthread_mutex_lock(&to->lock);
	*to->last = b;
	to->last = &b->next;
	to->length++;
	pthread_cond_signal(&to->changed);
	pthread_mutex_unlock(&to->lock);
}

/* wait: until there is one. */
static struct batch *receive(struct inbox *in, bool wait)
{
	struct batch *b;

	pthread_mutex_lock(&in->lock);
	while (wait && !in->first)
		pthread_cond_wait(&in->changed, &in->lock);
	b = in->first;
	if (b) {
		in->first = b->next;
		if (!in->first)
			in->last = &in->first;
		in->length--;
	}
	pthread_mutex_unlock(&in->lock);
	return b;
}

static void drop_batch(struct batch *b)
{
	for (unsigned i = 0; i < BATCH; i++)
		block__drop(b->blocks[i]);
	free(b);
}

static struct batch *make_batch(struct rng *rng, void **kept)
{
	struct batch *b = malloc(sizeof(*b));

	WORK_CHECK(b);
	for (unsigned i = 0; i < BATCH; i++) {
		b->blocks[i] = block__new(far ? rng__skewed(rng, 4, 13) : rng__skewed(rng, 3, 8));
		if (far && i % 4 == 0) {
			void **slot = &kept[rng__below(rng, KEPT)], *old = *slot;

			*slot = b->blocks[i];
			b->blocks[i] = old;
		}
	}
	return b;
}

static void work(unsigned index)
{
	struct inbox *in = &inboxes[index], *to = &inboxes[(index + 1) % work__threads];
	struct rng rng = rng__seed(400 + index);
	void *kept[KEPT] = {NULL};
	size_t got = 0;

	for (size_t sent = 0; sent < batches; sent++) {
		struct batch *b;

		send(to, make_batch(&rng, kept));
		while (got < batches && (b = receive(in, sent >= got + AHEAD))) {
			drop_batch(b);
			got++;
		}
	}
	for (; got < batches; got++)
		drop_batch(receive(in, true));
	for (size_t i = 0; i < KEPT; i++)
		block__drop(kept[i]);
}

int main(int argc, char **argv)
{
	work__start(argc, argv);
	far = argc > 3 && !strcmp(argv[3], "far");
	batches = work__scaled(far ? 1500000 : 8000000) / BATCH / work__threads + 1;
	for (unsigned i = 0; i < work__threads; i++) {
		pthread_mutex_init(&inboxes[i].lock, NULL);
		pthread_cond_init(&inboxes[i].changed, NULL);
		inboxes[i].last = &inboxes[i].first;
	}
	work__parallel(work__threads, work);
	return work__end();
}
