/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/*
 * An allocator that hands its calls over itself has seen that it is traced, and offers a segment
 * (lib/mtalloc/attach.c): the collector is told at once, since the process waits.
 */
#ifndef MEMTRACE_OFFER_BPF_H
#define MEMTRACE_OFFER_BPF_H

#include "bpf/state.bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} ring_offers SEC(".maps");

/* Its arguments: the descriptor, and where a thread's struct ring_call is. */
SEC("uprobe")
int offer_segment(struct uprobe_regs *ctx)
{
	struct ring_offer o = {
		.tgid = bpf_get_current_pid_tgid() >> 32,
		.fd = (__s32)ctx->di,
		.call_at = (__s64)ctx->si,
	};

	/* The place that is there for its semaphore alone. */
	if (bpf_get_attach_cookie(ctx))
		return 0;
	/* No room: the process goes on after a while, and is not traced. */
	bpf_ringbuf_output(&ring_offers, &o, sizeof(o), BPF_RB_FORCE_WAKEUP);
	return 0;
}

#endif /* MEMTRACE_OFFER_BPF_H */
