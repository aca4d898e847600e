// SPDX-License-Identifier: MIT
/*
 * Which pages of the allocator's memory are resident, as far as faults, populating calls and calls
 * that give back tell: a bit a page, in words of 64 by address. What memory this takes follows the
 * memory that the target has, not how long it runs.
 */
#include <errno.h>

#include "user/check/state.h"

#define PAGE 4096ULL
#define WORD_PAGES 64
#define WORD_BYTES (WORD_PAGES * PAGE)

/* The bits of a word that pages of [start, end) have. */
static uint64_t word__mask(uint64_t word, uint64_t start, uint64_t end)
{
	uint64_t base = word * WORD_BYTES, first = start > base ? (start - base) / PAGE : 0;
	uint64_t behind = end < base + WORD_BYTES ? (end - base) / PAGE : WORD_PAGES;
	uint64_t mask = behind >= WORD_PAGES ? ~0ULL : (1ULL << behind) - 1;

	return first >= WORD_PAGES ? 0 : mask & ~0ULL << first;
}

static int life__set(struct life *l, uint64_t word, uint64_t mask)
{
	uint64_t *bits = hmap__find(&l->pages, word), old = bits ? *bits : 0;

	if ((old | mask) == old)
		return 0;
	l->resident += PAGE * (uint64_t)__builtin_popcountll(mask & ~old);
	if (l->resident > l->resident_peak)
		l->resident_peak = l->resident;
	if (l->resident > l->phase_peak.resident)
		l->phase_peak.resident = l->resident;
	if (bits) {
		*bits |= mask;
		return 0;
	}
	return hmap__set(&l->pages, word, mask);
}

static void life__unset(struct life *l, uint64_t word, uint64_t mask)
{
	uint64_t *bits = hmap__find(&l->pages, word);

	if (!bits)
		return;
	l->resident -= PAGE * (uint64_t)__builtin_popcountll(*bits & mask);
	*bits &= ~mask;
	if (!*bits)
		hmap__remove(&l->pages, word);
}

int life__touch_page(struct life *l, uint64_t addr)
{
	return life__set(l, addr / WORD_BYTES, 1ULL << (addr / PAGE % WORD_PAGES));
}

int life__touch_range(struct life *l, uint64_t start, uint64_t end)
{
	uint64_t word;
	int err = 0;

	for (word = start / WORD_BYTES; !err && word * WORD_BYTES < end; word++)
		err = life__set(l, word, word__mask(word, start, end));
	return err;
}

/* Of a reservation that is larger than all that is resident, only what is resident is looked at. */
static void life__drop_sparse(struct life *l, uint64_t start, uint64_t end)
{
	uint64_t word, bits;
	size_t pos = 0;

	while (hmap__next(&l->pages, &pos, &word, &bits)) {
		uint64_t *now, mask;

		if ((word + 1) * WORD_BYTES <= start || word * WORD_BYTES >= end)
			continue;
		mask = word__mask(word, start, end);
		now = hmap__find(&l->pages, word);
		l->resident -= PAGE * (uint64_t)__builtin_popcountll(bits & mask);
		*now = bits & ~mask;
	}
}

void life__drop_range(struct life *l, uint64_t start, uint64_t end)
{
	uint64_t word;

	if (!l->resident || end <= start)
		return;
	if ((end - start) / WORD_BYTES > l->pages.size) {
		life__drop_sparse(l, start, end);
		return;
	}
	for (word = start / WORD_BYTES; word * WORD_BYTES < end; word++)
		life__unset(l, word, word__mask(word, start, end));
}

int life__move_range(struct life *l, uint64_t from, uint64_t to, uint64_t bytes)
{
	uint64_t at, *bits;
	int err = 0;

	for (at = 0; !err && l->resident && at < bytes; at += PAGE) {
		bits = hmap__find(&l->pages, (from + at) / WORD_BYTES);
		if (!bits) { /* nothing up to the next word */
			at = ((from + at) / WORD_BYTES + 1) * WORD_BYTES - from - PAGE;
			continue;
		}
		if (!(*bits >> ((from + at) / PAGE % WORD_PAGES) & 1))
			continue;
		life__unset(l, (from + at) / WORD_BYTES, 1ULL << ((from + at) / PAGE % WORD_PAGES));
		err = life__touch_page(l, to + at);
	}
	return err;
}

int life__copy_pages(struct life *to, const struct life *from)
{
	uint64_t word, bits;
	size_t pos = 0;

	while (hmap__next(&from->pages, &pos, &word, &bits))
		if (hmap__set(&to->pages, word, bits))
			return -ENOMEM;
	to->resident = from->resident;
	return 0;
}
