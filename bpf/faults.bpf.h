/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/*
 * Page faults: exact, minor and major, with service time.
 *
 * The tracepoints of x86's exceptions fire when a fault begins, also for
 * accesses that will fail. The software events PAGE_FAULTS_MIN and _MAJ fire in
 * the same task when it has been served, where the kernel counts ru_minflt and
 * ru_majflt: those make the record, the tracepoints add when it began and
 * what the access was.
 *
 * The software events are opened for the traced threads, and inherited by
 * what they create, not for each CPU: an untraced process pays nothing for
 * them. A thread that is created while the collector opens events can get two of
 * each, inherited and its own; the kernel's fault count tells the second
 * firing for the same fault.
 */
#ifndef MEMTRACE_FAULTS_BPF_H
#define MEMTRACE_FAULTS_BPF_H

#include "bpf/filter.bpf.h"
#include "bpf/stack.bpf.h"
#include "bpf/heap.bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* CPUs */
	__uint(key_size, sizeof(__u32));
	/* struct fault_lane with its records: the collector sets it. */
	__uint(value_size, sizeof(struct fault_lane) + sizeof(struct rec_fault));
} fault_lanes SEC(".maps");

/* The processor's error code of a page fault. */
#define PF_PROT (1 << 0)
#define PF_WRITE (1 << 1)
#define PF_INSTR (1 << 4)

static __always_inline int fault__begin(unsigned long addr, unsigned long error)
{
	struct task_struct *t = bpf_get_current_task_btf();
	struct thread_state *s = thread__current(t);

	if (!s)
		return 0;
	s->fault_addr = addr;
	s->fault_error = error;
	s->fault_start_ns = bpf_ktime_get_ns();
	return 0;
}

SEC("tp_btf/page_fault_user")
int BPF_PROG(fault_user, unsigned long addr, struct pt_regs *regs, unsigned long error)
{
	return fault__begin(addr, error);
}

SEC("tp_btf/page_fault_kernel")
int BPF_PROG(fault_kernel, unsigned long addr, struct pt_regs *regs, unsigned long error)
{
	return fault__begin(addr, error);
}

static __always_inline __u32 fault__flags(__u64 error)
{
	return (error & PF_WRITE ? FAULT_WRITE : 0) | (error & PF_INSTR ? FAULT_EXEC : 0) |
	       (error & PF_PROT ? FAULT_PRESENT : 0);
}

/* Count a fault, and find room for its record in this CPU's lane. NULL: lost, counted as such. */
static __always_inline struct rec_fault *lane__reserve(struct fault_lane *l, struct event_counts *c)
{
	__u64 head = l->head;

	/* Not atomic: perf events' programs are not preempted, and no other kind counts here. */
	c->seen[REC_FAULT]++;
	if (head - *(volatile __u64 *)&l->tail > cfg_lane_mask) {
		c->lost[REC_FAULT]++;
		return NULL;
	}
	return &l->rec[head & cfg_lane_mask];
}

/* Publish the reserved record: everything in it is written before the head moves (x86 keeps the
 * order of stores, the barrier makes the compiler keep it). */
static __always_inline void lane__publish(struct fault_lane *l)
{
	barrier();
	*(volatile __u64 *)&l->head = l->head + 1;
}

static __always_inline int fault__end(struct bpf_perf_event_data *ctx, __u32 flags)
{
	struct task_struct *t = bpf_get_current_task_btf();
	struct thread_state *s = thread__current(t);
	__u64 now = bpf_ktime_get_ns(), total = task__faults(t), took = 0, stack;
	__u64 ip = ctx->ip, sp = ctx->sp, fp = ctx->bp, bx = ctx->bx;
	__u32 cpu = bpf_get_smp_processor_id();
	struct event_counts *c;
	struct fault_lane *lane;
	struct rec_fault *r;
	struct pt_regs *user;

	if (!s || total == s->last_flt)
		return 0;
	if (s->waits_for_exec == EXEC_AWAITED)
		s->waits_for_exec = EXEC_UNDER_WAY; /* the events are enabled by exec */
	thread__take_base(s, t, !(flags & FAULT_MAJOR), !!(flags & FAULT_MAJOR));
	s->last_flt = total;
	/* Each event its own: the two are not closed at the same moment. */
	if (flags & FAULT_MAJOR)
		s->seen_maj = t->maj_flt;
	else
		s->seen_min = t->min_flt;
	s->exceptions++;
	if (s->fault_start_ns && s->fault_addr >> PAGE_SHIFT == ctx->addr >> PAGE_SHIFT) {
		took = now - s->fault_start_ns;
		flags |= fault__flags(s->fault_error);
		if (took > ~0U)
			took = ~0U;
	} else {
		flags |= FAULT_NO_ENTRY;
	}
	s->fault_start_ns = 0;
	/* The verifier wants ctx read at constant offsets: keep the compiler from sharing the loads
	 * of both branches. */
	barrier_var(ip);
	barrier_var(sp);
	barrier_var(fp);
	barrier_var(bx);
	if ((ctx->cs & 3) != 3) {
		flags |= FAULT_KERNEL;
		user = (struct pt_regs *)bpf_task_pt_regs(t);
		ip = user->ip;
		sp = user->sp;
		fp = user->bp;
		bx = user->bx;
		/* In an exec the registers are still the old image's, the stack is gone. */
		if (s->call_mm != ADDRESS(t, mm))
			ip = 0;
	}
	c = counts__get();
	lane = bpf_map_lookup_elem(&fault_lanes, &cpu);
	if (!c || !lane)
		return 0;
	stack = ip ? stack__take(s, t, ip, sp, fp, bx) : 0;
	r = lane__reserve(lane, c);
	if (!r)
		return 0;
	record__head(&r->h, REC_FAULT, t, now);
	r->h.flags = flags;
	r->h.aux = took;
	r->addr = ctx->addr;
	r->ip = ip;
	r->stack_id = stack;
	r->owner = ip ? heap__owner(s, t, sp) : 0;
	lane__publish(lane);
	return 0;
}

SEC("perf_event")
int fault_minor(struct bpf_perf_event_data *ctx)
{
	return fault__end(ctx, 0);
}

SEC("perf_event")
int fault_major(struct bpf_perf_event_data *ctx)
{
	return fault__end(ctx, FAULT_MAJOR);
}

#endif /* MEMTRACE_FAULTS_BPF_H */
