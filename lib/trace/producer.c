// SPDX-License-Identifier: MIT
#include "lib/trace/producer.h"

#include <errno.h>
#include <signal.h>

#include "lib/trace/sys.h"

#define PATIENCE_NS 100000000 /* a collector that reads nothing for so long is given up */
#define NAP_NS 50000
#define TRY_AGAIN 1024 /* a thread without a slot looks for one at each of so many calls */

union producer_page _producer __attribute__((aligned(PRODUCER_PAGE)));
struct sampled _producer_sampled;
__thread struct producer_thread _producer_self = {.generation = GENERATION_NONE};

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void nap(void)
{
	struct timespec t = {.tv_nsec = NAP_NS};

	if (sys__is_filtered())
		__builtin_ia32_pause();
	else
		sys__call(SYS_nanosleep, &t, 0, 0);
}

static bool is_power_of_two(uint64_t n)
{
	return n && !(n & (n - 1));
}

/* The free of a library is to be seen by walk__watch_free(). */
static void producer__watch(const void *block)
{
	sampled__watch(&_producer_sampled, block);
}

bool producer__use(struct producer *p, void *at, size_t mapped)
{
	struct ring_header *h = at;
	uint64_t room = mapped < h->rings_at ? 0 :
					       (mapped - h->rings_at) / sizeof(struct ring_record);
	uint32_t n = 0;

	if (h->magic != RING_MAGIC || h->version != RING_VERSION || !is_power_of_two(h->records) ||
	    !is_power_of_two(h->few_records))
		return false;
	while (n < h->slots && ring__first(n + 1, h->wide, h->records, h->few_records) <= room)
		n++;
	p->segment = h;
	p->slots = (struct ring_slot *)((char *)at + h->slots_at);
	p->rings = (struct ring_record *)((char *)at + h->rings_at);
	p->base_ticks = h->base_ticks;
	p->records = h->records;
	p->wide = h->wide;
	p->few_records = h->few_records;
	p->nslots = n;
	p->ns_clock = h->clock == RING_CLOCK_NS;
	p->sample_bytes = h->sample_bytes;
	if (p->sample_bytes)
		sampled__prepare(&_producer_sampled);
	capture__use(h, n);
	if (p->sample_bytes)
		walk__watch(producer__watch);
	return n > 0;
}

void producer__set_generation(struct producer *p, uint32_t generation)
{
	union producer_state passes = {.generation = generation};
	const uint8_t *filter = _producer_sampled.filter;
	uint64_t plain = passes.word;

	if (generation <= GENERATION_OFF || p->sample_bytes || p->ns_clock)
		plain = 0;

	if (generation <= GENERATION_OFF || !p->sample_bytes || !p->leaf || !filter) {
		passes.word = 0;
		filter = NULL;
	}
	__atomic_store_n(&p->plain, plain, __ATOMIC_RELAXED);
	__atomic_store_n(&p->filter, filter, __ATOMIC_RELAXED);
	__atomic_store_n(&p->passes, passes.word, __ATOMIC_RELAXED);
	__atomic_store_n(&p->generation, generation, __ATOMIC_RELEASE);
}

/* Nothing is written any more, by any thread. */
static void producer__stop(struct producer *p)
{
	producer__set_generation(p, GENERATION_OFF);
}

/* The collector has not read for too long, or nothing can be written any more. */
static void producer__give_up(struct producer *p)
{
	uint64_t never = 0, now = producer__ticks(p);

	__atomic_compare_exchange_n(&p->segment->gave_up_ticks, &never, now ? now : 1, false,
				    __ATOMIC_RELAXED, __ATOMIC_RELAXED);
	producer__stop(p);
}

void producer__forgo(void)
{
	if (producer__generation() > GENERATION_OFF)
		producer__give_up(&_producer.p);
}

/* The ring is full. Wait until it is not, as long as the collector works, be it on other rings: they are read
 * in the order of time. false: stopped. */
static bool producer__wait(struct producer_thread *t, unsigned n)
{
	struct producer *p = &_producer.p;
	uint64_t until = now_ns() + PATIENCE_NS, tail;
	uint32_t beat = __atomic_load_n(&p->segment->beat, __ATOMIC_RELAXED), now_beat;

	while (t->generation == producer__generation()) {
		tail = __atomic_load_n(&t->slot->tail, __ATOMIC_ACQUIRE);
		if (t->head - tail + n <= t->mask + 1) {
			t->tail = tail;
			return true;
		}
		if (__atomic_load_n(&p->segment->closed, __ATOMIC_RELAXED)) {
			producer__stop(p);
			break;
		}
		now_beat = __atomic_load_n(&p->segment->beat, __ATOMIC_RELAXED);
		if (tail != t->tail || now_beat != beat) {
			t->tail = tail;
			beat = now_beat;
			until = now_ns() + PATIENCE_NS;
		} else if (now_ns() > until) {
			producer__give_up(p);
			break;
		}
		nap();
	}
	return false;
}

bool producer__make_room(struct producer_thread *t, unsigned n, unsigned op)
{
	struct producer *p = &_producer.p;

	t->tail = __atomic_load_n(&t->slot->tail, __ATOMIC_ACQUIRE);
	if (t->head - t->tail + n <= t->mask + 1)
		return true;
	if (__atomic_load_n(&p->segment->closed, __ATOMIC_RELAXED)) {
		producer__stop(p);
		return false;
	}
	if (p->segment->on_full == RING_ON_FULL_BLOCK && producer__wait(t, n))
		return true;
	if (op < HEAP_OPS)
		t->slot->lost[op]++;
	return false;
}

void producer__put_wide(struct producer_thread *t, unsigned op, uint64_t addr, uint64_t size,
			unsigned low, uint64_t old, uint64_t flags)
{
	struct ring_record *r;
	struct ring_more *more;

	if (t->generation != producer__generation())
		return;
	if (t->head - t->tail + 2 > t->mask + 1 && !producer__make_room(t, 2, op))
		return;
	r = &t->ring[t->head & t->mask];
	more = (struct ring_more *)&t->ring[(t->head + 1) & t->mask];
	r->when = RING_WHEN(t->start, op);
	r->addr = addr;
	r->size = (uint64_t)low | RING_HAS_MORE;
	r->stack = t->stack;
	r->took = 0;
	more->when = RING_WHEN(t->over, RING_MORE);
	more->old = old;
	more->size = size;
	more->flags = flags;
	producer__publish(t, 2);
}

void producer__put_unusual(struct producer_thread *t, unsigned op, const void *addr, uint64_t size,
			   unsigned low)
{
	if (_producer.p.sample_bytes && addr && !sampled__remember(&_producer_sampled, addr))
		producer__put_wide(t, op, (uintptr_t)addr, size, low, 0, HEAP_UNTRACKED);
	else if (size > RING_SIZE_MAX || t->over > UINT32_MAX)
		producer__put_wide(t, op, (uintptr_t)addr, size, low, 0, 0);
	else
		producer__put(t, op, addr, size, low, t->stack, (uint32_t)t->over);
}

uint64_t producer__moved(const struct producer_thread *t, const void *addr, unsigned low,
			 const void *old)
{
	bool failed = low & RING_FAILED;

	if (failed && t->had_sampled)
		sampled__remember(&_producer_sampled, old);
	if (t->left_out)
		return RING_LEFT_OUT;
	return failed || !addr || sampled__remember(&_producer_sampled, addr) ? 0 : HEAP_UNTRACKED;
}

/* Arriving */

static bool on_signal_stack(uint64_t sp)
{
	stack_t now;

	if (sys__is_filtered())
		return !walk__seems_own(sp);
	return !sys__call(SYS_sigaltstack, 0, &now, 0) && now.ss_flags & SS_ONSTACK;
}

/* The call that this thread is in will not return. What throws without having returned a block has
 * failed. */
static void producer__abandon(struct producer_thread *t)
{
	call__leave(t);
	if (t->generation == producer__generation() && t->ring && !t->told && t->start) {
		call__over(t);
		if (t->inside & INSIDE_THROWS && (t->op == HEAP_NEW || t->op == HEAP_NEW_ARRAY))
			call__made(t, t->op, NULL, 1, RING_FAILED);
		else
			producer__put_wide(t, t->op, 0, 0, 0, 0, HEAP_ABANDONED);
	}
	t->inside = 0;
}

/* Who writes into the ring from here on. */
static bool producer__announce(struct producer_thread *t, uint32_t tid)
{
	struct ring_record *r;

	if (t->head - t->tail > t->mask && !producer__make_room(t, 1, HEAP_OPS))
		return false;
	r = &t->ring[t->head & t->mask];
	*r = (struct ring_record){.when = RING_WHEN(producer__ticks(&_producer.p), RING_THREAD),
				  .addr = tid};
	producer__publish(t, 1);
	return true;
}

/* A slot for this thread. */
static bool producer__find_slot(struct producer_thread *t)
{
	struct producer *p = &_producer.p;
	uint32_t tid = (uint32_t)sys__call(SYS_gettid, 0, 0, 0), i;

	for (i = 0; i < p->nslots; i++) {
		struct ring_slot *s = &p->slots[i];
		uint32_t nobody = 0;

		if (__atomic_load_n(&s->owner, __ATOMIC_ACQUIRE))
			continue;
		/* Before it is taken: the collector looks no further than to the first that is not, and
		 * whoever finds it taken takes one behind it. */
		if (!__atomic_load_n(&s->used, __ATOMIC_RELAXED))
			__atomic_store_n(&s->used, 1, __ATOMIC_RELEASE);
		if (!__atomic_compare_exchange_n(&s->owner, &nobody, tid, false, __ATOMIC_ACQ_REL,
						 __ATOMIC_ACQUIRE))
			continue;
		t->slot = s;
		t->ring = p->rings + ring__first(i, p->wide, p->records, p->few_records);
		t->mask = (i < p->wide ? p->records : p->few_records) - 1;
		t->head = s->head;
		t->tail = __atomic_load_n(&s->tail, __ATOMIC_ACQUIRE);
		t->walker = capture__thread(i);
		t->generation = producer__generation();
		sampler__begin(&t->sampler);
		if (producer__announce(t, tid)) {
			producer__thread_began(t);
			return true;
		}
		t->generation = GENERATION_NONE;
		__atomic_store_n(&s->owner, 0, __ATOMIC_RELEASE);
		return false;
	}
	return false;
}

void producer__leave_thread(struct producer_thread *t)
{
	if (t->generation != producer__generation() || !t->slot)
		return;
	if (t->inside)
		producer__abandon(t);
	t->generation = GENERATION_NONE;
	__atomic_store_n(&t->slot->owner, 0, __ATOMIC_RELEASE);
}

/* Find out whether anybody traces this process. */
static bool producer__attach_once(struct producer *p)
{
	/* Not wiped by a fork: a child's generation is another than its parent's. */
	static uint32_t attached;
	uint32_t nobody = 0, next;

	if (!__atomic_compare_exchange_n(&p->attaching, &nobody, 1, false, __ATOMIC_ACQUIRE,
					 __ATOMIC_RELAXED)) {
		while (__atomic_load_n(&p->attaching, __ATOMIC_ACQUIRE))
			nap();
		return producer__generation() > GENERATION_OFF;
	}
	if (producer__generation() == GENERATION_NEW) {
		int got = sys__is_filtered() ? -EPERM : producer__attach(p);

		next = got == -EAGAIN ? GENERATION_NEW :
		       got	      ? GENERATION_OFF :
					GENERATION_FIRST + attached++;
		producer__set_generation(p, next);
	}
	__atomic_store_n(&p->attaching, 0, __ATOMIC_RELEASE);
	return producer__generation() > GENERATION_OFF;
}

void producer__look(void)
{
	struct producer_thread *t = producer__self();
	uint32_t was;

	if (t->inside || producer__generation() != GENERATION_NEW)
		return;
	was = producer__hide(t, __builtin_frame_address(0));
	/* Its ring, too: later a filter of system calls may be in the way. */
	if (producer__attach_once(&_producer.p))
		producer__find_slot(t);
	producer__show(t, was);
}

bool producer__arrive(struct producer_thread *t, uint64_t sp)
{
	struct producer *p = &_producer.p;
	bool found;

	if (t->inside) {
		if (t->inside == INSIDE_CALL && (sp < t->call.sp || on_signal_stack(sp)))
			return false;
		producer__abandon(t);
	}
	if (producer__generation() == GENERATION_OFF)
		return false;
	if (t->generation == producer__generation())
		return true;
	producer__hide(t, (const void *)sp);
	found = (producer__generation() != GENERATION_NEW || producer__attach_once(p));
	if (found && t->arrivals++ % TRY_AGAIN == 0)
		found = producer__find_slot(t);
	else
		found = false;
	if (found)
		t->arrivals = 0;
	else if (producer__generation() > GENERATION_OFF)
		__atomic_fetch_add(&p->segment->unslotted, 1, __ATOMIC_RELAXED);
	producer__show(t, 0);
	return found;
}

/* Whether a call is among the samples. block: the one that it frees, or NULL. */
static bool call__is_sampled(struct producer_thread *t, unsigned op, uint64_t size, const void *block)
{
	if (op >= HEAP_FREE)
		return sampled__forget(&_producer_sampled, block);
	t->left_out = !sampler__takes(&t->sampler, _producer.p.sample_bytes, size);
	/* What moves a sampled block is told, so that the block is not thought to live. */
	t->had_sampled = block && sampled__forget(&_producer_sampled, block);
	return !t->left_out || t->had_sampled;
}

enum call_way call__begin_other(struct producer_thread *t, const void *sp, unsigned op,
				uint64_t size, const void *block)
{
	const struct producer *p = &_producer.p;

	if ((t->inside || t->generation != producer__generation()) &&
	    !producer__arrive(t, (uintptr_t)sp))
		return CALL_UNSEEN;
	t->inside = INSIDE_CALL;
	t->call.sp = (uintptr_t)sp;
	t->told = 1;
	if (p->sample_bytes && !call__is_sampled(t, op, size, block)) {
		producer__barrier();
		return CALL_LEFT_OUT;
	}
	t->op = op;
	producer__barrier();
	call__starts(t, op__frees(op) ? producer__ticks_after(p) : producer__ticks(p));
	return CALL_TOLD;
}
