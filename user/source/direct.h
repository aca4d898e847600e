/* SPDX-License-Identifier: MIT */
/* Reading targets' stacks by the kernel's own mapping of all memory (bpf/direct.bpf.h). */
#ifndef USER_SOURCE_DIRECT_H
#define USER_SOURCE_DIRECT_H

#include <stdbool.h>

struct memtrace_bpf;

/* Whether this kernel lets a program read what is at any address of its own, and so do it. */
bool direct__is_possible(void);

/* Have the loaded programs find out where that mapping begins. Where that fails they go on without. */
void direct__search(struct memtrace_bpf *skel);

#endif /* USER_SOURCE_DIRECT_H */
