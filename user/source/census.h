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
 * Count the live blocks of glibc's malloc in process pid. 0; -ENOENT: it has none, or one of
 * another make; -EAGAIN: it changes too fast; or another -errno.
 */
int census__glibc(pid_t pid, struct census *c);

#endif /* MEMTRACE_CENSUS_H */
