// SPDX-License-Identifier: MIT
/*
 * By the PAGEMAP_SCAN request where the kernel has it (6.7): runs of pages instead of a word
 * for each, and the zero page, which is not resident memory, told apart.
 */
#include "user/source/pagemap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define RUNS 512
#define WORDS 4096
#define PRESENT_BIT (1ULL << 63) /* of a word of /proc/PID/pagemap */

/* As in linux/fs.h of 6.7 and later, which we do not build with. */
struct scan_run {
	uint64_t start, end, categories;
};

struct scan_request {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
	uint64_t inverted, mask, anyof_mask, return_mask;
};

#define SCAN_PRESENT (1ULL << 3)
#define SCAN_ZERO_PAGE (1ULL << 5)
#define SCAN _IOWR('f', 16, struct scan_request)

_Static_assert(sizeof(struct scan_run) == 24, "scan_run");
_Static_assert(sizeof(struct scan_request) == 96, "scan_request");

struct pagemap {
	int fd;
	bool cannot_scan;
	union {
		struct scan_run runs[RUNS];
		uint64_t words[WORDS];
	};
};

struct told {
	uint64_t left;
	void (*fn)(void *ctx, uint64_t start, uint64_t end);
	void *ctx;
};

static void told__run(struct told *t, uint64_t start, uint64_t end)
{
	if (end - start > t->left)
		end = start + t->left;
	if (start == end)
		return;
	t->left -= end - start;
	t->fn(t->ctx, start, end);
}

struct pagemap *pagemap__open(pid_t pid)
{
	struct pagemap *p = malloc(sizeof(*p));
	char path[64];

	if (!p)
		return NULL;
	snprintf(path, sizeof(path), "/proc/%d/pagemap", pid);
	p->fd = open(path, O_RDONLY | O_CLOEXEC);
	p->cannot_scan = false;
	if (p->fd < 0) {
		free(p);
		return NULL;
	}
	return p;
}

void pagemap__close(struct pagemap *p)
{
	if (!p)
		return;
	close(p->fd);
	free(p);
}

static int pagemap__scan(struct pagemap *p, uint64_t start, uint64_t end, struct told *t)
{
	struct scan_request q = {.size = sizeof(q),
				 .end = end,
				 .vec = (uintptr_t)p->runs,
				 .vec_len = RUNS,
				 .inverted = SCAN_ZERO_PAGE,
				 .mask = SCAN_PRESENT | SCAN_ZERO_PAGE,
				 .return_mask = SCAN_PRESENT};
	bool first = true;
	int n, i;

	for (q.start = start; q.start < end; q.start = q.walk_end) {
		n = ioctl(p->fd, SCAN, &q);
		if (n < 0)
			return first ? -errno : 0;
		first = false;
		for (i = 0; i < n; i++)
			told__run(t, p->runs[i].start, p->runs[i].end);
		if (q.walk_end <= q.start)
			break;
	}
	return 0;
}

static int pagemap__read(struct pagemap *p, uint64_t start, uint64_t end, struct told *t)
{
	const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t at = start, run = 0;
	bool first = true;
	ssize_t n, i;

	while (page && at < end && t->left) {
		uint64_t want = (end - at) / page;

		n = pread(p->fd, p->words, (want < WORDS ? want : WORDS) * 8, (off_t)(at / page * 8));
		if (n <= 0)
			return first ? (n < 0 ? -errno : -ESRCH) : 0;
		first = false;
		for (i = 0; i < n / 8; i++, at += page) {
			if (p->words[i] & PRESENT_BIT) {
				run += page;
				continue;
			}
			if (run)
				told__run(t, at - run, at);
			run = 0;
		}
	}
	if (run)
		told__run(t, at - run, at);
	return 0;
}

int pagemap__each(struct pagemap *p, uint64_t start, uint64_t end, uint64_t resident_bytes,
		  void (*fn)(void *ctx, uint64_t start, uint64_t end), void *ctx)
{
	struct told t = {resident_bytes, fn, ctx};
	int err;

	if (!p->cannot_scan) {
		err = pagemap__scan(p, start, end, &t);
		if (err != -ENOTTY && err != -EINVAL)
			return err;
		p->cannot_scan = true;
	}
	return pagemap__read(p, start, end, &t);
}
