/* SPDX-License-Identifier: MIT */
/* Which pages of a living process are resident. */
#ifndef MEMTRACE_PAGEMAP_H
#define MEMTRACE_PAGEMAP_H

#include <stdint.h>
#include <sys/types.h>

struct pagemap;

struct pagemap *pagemap__open(pid_t pid); /* NULL: gone, or not permitted */
void pagemap__close(struct pagemap *p);

/*
 * Tell the runs of resident pages in [start, end), in ascending order. resident_bytes: how
 * many bytes the kernel counts there; no more are told, which matters on kernels that cannot
 * tell the zero page from others. 0 or -errno, and then nothing was told.
 */
int pagemap__each(struct pagemap *p, uint64_t start, uint64_t end, uint64_t resident_bytes,
		  void (*fn)(void *ctx, uint64_t start, uint64_t end), void *ctx);

#endif /* MEMTRACE_PAGEMAP_H */
