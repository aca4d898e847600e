/* SPDX-License-Identifier: MIT */
/* The BPF programs, as this kernel can have them. */
#ifndef USER_SOURCE_PROGRAMS_H
#define USER_SOURCE_PROGRAMS_H

#include <stdbool.h>

struct memtrace_bpf;

/* Opened, not loaded; cast: whether the kernel has bpf_rdonly_cast(). NULL: errno says why. */
struct memtrace_bpf *programs__open(bool cast);

#endif /* USER_SOURCE_PROGRAMS_H */
