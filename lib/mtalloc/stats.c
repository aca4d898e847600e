// SPDX-License-Identifier: MIT
/*
 * Numbers about the heap, counted when they are asked for: the fast paths keep none. Threads that
 * allocate meanwhile may be seen half way, by a block or two.
 */
#include <errno.h>
#include <string.h>

#include "alloc.h"
#include "names.h"

struct class_sum {
	size_t slabs, used, free;
};

struct sums {
	struct class_sum classes[CLASSES];
	size_t runs, run_bytes, arenas;
	size_t bigs, big_bytes;
};

static void add_span(struct span *span, void *context)
{
	struct sums *sums = context;
	struct class_sum *class;
	size_t blocks;

	switch (atomic_load_explicit(&span->kind, memory_order_relaxed)) {
	case SPAN_SLAB:
		class = &sums->classes[span->class_id];
		blocks = GRANULE / _mt_classes[span->class_id].size;
		class->slabs++;
		class->used += slab__blocks(span);
		class->free += blocks - slab__blocks(span);
		break;
	case SPAN_ARENA:
		sums->arenas++;
		sums->runs += span->used;
		sums->run_bytes += _mt_arena_used(span);
		break;
	case SPAN_BIG:
		sums->bigs++;
		sums->big_bytes += span->bytes;
		break;
	}
}

static void collect(struct sums *sums, struct span_info *info)
{
	ready();
	*sums = (struct sums){0};
	_mt_span_info(info);
	_mt_span_each(add_span, sums);
}

MT_API struct mt_mallinfo2 mt_mallinfo2(void)
{
	struct sums sums;
	struct span_info spans;
	struct mt_mallinfo2 info = {0};
	size_t cached;

	collect(&sums, &spans);
	_mt_large_info(&info.hblks, &info.hblkhd, &cached);
	info.arena = spans.bytes;
	info.keepcost = spans.top_bytes;
	info.ordblks = spans.free_bytes / GRANULE;
	for (int i = 0; i < CLASSES; i++) {
		const struct class_sum *class = &sums.classes[i];

		info.uordblks += class->used * _mt_classes[i].size;
		info.ordblks += class->free;
		if (_mt_classes[i].size <= SMALL_MAX) {
			info.smblks += class->free;
			info.fsmblks += class->free * _mt_classes[i].size;
		}
	}
	info.uordblks += sums.run_bytes + sums.big_bytes;
	info.fordblks = info.arena > info.uordblks ? info.arena - info.uordblks : 0;
	return info;
}

static int clamp(size_t value)
{
	return value > INT32_MAX ? INT32_MAX : (int)value;
}

MT_API struct mt_mallinfo mt_mallinfo(void)
{
	struct mt_mallinfo2 info = mt_mallinfo2();

	return (struct mt_mallinfo){
		.arena = clamp(info.arena),
		.ordblks = clamp(info.ordblks),
		.smblks = clamp(info.smblks),
		.hblks = clamp(info.hblks),
		.hblkhd = clamp(info.hblkhd),
		.fsmblks = clamp(info.fsmblks),
		.uordblks = clamp(info.uordblks),
		.fordblks = clamp(info.fordblks),
		.keepcost = clamp(info.keepcost),
	};
}

/* The shape of glibc's, so that what reads that reads this. */
MT_API int mt_malloc_info(int options, FILE *out)
{
	struct sums sums;
	struct span_info spans;
	size_t blocks, bytes, cached, used = 0, free_bytes = 0, free_blocks = 0;

	if (options) {
		errno = EINVAL;
		return -1;
	}
	collect(&sums, &spans);
	_mt_large_info(&blocks, &bytes, &cached);
	fprintf(out, "<malloc version=\"1\">\n<heap nr=\"0\">\n<sizes>\n");
	for (int i = 0; i < CLASSES; i++) {
		const struct class_sum *class = &sums.classes[i];
		size_t size = _mt_classes[i].size;

		if (!class->slabs)
			continue;
		used += class->used * size;
		free_bytes += class->free * size;
		free_blocks += class->free;
		fprintf(out, "  <size from=\"%zu\" to=\"%zu\" total=\"%zu\" count=\"%zu\"/>\n",
			i ? (size_t)_mt_classes[i - 1].size + 1 : 0, size, class->free * size,
			class->free);
	}
	used += sums.run_bytes + sums.big_bytes;
	fprintf(out, "</sizes>\n");
	for (int whole = 0; whole < 2; whole++) {
		fprintf(out, "<total type=\"fast\" count=\"0\" size=\"0\"/>\n");
		fprintf(out, "<total type=\"rest\" count=\"%zu\" size=\"%zu\"/>\n", free_blocks,
			free_bytes);
		if (whole)
			fprintf(out, "<total type=\"mmap\" count=\"%zu\" size=\"%zu\"/>\n", blocks,
				bytes);
		fprintf(out, "<total type=\"used\" size=\"%zu\"/>\n", used);
		fprintf(out, "<system type=\"current\" size=\"%zu\"/>\n", spans.bytes);
		fprintf(out, "<system type=\"max\" size=\"%zu\"/>\n", spans.bytes);
		fprintf(out, "<aspace type=\"total\" size=\"%zu\"/>\n", spans.bytes);
		fprintf(out, "<aspace type=\"mprotect\" size=\"%zu\"/>\n", spans.bytes);
		if (!whole)
			fprintf(out, "</heap>\n");
	}
	fprintf(out, "</malloc>\n");
	return ferror(out) ? -1 : 0;
}

MT_API void mt_malloc_stats(void)
{
	struct mt_mallinfo2 info = mt_mallinfo2();
	struct mt_os_counts calls = mt_os_counts();
	size_t blocks, bytes, cached;
	char text[512];
	int length;

	_mt_large_info(&blocks, &bytes, &cached);
	length = snprintf(text, sizeof(text),
			  "mtalloc: heap %zu bytes, in use %zu, free %zu, at the top %zu\n"
			  "mtalloc: mapped blocks %zu, %zu bytes, kept mappings %zu bytes\n"
			  "mtalloc: system calls: sbrk %zu up %zu down, mmap %zu, munmap %zu, "
			  "mremap %zu, madvise %zu, failed %zu\n",
			  info.arena, info.uordblks, info.fordblks, info.keepcost, blocks, bytes,
			  cached, calls.sbrk_grow, calls.sbrk_shrink, calls.mmap, calls.munmap,
			  calls.mremap, calls.madvise, calls.failed);
	if (length > 0)
		_mt_os_write(2, text,
			     (size_t)length < sizeof(text) ? (size_t)length : sizeof(text) - 1);
}

__attribute__((destructor)) static void at_exit(void)
{
	if (_mt_options.stats)
		mt_malloc_stats();
}

MT_ALSO(struct mt_mallinfo2, mallinfo2, (void), mt_mallinfo2)
MT_ALSO(struct mt_mallinfo, mallinfo, (void), mt_mallinfo)
MT_ALSO(int, malloc_info, (int, FILE *), mt_malloc_info)
MT_ALSO(void, malloc_stats, (void), mt_malloc_stats)
