// SPDX-License-Identifier: MIT
#include "layout.h"

#include "alloc.h"
#include "arena.h"
#include "region.h"

/* Not constant, so that it stands beside what every call reads, on a page that is written anyway. */
static struct mt_layout layout __attribute__((aligned(16), used)) = {
	.magic = MT_LAYOUT_MAGIC,
	.version = MT_LAYOUT_VERSION,
#ifdef MT_OVERRIDE
	.is_malloc = 1,
#endif
	.granule_shift = GRANULE_SHIFT,
	.page_shift = PAGE_SHIFT,
	.region_stride = sizeof(struct region),
	.region_granules = offsetof(struct region, granules),
	.region_spans = offsetof(struct region, spans),
	.span_stride = sizeof(struct span),
	.span_kind = offsetof(struct span, kind),
	.span_flags = offsetof(struct span, flags),
	.span_class = offsetof(struct span, class_id),
	.span_used = offsetof(struct span, used),
	.span_remote = offsetof(struct span, remote),
	.span_arena = offsetof(struct span, arena),
	.span_bytes = offsetof(struct span, bytes),
	.class_stride = sizeof(struct size_class),
	.class_size = offsetof(struct size_class, size),
	.class_count = CLASSES,
	.arena_pages = offsetof(struct arena, pages),
	.arena_waits = offsetof(struct arena, waits),
	.arena_count = ARENA_PAGES,
	.heap_outboxes = offsetof(struct heap, outbox),
	.outbox_count = OUTBOXES,
	.outbox_stride = sizeof(struct outbox),
	.outbox_span = offsetof(struct outbox, span),
	.outbox_blocks = offsetof(struct outbox, freed.count),
	.kind_slab = SPAN_SLAB,
	.kind_arena = SPAN_ARENA,
	.kind_big = SPAN_BIG,
	.flag_current = SPAN_CURRENT,
};

void _mt_layout_init(void)
{
	/* Of 64-bit programs; and in the quarantine freed blocks look like any others. */
	if (sizeof(void *) != sizeof(uint64_t) || _mt_options.check)
		return;
	layout.regions = (uintptr_t)_mt_regions;
	layout.region_count = (uintptr_t)&_mt_region_count;
	layout.classes = (uintptr_t)_mt_classes;
	_mt_heap_layout(&layout);
	_mt_large_layout(&layout);
	layout.self = (uintptr_t)&layout;
}
