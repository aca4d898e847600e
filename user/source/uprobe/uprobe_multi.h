/* SPDX-License-Identifier: MIT */
/* BPF_LINK_CREATE for many uprobes at once: linux/bpf.h of Linux 6.6, which the build may not have. */
#ifndef MEMTRACE_UPROBE_MULTI_H
#define MEMTRACE_UPROBE_MULTI_H

#include <stdint.h>

#define TRACE_UPROBE_MULTI 48
#define UPROBE_MULTI_RETURN 1

struct uprobe_multi_attr {
	uint32_t prog_fd, target_fd, attach_type, flags;
	uint64_t path, offsets, ref_ctr_offsets, cookies;
	uint32_t cnt, multi_flags, pid;
	uint32_t pad;
};

#endif /* MEMTRACE_UPROBE_MULTI_H */
