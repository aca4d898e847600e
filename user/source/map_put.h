/* SPDX-License-Identifier: MIT */
/*
 * Putting maps into a map of maps. After that call the kernel waits until no program can have the
 * value before it any more: 7 to 30 ms, in which the value is there already. Who puts one where none
 * was need not wait for that.
 */
#ifndef MEMTRACE_MAP_PUT_H
#define MEMTRACE_MAP_PUT_H

#include <stdint.h>

/* Put the n maps fds[] at keys[] of the array `outer`, which has none there. They are found when this
 * returns; the descriptors may be closed then. 0 or -errno. */
int map_put__all(int outer, const uint32_t *keys, const int *fds, uint32_t n);

#endif /* MEMTRACE_MAP_PUT_H */
