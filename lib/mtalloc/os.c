// SPDX-License-Identifier: MIT
/* The kernel, as the allocator uses it. */
#include "os.h"

#include <errno.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "mtalloc.h"
#include "mutant.h"

enum { GROW, SHRINK, MAP, UNMAP, REMAP, ADVISE, FAILED, KINDS };

size_t _mt_os_page = 4096;

static _Atomic size_t counts[KINDS];

static void count(int kind)
{
	atomic_fetch_add_explicit(&counts[kind], 1, memory_order_relaxed);
}

#ifdef MT_TEST
static _Atomic long fail_at, fail_from;

void _mt_os_fail_at(long nth)
{
	fail_from = 0;
	fail_at = nth;
}

void _mt_os_fail_from(long nth)
{
	fail_at = 0;
	fail_from = nth;
}

/* Whether this call is the one that shall fail. */
static bool injected(void)
{
	bool fails = false;

	if (fail_at > 0)
		fails = atomic_fetch_sub(&fail_at, 1) == 1;
	if (fail_from > 1)
		atomic_fetch_sub(&fail_from, 1);
	else if (fail_from == 1)
		fails = true;
	if (fails) {
		count(FAILED);
		errno = ENOMEM;
	}
	return fails;
}
#else
static inline bool injected(void)
{
	return false;
}
#endif

#ifdef MT_MUTANT
int _mt_mutant;
#endif

/* Mistakes beside a call that was made (mutant.h). */
static void beside(void *start, size_t bytes, bool is_break)
{
	if (MUTANT(EXTRA_MMAP) && !is_break)
		(void)mmap(NULL, _mt_os_page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (MUTANT(EXTRA_MPROTECT) && is_break)
		mprotect(start, bytes, PROT_READ | PROT_WRITE);
	if (MUTANT(EXTRA_ASK) && !is_break)
		syscall(SYS_brk, 0UL);
	if (MUTANT(TOUCH_MAPPING) && !is_break)
		*(volatile char *)start = 0;
	for (size_t at = 0; MUTANT(TOUCH_BREAK) && is_break && at < bytes; at += _mt_os_page)
		((volatile char *)start)[at] = 0;
}

void _mt_os_init(void)
{
	size_t page = getauxval(AT_PAGESZ);

	if (page)
		_mt_os_page = page;
}

void *_mt_os_sbrk(intptr_t bytes)
{
	int saved = errno;
	void *old = NULL;

	count(bytes < 0 ? SHRINK : GROW);
	if (!injected()) {
		/* libc's, so that libc and other callers know of it. */
		old = sbrk(bytes);
		if (old != (void *)-1) {
			if (bytes > 0)
				beside(old, (size_t)bytes, true);
			return old;
		}
		count(FAILED);
		old = NULL;
	}
	/* Giving back is nobody's request. */
	if (bytes < 0)
		errno = saved;
	return old;
}

char *_mt_os_break(void)
{
	void *now = sbrk(0);

	return now == (void *)-1 ? NULL : now;
}

void *_mt_os_map(size_t bytes)
{
	void *start;

	count(MAP);
	if (injected())
		return NULL;
	start = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | (MUTANT(POPULATE) ? MAP_POPULATE : 0), -1, 0);
	if (start != MAP_FAILED) {
		beside(start, bytes, false);
		return start;
	}
	count(FAILED);
	return NULL;
}

bool _mt_os_unmap(void *start, size_t bytes)
{
	int saved = errno;

	count(UNMAP);
	if (injected()) {
		errno = saved;
		return false;
	}
	if (MUTANT(FREE_TOUCHES))
		*((volatile char *)start + bytes - 1) = 0;
	if (MUTANT(EXTRA_UNMAP) && bytes > _mt_os_page) {
		munmap(start, _mt_os_page);
		start = (char *)start + _mt_os_page;
		bytes -= _mt_os_page;
	}
	if (munmap(start, bytes) == 0)
		return true;
	count(FAILED);
	errno = saved;
	return false;
}

void *_mt_os_remap(void *start, size_t old_bytes, size_t new_bytes)
{
	void *moved;

	count(REMAP);
	if (injected())
		return NULL;
	moved = mremap(start, old_bytes, new_bytes, MREMAP_MAYMOVE);
	if (moved != MAP_FAILED)
		return moved;
	count(FAILED);
	return NULL;
}

bool _mt_os_discard(void *start, size_t bytes)
{
	int saved = errno;

	count(ADVISE);
	if (injected() || MUTANT(NEVER_DISCARD)) {
		errno = saved;
		return false;
	}
	if (madvise(start, bytes, MADV_DONTNEED) == 0)
		return true;
	count(FAILED);
	errno = saved;
	return false;
}

uint64_t _mt_os_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

size_t _mt_os_faults(void)
{
	struct rusage usage;
	int saved = errno;

	if (getrusage(RUSAGE_SELF, &usage) != 0) {
		errno = saved;
		return 0;
	}
	return (size_t)usage.ru_minflt;
}

uint32_t _mt_os_random(void)
{
	/* 16 bytes that the kernel gives each new image: no system call, and always there. At any
	 * address. */
	const void *given = (const void *)getauxval(AT_RANDOM);
	uintptr_t here = (uintptr_t)&here;
	uint32_t words[4];

	if (given) {
		__builtin_memcpy(words, given, sizeof(words));
		return words[1] ^ words[3];
	}
	return (uint32_t)(here >> 4) * 2654435761u;
}

void _mt_os_wait(_Atomic uint32_t *word, uint32_t value)
{
	int saved = errno;

	syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
	errno = saved;
}

void _mt_os_wake(_Atomic uint32_t *word)
{
	int saved = errno;

	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
	errno = saved;
}

void _mt_os_write(int fd, const char *text, size_t length)
{
	while (length) {
		ssize_t wrote = write(fd, text, length);

		if (wrote < 0 && errno == EINTR)
			continue;
		if (wrote <= 0)
			return;
		text += wrote;
		length -= (size_t)wrote;
	}
}

__attribute__((visibility("default"))) struct mt_os_counts mt_os_counts(void)
{
	return (struct mt_os_counts){
		.sbrk_grow = counts[GROW],
		.sbrk_shrink = counts[SHRINK],
		.mmap = counts[MAP],
		.munmap = counts[UNMAP],
		.mremap = counts[REMAP],
		.madvise = counts[ADVISE],
		.failed = counts[FAILED],
	};
}
