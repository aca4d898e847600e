/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/*
 * An allocator that hands its calls over itself has seen that it is traced, and offers a segment
 * (lib/mtalloc/attach.c): the collector is told at once, since the process waits. It says so by passing a
 * probe; a child of a fork, which has none yet, by a madvise of nothing.
 */
#ifndef MEMTRACE_OFFER_BPF_H
#define MEMTRACE_OFFER_BPF_H

#include "bpf/state.bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} ring_offers SEC(".maps");

/* The descriptor, and where a thread's struct ring_call is. */
static __always_inline void offer__tell(__s32 fd, __s64 call_at, __u64 from_start)
{
	struct ring_offer o = {
		.tgid = bpf_get_current_pid_tgid() >> 32,
		.fd = fd,
		.call_at = call_at,
		.from_start = from_start,
	};

	/* No room: the process goes on after a while, and is not traced. */
	bpf_ringbuf_output(&ring_offers, &o, sizeof(o), BPF_RB_FORCE_WAKEUP);
}

SEC("uprobe")
int offer_segment(struct uprobe_regs *ctx)
{
	/* The place that is there for its semaphore alone. */
	if (!bpf_get_attach_cookie(ctx))
		offer__tell((__s32)ctx->di, (__s64)ctx->si, 0);
	return 0;
}

/* At the entry of a madvise: of a child's, as it begins. */
static __always_inline void offer__look(const struct pt_regs *regs)
{
	if (regs->r9 == CALL_OF_PRODUCER && !regs->si)
		offer__tell((__s32)regs->r10, (__s64)regs->r8, 1);
}

#endif /* MEMTRACE_OFFER_BPF_H */
