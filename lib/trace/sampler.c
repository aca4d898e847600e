// SPDX-License-Identifier: MIT
#include "lib/trace/sampler.h"

#include <sys/mman.h>
#include <time.h>

#include "bpf/event.h"
#include "lib/trace/sys.h"

#define SLOTS (1UL << SAMPLED_SLOTS_LOG2)
#define FILTER (1UL << SAMPLED_FILTER_LOG2)
#define FULL 255 /* a count in the filter that has come here stays */
#define EPOCH_SHIFT 48
#define EPOCHS 0xffff

/* ---- which are taken ------------------------------------------------------------------------ */

/* Steps by an odd number, mixed: each step's 64 bits are as good as independent (SplitMix64). */
static uint64_t next_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15ULL;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
	return z ^ z >> 31;
}

/* No two threads begin at one place: they differ in number, and in time to the nanosecond. No random
 * bytes are asked of the kernel: a filter of system calls may be in the way. */
static uint64_t seed(const struct sampler *s)
{
	struct timespec now;
	uint64_t state;

	clock_gettime(CLOCK_MONOTONIC, &now);
	state = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
	state = next_random(&state) ^ (uint64_t)sys__call(SYS_gettid, 0, 0, 0);
	state = next_random(&state) ^ (uintptr_t)s;
	return next_random(&state) | 1;
}

bool sampler__draws(struct sampler *s, uint64_t mean, uint64_t size)
{
	if (!s->random)
		s->random = seed(s);
	if (!s->left) {
		s->left = sample__distance(mean, next_random(&s->random));
		if (!sample__hits(&s->left, sample__bytes(size)))
			return false;
	}
	s->left = sample__distance(mean, next_random(&s->random));
	return true;
}

/* ---- which were taken ----------------------------------------------------------------------- */

void sampled__prepare(struct sampled *set)
{
	long at;

	if (set->filter)
		return;
	at = sys__call6(SYS_mmap, 0, (long)(SLOTS * sizeof(*set->slots) + FILTER),
			PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
			(long)CALL_OF_PRODUCER);
	if (at < 0 && at > -4096)
		return;
	set->slots = (uint64_t *)at;
	set->epoch = set->epoch ? set->epoch : 1;
	__atomic_store_n(&set->filter, (uint8_t *)(set->slots + SLOTS), __ATOMIC_RELEASE);
}

static uint64_t key_of(const struct sampled *set, const void *block)
{
	return (uint64_t)(uintptr_t)block | __atomic_load_n(&set->epoch, __ATOMIC_RELAXED)
						    << EPOCH_SHIFT;
}

static uint64_t *slot_of(const struct sampled *set, uint64_t hash, unsigned i)
{
	return &set->slots[((hash >> (64 - SAMPLED_SLOTS_LOG2)) + i) & (SLOTS - 1)];
}

/* One more or less of a group. */
static void filter__count(const struct sampled *set, const void *block, int by)
{
	uint8_t *group = &set->filter[sampled__group(block)];
	uint8_t n = __atomic_load_n(group, __ATOMIC_RELAXED);

	/* At 0 nothing is taken off: the set was cleared meanwhile. */
	while (n != FULL && (n || by > 0) &&
	       !__atomic_compare_exchange_n(group, &n, (uint8_t)(n + by), false, __ATOMIC_RELAXED,
					    __ATOMIC_RELAXED)) {
	}
}

bool sampled__remember(struct sampled *set, const void *block)
{
	uint64_t key = key_of(set, block), hash = sampled__hash(block);

	/* What has no room above an address does not fit; no process has such addresses. */
	if (!set->filter || (uint64_t)(uintptr_t)block >> EPOCH_SHIFT)
		return false;
	/* It may be there still: not every free is seen. */
	sampled__forget(set, block);
	filter__count(set, block, 1);
	for (unsigned i = 0; i < SAMPLED_REACH; i++) {
		uint64_t *slot = slot_of(set, hash, i);
		uint64_t was = __atomic_load_n(slot, __ATOMIC_RELAXED);

		while (!was || was >> EPOCH_SHIFT != key >> EPOCH_SHIFT)
			if (__atomic_compare_exchange_n(slot, &was, key, false, __ATOMIC_RELAXED,
							__ATOMIC_RELAXED))
				return true;
	}
	filter__count(set, block, -1);
	return false;
}

void sampled__watch(const struct sampled *set, const void *block)
{
	if (!set->filter)
		return;
	if (block)
		filter__count(set, block, 1);
	for (size_t i = 0; !block && i < FILTER; i++)
		__atomic_store_n(&set->filter[i], FULL, __ATOMIC_RELAXED);
}

bool sampled__take_out(struct sampled *set, const void *block)
{
	uint64_t key = key_of(set, block), hash = sampled__hash(block);

	for (unsigned i = 0; i < SAMPLED_REACH; i++) {
		uint64_t *slot = slot_of(set, hash, i), is = key;

		if (__atomic_load_n(slot, __ATOMIC_RELAXED) != key ||
		    !__atomic_compare_exchange_n(slot, &is, 0, false, __ATOMIC_RELAXED,
						 __ATOMIC_RELAXED))
			continue;
		filter__count(set, block, -1);
		return true;
	}
	return false;
}

void sampled__clear(struct sampled *set)
{
	if (!set->filter)
		return;
	__atomic_store_n(&set->epoch, set->epoch % EPOCHS + 1, __ATOMIC_RELAXED);
	for (size_t i = 0; i < FILTER / sizeof(uint64_t); i++)
		__atomic_store_n((uint64_t *)(void *)set->filter + i, 0, __ATOMIC_RELAXED);
}
