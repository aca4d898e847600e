/* SPDX-License-Identifier: MIT */
/*
 * Writing the ring plane's records (ring.h) from within an allocator.
 *
 *	way = call__begin(t, frame, HEAP_MALLOC, size, NULL);
 *	if (way != CALL_TOLD)				nested, not sampled, or nobody traces
 *		return call__untold(t, way, real_malloc(size));
 *	call__enter(t);				from here on kernel events are inside of it
 *	p = real_malloc(size);
 *	call__leave(t);
 *	call__whose(t, real_malloc);
 *	call__made(t, HEAP_MALLOC, p, size, 0);
 *	call__end(t);
 *
 * and a free: call__begin, call__freed, call__enter, real_free, call__leave, call__end.
 *
 * Nothing here allocates, takes a lock, or changes errno. A signal handler that runs anywhere in
 * between and allocates is nested in the call, and left out.
 *
 * One word tells a thread whether it may write: producer.generation, in memory that a fork
 * wipes. So a child writes nothing into its parent's segment, however it was forked, and the
 * check costs one compare. (A child of vfork has its parent's memory, thread and all: its calls
 * are told as that thread's.)
 *
 * With samples (sampler.h) a call that is not to be told is kept in mind all the same while it lasts,
 * for the calls inside it: theirs are its bytes. Nearly every call is such a one, so where the allocator's
 * functions are known to call none of the family (producer.leaf) nothing is kept:
 *
 *	if (call__passes(t, size))		neither sampled, nor inside of another
 *		return real_malloc(size);
 *
 *	if (call__frees_unsampled(block))
 *		return real_free(block);
 */
#ifndef MEMTRACE_PRODUCER_H
#define MEMTRACE_PRODUCER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>
#include <x86intrin.h>

#include "lib/trace/capture.h"
#include "lib/trace/ring.h"
#include "lib/trace/sampler.h"

#define PRODUCER_PAGE 4096
#define PRODUCER_LIKELY(x) __builtin_expect(!!(x), 1)
#define PRODUCER_UNLIKELY(x) __builtin_expect(!!(x), 0)

/* producer.generation: whom a thread's ring belongs to. */
#define GENERATION_NEW 0 /* not looked for a tracer yet; so in a fork's child */
#define GENERATION_OFF 1 /* nobody traces; or nobody any more */
#define GENERATION_FIRST 2
#define GENERATION_NONE UINT32_MAX /* of a thread that has no ring */

/* What a thread is at, in one word. */
union producer_state {
	struct {
		uint32_t inside; /* 0, or INSIDE_* */
		uint32_t generation; /* of producer, when this was set up; GENERATION_NONE */
	};
	uint64_t word;
};

/* The process's. */
struct producer {
	uint32_t generation;
	uint32_t attaching; /* 1: a thread is in producer__attach() */
	/* What a thread is at, whose next call is to be told with nothing more to look at: every call is told, and the
	 * clock is the time stamp counter. Else 0. */
	uint64_t plain;
	/* With samples, where calls may pass; else 0 and NULL: */
	uint64_t passes; /* what a thread is at, whose calls may */
	const uint8_t *filter; /* of the sampled blocks */
	struct ring_header *segment;
	struct ring_slot *slots;
	struct ring_record *rings;
	uint64_t base_ticks;
	uint32_t records, wide, few_records; /* as in the header */
	uint32_t nslots; /* those that are mapped */
	uint32_t ns_clock;
	uint64_t sample_bytes; /* 0: every call is told */
	uint32_t leaf; /* set by producer__attach(): no function of the allocator's calls one of the family
			* by the name that is wrapped here */
};

#define INSIDE_CALL 1 /* in a call, or at work for one */
#define INSIDE_SUSPECT 2 /* that a longjmp or an exception may have left */
#define INSIDE_THROWS 4 /* it was an exception */

/* A thread's. call is first: the kernel side reads it. */
struct producer_thread {
	struct ring_call call;
	union {
		union producer_state state;
		struct { /* the same */
			uint32_t inside;
			uint32_t generation;
		};
	};
	struct ring_record *ring;
	struct ring_slot *slot;
	uint64_t head, tail; /* tail: as last read */
	uint64_t mask;
	uint64_t start; /* of the call */
	uint64_t over; /* when it returned */
	struct walker *walker; /* of its slot; NULL: no stacks */
	uint32_t stack; /* of the call */
	uint64_t arrivals; /* calls without a slot */
	uint32_t told; /* its record has been written, or there is to be none */
	uint32_t op; /* enum heap_op */
	/* With samples. */
	struct sampler sampler;
	bool left_out; /* the call is told for the sake of the old block alone */
	bool had_sampled; /* and that was sampled */
};

extern union producer_page {
	struct producer p;
	char page[PRODUCER_PAGE];
} _producer __attribute__((visibility("hidden")));
extern __thread struct producer_thread _producer_self
	__attribute__((visibility("hidden"), tls_model("initial-exec")));

/* Hand over nothing more, and say that there was more: the clock is about to be taken away. */
void producer__forgo(void);

/* Not wiped by a fork: the child's heap is its parent's. */
extern struct sampled _producer_sampled __attribute__((visibility("hidden")));

/* The word that every call looks at: in order with what whoever set it up has written. */
static inline uint32_t producer__generation(void)
{
	return __atomic_load_n(&_producer.p.generation, __ATOMIC_ACQUIRE);
}

static inline struct producer_thread *producer__self(void)
{
	return &_producer_self;
}

/*
 * What whoever embeds this provides. Look for a tracer and set up *p from a segment with
 * producer__use(): 0; -EAGAIN: it is too early to say; else there will be none. One thread at a
 * time, and at most once with another answer than -EAGAIN in each process.
 */
int producer__attach(struct producer *p) __attribute__((visibility("hidden")));
/* A thread has got a slot; producer__leave_thread() is to be called before it ends. */
void producer__thread_began(struct producer_thread *t) __attribute__((visibility("hidden")));

/* The process writes for another tracer from here on, or for none. */
void producer__set_generation(struct producer *p, uint32_t generation)
	__attribute__((visibility("hidden")));

/* Look for a tracer now, not at the first call. */
void producer__look(void) __attribute__((visibility("hidden")));

/* A segment of `bytes`, mapped at `at` for `mapped` bytes; the header says the rest. */
bool producer__use(struct producer *p, void *at, size_t mapped) __attribute__((visibility("hidden")));

/* The way that is not the usual one into a call: whether it is to be told. sp: as call__begin. */
bool producer__arrive(struct producer_thread *t, uint64_t sp) __attribute__((visibility("hidden")));

/* Room for n more records, or a wait for it; false: they are lost, and counted as `op`. */
bool producer__make_room(struct producer_thread *t, unsigned n, unsigned op)
	__attribute__((visibility("hidden")));

/* A record in two parts. flags: those of struct ring_more. */
void producer__put_wide(struct producer_thread *t, unsigned op, uint64_t addr, uint64_t size,
			unsigned low, uint64_t old, uint64_t flags)
	__attribute__((visibility("hidden")));

/* An allocation that is sampled, or does not fit in one record. */
void producer__put_unusual(struct producer_thread *t, unsigned op, const void *addr, uint64_t size,
			   unsigned low) __attribute__((visibility("hidden")));

/* With samples: what became of the block `old`. What is to be said of it in struct ring_more's flags. */
uint64_t producer__moved(const struct producer_thread *t, const void *addr, unsigned low,
			 const void *old) __attribute__((visibility("hidden")));

/* The thread ends: its slot is free for others. */
void producer__leave_thread(struct producer_thread *t) __attribute__((visibility("hidden")));

static inline uint64_t producer__ticks(const struct producer *p)
{
	struct timespec now;

	if (PRODUCER_LIKELY(!p->ns_clock))
		return __rdtsc() - p->base_ticks;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec - p->base_ticks;
}

/*
 * The same, once all before it has been done. The counter by itself is read as soon as the processor
 * comes to it, while a load that the thread still waits for is under way: of a block that another
 * thread passes on, say. So a free could be stamped earlier than the malloc that had made its block
 * (seen: 30 ns), and a malloc earlier than the free that it had its block from.
 */
static inline uint64_t producer__ticks_after(const struct producer *p)
{
	if (PRODUCER_UNLIKELY(p->ns_clock))
		return producer__ticks(p);
	_mm_lfence();
	return __rdtsc() - p->base_ticks;
}

/* Whether a call gives a block up: others may have it before the call is over. */
static inline bool op__frees(unsigned op)
{
	return op >= HEAP_FREE || op == HEAP_REALLOC || op == HEAP_REALLOCARRAY ||
	       op == HEAP_RALLOCX || op == HEAP_XALLOCX;
}

/* Keeps the compiler from moving what a signal handler or the kernel looks at. */
#define producer__barrier() __atomic_signal_fence(__ATOMIC_SEQ_CST)

/* Whether an allocation is to be left alone; counted then. One of nothing is not so plain. */
static inline bool call__passes(struct producer_thread *t, uint64_t size)
{
	return t->state.word == __atomic_load_n(&_producer.p.passes, __ATOMIC_RELAXED) && size &&
	       sampler__passes(&t->sampler, size);
}

/* Whether a free is. */
static inline bool call__frees_unsampled(const void *block)
{
	const uint8_t *filter = __atomic_load_n(&_producer.p.filter, __ATOMIC_RELAXED);

	return filter && !sampled__in_filter(filter, block);
}

enum call_way {
	CALL_TOLD,
	CALL_LEFT_OUT, /* it is not sampled */
	CALL_UNSEEN, /* nested, or nobody traces */
};

/* Whether a call is to be told as nearly all are, where all are. */
static inline bool call__is_plain(const struct producer_thread *t)
{
	return t->state.word == __atomic_load_n(&_producer.p.plain, __ATOMIC_ACQUIRE);
}

/* No two calls have one start, also on a processor whose counter is behind another's. */
static inline void call__starts(struct producer_thread *t, uint64_t now)
{
	if (PRODUCER_UNLIKELY(now <= t->start))
		now = t->start + 1;
	t->start = now;
	t->told = 0;
}

/* The rest of call__begin(). */
enum call_way call__begin_other(struct producer_thread *t, const void *sp, unsigned op, uint64_t size,
				const void *block) __attribute__((visibility("hidden")));

/* One that is plain begins. */
static inline void call__begin_plain(struct producer_thread *t, const void *sp, unsigned op)
{
	t->inside = INSIDE_CALL;
	t->call.sp = (uintptr_t)sp;
	t->told = 1;
	t->op = op;
	producer__barrier();
	if (op__frees(op))
		_mm_lfence(); /* as in producer__ticks_after() */
	call__starts(t, __rdtsc() - _producer.p.base_ticks);
}

/*
 * sp: an address in the frame of the wrapper: all that the call does is below it. size: as asked for;
 * block: what it frees, or may move; or NULL. Unless it is told the call is to be made as the operand of
 * call__untold().
 */
static inline enum call_way call__begin(struct producer_thread *t, const void *sp, unsigned op,
					uint64_t size, const void *block)
{
	if (PRODUCER_UNLIKELY(!call__is_plain(t)))
		return call__begin_other(t, sp, op, size, block);
	call__begin_plain(t, sp, op);
	return CALL_TOLD;
}

static inline void call__enter(struct producer_thread *t)
{
	producer__barrier();
	t->call.start = t->start;
	producer__barrier();
}

static inline void call__leave(struct producer_thread *t)
{
	producer__barrier();
	t->call.start = 0;
	producer__barrier();
}

static inline void call__end(struct producer_thread *t)
{
	producer__barrier();
	t->inside = 0;
}

static inline void call__ended(struct producer_thread *t, enum call_way way)
{
	if (way == CALL_LEFT_OUT)
		call__end(t);
}

/* The value of a call that is not told, which is made here. */
#define call__untold(t, way, call)           \
	({                                   \
		__auto_type _value = (call); \
                                             \
		call__ended(t, way);         \
		_value;                      \
	})

/* What this thread does in between is not told: neither as calls nor as part of one that it may be in. */
static inline uint32_t producer__hide(struct producer_thread *t, const void *sp)
{
	uint32_t was = t->inside;

	if (was)
		return was;
	t->told = 1; /* if this is left, there is nothing to be told */
	t->call.sp = (uintptr_t)sp;
	producer__barrier();
	t->inside = INSIDE_CALL;
	producer__barrier();
	return 0;
}

static inline void producer__show(struct producer_thread *t, uint32_t was)
{
	producer__barrier();
	t->inside = was;
}

/* Where the next record goes, if there is room. NULL: it is lost, and counted. */
static inline struct ring_record *producer__next(struct producer_thread *t, unsigned op)
{
	/* Not so after a fork in the middle of the call. */
	if (PRODUCER_UNLIKELY(t->generation != producer__generation()))
		return NULL;
	if (PRODUCER_UNLIKELY(t->head - t->tail > t->mask) && !producer__make_room(t, 1, op))
		return NULL;
	return &t->ring[t->head & t->mask];
}

static inline void producer__publish(struct producer_thread *t, unsigned n)
{
	t->head += n;
	t->told = 1;
	__atomic_store_n(&t->slot->head, t->head, __ATOMIC_RELEASE);
}

/* The call has returned. */
static inline void call__over(struct producer_thread *t)
{
	t->over = producer__ticks_after(&_producer.p) - t->start;
	t->stack = 0;
}

/* The same, and whose call it was: by the function at `entry`, in the wrapper itself. */
#define call__whose(t, entry)                                                                  \
	do {                                                                                   \
		call__over(t);                                                                 \
		/* A fork in the middle of the call has left the table behind. */              \
		if (PRODUCER_LIKELY((t)->generation == producer__generation()))                \
			(t)->stack = capture__take((t)->walker, (uint64_t)(uintptr_t)(entry)); \
	} while (0)

/* Put it down as one record. */
static inline void producer__put(struct producer_thread *t, unsigned op, const void *addr,
				 uint64_t size, unsigned low, uint32_t stack, uint32_t took)
{
	struct ring_record *r = producer__next(t, op);

	if (PRODUCER_UNLIKELY(!r))
		return;
	r->when = RING_WHEN(t->start, op);
	r->addr = (uintptr_t)addr;
	r->size = size << 8 | low;
	r->stack = stack;
	r->took = took;
	producer__publish(t, 1);
}

/* An allocation is over. low: RING_FAILED, log2 of the alignment. */
static inline void call__made(struct producer_thread *t, unsigned op, const void *addr,
			      uint64_t size, unsigned low)
{
	if (PRODUCER_UNLIKELY(_producer.p.sample_bytes || size >> 56 | t->over >> 32))
		producer__put_unusual(t, op, addr, size, low);
	else
		producer__put(t, op, addr, size, low, t->stack, (uint32_t)t->over);
}

/* A free is about to begin. size: as the caller says it, 0: it does not. */
static inline void call__freed(struct producer_thread *t, unsigned op, const void *addr,
			       uint64_t size, unsigned low)
{
	producer__put(t, op, addr, size < RING_SIZE_MAX ? size : RING_SIZE_MAX, low, 0, 0);
}

/* A realloc is over. flags: of struct ring_more. */
static inline void call__moved(struct producer_thread *t, unsigned op, const void *addr,
			       uint64_t size, unsigned low, const void *old, uint64_t flags)
{
	if (PRODUCER_UNLIKELY(_producer.p.sample_bytes))
		flags |= producer__moved(t, addr, low, old);
	producer__put_wide(t, op, (uintptr_t)addr, size, low, (uintptr_t)old, flags);
}

/* longjmp: whether it leaves the call is not known; from here on nothing is inside of it. */
static inline void call__escape(struct producer_thread *t)
{
	if (!t->inside)
		return;
	t->inside |= INSIDE_SUSPECT;
	call__leave(t);
}

/* An exception begins: likewise, and a function that is left by it has failed. */
static inline void call__throw(struct producer_thread *t)
{
	if (!t->inside)
		return;
	t->inside |= INSIDE_THROWS;
	call__escape(t);
}

#endif /* MEMTRACE_PRODUCER_H */
