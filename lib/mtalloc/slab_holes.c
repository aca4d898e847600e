// SPDX-License-Identifier: MIT
/*
 * Holes: pages of a slab that hold no live block and were given back to the kernel.
 *
 * A slab with few live blocks keeps 64 KiB of memory for them, of no use to other sizes. Where the
 * heap is about to grow, and when it is trimmed, such pages go back. The links of the free blocks
 * there are gone with them, so those blocks are in no list; a bit for the page stands for them, and
 * tells a second free of one. When the slab has no other free block, a page's blocks are linked
 * again, just before one of them is given out.
 */
#include <string.h>

#include "internal.h"

#define WORDS (GRANULE / ALIGNMENT / 64)

struct blocks {
	uint64_t bits[WORDS]; /* of the slab, by index */
	uint32_t size;
	uint32_t count; /* that were ever given out */
};

static void mark(struct blocks *blocks, uint32_t index)
{
	blocks->bits[index / 64] |= (uint64_t)1 << (index % 64);
}

static void unmark(struct blocks *blocks, uint32_t index)
{
	blocks->bits[index / 64] &= ~((uint64_t)1 << (index % 64));
}

static bool is_marked(const struct blocks *blocks, uint32_t index)
{
	return blocks->bits[index / 64] >> (index % 64) & 1;
}

/* The pages that block index lies on, as bits. */
static uint32_t pages_of(const struct blocks *blocks, uint32_t index)
{
	uint32_t first = index * blocks->size >> PAGE_SHIFT;
	uint32_t last = (index * blocks->size + blocks->size - 1) >> PAGE_SHIFT;

	return (2u << last) - (1u << first);
}

static void blocks__init(struct blocks *blocks, const struct span *span)
{
	memset(blocks, 0, sizeof(*blocks));
	blocks->size = _mt_classes[span->class_id].size;
	blocks->count = ((uint32_t)slab__fresh(span) << UNIT_SHIFT) / blocks->size;
}

/* Marks what is in the slab's list. */
static void mark_free(struct blocks *blocks, const struct span *span)
{
	uint64_t link = span->free;

	for (uint32_t left = blocks->count; left; left--) {
		uint64_t offset = link__decode(link);

		if (offset >= GRANULE || !_mt_slab_is_block(span, span->start + offset))
			break;
		mark(blocks, (uint32_t)offset / blocks->size);
		link = *block__word(span->start + offset);
	}
	if (link__decode(link) != LINK_END)
		_mt_die("malloc", span->start,
			"corrupted free list in this slab, written after free?", blocks->size);
}

/* Links the marked blocks, the lowest first, before what link leads to. */
static uint64_t link_marked(const struct blocks *blocks, const struct span *span, uint64_t link)
{
	for (uint32_t i = blocks->count; i-- > 0;) {
		uint32_t offset = i * blocks->size;

		if (!is_marked(blocks, i))
			continue;
		*block__word(span->start + offset) = link;
		link = link__encode(offset);
	}
	return link;
}

/* The pages without a live block, of those that were written. */
static uint32_t empty_pages(const struct blocks *blocks, const struct span *span)
{
	uint32_t given = blocks->count * blocks->size;
	bool has_more = slab__fresh(span) <= _mt_classes[span->class_id].last;
	/* The next fresh block may begin on the page where the last one ends. */
	uint32_t end = (given + (has_more ? 0 : (uint32_t)PAGE - 1)) >> PAGE_SHIFT;
	uint32_t live = 0;

	for (uint32_t i = 0; i < blocks->count; i++) {
		uint32_t pages = pages_of(blocks, i);

		/* On a hole no block is live, though it is in no list. */
		if (!is_marked(blocks, i) && !(pages & span->holes))
			live |= pages;
	}
	return ((1u << end) - 1) & ~live & ~(uint32_t)span->holes;
}

/* Those that the kernel's pages cover in whole. */
static uint32_t whole_pages(uint32_t pages)
{
	uint32_t step = (uint32_t)(_mt_os_page >> PAGE_SHIFT), whole = 0;

	for (uint32_t at = 0; at < GRANULE_PAGES; at += step) {
		uint32_t unit = ((1u << step) - 1) << at;

		if ((pages & unit) == unit)
			whole |= unit;
	}
	return whole;
}

static void give_back(const struct span *span, uint32_t pages)
{
	while (pages) {
		uint32_t at = (uint32_t)__builtin_ctz(pages);
		uint32_t length = (uint32_t)__builtin_ctz(~(pages >> at));

		/* If the kernel refuses, they stay; their blocks are out of the list all the same. */
		_mt_os_discard(span->start + at * PAGE, length * PAGE);
		pages &= ~(((1u << length) - 1) << at);
	}
}

static void punch(struct heap *heap, struct span *span)
{
	struct blocks blocks;
	uint32_t pages;

	blocks__init(&blocks, span);
	mark_free(&blocks, span);
	pages = whole_pages(empty_pages(&blocks, span));
	if (!pages)
		return;
	/* The list first: it may lead through what goes. */
	for (uint32_t i = 0; i < blocks.count; i++)
		if (is_marked(&blocks, i) && pages_of(&blocks, i) & pages)
			unmark(&blocks, i);
	span->free = link_marked(&blocks, span, link__encode(LINK_END));
	give_back(span, pages);
	heap->punched += (uint32_t)__builtin_popcount(pages);
	slab__set_holes(span, span->holes | pages);
	slab__set_owner(heap, span);
}

void _mt_slab_punch_all(struct heap *heap, unsigned int blocks)
{
	for (int i = 0; i < CLASSES; i++) {
		struct span *span = _mt_span_by_id(heap->queue[i].first);

		for (; span; span = _mt_span_by_id(span->next)) {
			bool trims = blocks >= GRANULE_UNITS;

			/* The current one of a class is about to be used. */
			if (slab__blocks(span) <= blocks && slab__fresh(span) > PAGE_UNITS &&
			    (trims || span != heap->current[i]))
				punch(heap, span);
		}
	}
}

void _mt_slab_punch_freed(struct span *span, struct freed *freed)
{
	struct blocks blocks;
	uint32_t pages = 0, live = 0;
	uint64_t link = link__encode(freed->head);

	blocks__init(&blocks, span);
	for (uint32_t left = freed->count; left; left--) {
		uint64_t offset = link__decode(link);

		if (offset >= GRANULE || !_mt_slab_is_block(span, span->start + offset))
			_mt_die("free", span->start,
				"corrupted free list in this slab, written after free?", blocks.size);
		mark(&blocks, (uint32_t)offset / blocks.size);
		link = *block__word(span->start + offset);
	}
	/* All others count as live: the slab is another thread's, who takes and frees. */
	for (uint32_t i = 0; i < GRANULE / blocks.size; i++) {
		if (is_marked(&blocks, i))
			pages |= pages_of(&blocks, i);
		else
			live |= pages_of(&blocks, i);
	}
	pages = whole_pages(pages & ~live);
	if (!pages)
		return;
	freed->count = 0;
	freed->pages = pages;
	for (uint32_t i = 0; i < blocks.count; i++) {
		uint32_t offset = i * blocks.size;

		if (!is_marked(&blocks, i) || pages_of(&blocks, i) & pages)
			continue;
		if (freed->count++)
			*block__word(span->start + freed->tail) = link__encode(offset);
		else
			freed->head = offset;
		freed->tail = offset;
	}
	give_back(span, pages);
}

uint32_t _mt_slab_blocks_on(const struct span *span, uint32_t pages)
{
	struct blocks blocks;
	uint32_t count = 0;

	blocks.size = _mt_classes[span->class_id].size;
	for (uint32_t i = 0; i < GRANULE / blocks.size; i++)
		count += (pages_of(&blocks, i) & pages) != 0;
	return count;
}

void _mt_slab_fill_hole(struct heap *heap, struct span *span)
{
	struct blocks blocks;
	uint32_t page = 1u << __builtin_ctz(span->holes);
	uint32_t others = span->holes & ~page;

	blocks__init(&blocks, span);
	for (uint32_t i = 0; i < blocks.count; i++) {
		uint32_t pages = pages_of(&blocks, i);

		if (pages & page && !(pages & others))
			mark(&blocks, i);
	}
	heap->refilled++;
	slab__set_holes(span, others);
	span->free = link_marked(&blocks, span, span->free);
	slab__set_owner(heap, span);
}
