/* SPDX-License-Identifier: MIT */
/*
 * The agent: a library that is preloaded into what `memtrace -- CMD` runs, stands before
 * whatever allocator that uses, and hands its calls over through the ring plane.
 *
 * - The functions behind the wrappers are looked up as the next ones in the loader's order.
 *   What the lookup itself allocates comes from a small arena.
 * - It never allocates, links with nothing but names that every libc has, and leaves errno alone.
 * - A C++ operator is told as a call of its own only where the allocator itself defines
 *   it; libstdc++'s calls malloc, and that is what is told, as the uprobe plane does.
 */
#ifndef MEMTRACE_AGENT_H
#define MEMTRACE_AGENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/trace/producer.h"

#define AGENT_PUBLIC __attribute__((visibility("default")))

/* The functions that are wrapped: name in the symbol table, name here. */
#define AGENT_FUNCTIONS(F)                                                   \
	F(malloc, malloc)                                                    \
	F(free, free)                                                        \
	F(calloc, calloc)                                                    \
	F(realloc, realloc)                                                  \
	F(reallocarray, reallocarray)                                        \
	F(aligned_alloc, aligned_alloc)                                      \
	F(posix_memalign, posix_memalign)                                    \
	F(memalign, memalign)                                                \
	F(valloc, valloc)                                                    \
	F(pvalloc, pvalloc)                                                  \
	F(cfree, cfree)                                                      \
	F(free_sized, free_sized)                                            \
	F(free_aligned_sized, free_aligned_sized)                            \
	F(mallocx, mallocx)                                                  \
	F(rallocx, rallocx)                                                  \
	F(xallocx, xallocx)                                                  \
	F(dallocx, dallocx)                                                  \
	F(sdallocx, sdallocx)                                                \
	F(longjmp, longjmp)                                                  \
	F(_longjmp, bare_longjmp)                                            \
	F(siglongjmp, siglongjmp)                                            \
	F(__longjmp_chk, checked_longjmp)                                    \
	F(prctl, prctl)                                                      \
	F(syscall, syscall)                                                  \
	F(_Znwm, new)                                                        \
	F(_ZnwmRKSt9nothrow_t, new_nothrow)                                  \
	F(_ZnwmSt11align_val_t, new_aligned)                                 \
	F(_ZnwmSt11align_val_tRKSt9nothrow_t, new_aligned_nothrow)           \
	F(_Znam, new_array)                                                  \
	F(_ZnamRKSt9nothrow_t, new_array_nothrow)                            \
	F(_ZnamSt11align_val_t, new_array_aligned)                           \
	F(_ZnamSt11align_val_tRKSt9nothrow_t, new_array_aligned_nothrow)     \
	F(_ZdlPv, delete)                                                    \
	F(_ZdlPvRKSt9nothrow_t, delete_nothrow)                              \
	F(_ZdlPvm, delete_sized)                                             \
	F(_ZdlPvSt11align_val_t, delete_aligned)                             \
	F(_ZdlPvSt11align_val_tRKSt9nothrow_t, delete_aligned_nothrow)       \
	F(_ZdlPvmSt11align_val_t, delete_sized_aligned)                      \
	F(_ZdaPv, delete_array)                                              \
	F(_ZdaPvRKSt9nothrow_t, delete_array_nothrow)                        \
	F(_ZdaPvm, delete_array_sized)                                       \
	F(_ZdaPvSt11align_val_t, delete_array_aligned)                       \
	F(_ZdaPvSt11align_val_tRKSt9nothrow_t, delete_array_aligned_nothrow) \
	F(_ZdaPvmSt11align_val_t, delete_array_sized_aligned)                \
	F(__cxa_allocate_exception, allocate_exception)

enum next_index {
#define NEXT_INDEX(symbol, name) NEXT_##name,
	AGENT_FUNCTIONS(NEXT_INDEX)
#undef NEXT_INDEX
		NEXT_COUNT
};

/* The functions behind ours; NULL: not looked up yet. */
extern void *_next[NEXT_COUNT] __attribute__((visibility("hidden")));

/* Look one up. NULL: nobody defines it. */
void *next__find(enum next_index which);

static inline void *next__get(enum next_index which)
{
	void *f = _next[which];

	return PRODUCER_LIKELY(f != NULL) ? f : next__find(which);
}

/* Likewise, where the library that has the code at `caller` looks for it. */
void *next__find_for(enum next_index which, const void *caller);

/* Whether the allocator itself defines this C++ operator. */
bool next__is_allocators(enum next_index which);

/* Whether malloc, free, calloc and realloc are found, and call none of the family by their public names. */
bool next__is_leaf(void);

/* From here on calls go straight on to syscall(2) of libc. */
void filter__watch(void);

/* Our own malloc and free. */
const void *agent__malloc(void);
const void *agent__free(void);

/* Blocks for those who call while the lookup of malloc is under way. */
#define ARENA_BYTES 32768
extern char _arena[ARENA_BYTES] __attribute__((visibility("hidden")));
void *arena__take(size_t size);
static inline bool arena__has(const void *p)
{
	return (uintptr_t)p - (uintptr_t)_arena < ARENA_BYTES;
}
/* The frees of all of them are to come by. */
void arena__watch(void);
size_t arena__size(const void *p);

#endif /* MEMTRACE_AGENT_H */
