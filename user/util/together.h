/* SPDX-License-Identifier: MIT */
/*
 * Calls in which the kernel lets us wait (a BPF link that is closed waits for a grace period, 10 to
 * 60 ms), made all at once: waits that begin together end together.
 */
#ifndef MEMTRACE_TOGETHER_H
#define MEMTRACE_TOGETHER_H

#include <stddef.h>

/* Call fn for each of n pointers, each on a thread of its own as far as there are threads to be had,
 * and return when all calls have. */
void together__run(void (*fn)(void *arg), void *const *args, size_t n);

#endif /* MEMTRACE_TOGETHER_H */
