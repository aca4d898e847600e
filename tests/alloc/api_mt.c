/* SPDX-License-Identifier: MIT */
/* mtalloc under its own names, beside libc's allocator. */
#include <string.h>

#include "lib/mtalloc/mtalloc.h"
#include "tests/alloc/api.h"

_Static_assert(sizeof(struct mallinfo) == sizeof(struct mt_mallinfo), "as in malloc.h");
_Static_assert(sizeof(struct mallinfo2) == sizeof(struct mt_mallinfo2), "as in malloc.h");

static struct mallinfo as_mallinfo(void)
{
	struct mt_mallinfo from = mt_mallinfo();
	struct mallinfo to;

	memcpy(&to, &from, sizeof(to));
	return to;
}

static struct mallinfo2 as_mallinfo2(void)
{
	struct mt_mallinfo2 from = mt_mallinfo2();
	struct mallinfo2 to;

	memcpy(&to, &from, sizeof(to));
	return to;
}

/* Only where the library is built for tests; there, a missing one does not link. */
#ifdef MT_TEST
extern void mt__verify(void);
#else
static void mt__verify(void)
{
}
#endif

struct alloc_api A = {
	.malloc = mt_malloc,
	.calloc = mt_calloc,
	.realloc = mt_realloc,
	.reallocarray = mt_reallocarray,
	.free = mt_free,
	.aligned_alloc = mt_aligned_alloc,
	.posix_memalign = mt_posix_memalign,
	.memalign = mt_memalign,
	.valloc = mt_valloc,
	.pvalloc = mt_pvalloc,
	.malloc_usable_size = mt_malloc_usable_size,
	.malloc_trim = mt_malloc_trim,
	.mallopt = mt_mallopt,
	.mallinfo = as_mallinfo,
	.mallinfo2 = as_mallinfo2,
	.malloc_info = mt_malloc_info,
	.malloc_stats = mt_malloc_stats,
	.free_sized = mt_free_sized,
	.free_aligned_sized = mt_free_aligned_sized,
	.os_counts = mt_os_counts,
	.verify = mt__verify,
};

bool alloc__is_mtalloc(void)
{
	return true;
}

bool alloc__is_alone(void)
{
	return true;
}

bool alloc__is_checking(void)
{
	return false;
}
