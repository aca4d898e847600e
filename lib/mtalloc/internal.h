/* SPDX-License-Identifier: MIT */
/*
 * What the files of mtalloc share. The vocabulary:
 *
 *   granule   64 KiB of memory on a 64 KiB boundary: the unit of the lower half
 *   region    consecutive granules with a table of one struct span each; the break is region 0,
 *             the others are mappings that stand in when the break cannot grow
 *   span      one or more granules given out as a whole (span.c)
 *   slab      a span of one granule, cut in equal blocks of up to 16 KiB (slab.c)
 *   arena     a span of 16 granules, cut in runs of pages for blocks of up to 128 KiB (arena.c)
 *   big       a span that is one block: when mappings are not wanted or not to be had (big.c)
 *   large     a mapping that is one block: from the mmap threshold on (large.c)
 *   heap      the slabs and arenas of one thread (heap.c)
 *
 * Nothing about a block stands beside it: from its address, the granule's index, from that its
 * struct span. The exceptions are the links of free blocks, which stand in the blocks themselves,
 * encoded with a key of the process (struct span, free).
 *
 * Locks, in the order in which they are taken: heaps, spans, large, meta. The way of a block of up
 * to 16 KiB that its own thread allocates and frees takes none.
 */
#ifndef MTALLOC_INTERNAL_H
#define MTALLOC_INTERNAL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lock.h"
#include "mtalloc.h"
#include "os.h"
#include "swing.h"

/* Direct access, without the table that exported names need. */
#pragma GCC visibility push(hidden)

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
/* Looks at lists that others change meanwhile, by design: what it reads may be anything. */
#define MT_RACY __attribute__((no_sanitize("thread"), noinline))
#define MT_COLD __attribute__((noinline, cold))
#define MT_API __attribute__((visibility("default")))
/*
 * A table that is used in parts, or rarely. The linker puts what is aligned like this first, so that
 * all small data stand together behind it: a process that hardly lives touches few pages.
 */
#define MT_TABLE __attribute__((aligned(4096)))

#define GRANULE_SHIFT 16
#define GRANULE ((size_t)1 << GRANULE_SHIFT)
#define PAGE_SHIFT 12
#define PAGE ((size_t)1 << PAGE_SHIFT)
#define GRANULE_PAGES (GRANULE / PAGE)

#define ALIGNMENT ((size_t)16)
#define SMALL_MAX ((size_t)1024)
#define SLAB_MAX ((size_t)16384)
#define CLASSES 64
#define ARENA_GRANULES 16
#define ARENA_PAGES (ARENA_GRANULES * GRANULE_PAGES)
#define RUN_MAX (128 * (size_t)1024)
/* What the first allocation grows the break by. */
#define FIRST_PAGES 33

/* 16 GiB of break. Further memory comes from regions, which are found by a search. */
#define BREAK_GRANULES ((uint32_t)1 << 18)
#define REGIONS 255
#define HEAPS 65535

/* ---- spans ---------------------------------------------------------------------------------- */

enum span_kind {
	SPAN_NONE, /* not ours: before the first use, or of another caller of sbrk */
	SPAN_FREE,
	SPAN_REST, /* a granule of a span, not its first */
	SPAN_SLAB,
	SPAN_ARENA,
	SPAN_BIG,
};

enum span_flags {
	SPAN_LISTED = 1, /* in a queue of its heap */
	SPAN_FULL = 2, /* slab: no room, in no queue */
	SPAN_CURRENT = 4, /* slab: its heap takes blocks from it */
};

struct arena;

/*
 * A granule. One cache line, as the table of them is what a free reads.
 *
 * A free block's first word is its link: the upper half is LINK_TAG, the lower half the offset in
 * the span of the next free block, or LINK_END, xor the secret key. So a link that was overwritten
 * is seen when it is followed, and a block that is freed twice when it is freed.
 */
struct span {
	uint64_t free; /* slab: link to the first free block */
	char *start; /* of the granule */
	_Atomic uintptr_t owner; /* thread that may free here without further checks, or 0 */
	union {
		uint64_t magic; /* slab: 2^64 / block size, rounded up */
		struct arena *arena; /* arena */
		size_t bytes; /* big: of the whole span */
		struct span *first; /* rest: the span it is a part of */
	};
	_Atomic uint64_t remote; /* blocks freed by other threads, a packed list */
	uint32_t next, prev; /* in a queue of the heap: span ids */
	uint32_t pending; /* next in the heap's list of spans with remote frees */
	_Atomic uint16_t fresh; /* slab: what was never given out begins here, in UNITs */
	_Atomic uint16_t heap; /* id of the heap it belongs to */
	uint16_t used; /* slab, arena: blocks given out */
	uint16_t holes; /* slab: a bit for each page that was given back */
	uint8_t class_id; /* slab */
	_Atomic uint8_t kind;
	uint8_t flags;
	uint8_t clean; /* what is surely zero begins at this page */
} __attribute__((aligned(64)));

_Static_assert(sizeof(struct span) == 64, "a span is a cache line");

#define UNIT_SHIFT 4
#define PAGE_UNITS (PAGE >> UNIT_SHIFT)
#define GRANULE_UNITS (GRANULE >> UNIT_SHIFT)
#define LINK_TAG \
	0xf165u /* no pointer's, no text's, no small number's upper half; 16 bits (tracers) */
#define LINK_END 0xffffffffu

/* What the fast paths read: written at initialisation and under the lock of spans. */
struct fast {
	uintptr_t base; /* of region 0 */
	_Atomic uintptr_t granules; /* of region 0; 0 sends every free the slow way */
	struct span *spans; /* of region 0 */
	uint64_t key; /* LINK_TAG << 32 | secret */
	/* The same, or what decodes no link and so sends malloc the slow way. */
	union {
		_Atomic uint64_t malloc_key;
		struct {
			_Atomic uint32_t malloc_secret;
			uint16_t malloc_tag;
			/*
			 * Tracers: the kernel counts them here, the semaphore of a probe (trace.c). As it stands
			 * where the key is 0, one is enough to decode no link.
			 */
			_Atomic uint16_t tracers;
		};
	};
	/* While samples are taken (pass.h), else 0: */
	_Atomic uint64_t passing; /* what malloc_key differs by from the key as long as nobody else listens */
	_Atomic uintptr_t passed_granules; /* of region 0 */
	/* The same as key and granules, unless calls are to be checked or filled. */
	_Atomic uint64_t real_key;
	_Atomic uintptr_t real_granules;
} __attribute__((aligned(64)));

_Static_assert(offsetof(struct fast, tracers) == offsetof(struct fast, malloc_key) + 6,
	       "the semaphore is the upper end of the key");

extern struct fast _mt_fast;
/* A slab without room that every heap begins with. */
extern struct span _mt_no_span;

static inline uint64_t link__encode(uint32_t offset)
{
	return _mt_fast.key ^ offset;
}

/* The offset, LINK_END, or anything larger: not a link. */
static inline uint64_t link__decode(uint64_t link)
{
	return link ^ _mt_fast.key;
}

static inline uint64_t *block__word(const void *block)
{
	return (uint64_t *)block;
}

/* It is: or the user has written a link's tag there. */
static inline bool block__looks_free(const void *block)
{
	return ((const uint32_t *)block)[1] == LINK_TAG;
}

/* The span of a pointer into any region, the first one of its granules; or NULL. */
struct span *_mt_span_of(const void *pointer);
uint32_t _mt_span_id(const struct span *span);
struct span *_mt_span_by_id(uint32_t id);

/* A free span of so many granules; NULL when there is no memory. */
struct span *_mt_span_alloc(uint32_t granules, enum span_kind kind);
/* span->clean of each of its granules says what may have been written. */
void _mt_span_free(struct span *span, uint32_t granules);
/* Gives back every free page, and the top of the break but for pad bytes. */
bool _mt_span_trim(size_t pad);
void _mt_spans_lock(void);
void _mt_spans_unlock(void);

struct span_info {
	size_t bytes; /* obtained */
	size_t free_bytes; /* in free granules */
	size_t top_bytes; /* free at the top of the break */
};

void _mt_span_info(struct span_info *info);
/* Calls visit for each span in use. The heaps go on meanwhile. */
void _mt_span_each(void (*visit)(struct span *span, void *context), void *context);

/* ---- heaps ---------------------------------------------------------------------------------- */

struct queue {
	uint32_t first, last; /* span ids */
};

/* A list of freed blocks of one span, by offsets, and of a slab's blocks on pages that went back. */
struct freed {
	uint32_t head, tail;
	uint32_t count;
	uint32_t pages; /* a bit for each, as span->holes: their blocks are in no list */
};

/* One word: pages << 48 | count << 32 | tail << 16 | head, the last two in UNITs. 0: nothing. */
static inline uint64_t freed__pack(struct freed freed)
{
	return (uint64_t)freed.pages << 48 | (uint64_t)freed.count << 32 |
	       freed.tail >> UNIT_SHIFT << 16 | freed.head >> UNIT_SHIFT;
}

static inline struct freed freed__unpack(uint64_t word)
{
	return (struct freed){
		.head = (uint32_t)(word & 0xffff) << UNIT_SHIFT,
		.tail = (uint32_t)(word >> 16 & 0xffff) << UNIT_SHIFT,
		.count = (uint32_t)(word >> 32) & 0x7fff,
		.pages = (uint32_t)(word >> 48),
	};
}

/* In span->remote: who took the list away is about to put it back. */
#define REMOTE_TAKEN ((uint64_t)0x8000 << 32)

/*
 * When more than this waits for a thread that does not come, those who free give memory back. For a
 * thread that came soon after, it is doubled.
 */
#ifdef MT_TEST
#define WAITING_MIN ((size_t)64 << 10) /* so that it happens all the time */
#else
#define WAITING_MIN ((size_t)4 << 20)
#endif
#define WAITING_MAX ((size_t)32 << 20)

/* Blocks of one span of another heap, on their way there in one go. */
struct outbox {
	struct span *span;
	struct freed freed;
	uint32_t left; /* it is emptied at so many */
	uint32_t bytes; /* of the first block: in a slab, of each */
};

#define OUTBOXES 16

enum heap_state {
	HEAP_UNUSED,
	HEAP_ACTIVE,
	HEAP_ORPHAN, /* its thread is gone */
	HEAP_FROZEN, /* its thread was not copied by fork: it may be half changed */
	HEAP_SHARED, /* of threads that end: used under a lock */
};

struct heap {
	struct span *current[CLASSES]; /* the first of the queue, or &_mt_no_span */
	struct queue queue[CLASSES]; /* slabs with room */
	struct queue arenas; /* arenas with room */
	_Atomic uint32_t pending; /* spans that have remote frees */
	_Atomic uint32_t state;
	_Atomic size_t waiting; /* bytes of remote frees that were not taken in */
	_Atomic size_t waiting_limit; /* from here on they are given back */
	_Atomic uint64_t waiting_ms; /* since when something waits */
	_Atomic uint64_t swept_ms; /* when giving back began */
	_Atomic bool swept; /* since something was taken in */
	uintptr_t thread;
	uint32_t spans; /* of all kinds, full ones too */
	uint32_t spans_high; /* since the last fall */
	uint16_t id;
	uint32_t grown; /* slabs of untouched memory since sparse ones were looked for */
	uint32_t punched, refilled; /* pages of slabs that went back and came back since then */
	uint32_t patience; /* how many times that was doubled */
	uint32_t run_pages; /* given out in arenas */
	uint32_t dirty_pages; /* free in arenas, perhaps not zero */
	struct span *spare_arena; /* perhaps without a block, and kept */
	struct swing run_swing;
	struct heap *next; /* unused, or orphans */
	uint32_t posted; /* a bit for each outbox that something is in */
	struct outbox outbox[OUTBOXES];
};

/* What the fast paths need of a thread. direct[] has the current slab for a size in UNITs. */
struct thread {
	struct span *direct[SMALL_MAX / ALIGNMENT + 1];
	struct heap *heap;
	uint32_t ended; /* its destructor ran */
};

extern __thread struct thread _mt_thread;

/* Tells threads apart by an address, at one instruction where it can. */
static inline uintptr_t thread__self(void)
{
#if defined(__x86_64__) && !defined(__ILP32__)
	uintptr_t self;

	__asm__("mov %%fs:0, %0" : "=r"(self));
	return self;
#else
	return (uintptr_t)&_mt_thread;
#endif
}

/* The heap of this thread, made or adopted when it has none; NULL without memory. */
struct heap *_mt_heap(void);
/* The heap that threads use which end, locked. */
struct heap *_mt_heap_shared(void);
void _mt_heap_shared_unlock(void);

struct heap *_mt_heap_by_id(uint16_t id);
/* Takes in what other threads freed; true when there was something. */
bool _mt_heap_collect(struct heap *heap);
/* The same, but for what waits in the outboxes of this thread. */
bool _mt_heap_take_in(struct heap *heap);
/* That alone: what waits in them goes to those who own it. */
void _mt_heap_flush(struct heap *heap);
/* A part of it: spans that left the heap are to be handed on, without locks. */
bool _mt_heap_drain(struct heap *heap, struct span **strays);
void _mt_heap_hand_on(struct span *strays);
/* For a heap whose thread is gone. */
void _mt_heap_drain_orphan(struct heap *heap);
/* Gives back pages that hold nothing but what waits for the heap. From any thread. */
void _mt_heap_sweep(struct heap *heap);
/* Takes a slab of the class with room from the heaps of ended threads, or NULL. */
struct span *_mt_heap_adopt(struct heap *heap, int class_id);
void _mt_heap_remote_free(struct heap *mine, struct span *span, void *block, size_t bytes);
/* Whether the block of a slab waits in a list of remote frees; mine may be NULL. */
bool _mt_heap_has_freed(const struct heap *mine, const struct span *span, const void *block);
void _mt_heap_set_current(struct heap *heap, int class_id, struct span *span);
/* All that this thread can give back. */
void _mt_heap_trim(struct heap *heap);
void _mt_heaps_init(void);

void _mt_queue_push(struct queue *queue, struct span *span);
void _mt_queue_remove(struct queue *queue, struct span *span);

/* ---- slabs ---------------------------------------------------------------------------------- */

struct size_class {
	uint64_t magic;
	uint32_t size;
	uint16_t units; /* the same in UNITs */
	uint16_t last; /* fresh, in UNITs, up to which a further block fits */
};

extern struct size_class _mt_classes[CLASSES];

void _mt_classes_init(void);

/* 16-byte steps to 256, from there 8 classes a doubling. */
static inline int class__of(size_t size)
{
	unsigned int units, shift;

	if (size <= 256)
		return size ? (int)((size - 1) >> UNIT_SHIFT) : 0;
	units = (unsigned int)((size - 1) >> UNIT_SHIFT);
	shift = 28 - (unsigned int)__builtin_clz(units);
	return (int)(shift * 8 + (units >> shift));
}

/* Where what was never given out begins, in UNITs. Other threads look too, when they free. */
static inline uint32_t slab__fresh(const struct span *span)
{
	return atomic_load_explicit(&span->fresh, memory_order_relaxed);
}

static inline void slab__set_fresh(struct span *span, uint32_t units)
{
	atomic_store_explicit(&span->fresh, (uint16_t)units, memory_order_relaxed);
}

/* Whether a block that begins there is the first one on one of its pages. */
static inline bool class__is_at_page(const struct size_class *class, uint32_t fresh)
{
	return fresh % PAGE_UNITS < class->units;
}

/* The next block that was never given out: it begins at fresh, and there is one. */
static inline void *slab__take_fresh(struct span *span, const struct size_class *class,
				     uint32_t fresh, bool *zero)
{
	char *block = span->start + ((size_t)fresh << UNIT_SHIFT);

	*zero = fresh >= span->clean * PAGE_UNITS;
	/* What an earlier life of the granule left may look like a link. */
	if (!*zero)
		*block__word(block) = 0;
	slab__set_fresh(span, fresh + class->units);
	span->used++;
	return block;
}

/* Given out, not freed or freed by another thread and not taken in yet. */
static inline unsigned int slab__blocks(const struct span *span)
{
	return span->used - (span->flags & SPAN_CURRENT ? 1u : 0u);
}

/* *zero: all of the block is known to be zero. */
void *_mt_slab_alloc(struct heap *heap, int class_id, bool *zero);
/* A block of this heap, checked before. */
void _mt_slab_free(struct heap *heap, struct span *span, void *block);
/* The same for a list of blocks. */
void _mt_slab_free_list(struct heap *heap, struct span *span, struct freed freed);
/* The last block of the slab was freed, and it is not the current one. */
void _mt_slab_emptied(struct heap *heap, struct span *span);
/* Whether the pointer is a block's start that was given out at some time. */
bool _mt_slab_is_block(const struct span *span, const void *block);
/*
 * Whether the block is in the slab's list. Also asked by other threads, while its own changes it:
 * who holds a live block never gets a yes.
 */
bool _mt_slab_has_free(const struct span *span, const void *block);
/*
 * Gives back the pages of slabs that hold no live block, of slabs with at most so many blocks. The
 * free blocks there leave the slab's list until it has no others (slab_holes.c).
 */
void _mt_slab_punch_all(struct heap *heap, unsigned int blocks);
/* Puts the free blocks of one such page on the list. */
void _mt_slab_fill_hole(struct heap *heap, struct span *span);
/* Gives back the pages that a list covers, the list being the caller's; their blocks leave it. */
void _mt_slab_punch_freed(struct span *span, struct freed *freed);
/* How many blocks lie on those pages. */
uint32_t _mt_slab_blocks_on(const struct span *span, uint32_t pages);

/* Whether a page that the block lies on was given back: then it is not live. */
static inline bool slab__in_hole(const struct span *span, const void *block)
{
	uint64_t remote = atomic_load_explicit(&span->remote, memory_order_relaxed);
	uint32_t holes = __atomic_load_n(&span->holes, __ATOMIC_RELAXED) |
			 freed__unpack(remote).pages;
	uint32_t offset = (uint16_t)(uintptr_t)block, first, last;

	if (likely(!holes))
		return false;
	first = offset >> PAGE_SHIFT;
	last = (offset + _mt_classes[span->class_id].size - 1) >> PAGE_SHIFT;
	return holes & ((2u << last) - (1u << first));
}

/* Other threads look meanwhile; a page with a live block is never in it. */
static inline void slab__set_holes(struct span *span, uint32_t pages)
{
	__atomic_store_n(&span->holes, (uint16_t)pages, __ATOMIC_RELAXED);
}

/* Who may free without further checks; nobody when the slab has holes. */
static inline void slab__set_owner(const struct heap *heap, struct span *span)
{
	atomic_store_explicit(&span->owner, span->holes ? 0 : heap->thread, memory_order_relaxed);
}

/* Empty slabs go back, the one that is kept for each class too. */
void _mt_slab_release_empty(struct heap *heap);

/* ---- arenas --------------------------------------------------------------------------------- */

void *_mt_arena_alloc(struct heap *heap, size_t bytes, bool *zero);
void _mt_arena_free(struct heap *heap, struct span *span, void *block);
/*
 * Blocks that other threads freed: the links of the list stand apart, since a page for each would
 * be much. The first of a new list, its offset; ends the program when it waits already.
 */
uint32_t _mt_arena_wait(struct span *span, void *block);
void _mt_arena_link(struct span *span, uint32_t offset, uint32_t next);
bool _mt_arena_waits(const struct span *span, const void *block);
void _mt_arena_free_list(struct heap *heap, struct span *span, struct freed freed);
/* Gives back the pages of a list's blocks, the list being the caller's. */
void _mt_arena_punch_freed(struct span *span, struct freed freed);
/* Bytes of the live run that begins there, or 0. */
size_t _mt_arena_size(const struct span *span, const void *block);
/* In place; false when it cannot. */
bool _mt_arena_resize(struct heap *heap, struct span *span, void *block, size_t bytes);
/* Bytes given out in an arena. */
size_t _mt_arena_used(const struct span *span);
/* The accounts of an arena that changes its heap. */
void _mt_arena_move(struct heap *from, struct heap *to, struct span *span);
/* Arenas without a block go back, the one that is kept too. */
void _mt_arena_release_empty(struct heap *heap);
/* Gives back the free pages of the heap's arenas, but for so many. */
void _mt_arena_purge(struct heap *heap, size_t keep_pages);

/* ---- big and large -------------------------------------------------------------------------- */

void *_mt_big_alloc(size_t bytes, bool *zero);
void _mt_big_free(struct span *span);

void *_mt_large_alloc(size_t bytes, size_t alignment, bool *zero);
/* Bytes of the mapping, 0 when the pointer is none. */
size_t _mt_large_size(const void *block);
/* The same, and it is gone. */
size_t _mt_large_free(void *block);
/* NULL when it cannot be resized; the block stays. */
void *_mt_large_resize(void *block, size_t bytes);
bool _mt_large_trim(void);
void _mt_large_lock(void);
void _mt_large_unlock(void);
void _mt_large_info(size_t *blocks, size_t *bytes, size_t *cached);

/* ---- the rest ------------------------------------------------------------------------------- */

/* Memory for the allocator's own tables, zeroed, never given back; NULL when there is none. */
void *_mt_meta_alloc(size_t bytes);
/* For the next allocation of the same size. */
void _mt_meta_free(void *memory, size_t bytes);
void _mt_meta_lock(void);
void _mt_meta_unlock(void);

struct options {
	size_t mmap_threshold;
	size_t mmap_max;
	size_t trim_threshold;
	size_t top_pad;
	unsigned int decay_ms;
	size_t sample_bytes; /* of the probes otel_memory; 0: none */
	int perturb;
	bool check;
	bool stats;
};

extern struct options _mt_options;

void _mt_options_init(void);

struct mt_layout; /* layout.h */

void _mt_layout_init(void);
void _mt_heap_layout(struct mt_layout *layout);
void _mt_large_layout(struct mt_layout *layout);

/* Sends all calls the slow way, or not, as the options say. */
void _mt_fast_switch(void);
enum shown_to {
	SHOWN_TO_FREE = 1, /* its fast path sees region 0, */
	SHOWN_TO_PASSED = 2, /* or does so for blocks that were not sampled, */
	SHOWN_TO_REAL = 4, /* or when the call has been told */
};

/* Under the lock of spans. */
void _mt_region_show(unsigned int to);

extern _Atomic bool _mt_ready;
/* The first call makes the allocator ready. */
void _mt_init(void);

/* The way behind the fast paths. */
void *_mt_alloc(size_t size, bool *zero);
/* Bytes that the block can hold; ends the program when it is not a live block. */
size_t _mt_size_of(const void *block, const char *caller);
/* The same, and the block is not looked at: its user may not have touched it yet. */
size_t _mt_usable_size(const void *block);

/* Writes one line, "mtalloc: CALLER(BLOCK): WHAT", and aborts. */
_Noreturn void _mt_die(const char *caller, const void *block, const char *what, size_t size);

#pragma GCC visibility pop
#endif
