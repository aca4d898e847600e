/* SPDX-License-Identifier: MIT */
/*
 * Random calls against a shadow heap. The shadow lives in static memory and knows of each live
 * block its bounds and its contents; no two blocks may overlap, no content may change, and what
 * the allocator says of itself must agree. ALLOC_SEED and ALLOC_STEPS repeat and lengthen a run.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/alloc/api.h"
#include "tests/alloc/case.h"
#include "tests/alloc/fill.h"

#define SLOTS 1500
#define THREADS 4
#define SHARED 256
#define VERIFY_EVERY 5000
/* With 1,500 slots some 50 MiB are live. */
#define BIG ((size_t)3 << 20)

struct slot {
	unsigned char *p; /* NULL: free */
	size_t size; /* asked for */
	size_t usable;
	size_t alignment; /* asked for; 0: none */
	uint64_t key;
};

struct heap {
	struct slot slots[SLOTS];
	/* The live blocks by address; only where one thread knows all. */
	struct {
		uintptr_t from, to;
	} order[SLOTS];
	size_t live;
	bool ordered;
	uint64_t rnd, next_key;
};

static size_t order__position(const struct heap *h, uintptr_t from)
{
	size_t low = 0, high = h->live;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (h->order[middle].from < from)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static void order__insert(struct heap *h, const struct slot *s)
{
	uintptr_t from = (uintptr_t)s->p, to = from + (s->usable ? s->usable : 1);
	size_t at;

	if (!h->ordered)
		return;
	at = order__position(h, from);
	CHECK_MSG(at == 0 || h->order[at - 1].to <= from, "block %#lx-%#lx begins inside %#lx-%#lx",
		  from, to, h->order[at - 1].from, h->order[at - 1].to);
	CHECK_MSG(at == h->live || to <= h->order[at].from, "block %#lx-%#lx ends inside %#lx-%#lx",
		  from, to, h->order[at].from, h->order[at].to);
	memmove(&h->order[at + 1], &h->order[at], (h->live - at) * sizeof(h->order[0]));
	h->order[at].from = from;
	h->order[at].to = to;
	h->live++;
}

static void order__remove(struct heap *h, const struct slot *s)
{
	size_t at;

	if (!h->ordered)
		return;
	at = order__position(h, (uintptr_t)s->p);
	CHECK(at < h->live && h->order[at].from == (uintptr_t)s->p);
	h->live--;
	memmove(&h->order[at], &h->order[at + 1], (h->live - at) * sizeof(h->order[0]));
}

/* Small sizes most of the time, each magnitude up to 1 MiB, rarely more. */
static size_t some_size(struct heap *h)
{
	size_t kind = rnd__below(&h->rnd, 1000);

	if (kind == 0)
		return rnd__below(&h->rnd, BIG);
	if (kind < 20)
		return 0;
	if (kind < 500)
		return rnd__below(&h->rnd, 256);
	return rnd__below(&h->rnd, (size_t)1 << (4 + rnd__below(&h->rnd, kind < 960 ? 12 : 17)));
}

static void check_slot(const struct slot *s)
{
	CHECK_MSG(fill__holds(s->p, s->usable, s->usable, s->key),
		  "block %p of %zu bytes (usable %zu) changed", (void *)s->p, s->size, s->usable);
	CHECK_EQ(A.malloc_usable_size(s->p), s->usable);
}

/* Takes a fresh or moved block into the shadow. */
static void adopt(struct heap *h, struct slot *s, void *p, size_t size, size_t alignment)
{
	CHECK_MSG(p, "no block of %zu bytes, alignment %zu: errno %d", size, alignment, errno);
	CHECK_MSG(((uintptr_t)p & 15) == 0 && (!alignment || ((uintptr_t)p & (alignment - 1)) == 0),
		  "%p of %zu bytes is not aligned to %zu", p, size, alignment);
	s->p = p;
	s->size = size;
	s->alignment = alignment;
	s->usable = A.malloc_usable_size(p);
	CHECK_LE(size, s->usable);
	s->key = h->next_key++;
	order__insert(h, s);
	fill__block(p, s->usable, s->key);
}

static void step__new(struct heap *h, struct slot *s)
{
	size_t size = some_size(h), count;
	size_t alignment = (size_t)8 << rnd__below(&h->rnd, rnd__below(&h->rnd, 8) ? 5 : 14);
	void *p = NULL;

	switch (rnd__below(&h->rnd, 12)) {
	case 0:
		p = A.calloc(1, size);
		CHECK(p && fill__is_zero(p, size));
		break;
	case 1:
		count = 1 + rnd__below(&h->rnd, 20);
		size = size / count * count;
		p = A.calloc(size / count, count);
		CHECK(p && fill__is_zero(p, size));
		break;
	case 2:
		p = A.aligned_alloc(alignment, size);
		adopt(h, s, p, size, alignment);
		return;
	case 3:
		CHECK_EQ(A.posix_memalign(&p, alignment, size + 1), 0);
		adopt(h, s, p, size + 1, alignment);
		return;
	case 4:
		p = rnd__below(&h->rnd, 10) ? A.memalign(alignment, size) : A.valloc(size);
		break;
	case 5:
		p = A.realloc(NULL, size);
		break;
	default:
		p = A.malloc(size);
	}
	adopt(h, s, p, size, 0);
}

static void step__free(struct heap *h, struct slot *s)
{
	check_slot(s);
	order__remove(h, s);
	if (A.free_sized && rnd__below(&h->rnd, 4) == 0) {
		if (s->alignment)
			A.free_aligned_sized(s->p, s->alignment, s->size);
		else
			A.free_sized(s->p, s->size);
	} else {
		A.free(s->p);
	}
	s->p = NULL;
}

static void step__resize(struct heap *h, struct slot *s)
{
	size_t size = rnd__below(&h->rnd, 2) ? some_size(h) :
					       s->size + rnd__below(&h->rnd, 2 + s->size / 4);
	size_t kept;
	void *p;

	if (size == 0)
		size = 1;
	kept = s->usable < size ? s->usable : size;
	check_slot(s);
	order__remove(h, s);
	p = rnd__below(&h->rnd, 5) ? A.realloc(s->p, size) : A.reallocarray(s->p, size, 1);
	CHECK_MSG(p, "realloc from %zu to %zu: errno %d", s->size, size, errno);
	CHECK_MSG(fill__holds(p, s->usable, kept, s->key), "realloc from %zu to %zu lost contents",
		  s->size, size);
	adopt(h, s, p, size, 0);
}

/* What the allocator says is in use covers what the shadow knows is. */
static void check_statistics(const struct heap *h)
{
	struct mallinfo2 info = A.mallinfo2();
	size_t bytes = 0;

	for (size_t i = 0; i < SLOTS; i++)
		if (h->slots[i].p)
			bytes += h->slots[i].size;
	CHECK_LE(bytes, info.uordblks + info.hblkhd);
	CHECK_LE(info.uordblks + info.fordblks, info.arena);
}

static void step(struct heap *h)
{
	struct slot *s = &h->slots[rnd__below(&h->rnd, SLOTS)];

	if (!s->p)
		step__new(h, s);
	else if (rnd__below(&h->rnd, 3))
		step__free(h, s);
	else
		step__resize(h, s);
}

static void drain(struct heap *h)
{
	for (size_t i = 0; i < SLOTS; i++)
		if (h->slots[i].p)
			step__free(h, &h->slots[i]);
}

static uint64_t seed(void)
{
	uint64_t fixed = env__number("ALLOC_SEED", 20240607);

	return fixed ? fixed : (uint64_t)time(NULL);
}

static unsigned long steps(unsigned long usual)
{
	unsigned long n = env__number("ALLOC_STEPS", usual);

	return 1 + n / env__number("ALLOC_SLOWNESS", 1);
}

static void one_thread(void)
{
	static struct heap h;
	unsigned long n = steps(400000);

	h.ordered = true;
	h.rnd = seed();
	for (unsigned long i = 1; i <= n; i++) {
		step(&h);
		if (i % VERIFY_EVERY == 0)
			A.verify();
		if (i % 50000 == 0)
			check_statistics(&h);
		if (i % 97001 == 0)
			A.malloc_trim(0);
		/* Now and then all is freed: pages become empty and are used for other sizes. */
		if (i % 150000 == 0)
			drain(&h);
	}
	drain(&h);
	A.verify();
	CHECK_EQ(h.live, 0);
}

/* All invariants after each single step; a small heap, or it would take hours. */
static void one_thread_verified_at_each_step(void)
{
	static struct heap h;
	unsigned long n = steps(6000);

	h.ordered = true;
	h.rnd = seed() + 1;
	for (unsigned long i = 1; i <= n; i++) {
		step(&h);
		A.verify();
		if (i % 2500 == 0)
			drain(&h);
	}
	drain(&h);
	A.verify();
}

/* Blocks that pass from thread to thread. */
static struct {
	atomic_flag busy;
	struct slot slot;
} shared[SHARED];

/* Swaps a slot with a shared one; the fill of the block says that it is still the same. */
static void step__exchange(struct heap *h)
{
	struct slot *mine = &h->slots[rnd__below(&h->rnd, SLOTS)], other;
	size_t at = rnd__below(&h->rnd, SHARED);

	if (atomic_flag_test_and_set_explicit(&shared[at].busy, memory_order_acquire))
		return;
	other = shared[at].slot;
	shared[at].slot = *mine;
	*mine = other;
	atomic_flag_clear_explicit(&shared[at].busy, memory_order_release);
	if (mine->p)
		check_slot(mine);
}

struct worker {
	struct heap heap;
	unsigned long steps;
	bool drains; /* else what it holds is left to its successor */
};

static void *work(void *arg)
{
	struct worker *w = arg;

	for (unsigned long i = 0; i < w->steps; i++) {
		step(&w->heap);
		if (i % 4 == 0)
			step__exchange(&w->heap);
	}
	if (w->drains)
		drain(&w->heap);
	return NULL;
}

/* Threads that end, with what they held freed or left to threads that come after them. */
static void many_threads(void)
{
	static struct worker w[THREADS];
	unsigned long rounds = 12;
	pthread_t thread[THREADS];

	for (size_t t = 0; t < THREADS; t++) {
		w[t].heap.rnd = seed() + 1000 * (t + 1);
		w[t].heap.next_key = (uint64_t)t << 40;
	}
	for (unsigned long round = 0; round < rounds; round++) {
		for (size_t t = 0; t < THREADS; t++) {
			w[t].steps = steps(240000) / rounds;
			w[t].drains = (round + t) % 3 == 0;
			CHECK_EQ(pthread_create(&thread[t], NULL, work, &w[t]), 0);
		}
		for (size_t t = 0; t < THREADS; t++)
			CHECK_EQ(pthread_join(thread[t], NULL), 0);
		A.verify();
	}
	for (size_t t = 0; t < THREADS; t++)
		drain(&w[t].heap);
	for (size_t i = 0; i < SHARED; i++) {
		if (shared[i].slot.p) {
			check_slot(&shared[i].slot);
			A.free(shared[i].slot.p);
		}
	}
	A.verify();
}

#ifdef MT_TEST
/* Writes over what links the freed block to the next one. */
static void break_a_list(void *arg)
{
	void **first = A.malloc(48), *second = A.malloc(48);

	(void)arg;
	A.verify();
	A.free(second);
	A.free(first);
	*first = second;
	A.verify();
}

/* The walk does look. */
static void a_broken_heap_is_seen(void)
{
	struct outcome out;

	child__run(break_a_list, NULL, &out);
	outcome__check_trap(&out, NULL, "verify");
}
#endif

static const struct test_case cases[] = {
#ifdef MT_TEST
	CASE(a_broken_heap_is_seen),
#endif
	CASE(one_thread),
	CASE(one_thread_verified_at_each_step),
	CASE(many_threads),
};

CASES_MAIN(cases)
