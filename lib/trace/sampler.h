/* SPDX-License-Identifier: MIT */
/*
 * Sampling within a process: which allocations are taken (bpf/sample.h), and which of the blocks that
 * live were, so that their frees alone are told.
 *
 *	sampled__prepare(&set);			once
 *	if (sampler__takes(&s, mean, size))	s: the thread's; zeroed at first
 *		p = malloc(size), sampled__remember(&set, p);
 *	if (sampled__forget(&set, p))		before the free
 *
 * Most frees are of blocks that were not sampled. A filter of a byte for each of 65,536 groups of
 * addresses says so at once: how many of the group are in the set. With one sample in 512 KiB, a heap
 * of a GiB has 2,048 of them, so one free in 32 looks further. Blocks may be watched without being in
 * the set: by the filter alone.
 *
 * The set is a table of addresses, each within SAMPLED_REACH of where its hash points. Nothing is moved in
 * it and nothing marked as deleted: a lookup reads that far. An address belongs to one thread at a time,
 * from its malloc to its free, so one compare-and-swap for a place is all that threads have to agree on.
 * Nothing here allocates, takes a lock or changes errno. A fork's child has a copy, as of the heap.
 */
#ifndef MEMTRACE_SAMPLER_H
#define MEMTRACE_SAMPLER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bpf/sample.h"

#pragma GCC visibility push(hidden)

#define SAMPLED_SLOTS_LOG2 21 /* as many as may live, twice */
#define SAMPLED_FILTER_LOG2 16
#define SAMPLED_REACH 64

/* A thread's. */
struct sampler {
	__u64 left; /* bytes to the next sample; 0: not drawn yet */
	uint64_t random; /* state of the generator; 0: not begun */
};

/* Begin with another sequence: a fork's child must not take what its parent takes. */
static inline void sampler__begin(struct sampler *s)
{
	*s = (struct sampler){0};
}

/* What the next distance is drawn for: whether this allocation is hit. */
bool sampler__draws(struct sampler *s, uint64_t mean, uint64_t size);

/* Whether an allocation of so many bytes, not 0, is none. They are counted then. */
static inline bool sampler__passes(struct sampler *s, uint64_t bytes)
{
	bool hit;

#ifdef __x86_64__
	/* The compiler would load and store what it compares. A signal's handler finds it whole. */
	__asm__("sub %[bytes], %[left]" : [left] "+m"(s->left), "=@ccbe"(hit) : [bytes] "r"(bytes));
	if (__builtin_expect(hit, 0))
		s->left += bytes;
#else
	hit = sample__hits(&s->left, bytes);
#endif
	return !hit;
}

/* Whether an allocation is sampled. mean: bytes from one sample to the next, not 0. */
static inline bool sampler__takes(struct sampler *s, uint64_t mean, uint64_t size)
{
	if (__builtin_expect(!sample__hits(&s->left, sample__bytes(size)), 1))
		return false;
	return sampler__draws(s, mean, size);
}

/* A process's. */
struct sampled {
	uint8_t *filter; /* NULL: there was no memory; nothing is remembered */
	uint64_t *slots; /* epoch << 48 | address; of another epoch: free */
	uint64_t epoch;
};

/* What it needs, if it has not got it: address space of 16 MiB, of which little is used. One thread at a
 * time. */
void sampled__prepare(struct sampled *set);

/* A sampled block lives. False: there is no room, its free will not be known. */
bool sampled__remember(struct sampled *set, const void *block);

/* None does. Others may be at work: what they put in meanwhile may stay. */
void sampled__clear(struct sampled *set);

/* From here on sampled__may_have() says so of this block; of NULL: of all. */
void sampled__watch(const struct sampled *set, const void *block);

/* The rest of sampled__forget(). */
bool sampled__take_out(struct sampled *set, const void *block);

static inline uint64_t sampled__hash(const void *block)
{
	return (uint64_t)(uintptr_t)block * 0x9e3779b97f4a7c15ULL;
}

/* By the lower half of the address: a product with a constant of 32 bits is one instruction. */
static inline uint32_t sampled__group(const void *block)
{
	return (uint32_t)(uintptr_t)block * 0x9e3779b9U >> (32 - SAMPLED_FILTER_LOG2);
}

static inline bool sampled__in_filter(const uint8_t *filter, const void *block)
{
#ifdef __SANITIZE_THREAD__
	return __atomic_load_n(&filter[sampled__group(block)], __ATOMIC_RELAXED);
#else
	/* Which the compiler can make a part of the comparison. */
	return filter[sampled__group(block)];
#endif
}

/* By the filter: false for most blocks that were not sampled. */
static inline bool sampled__may_have(const struct sampled *set, const void *block)
{
	return set->filter && sampled__in_filter(set->filter, block);
}

/* Whether this block was sampled; forgotten with that. */
static inline bool sampled__forget(struct sampled *set, const void *block)
{
	return __builtin_expect(sampled__may_have(set, block), 0) && sampled__take_out(set, block);
}

#pragma GCC visibility pop

#endif /* MEMTRACE_SAMPLER_H */
