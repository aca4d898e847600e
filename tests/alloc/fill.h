/* SPDX-License-Identifier: MIT */
/*
 * Contents that tell whose they are: every 8 bytes of a block are derived from the block's key and
 * their offset, so a write through another block, or a copy that went wrong, is seen.
 */
#ifndef TESTS_ALLOC_FILL_H
#define TESTS_ALLOC_FILL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* From this size on only the edges and one word a page are written and looked at. */
#define FILL_WHOLE 32768
#define FILL_EDGE 4096

static inline uint64_t fill__word(uint64_t key, size_t offset)
{
	uint64_t x = key * 0x9e3779b97f4a7c15ULL + offset;

	return (x ^ x >> 29) * 0xbf58476d1ce4e5b9ULL;
}

/* Bytes [from, to), both within the block; the last word may be cut. */
static inline void fill__range(unsigned char *p, size_t from, size_t to, uint64_t key)
{
	size_t at = from;
	uint64_t word;

	for (; at + 8 <= to; at += 8) {
		word = fill__word(key, at);
		memcpy(p + at, &word, 8);
	}
	word = fill__word(key, at);
	memcpy(p + at, &word, to - at);
}

static inline bool fill__range_holds(const unsigned char *p, size_t from, size_t to, uint64_t key)
{
	size_t at = from;
	uint64_t word;

	for (; at + 8 <= to; at += 8) {
		word = fill__word(key, at);
		if (memcmp(p + at, &word, 8))
			return false;
	}
	word = fill__word(key, at);
	return !memcmp(p + at, &word, to - at);
}

static inline void fill__block(void *block, size_t size, uint64_t key)
{
	unsigned char *p = (unsigned char *)block;
	size_t tail;

	if (size <= FILL_WHOLE) {
		fill__range(p, 0, size, key);
		return;
	}
	/* Offsets are multiples of 8 wherever a range begins. */
	tail = (size - FILL_EDGE) & ~(size_t)7;
	fill__range(p, 0, FILL_EDGE, key);
	for (size_t at = FILL_EDGE; at < tail; at += 4096)
		fill__range(p, at, at + 8, key);
	fill__range(p, tail, size, key);
}

/* Do the first `kept` bytes of a block filled as `size` bytes still hold? */
static inline bool fill__holds(const void *block, size_t size, size_t kept, uint64_t key)
{
	const unsigned char *p = (const unsigned char *)block;
	size_t tail;

	if (size <= FILL_WHOLE)
		return fill__range_holds(p, 0, kept, key);
	tail = (size - FILL_EDGE) & ~(size_t)7;
	if (!fill__range_holds(p, 0, kept < FILL_EDGE ? kept : FILL_EDGE, key))
		return false;
	for (size_t at = FILL_EDGE; at < tail && at + 8 <= kept; at += 4096)
		if (!fill__range_holds(p, at, at + 8, key))
			return false;
	return kept <= tail || fill__range_holds(p, tail, kept, key);
}

static inline bool fill__is_zero(const void *block, size_t size)
{
	const unsigned char *p = (const unsigned char *)block;

	return size == 0 || (p[0] == 0 && !memcmp(p, p + 1, size - 1));
}

#endif
