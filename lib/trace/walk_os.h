/* SPDX-License-Identifier: MIT */
/* What the walk asks of the kernel: without libc, whose errno is the program's. */
#ifndef MEMTRACE_WALK_OS_H
#define MEMTRACE_WALK_OS_H

#include <stdbool.h>
#include <stdint.h>

/* The file that is mapped at `at`, from its first byte: where that is, and where the mapping of `at`
 * ends. false: no code of a file is there. */
bool walk_os__mapped(uint64_t at, uint64_t *start, uint64_t *end);

#endif /* MEMTRACE_WALK_OS_H */
