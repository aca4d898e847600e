/* SPDX-License-Identifier: MIT */
/* The allocator that this program has under malloc's names: libc's, a preloaded or a linked one. */
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "tests/alloc/api.h"
#include "tests/alloc/case.h"

#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

/* Not in glibc 2.36. */
extern void free_sized(void *p, size_t size) __attribute__((weak));
extern void free_aligned_sized(void *p, size_t alignment, size_t size) __attribute__((weak));

static void verify_nothing(void)
{
}

struct alloc_api A = {
	.malloc = malloc,
	.calloc = calloc,
	.realloc = realloc,
	.reallocarray = reallocarray,
	.free = free,
	.aligned_alloc = aligned_alloc,
	.posix_memalign = posix_memalign,
	.memalign = memalign,
	.valloc = valloc,
	.pvalloc = pvalloc,
	.malloc_usable_size = malloc_usable_size,
	.malloc_trim = malloc_trim,
	.mallopt = mallopt,
	.mallinfo = mallinfo,
	.mallinfo2 = mallinfo2,
	.malloc_info = malloc_info,
	.malloc_stats = malloc_stats,
	.verify = verify_nothing,
};

bool alloc__is_mtalloc(void)
{
	const char *wanted = getenv("ALLOC");

	return wanted && !strcmp(wanted, "mtalloc");
}

bool alloc__is_alone(void)
{
	return false;
}

bool alloc__is_checking(void)
{
	const char *options = getenv("MTALLOC_OPTIONS");

	return options && strstr(options, "check=1");
}

/* A linked-in allocator is found by its own symbol, a preloaded one by the object malloc is in. */
static bool is_here(void)
{
#ifdef ALLOC_STATIC
	return true;
#else
	Dl_info info;

	return dladdr((void *)dlsym(RTLD_DEFAULT, "malloc"), &info) && info.dli_fname &&
	       strstr(info.dli_fname, "mtalloc");
#endif
}

__attribute__((constructor)) static void bind(void)
{
	A.free_sized = free_sized;
	A.free_aligned_sized = free_aligned_sized;
#ifndef ALLOC_STATIC
	/* A weak reference alone may be settled when the program is linked. */
	if (!A.free_sized)
		A.free_sized = (void (*)(void *, size_t))dlsym(RTLD_DEFAULT, "free_sized");
	if (!A.free_aligned_sized)
		A.free_aligned_sized =
			(void (*)(void *, size_t, size_t))dlsym(RTLD_DEFAULT, "free_aligned_sized");
	A.os_counts = (struct mt_os_counts(*)(void))dlsym(RTLD_DEFAULT, "mt_os_counts");
#endif
	if (alloc__is_mtalloc() != is_here())
		case__fail(__FILE__, __LINE__, "malloc is not the one that ALLOC=%s asks for",
			   getenv("ALLOC") ? getenv("ALLOC") : "libc");
}
