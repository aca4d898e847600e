/* SPDX-License-Identifier: MIT */
/* A contract proposed from what one run did. */
#ifndef MEMTRACE_CHECK_LEARN_H
#define MEMTRACE_CHECK_LEARN_H

#include <stdio.h>

struct learned;

/* Write the proposal; how: what was run. 0 or -errno. */
int learned__write(const struct learned *l, FILE *out, const char *how);

#endif /* MEMTRACE_CHECK_LEARN_H */
