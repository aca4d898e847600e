/* SPDX-License-Identifier: MIT */
/*
 * Where mtalloc keeps what it knows of its blocks, for who looks from outside (memtrace counts what
 * lives as it attaches). Found by its magic in the library's data, believed when `self` is where it stands.
 *
 * What lives is: each slab's used blocks, less one for the flag of the current one, less those in
 * its list of remote frees and in outboxes; an arena's runs that do not wait; each big span; each entry of
 * the table of large blocks. Addresses, strides and offsets are told here and may change; if what they
 * mean does, so does the version.
 */
#ifndef MTALLOC_LAYOUT_H
#define MTALLOC_LAYOUT_H

#include <stdint.h>

#define MT_LAYOUT_MAGIC "mtalloc layout:" /* with its end 16 bytes, aligned to 16 */
#define MT_LAYOUT_VERSION 1

/* In a slab's word of remote frees: pages << 48 | count << 32 | ..., and a bit while it is being changed. */
#define MT_LAYOUT_REMOTE_PAGES(word) ((uint32_t)((word) >> 48))
#define MT_LAYOUT_REMOTE_COUNT(word) ((uint32_t)((word) >> 32) & 0x7fff)
#define MT_LAYOUT_REMOTE_TAKEN(word) ((uint32_t)((word) >> 47) & 1)

struct mt_layout {
	char magic[16];
	uint64_t self; /* its address; 0: nothing to be told, yet or at all (check=1) */
	uint32_t version;
	uint32_t is_malloc; /* malloc itself is of this allocator, not names with a prefix only */

	/* Addresses. */
	uint64_t regions; /* an array of structures */
	uint64_t region_count; /* uint32_t */
	uint64_t classes; /* an array of structures */
	uint64_t heaps; /* pointers to structures, from [1] on */
	uint64_t heap_count; /* uint32_t */
	uint64_t large; /* a pointer to an array of structures, those in use with a start */
	uint64_t large_capacity; /* uint64_t */

	uint32_t granule_shift, page_shift;

	/* Bytes from one to the next; offsets in them. */
	uint32_t region_stride, region_granules, region_spans; /* uint32_t, pointer to an array */
	uint32_t span_stride;
	uint32_t span_kind, span_flags, span_class; /* uint8_t */
	uint32_t span_used; /* uint16_t */
	uint32_t span_remote, span_arena, span_bytes; /* uint64_t, pointer, uint64_t */
	uint32_t class_stride, class_size, class_count; /* class_size: uint32_t */
	uint32_t arena_pages, arena_waits, arena_count; /* uint8_t[count], uint16_t[count] */
	uint32_t heap_outboxes, outbox_count; /* in a heap; how many */
	uint32_t outbox_stride, outbox_span, outbox_blocks; /* pointer, uint32_t */
	uint32_t large_stride, large_start, large_bytes; /* pointer, uint64_t */

	/* Values. */
	uint32_t kind_slab, kind_arena, kind_big;
	uint32_t flag_current;
	uint32_t padding;
};

_Static_assert(sizeof(struct mt_layout) == 16 + 8 + 8 + 7 * 8 + 32 * 4, "no implicit padding");

#endif
