/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/*
 * The whole machine: counts by process, kept in the kernel, so that the cost
 * does not follow the event rate and nothing can overflow but the table itself.
 *
 * System calls are seen at their exit only and faults when they have been
 * served: half the hooks of the exact mode, no service times.
 */
#ifndef MEMTRACE_MACHINE_BPF_H
#define MEMTRACE_MACHINE_BPF_H

#include "bpf/calls.bpf.h"

#define MAP_HUGETLB 0x40000
#define MAP_HUGE_SHIFT 26 /* of log2 of the page's size, in mmap's flags; 0: the default */
#define MAP_HUGE_MASK 63
#define HUGE_PAGE_SHIFT 21

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 16384); /* the collector sets it */
	__type(key, __u32); /* tgid */
	__type(value, struct machine_row);
} machine SEC(".maps");

/* The break of each process after the last brk call seen, to know what the next one changed. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, __u64);
} machine_brk SEC(".maps");

/* Written only by the program that clears a row; a template, too large for the BPF stack's taste. */
static const struct machine_row empty_row;

static __always_inline struct machine_row *machine__row(struct task_struct *t, __u32 kind)
{
	__u32 tgid = t->tgid;
	struct machine_row *row = bpf_map_lookup_elem(&machine, &tgid);
	struct event_counts *c;

	if (row)
		return row;
	bpf_map_update_elem(&machine, &tgid, &empty_row, BPF_NOEXIST);
	row = bpf_map_lookup_elem(&machine, &tgid);
	if (row) {
		row->comm_ns = bpf_ktime_get_ns();
		bpf_probe_read_kernel(row->comm, sizeof(row->comm), t->group_leader->comm);
		return row;
	}
	c = counts__get();
	if (c)
		count__add(&c->lost[kind]);
	return NULL;
}

static __always_inline void machine__brk(struct task_struct *t, struct machine_row *row,
					 struct event_counts *c, __u64 now)
{
	__u32 tgid = t->tgid;
	__u64 *old = bpf_map_lookup_elem(&machine_brk, &tgid);

	if (old && now > *old)
		__sync_fetch_and_add(&row->grown_bytes, now - *old);
	else if (old)
		__sync_fetch_and_add(&row->shrunk_bytes, *old - now);
	if (bpf_map_update_elem(&machine_brk, &tgid, &now, BPF_ANY))
		count__add(&c->missed_tasks);
}

static __always_inline __u64 machine__pages_up(__u64 bytes)
{
	return (bytes + (1UL << PAGE_SHIFT) - 1) >> PAGE_SHIFT << PAGE_SHIFT;
}

/* What of a call's arguments counts: brk's address, else the length. */
static __always_inline __u64 machine__arg(struct pt_regs *regs, __u32 kind, int compat)
{
	__u32 old_mmap_len = 0;

	if (!compat)
		return kind == REC_BRK ? regs->di : regs->si;
	if (kind == REC_BRK)
		return regs->bx & 0xffffffff;
	if (regs->orig_ax != COMPAT_OLD_MMAP)
		return regs->cx & 0xffffffff;
	bpf_probe_read_user(&old_mmap_len, sizeof(old_mmap_len),
			    (void *)((regs->bx & 0xffffffff) + 4));
	return old_mmap_len;
}

/* What an mmap maps: whole pages of the size that its flags ask for. */
static __always_inline __u64 machine__mapped(struct pt_regs *regs, __u64 bytes, int compat)
{
	__u64 flags = compat ? regs->si : regs->r10, page;
	__u32 shift = flags >> MAP_HUGE_SHIFT & MAP_HUGE_MASK;

	if (!(flags & MAP_HUGETLB) || (compat && regs->orig_ax == COMPAT_OLD_MMAP))
		return machine__pages_up(bytes);
	page = 1ULL << (shift ?: HUGE_PAGE_SHIFT);
	return (bytes + page - 1) & ~(page - 1);
}

/* The third argument is in the same register in both tables. */
static __always_inline __u64 machine__mremap(struct pt_regs *regs, struct machine_row *row,
					     __u64 old, int compat)
{
	__u64 now = machine__pages_up(compat ? regs->dx & 0xffffffff : regs->dx);

	if (now > old)
		__sync_fetch_and_add(&row->remap_grown_bytes, now - old);
	else
		__sync_fetch_and_add(&row->remap_shrunk_bytes, old - now);
	return now;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(machine_call, struct pt_regs *regs, long ret)
{
	struct task_struct *t = bpf_get_current_task_btf();
	int compat = task__in_compat(t);
	__u32 kind = compat ? call__compat_kind(regs->orig_ax) : call__kind(regs->orig_ax & ~X32_BIT);
	struct machine_row *row;
	struct event_counts *c;
	__u64 arg;

	if (kind < REC_BRK || kind > REC_MPROTECT)
		return 0;
	c = counts__get();
	if (!c)
		return 0;
	count__add(&c->seen[kind]);
	row = machine__row(t, kind);
	if (!row)
		return 0;
	count__add(&row->calls[kind - REC_BRK]);
	arg = machine__arg(regs, kind, compat);
	if (kind == REC_BRK) {
		/* brk(2) returns the break, also the old one when it failed. */
		machine__brk(t, row, c, ret);
		if (arg && (unsigned long)ret != arg)
			count__add(&row->failed[0]);
		return 0;
	}
	if ((unsigned long)ret >= (unsigned long)-MAX_ERRNO) {
		count__add(&row->failed[kind - REC_BRK]);
		return 0;
	}
	arg = kind == REC_MMAP ? machine__mapped(regs, arg, compat) : machine__pages_up(arg);
	if (kind == REC_MREMAP)
		arg = machine__mremap(regs, row, arg, compat);
	__sync_fetch_and_add(&row->bytes[kind - REC_BRK], arg);
	return 0;
}

static __always_inline int machine__fault(int major)
{
	struct task_struct *t = bpf_get_current_task_btf();
	struct event_counts *c = counts__get();
	struct machine_row *row;

	if (!c)
		return 0;
	c->seen[REC_FAULT]++;
	row = machine__row(t, REC_FAULT);
	if (!row)
		return 0;
	if (major)
		row->major++;
	else
		row->minor++;
	return 0;
}

SEC("perf_event")
int machine_minor(struct bpf_perf_event_data *ctx)
{
	return machine__fault(0);
}

SEC("perf_event")
int machine_major(struct bpf_perf_event_data *ctx)
{
	return machine__fault(1);
}

static __always_inline void machine__set_brk(struct task_struct *t, struct mm_struct *mm)
{
	__u32 tgid = t->tgid;
	__u64 now = mm->brk;

	bpf_map_update_elem(&machine_brk, &tgid, &now, BPF_ANY);
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(machine_fork, struct task_struct *parent, struct task_struct *child)
{
	struct mm_struct *mm = child->mm;

	if (parent->tgid != child->tgid && mm)
		machine__set_brk(child, mm);
	return 0;
}

/* With a heap plane: the blocks of a process go with its image. No more than that is told. */
static __always_inline void machine__tell_exec(struct task_struct *t, int old_pid)
{
	void *ring = ring__get();
	struct rec_exec *r = ring ? record__reserve(ring, REC_EXEC, sizeof(*r)) : NULL;

	if (!r)
		return;
	__builtin_memset(r, 0, sizeof(*r));
	record__head(&r->h, REC_EXEC, t, bpf_ktime_get_ns());
	r->h.aux = old_pid;
	bpf_probe_read_kernel(r->comm, sizeof(r->comm), t->comm);
	record__send(r);
}

static __always_inline void machine__tell_exit(struct task_struct *t)
{
	void *ring = ring__get();
	struct rec_exit *r = ring ? record__reserve(ring, REC_EXIT, sizeof(*r)) : NULL;

	if (!r)
		return;
	__builtin_memset(r, 0, sizeof(*r));
	record__head(&r->h, REC_EXIT, t, bpf_ktime_get_ns());
	r->h.aux = 1;
	record__send(r);
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(machine_exec, struct task_struct *t, int old_pid)
{
	struct mm_struct *mm = t->mm;
	__u32 tgid = t->tgid;
	struct machine_row *row = bpf_map_lookup_elem(&machine, &tgid);

	if (mm)
		machine__set_brk(t, mm);
	if (row) {
		row->comm_ns = bpf_ktime_get_ns();
		bpf_probe_read_kernel(row->comm, sizeof(row->comm), t->comm);
	}
	if (cfg_sample_bytes)
		machine__tell_exec(t, old_pid);
	return 0;
}

SEC("tp_btf/task_rename")
int BPF_PROG(machine_rename, struct task_struct *t, const char *comm)
{
	__u32 tgid = t->tgid;
	struct machine_row *row = bpf_map_lookup_elem(&machine, &tgid);

	if (!row || t->pid != t->tgid)
		return 0;
	row->comm_ns = bpf_ktime_get_ns();
	bpf_probe_read_kernel_str(row->comm, sizeof(row->comm), comm);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(machine_exit, struct task_struct *t)
{
	struct signal_struct *sig = t->signal;
	__u32 tgid = t->tgid;

	/* The row itself stays until the collector has read it. */
	if (sig->live.counter == 0) {
		bpf_map_delete_elem(&machine_brk, &tgid);
		if (cfg_sample_bytes)
			machine__tell_exit(t);
	}
	return 0;
}

/* Run once at the start: the break of every process. */
SEC("iter/task")
int machine_breaks(struct bpf_iter__task *ctx)
{
	struct task_struct *t = ctx->task;
	struct mm_struct *mm;

	if (!t || t->pid != t->tgid)
		return 0;
	mm = t->mm;
	if (mm)
		machine__set_brk(t, mm);
	return 0;
}

#endif /* MEMTRACE_MACHINE_BPF_H */
