/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/*
 * Probes of a target's own that tell of sampled allocations: otel_memory:alloc(ptr, size,
 * weighted_bytes) and otel_memory:free(ptr). The target has chosen the samples; what it tells becomes
 * a record at once. Such a probe is a moment, not a call: kernel events have no owner by it.
 */
#ifndef MEMTRACE_CONTRACT_BPF_H
#define MEMTRACE_CONTRACT_BPF_H

#include "bpf/heap.bpf.h"

/* Where the arguments are, by hook; the collector fills it in before it places the probe. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, HEAP_HOOKS_MAX);
	__type(key, __u32);
	__type(value, struct contract_args);
} contract_hooks SEC(".maps");

/* Not inlined: else the copy of the registers is on the stack below a walk, which is too much for
 * Linux 6.1. */
static __noinline __u64 contract__arg(const struct contract_arg *a, struct uprobe_regs *regs)
{
	__u32 unused = 64 - 8 * (a->bytes & 15);
	__u64 value, reg[NREGS];

	regs__copy(reg, regs);
	value = reg[a->reg & (NREGS - 1)];
	if (a->kind == CONTRACT_CONSTANT)
		return a->offset;
	if (a->kind == CONTRACT_MEMORY) {
		__u64 at = value + a->offset;

		value = 0;
		if (bpf_probe_read_user(&value, sizeof(value), (void *)at))
			return 0;
	}
	if (a->is_signed)
		return (__s64)(value << (unused & 63)) >> (unused & 63);
	return value << (unused & 63) >> (unused & 63);
}

SEC("uprobe")
int heap_contract(struct uprobe_regs *ctx)
{
	struct task_struct *t = bpf_get_current_task_btf();
	struct thread_state *s = thread__current(t);
	__u64 cookie, ptr, stack_id = 0, now;
	struct heap_hook_counts *hook;
	struct contract_args *args;
	struct rec_heap *r;
	__u32 number, op;
	void *ring;

	if (!s || s->waits_for_exec || heap_closed)
		return 0;
	cookie = bpf_get_attach_cookie(ctx);
	number = COOKIE_HOOK(cookie);
	op = COOKIE_OP(cookie);
	hook = hook__counts(cookie);
	args = bpf_map_lookup_elem(&contract_hooks, &number);
	ring = ring__get();
	if (!hook || !args || !ring)
		return 0;
	count__add(&hook->hits);
	ptr = contract__arg(&args->arg[0], ctx);
	if (!ptr) {
		count__add(&hook->ignored);
		return 0;
	}
	now = bpf_ktime_get_ns();
	if (op == HEAP_SAMPLED)
		stack_id = stack__take(s, t, ctx->ip, ctx->sp, ctx->bp, ctx->bx);
	r = record__reserve(ring, REC_HEAP, sizeof(*r));
	if (!r) {
		count__add(&hook->lost);
		count__lost_op(op);
		return 0;
	}
	record__head(&r->h, REC_HEAP, t, now);
	r->h.aux = op | number << 16;
	r->start_ns = now;
	r->size = 0;
	r->arg = 0;
	r->result = 0;
	r->stack_id = stack_id;
	r->weight = 0;
	if (op == HEAP_SAMPLED) {
		r->result = ptr;
		r->size = contract__arg(&args->arg[1], ctx);
		r->weight = contract__arg(&args->arg[2], ctx);
		if (!r->weight) /* it stands for itself */
			r->weight = r->size ? r->size : 1;
	} else {
		r->arg = ptr;
	}
	record__send(r);
	return 0;
}

#endif /* MEMTRACE_CONTRACT_BPF_H */
