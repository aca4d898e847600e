/* SPDX-License-Identifier: MIT */
/*
 * What was live in a process before anybody looked: its heap is walked from outside, read only.
 * It goes on meanwhile, so what it allocates or frees in that moment may or may not be in the figures.
 */
#ifndef MEMTRACE_CENSUS_H
#define MEMTRACE_CENSUS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct census {
	uint64_t blocks;
	uint64_t bytes; /* as malloc_usable_size(3) tells: a little more than was asked for */
	bool at_most; /* some of them may be free: a cache of freed ones could not be read */
};

/*
 * Count the live blocks of process pid: mtalloc's, and glibc's where that serves malloc. 0; -ENOENT: it
 * has neither, or of another make; -EAGAIN: it changes too fast; or another -errno.
 */
int census__take(pid_t pid, struct census *c);

/* The parts. glibc's are recognised by facts that must fit each other. */
int census__glibc(pid_t pid, struct census *c);

/* mtalloc's by what it says of itself (lib/mtalloc/layout.h); its tables are read, and no block. *is_malloc:
 * malloc itself is its, and not only names with a prefix. */
int census__mtalloc(pid_t pid, struct census *c, bool *is_malloc);

#endif /* MEMTRACE_CENSUS_H */
