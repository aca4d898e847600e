// SPDX-License-Identifier: MIT
/*
 * Whose resident memory is. The pages come in the order of their addresses, and so do the
 * blocks: one walk along both tells which bytes of each page are in live blocks. A page with
 * several blocks is shared out by bytes.
 */
#include <errno.h>
#include <stdlib.h>

#include "user/model/heap.h"
#include "user/model/internal.h"

#define LEFT_OUT 3 /* parts that blocks can be in the mappings of: live is no more than these */

struct resident {
	struct model *m;
	struct process *p;
	struct blocks_iter blocks;
	struct block block; /* the first that may reach into what comes */
	bool has_block;
	uint64_t told; /* in all */
	/* Under sampling, what live blocks have beyond those that were sampled, taken from these. */
	struct {
		uint64_t *from;
		uint64_t bytes;
	} left_out[LEFT_OUT];
};

bool model__has_heap(const struct model *m)
{
	size_t i;

	for (i = 0; i < m->nprocesses; i++)
		if (m->processes[i]->has_heap_plane)
			return true;
	return false;
}

struct resident *model__resident_begin(struct model *m, pid_t pid)
{
	struct process *p = model__live(m, pid);
	struct resident *r = p ? calloc(1, sizeof(*r)) : NULL;

	if (!r)
		return NULL;
	r->m = m;
	r->p = p;
	p->r.parts = (struct resident_parts){0};
	if (p->heap) {
		if (nursery__settle(&p->heap->blocks)) {
			free(r);
			return NULL;
		}
		blocks__begin(&p->heap->blocks.tree, &r->blocks);
		r->has_block = blocks__next(&r->blocks, &r->block);
	}
	return r;
}

bool resident__wants_pages(enum region_class class)
{
	/* A static allocator's memory may be data, too. */
	return class == REGION_HEAP || class == REGION_MMAP || class == REGION_DATA;
}

/* What is in no live block, by whose the mapping is. */
static uint64_t *resident__rest(struct resident *r, enum region_class class, const struct vma *v)
{
	struct resident_parts *parts = &r->p->r.parts;

	if (class == REGION_AGENT || (v && v->flags & VMA_AGENT))
		return &parts->agent;
	switch (class) {
	case REGION_STACK:
		return &parts->stack;
	case REGION_TEXT:
	case REGION_DATA:
	case REGION_FILE:
		return &parts->file;
	case REGION_OTHER:
		return &parts->other;
	case REGION_UNKNOWN:
	case REGION_CLASSES:
		return &parts->unknown;
	case REGION_HEAP:
	case REGION_MMAP:
		break;
	}
	if (!v || v->flags & VMA_BEFORE)
		return &parts->unknown;
	if (v->flags & VMA_HAS_BLOCKS)
		return &parts->retained;
	if (v->flags & VMA_BY_ALLOCATOR)
		return &parts->allocator;
	/* The break of a process whose allocator is not seen. */
	if (class == REGION_HEAP && !r->p->has_heap_plane)
		return &parts->unknown;
	return &parts->direct_mmap;
}

void resident__sum(struct resident *r, enum region_class class, uint64_t bytes)
{
	*resident__rest(r, class, NULL) += bytes;
	r->told += bytes;
}

/* Bytes of [start, end) that are in live blocks; *stand_for: and in those they stand for. */
static uint64_t resident__live(struct resident *r, uint64_t start, uint64_t end, uint64_t *stand_for)
{
	uint64_t live = 0, from, to, bytes;

	*stand_for = 0;
	while (r->has_block && r->block.addr < end) {
		uint64_t block_end = r->block.addr + r->block.size;

		from = r->block.addr > start ? r->block.addr : start;
		to = block_end < end ? block_end : end;
		if (from < to) {
			struct place *place =
				r->block.site < r->m->nplaces ? &r->m->places[r->block.site] : NULL;

			live += to - from;
			start = to; /* blocks that overlap are not counted twice */
			bytes = amount__of(to - from, heap__weight(r->p->heap, r->block.addr)).bytes;
			*stand_for += bytes;
			if (place && place->heap)
				place->heap->resident_bytes += bytes;
		}
		if (block_end > end)
			break;
		r->has_block = blocks__next(&r->blocks, &r->block);
	}
	return live;
}

static void resident__leave_out(struct resident *r, uint64_t *from, uint64_t bytes)
{
	unsigned i;

	for (i = 0; bytes && i < LEFT_OUT; i++) {
		if (r->left_out[i].from && r->left_out[i].from != from)
			continue;
		r->left_out[i].from = from;
		r->left_out[i].bytes += bytes;
		return;
	}
}

/* What is live by estimate is at most what is there. */
static void resident__estimate(struct resident *r)
{
	unsigned i;

	for (i = 0; i < LEFT_OUT && r->left_out[i].from; i++) {
		uint64_t *from = r->left_out[i].from, bytes = r->left_out[i].bytes;

		bytes = bytes < *from ? bytes : *from;
		*from -= bytes;
		r->p->r.parts.live += bytes;
	}
}

void resident__pages(struct resident *r, enum region_class class, uint64_t start, uint64_t end)
{
	const struct vma *v;
	uint64_t live, piece, stand_for, *rest;

	/* What is one mapping to the kernel may be several to us, by who made them. */
	for (; start < end; start = piece) {
		v = space__find(&r->p->space, start);
		piece = v && v->end < end ? v->end : end;
		live = resident__live(r, start, piece, &stand_for);
		rest = resident__rest(r, class, v);
		r->p->r.parts.live += live;
		*rest += piece - start - live;
		resident__leave_out(r, rest, stand_for - live);
		r->told += piece - start;
	}
}

void resident__end(struct resident *r, uint64_t kernel_bytes)
{
	if (!r)
		return;
	resident__estimate(r);
	if (kernel_bytes != UNKNOWN) {
		if (kernel_bytes > r->told)
			r->p->r.parts.unknown += kernel_bytes - r->told;
		r->p->has_parts = true;
	}
	free(r);
}
