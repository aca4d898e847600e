// SPDX-License-Identifier: MIT
/*
 * mtalloc's heap from outside, by its own description (lib/mtalloc/layout.h has the vocabulary). A target
 * can write anything there: what is read is bounded, and sums that cannot be are not believed.
 */
#include "user/source/census.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "lib/mtalloc/layout.h"

#define TRIES 3
#define DATA_MAX (64UL << 20)
#define REGIONS_MAX 4096
#define GRANULES_MAX (1U << 20) /* of a region */
#define CLASSES_MAX 256
#define HEAPS_MAX (1U << 20)
#define ARENA_MAX 4096
#define LARGE_MAX (1UL << 26)
#define STRIDE_MAX 4096
#define CHUNK 65536
#define READS_MAX (1U << 20)

struct walk {
	pid_t pid;
	unsigned reads;
	struct mt_layout l;
	uint32_t sizes[CLASSES_MAX];
	uint64_t freed, freed_bytes; /* blocks that were freed and are not back yet */
	bool found, is_malloc;
	struct census c;
};

static int walk__read(struct walk *w, uint64_t addr, void *to, size_t n)
{
	struct iovec local = {to, n}, remote = {(void *)(uintptr_t)addr, n};
	ssize_t got;

	if (++w->reads > READS_MAX)
		return -E2BIG;
	got = process_vm_readv(w->pid, &local, 1, &remote, 1, 0);
	return got == (ssize_t)n ? 0 : got < 0 && errno != EFAULT ? -errno : -EAGAIN;
}

/* A field of n bytes, as it stands in memory; 0 where it does not lie in what was read. */
static uint64_t field(const uint8_t *from, uint32_t stride, uint32_t offset, size_t n)
{
	uint64_t value = 0;

	if (offset <= stride && n <= stride - offset)
		memcpy(&value, from + offset, n);
	return value;
}

/* Call fn for each of n structures, as many at a time as fit. */
static int walk__each(struct walk *w, uint64_t addr, uint64_t n, uint32_t stride,
		      int (*fn)(struct walk *w, const uint8_t *one))
{
	uint8_t chunk[CHUNK];
	int err = 0;

	if (!stride || stride > STRIDE_MAX)
		return -ENOENT;
	for (uint64_t left = n, some; !err && left; left -= some, addr += some * stride) {
		some = CHUNK / stride < left ? CHUNK / stride : left;
		err = walk__read(w, addr, chunk, some * stride);
		for (uint64_t i = 0; !err && i < some; i++)
			err = fn(w, chunk + i * stride);
	}
	return err;
}

static void walk__add(struct walk *w, uint64_t blocks, uint64_t bytes)
{
	w->c.blocks += blocks;
	w->c.bytes += bytes;
}

/* How many of a slab's blocks lie on these pages. */
static uint64_t blocks_on(const struct walk *w, uint32_t pages, uint32_t size)
{
	uint64_t count = 0;

	for (uint64_t at = 0; pages && at + size <= 1ULL << w->l.granule_shift; at += size) {
		uint32_t first = at >> w->l.page_shift, last = (at + size - 1) >> w->l.page_shift;

		count += (pages & ((2U << last) - (1U << first))) != 0;
	}
	return count;
}

static int take_slab(struct walk *w, const uint8_t *span)
{
	const struct mt_layout *l = &w->l;
	uint32_t class_id = field(span, l->span_stride, l->span_class, 1);
	uint64_t used = field(span, l->span_stride, l->span_used, 2);
	uint64_t remote = field(span, l->span_stride, l->span_remote, 8), freed;
	bool current = field(span, l->span_stride, l->span_flags, 1) & l->flag_current;
	uint32_t size = class_id < l->class_count ? w->sizes[class_id] : 0;

	if (!size || MT_LAYOUT_REMOTE_TAKEN(remote))
		return -EAGAIN;
	freed = MT_LAYOUT_REMOTE_COUNT(remote) +
		blocks_on(w, MT_LAYOUT_REMOTE_PAGES(remote), size) + current;
	if (used < freed)
		return -EAGAIN;
	walk__add(w, used - freed, (used - freed) * size);
	return 0;
}

static int take_arena(struct walk *w, const uint8_t *span)
{
	const struct mt_layout *l = &w->l;
	uint64_t arena = field(span, l->span_stride, l->span_arena, 8);
	uint8_t pages[ARENA_MAX];
	uint16_t waits[ARENA_MAX];
	int err = walk__read(w, arena + l->arena_pages, pages, l->arena_count);

	if (!err)
		err = walk__read(w, arena + l->arena_waits, waits, l->arena_count * sizeof(*waits));
	for (uint32_t i = 0; !err && i < l->arena_count; i++)
		if (pages[i] && !waits[i])
			walk__add(w, 1, (uint64_t)pages[i] << l->page_shift);
	return err;
}

static int take_span(struct walk *w, const uint8_t *span)
{
	const struct mt_layout *l = &w->l;
	uint32_t kind = field(span, l->span_stride, l->span_kind, 1);

	if (kind == l->kind_slab)
		return take_slab(w, span);
	if (kind == l->kind_arena)
		return take_arena(w, span);
	if (kind == l->kind_big)
		walk__add(w, 1, field(span, l->span_stride, l->span_bytes, 8));
	return 0;
}

static int take_region(struct walk *w, const uint8_t *region)
{
	const struct mt_layout *l = &w->l;
	uint64_t granules = field(region, l->region_stride, l->region_granules, 4);

	if (granules > GRANULES_MAX)
		return -ENOENT;
	return walk__each(w, field(region, l->region_stride, l->region_spans, 8), granules,
			  l->span_stride, take_span);
}

/* Blocks that a thread has freed and not sent to their slab yet. */
static int take_outbox(struct walk *w, const uint8_t *outbox)
{
	const struct mt_layout *l = &w->l;
	uint64_t span = field(outbox, l->outbox_stride, l->outbox_span, 8);
	uint64_t blocks = field(outbox, l->outbox_stride, l->outbox_blocks, 4);
	uint8_t class_id;
	int err;

	if (!span || !blocks)
		return 0;
	err = walk__read(w, span + l->span_class, &class_id, 1);
	if (err || class_id >= l->class_count)
		return err ? err : -EAGAIN;
	w->freed += blocks;
	w->freed_bytes += blocks * w->sizes[class_id];
	return 0;
}

static int take_heap(struct walk *w, const uint8_t *pointer)
{
	const struct mt_layout *l = &w->l;
	uint64_t heap = field(pointer, 8, 0, 8);

	return heap ? walk__each(w, heap + l->heap_outboxes, l->outbox_count, l->outbox_stride,
				 take_outbox) :
		      0;
}

static int take_large(struct walk *w, const uint8_t *range)
{
	const struct mt_layout *l = &w->l;

	if (field(range, l->large_stride, l->large_start, 8))
		walk__add(w, 1, field(range, l->large_stride, l->large_bytes, 8));
	return 0;
}

static int take_class(struct walk *w, const uint8_t *class)
{
	/* They come in order: the next one is the first without a size. */
	uint32_t at = 0;

	while (at < CLASSES_MAX && w->sizes[at])
		at++;
	if (at < CLASSES_MAX)
		w->sizes[at] = field(class, w->l.class_stride, w->l.class_size, 4);
	return 0;
}

static int walk__all(struct walk *w)
{
	const struct mt_layout *l = &w->l;
	uint32_t regions, heaps;
	uint64_t large, capacity;
	int err;

	memset(w->sizes, 0, sizeof(w->sizes));
	if (l->class_count > CLASSES_MAX || l->arena_count > ARENA_MAX ||
	    l->outbox_count > ARENA_MAX || l->granule_shift > 20 ||
	    l->page_shift > l->granule_shift || l->granule_shift - l->page_shift > 4)
		return -ENOENT;
	err = walk__read(w, l->region_count, &regions, sizeof(regions));
	if (!err)
		err = walk__read(w, l->heap_count, &heaps, sizeof(heaps));
	if (!err)
		err = walk__read(w, l->large, &large, sizeof(large));
	if (!err)
		err = walk__read(w, l->large_capacity, &capacity, sizeof(capacity));
	if (!err && (regions > REGIONS_MAX || heaps > HEAPS_MAX || capacity > LARGE_MAX))
		err = -ENOENT;
	if (!err)
		err = walk__each(w, l->classes, l->class_count, l->class_stride, take_class);
	if (!err)
		err = walk__each(w, l->heaps + 8, heaps, 8, take_heap);
	if (!err)
		err = walk__each(w, l->regions, regions, l->region_stride, take_region);
	if (!err)
		err = walk__each(w, large, capacity, l->large_stride, take_large);
	return err;
}

/* An allocator that describes itself at addr. */
static int walk__take(struct walk *w, uint64_t addr)
{
	struct census before = w->c;
	int err = walk__read(w, addr, &w->l, sizeof(w->l));

	if (err || w->l.self != addr)
		return err;
	if (w->l.version != MT_LAYOUT_VERSION)
		return -ENOENT;
	err = -EAGAIN;
	for (unsigned i = 0; i < TRIES && err == -EAGAIN; i++) {
		w->c = before;
		w->freed = w->freed_bytes = 0;
		err = walk__all(w);
		if (!err && (w->c.blocks < w->freed || w->c.bytes < w->freed_bytes))
			err = -EAGAIN;
	}
	if (err)
		return err;
	w->c.blocks -= w->freed;
	w->c.bytes -= w->freed_bytes;
	w->found = true;
	w->is_malloc |= w->l.is_malloc != 0;
	return 0;
}

/* Descriptions in the written data of a file: where it is mapped, as it is aligned. */
static int walk__search(struct walk *w, uint64_t start, uint64_t bytes)
{
	static const char magic[16] = MT_LAYOUT_MAGIC;
	char *copy = bytes <= DATA_MAX ? malloc(bytes) : NULL;
	int err = copy ? 0 : -ENOMEM;

	/* What cannot be read is no file's data any more. */
	if (copy && walk__read(w, start, copy, bytes))
		bytes = 0;
	for (uint64_t at = 0; !err && at + sizeof(struct mt_layout) <= bytes; at += sizeof(magic))
		if (!memcmp(copy + at, magic, sizeof(magic)))
			err = walk__take(w, start + at);
	free(copy);
	return err;
}

int census__mtalloc(pid_t pid, struct census *c, bool *is_malloc)
{
	struct walk *w = calloc(1, sizeof(*w));
	uint64_t start, end, ino;
	char path[64], prot[5], *line = NULL;
	size_t room = 0;
	int err = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	f = w ? fopen(path, "re") : NULL;
	if (!f) {
		err = w ? -errno : -ENOMEM;
		free(w);
		return err;
	}
	w->pid = pid;
	while (!err && getline(&line, &room, f) > 0)
		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %*s %*s %" SCNu64, &start, &end, prot,
			   &ino) == 4 &&
		    !strcmp(prot, "rw-p") && ino && end - start <= DATA_MAX)
			err = walk__search(w, start, end - start);
	free(line);
	fclose(f);
	if (!err && !w->found)
		err = -ENOENT;
	*c = w->c;
	*is_malloc = w->is_malloc;
	free(w);
	return err;
}

int census__take(pid_t pid, struct census *c)
{
	struct census other;
	bool is_malloc = false;
	int err = census__mtalloc(pid, c, &is_malloc);

	if (err == -ENOENT)
		return census__glibc(pid, c);
	if (!err && !is_malloc)
		err = census__glibc(pid, &other);
	if (err || is_malloc)
		return err;
	c->blocks += other.blocks;
	c->bytes += other.bytes;
	c->at_most = other.at_most;
	return 0;
}
