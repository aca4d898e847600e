/* SPDX-License-Identifier: MIT */
/* Strings kept once each, until the pool goes. */
#ifndef MEMTRACE_POOL_H
#define MEMTRACE_POOL_H

#include <stddef.h>
#include <stdint.h>

/* All zero: empty. */
struct pool {
	char **slot; /* open addressing */
	size_t n, slots; /* slots is 0 or a power of two */
};

/* The pool's copy of text; NULL without memory. */
const char *pool__keep(struct pool *p, const char *text);
void pool__free(struct pool *p);

/* A hash of `bytes` bytes; seed chains several parts. */
uint64_t hash__bytes(uint64_t seed, const void *data, size_t bytes);

#endif /* MEMTRACE_POOL_H */
