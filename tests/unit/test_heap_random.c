/* SPDX-License-Identifier: MIT */
/*
 * Threads that allocate, free and realloc at random, as an allocator with a lock would serve
 * them: each call has a beginning, a moment at which it takes or gives back memory, and an
 * end, and other threads do theirs in between. An address that was given back is the next
 * to be given out. Records go to the model as the kernel side would send them; what lives is
 * kept in plain arrays, and is the same whenever no call is under way.
 *
 * HEAP_OPERATIONS sets how many, HEAP_SEED what they are.
 */
#include <stdio.h>

#include "tests/unit/dice.h"
#include "tests/unit/heap_lib.h"

#define OPERATIONS 10000000
#define THREADS 8
#define SITES 40
#define SLOTS 20000 /* addresses */
#define GRAIN 48
#define NONE UINT32_MAX

enum phase { IDLE, BEGUN, DONE };

struct thread {
	enum phase phase;
	unsigned op, site;
	uint64_t size, start;
	uint32_t arg, result; /* slots */
	unsigned old_site; /* of the block at arg: its place may have a new one before we end */
	uint64_t old_size;
	bool fails;
};

/* What the program holds. */
static uint64_t size_of[SLOTS];
static uint8_t site_in[SLOTS];
static uint32_t held[SLOTS], held_at[SLOTS],
	nheld; /* slots that it may free, and where they are in it */

/* What the allocator has to give: the last that came back first. */
static uint32_t spare[SLOTS], nspare;

static struct thread threads[THREADS];
static uint64_t live_blocks, live_bytes, site_bytes[SITES + 1], calls[HEAP_OPS], failed, requested;

static uint64_t addr_of(uint32_t slot)
{
	return slot == NONE ? 0 : MMAP + (uint64_t)slot * GRAIN;
}

static void hold(uint32_t slot, uint64_t size, unsigned site)
{
	size_of[slot] = size;
	site_in[slot] = site;
	held_at[slot] = nheld;
	held[nheld++] = slot;
	live_blocks++;
	live_bytes += size;
	site_bytes[site] += size;
}

/* The program lets go of a block: nobody else frees it. */
static uint32_t let_go(uint32_t slot)
{
	uint32_t last = held[--nheld];

	held[held_at[slot]] = last;
	held_at[last] = held_at[slot];
	return slot;
}

static void forget(const struct thread *t)
{
	live_blocks--;
	live_bytes -= t->old_size;
	site_bytes[t->old_site] -= t->old_size;
}

static void send(const struct thread *t, unsigned tid, bool ended)
{
	struct heap_call c = {.op = t->op, .tid = tid, .arg = addr_of(t->arg), .start = t->start};

	if (t->op != HEAP_FREE) {
		c.size = t->size;
		c.stack = t->site;
		c.result = addr_of(t->result);
		c.flags = t->fails ? HEAP_FAILED : 0;
	}
	if (!ended) {
		c.start = 0;
		now--; /* the clock stood still since the call began */
	}
	heap_call(c);
}

static void thread__begin(struct thread *t, unsigned tid, bool growing)
{
	unsigned what = dice(100), frees = growing ? 35 : 65;

	*t = (struct thread){.phase = BEGUN, .arg = NONE, .result = NONE, .start = ++now};
	t->size = dice(20) ? dice(500) : dice(1 << 20);
	t->site = 1 + dice(SITES);
	t->fails = !dice(200);
	t->op = dice(10) ? HEAP_MALLOC : HEAP_CALLOC;
	if (what >= frees + 15 || !nheld) {
		;
	} else if (what < frees) {
		t->op = HEAP_FREE;
		t->fails = false;
		t->arg = let_go(held[dice(4) ? nheld - 1 : dice(nheld)]);
	} else {
		t->op = HEAP_REALLOC;
		t->arg = let_go(held[dice(nheld)]);
	}
	if (t->arg != NONE) {
		t->old_size = size_of[t->arg];
		t->old_site = site_in[t->arg];
	}
	if (t->op == HEAP_FREE) {
		forget(t);
		send(t, tid, false);
	}
	calls[t->op]++;
}

/* The moment at which memory changes hands. */
static void thread__act(struct thread *t)
{
	t->phase = DONE;
	if (t->op == HEAP_FREE) {
		spare[nspare++] = t->arg;
		return;
	}
	t->fails |= !nspare;
	if (t->fails)
		return;
	if (t->op == HEAP_REALLOC && dice(2)) {
		t->result = t->arg;
		return;
	}
	t->result = spare[--nspare];
	if (t->op == HEAP_REALLOC)
		spare[nspare++] = t->arg;
}

static void thread__end(struct thread *t, unsigned tid)
{
	t->phase = IDLE;
	if (t->op == HEAP_FREE)
		return;
	if (t->fails) {
		failed++;
		send(t, tid, true);
		/* A realloc that failed leaves the block where it was. */
		if (t->arg != NONE) {
			held_at[t->arg] = nheld;
			held[nheld++] = t->arg;
		}
		return;
	}
	if (t->arg != NONE)
		forget(t);
	requested += t->size;
	hold(t->result, t->size, t->site);
	send(t, tid, true);
}

static void step(unsigned tid, bool growing, bool begin)
{
	struct thread *t = &threads[tid];

	switch (t->phase) {
	case IDLE:
		if (begin)
			thread__begin(t, tid + 1, growing);
		break;
	case BEGUN:
		thread__act(t);
		break;
	case DONE:
		thread__end(t, tid + 1);
		break;
	}
}

static void assert_same(void)
{
	const struct heap *h = model__live(m, PID)->heap;
	struct nursery_iter it;
	struct block b;
	uint32_t slot;
	uint64_t n = 0;

	assert_true(h->live_blocks == live_blocks * HEAP_UNIT);
	assert_true(h->live_bytes == live_bytes);
	for (nursery__begin(&h->blocks, &it); nursery__next(&it, &b); n++) {
		slot = (b.addr - MMAP) / GRAIN;
		assert_true(slot < SLOTS && held_at[slot] < nheld && held[held_at[slot]] == slot);
		assert_true(b.size == size_of[slot]);
	}
	assert_true(n == live_blocks);
	if (n > 1000)
		assert_true(nursery__memory(&h->blocks) <= 48 * n + NURSERY_BYTES_MAX);
}

static void assert_report(void)
{
	struct report *r = report_now();
	unsigned i;

	assert_balanced(r);
	assert_true(r->heap.unmatched_frees == 0);
	assert_true(r->heap.unseen_frees == 0);
	assert_true(r->heap.failed == failed);
	assert_true(r->heap.bytes_requested == requested);
	for (i = 0; i < HEAP_OPS; i++)
		assert_true(r->heap.calls[i] == calls[i]);
	for (i = 1; i <= SITES; i++)
		assert_true(site_of(r, i)->live_bytes == site_bytes[i]);
	report__free(r);
}

static uint64_t setting(const char *name, uint64_t otherwise)
{
	const char *value = getenv(name);

	return value ? strtoull(value, NULL, 0) : otherwise;
}

static void what_lives_is_exact(void **state)
{
	uint64_t operations = setting("HEAP_OPERATIONS", OPERATIONS), begun = 0, checks = 0;
	unsigned tid, i;

	(void)state;
	seed = setting("HEAP_SEED", seed);
	printf("HEAP_SEED=%llu\n", (unsigned long long)seed);
	for (i = 1; i <= SITES; i++)
		site_stack(i);
	for (i = 0; i < SLOTS; i++)
		spare[nspare++] = i;
	while (begun < operations) {
		tid = dice(THREADS);
		begun += threads[tid].phase == IDLE;
		step(tid, begun / 100000 % 2 == 0, true);
		if (begun < (checks + 1) * (operations / 100))
			continue;
		checks++;
		for (tid = 0; tid < THREADS; tid++)
			while (threads[tid].phase != IDLE)
				step(tid, false, false);
		assert_same();
	}
	for (tid = 0; tid < THREADS; tid++)
		while (threads[tid].phase != IDLE)
			step(tid, false, false);
	assert_same();
	assert_report();
}

int main(void)
{
	const struct CMUnitTest tests[] = {TEST_IMAGE(what_lives_is_exact)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
