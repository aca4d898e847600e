/* SPDX-License-Identifier: MIT */
/*
 * A preloaded library that measures how much memory a program has live at most:
 * the bytes of blocks glibc has handed out and not got back. At the end each
 * process appends its peak as one line to the file that MEMTRACE_LIVE names.
 * FLAGS: -shared -fPIC
 *
 * A limit on RSS is only asked for where there is something to hold, and that
 * must not depend on the allocator whose RSS it is.
 */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *p, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);
extern void __libc_free(void *p);

static _Atomic int64_t live, peak;

static void *add(void *p)
{
	int64_t now, most;

	if (!p)
		return NULL;
	now = atomic_fetch_add(&live, (int64_t)malloc_usable_size(p));
	now += (int64_t)malloc_usable_size(p);
	most = atomic_load(&peak);
	while (now > most && !atomic_compare_exchange_weak(&peak, &most, now))
		continue;
	return p;
}

void *malloc(size_t size)
{
	return add(__libc_malloc(size));
}

void *calloc(size_t count, size_t size)
{
	return add(__libc_calloc(count, size));
}

void free(void *p)
{
	if (p)
		atomic_fetch_sub(&live, (int64_t)malloc_usable_size(p));
	__libc_free(p);
}

void *realloc(void *p, size_t size)
{
	int64_t old = p ? (int64_t)malloc_usable_size(p) : 0;
	void *new = __libc_realloc(p, size);

	if (new || !size)
		atomic_fetch_sub(&live, old);
	return add(new);
}

void *reallocarray(void *p, size_t count, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(count, size, &bytes)) {
		errno = ENOMEM;
		return NULL;
	}
	return realloc(p, bytes);
}

void *memalign(size_t alignment, size_t size)
{
	return add(__libc_memalign(alignment, size));
}

void *aligned_alloc(size_t alignment, size_t size)
{
	return memalign(alignment, size);
}

int posix_memalign(void **to, size_t alignment, size_t size)
{
	int saved = errno;
	void *p;

	if (alignment < sizeof(void *) || alignment & (alignment - 1))
		return EINVAL;
	p = memalign(alignment, size);
	errno = saved;
	if (!p)
		return ENOMEM;
	*to = p;
	return 0;
}

__attribute__((destructor)) static void say(void)
{
	const char *name = getenv("MEMTRACE_LIVE");
	int fd = name ? open(name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;

	if (fd < 0)
		return;
	dprintf(fd, "%lld\n", (long long)peak);
	close(fd);
}
