/* SPDX-License-Identifier: MIT */
/* A hash map from 64-bit keys to 64-bit values: open addressing, grows by doubling. */
#ifndef MEMTRACE_HMAP_H
#define MEMTRACE_HMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* All zero is an empty map. */
struct hmap {
	struct hmap_slot *slots;
	size_t size; /* slots, a power of two, or 0 */
	size_t used; /* entries, and marks of removed ones */
};

struct hmap_slot {
	uint64_t key, value;
	uint8_t state; /* free, used, or deleted */
};

/* A pointer to the key's value, valid until the next insertion; NULL when absent. */
uint64_t *hmap__find(const struct hmap *m, uint64_t key);

/* Set the key's value. 0 or -ENOMEM. */
int hmap__set(struct hmap *m, uint64_t key, uint64_t value);

void hmap__remove(struct hmap *m, uint64_t key);
void hmap__clear(struct hmap *m); /* empty, memory freed */

/* Iterate: begin with *pos = 0; false at the end. The map must not change meanwhile. */
bool hmap__next(const struct hmap *m, size_t *pos, uint64_t *key, uint64_t *value);

/* One hash of two words, for composed keys. */
static inline uint64_t hmap__mix(uint64_t a, uint64_t b)
{
	uint64_t h = (a ^ (b * 0x9E3779B97F4A7C15ULL)) * 0xD6E8FEB86659FD93ULL;

	/* Twice, so that the highest bits, too, reach the lowest, which choose the slot. */
	h = (h ^ (h >> 32)) * 0xD6E8FEB86659FD93ULL;
	return h ^ (h >> 32);
}

#endif /* MEMTRACE_HMAP_H */
