/* SPDX-License-Identifier: MIT */
/*
 * The ring plane's shared memory: how code inside a process hands allocator calls to the
 * collector, and how the two meet. Read by lib/agent and lib/mtalloc, which write the
 * records (producer.h does it), and by user/source/ring, which reads them.
 *
 * Vocabulary
 *   segment    the memory that one process image shares with the collector: a memfd
 *   slot       one ring in it with its head and tail; belongs to one thread at a time
 *   ticks      the processor's time stamp counter, less ring_header.base_ticks, which is the same
 *              for all segments of a run
 *   owner      of a kernel event: the call its thread was inside of, by its start in ticks
 *
 *	+---------+---------+-------------+---------+---------+--
 *	| header  | slots   | stack table | ring 0  | ring 1  | ...
 *	+---------+---------+-------------+---------+---------+--
 *
 * Why so
 * - The collector makes the memfd, lays it out, seals its size and sends it in answer to a
 *   hello. So it never reads a layout that it did not write itself, the memory cannot be taken
 *   away under it (SIGBUS), and the target makes no file (RLIMIT_FSIZE would kill it). Once
 *   mapped the target needs no descriptor: it may close all of them, or install a filter.
 * - Rings come last: where the address space is limited a target maps fewer of them. Slots are taken
 *   from the first on, and the first have the longer rings: a program of a thousand threads has
 *   not a thousand times the memory of one.
 * - A ring has one writer and one reader. A record is written with plain stores, then head is
 *   stored with release: on x86 no instruction more than the store. The writer reads tail only when
 *   its own copy of it says that the ring is full. head and tail are on cache lines of their own.
 * - Records are 32 bytes, so two fill a cache line and none is on two. What rarely matters (the
 *   old block of a realloc, a size above 2^56, a call of more than a second) is in a second one.
 * - Stamped with the time stamp counter: a clock_gettime costs more than all the rest of a record. The
 *   collector converts. It need not be exact: an owner is compared as it is, in ticks.
 * - An allocation is published after it returned and before its caller has the block; a free
 *   before it begins. So of two records on one address the earlier is published before the later is
 *   stamped, and a reader that holds back what is younger than its oldest look at any head never
 *   sees them the wrong way round, whatever delays a thread. The stamps are taken in order with the
 *   loads before them; the processor by itself would not see to that.
 * - A thread that ends gives its slot back; the next one says who it is by a record in the ring.
 *   Nothing is to be drained in between. If it could not, the collector frees the slot.
 *
 * Trust. Everything that the target can write, which is all of it, is a claim. The collector keeps
 * its own copy of the layout, masks indexes, takes a record out before it looks at it, and takes
 * no more at a time than a ring can hold.
 */
#ifndef MEMTRACE_RING_H
#define MEMTRACE_RING_H

#include <stdint.h>

#include "bpf/event.h"

#define RING_VERSION 1
#define RING_MAGIC 0x31676e6972746dULL /* "mtring1" */

/* Names the collector's socket to what is launched: "NAME:TOKEN". The name is that of an abstract
 * unix socket; the token, 32 hexadecimal digits, shows that the hello comes from a descendant. */
#define RING_ENV "MEMTRACE_RING"
#define RING_TOKEN_BYTES 32

/* ring_record.when: ticks << 8 | kind. A kind below HEAP_OPS is that function's call. */
enum ring_kind {
	RING_THREAD = 0x40, /* .addr: the thread that writes from here on, by its gettid() */
	RING_MORE = 0x41, /* the rest of the record before it, see struct ring_more */
};
#define RING_KIND(when) ((unsigned)(when)&0xff)
#define RING_TICKS(when) ((when) >> 8)
#define RING_WHEN(ticks, kind) ((uint64_t)(ticks) << 8 | (kind))

/* ring_record.size: size << 8 | RING_HAS_MORE | RING_FAILED | log2 of the alignment asked for */
#define RING_HAS_MORE 0x80 /* a struct ring_more follows, and has the size */
#define RING_FAILED 0x40
#define RING_ALIGN 0x3f
#define RING_SIZE_MAX ((1ULL << 56) - 1)

struct ring_record {
	uint64_t when; /* start of the call, and what it is */
	uint64_t addr; /* the block: made, or freed */
	uint64_t size; /* as above */
	uint32_t stack; /* in the stack table; 0: none */
	uint32_t took; /* ticks; a free is told as it begins: 0 */
};

struct ring_more {
	uint64_t when; /* RING_MORE; ticks: how long the call took */
	uint64_t old; /* the block that a realloc was given */
	uint64_t size;
	uint64_t flags; /* HEAP_* of bpf/event.h; RING_LEFT_OUT */
};
#define RING_LEFT_OUT (1ULL << 32) /* sampling: told for the sake of the old block alone */

/* One thread's ring. Counts of records only grow; the ring index is the count, masked. */
struct ring_slot {
	uint64_t head; /* written so far: stored with release by the thread */
	uint64_t pad[7];
	uint64_t tail; /* read so far: stored with release by the collector */
	uint64_t pad2[7];
	uint32_t owner; /* gettid() of the thread; 0: free. Taken by compare-and-swap */
	uint32_t used; /* 1 before any thread has it: the collector looks no further than the first
			* that is not */
	uint64_t pad3[7];
	uint64_t lost[HEAP_OPS]; /* not written because the ring was full, by function */
	uint64_t nested; /* calls inside others: not told */
	uint64_t pad4[15];
};

#define RING_ON_FULL_BLOCK 0 /* wait for the collector */
#define RING_ON_FULL_DROP 1 /* count the record as lost */

#define RING_MEMFD_NAME "mtalloc-ring" /* of memory that a process itself has made, and offers */
#define RING_CLOSED_ANEW \
	2 /* in ring_header.closed: there is another collector, which is to be asked */

#define RING_CLOCK_TICKS 0 /* the time stamp counter */
#define RING_CLOCK_NS 1 /* it is no clock on this machine: CLOCK_MONOTONIC, in ns */

struct ring_header {
	/* Written by the collector before it hands the segment over. */
	uint64_t magic;
	uint32_t version;
	uint32_t header_bytes; /* of this struct, for those that know a shorter one */
	uint64_t bytes; /* of the segment */
	uint64_t base_ticks;
	uint32_t slots; /* how many rings */
	uint32_t records; /* of the first `wide` of them, */
	uint32_t wide;
	uint32_t few_records; /* and of the others. Powers of two */
	uint64_t slots_at, stacks_at, stacks_bytes, rings_at; /* offsets in the segment */
	uint64_t sample_bytes; /* 0: every call */
	uint32_t clock; /* RING_CLOCK_* */
	uint32_t on_full; /* RING_ON_FULL_* */
	uint32_t stack_frames; /* at most so many; 0: no stacks are wanted */
	uint32_t follow; /* 1: children of forks are to be traced, too */
	uint64_t pad1[3];
	/* By the collector, at any time. */
	uint32_t closed; /* 1: nothing is to be written any more */
	uint32_t beat; /* another one each time it has looked, or has given records back */
	uint32_t pad2[14];
	/* By the target. */
	uint64_t gave_up_ticks; /* when it stopped for good, because the collector did not read, or the clock went; 0: never */
	uint64_t unslotted; /* calls of threads for which there was no slot */
	uint64_t mapped_at, mapped_bytes; /* where it has the segment */
	uint64_t late_ms; /* so long it went on without the collector, which did not answer; 0: it has not */
	uint64_t pad3[3];
};

/* The first record of slot i's ring, counted from rings_at. */
static inline uint64_t ring__first(uint64_t i, uint32_t wide, uint32_t records, uint32_t few_records)
{
	return i < wide ? i * records : (uint64_t)wide * records + (i - wide) * few_records;
}

/* A process that wants to be traced says (SOCK_SEQPACKET, one message each way): */
enum ring_hello_kind {
	RING_HELLO_READY = 1, /* send me a segment */
	RING_HELLO_UNABLE = 2, /* no: .text says why */
};
struct ring_hello {
	uint64_t magic;
	uint32_t version;
	uint32_t kind;
	char token[RING_TOKEN_BYTES];
	uint32_t pid, tid; /* as it sees them itself */
	int64_t call_at; /* where each thread's struct ring_call is, from its %fs base */
	uint64_t allocator; /* the address of the malloc that is wrapped */
	uint64_t producer; /* an address in the code of the wrapper */
	char text[128]; /* the allocator's file; or why it cannot be traced */
};

/* And is answered; the segment's descriptor comes along when err is 0. A target that cannot map it
 * says RING_HELLO_UNABLE on the same connection; one that has closes it. */
struct ring_welcome {
	uint64_t magic;
	uint32_t version;
	int32_t err;
	uint64_t bytes;
	uint64_t least_bytes; /* of it, with a single ring */
	uint64_t pad;
};

/*
 * The allocator call that a thread is inside of, in its thread-local memory (of the initial-exec
 * kind, so at one offset in all threads). The BPF programs read it at each kernel event of the
 * thread: inside are those below sp, while start is not 0.
 */
struct ring_call {
	uint64_t start; /* in ticks; no two calls of a thread have the same. 0: in none */
	uint64_t sp; /* of the wrapper's frame */
};

#ifndef __cplusplus
_Static_assert(sizeof(struct ring_record) == 32, "ring_record");
_Static_assert(sizeof(struct ring_more) == 32, "ring_more");
_Static_assert(sizeof(struct ring_slot) == 3 * 64 + 8 * (HEAP_OPS + 16), "ring_slot");
_Static_assert(sizeof(struct ring_slot) % 64 == 0, "a slot fills cache lines");
_Static_assert(sizeof(struct ring_header) == 256, "ring_header");
_Static_assert(sizeof(struct ring_hello) == 24 + RING_TOKEN_BYTES + 24 + 128, "ring_hello");
_Static_assert(sizeof(struct ring_welcome) == 40, "ring_welcome");
_Static_assert((int)HEAP_OPS <= (int)RING_THREAD, "the functions' numbers are below the other kinds");
#endif

#endif /* MEMTRACE_RING_H */
