/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/*
 * The six system calls: brk, mmap, munmap, mremap, madvise, mprotect.
 *
 * On the raw tracepoints of all system calls, not on the six calls' own: those
 * cost more where they fire (they copy the arguments into a perf record first),
 * do not see 32-bit calls, and need tracefs. Arguments are read at the exit:
 * they still stand in the registers.
 */
#ifndef MEMTRACE_CALLS_BPF_H
#define MEMTRACE_CALLS_BPF_H

#include "bpf/filter.bpf.h"
#include "bpf/stack.bpf.h"
#include "bpf/files.bpf.h"
#include "bpf/heap.bpf.h"
#include "bpf/offer.bpf.h"

#define MAP_ANONYMOUS 0x20
#define MAP_FIXED 0x10
#define MREMAP_FIXED 2

#define COMPAT_OLD_MMAP 90
#define RT_SIGRETURN 15
#define URETPROBE 335 /* from Linux 6.11 on the way out of a return probe; no program makes it */
#define NO_CALL -1L /* in orig_ax after it, and after sigreturn */

static __always_inline __u32 call__kind(long nr)
{
	switch (nr) {
	case 12:
		return REC_BRK;
	case 9:
		return REC_MMAP;
	case 11:
		return REC_MUNMAP;
	case 25:
		return REC_MREMAP;
	case 28:
		return REC_MADVISE;
	case 10:
		return REC_MPROTECT;
	}
	return REC_NONE;
}

static __always_inline __u32 call__compat_kind(long nr)
{
	switch (nr) {
	case 45:
		return REC_BRK;
	case COMPAT_OLD_MMAP:
	case 192:
		return REC_MMAP;
	case 91:
		return REC_MUNMAP;
	case 163:
		return REC_MREMAP;
	case 219:
		return REC_MADVISE;
	case 125:
		return REC_MPROTECT;
	}
	return REC_NONE;
}

static __always_inline int task__in_compat(struct task_struct *t)
{
	return t->thread_info.status & TS_COMPAT;
}

SEC("tp_btf/sys_enter")
int BPF_PROG(call_enter, struct pt_regs *regs, long nr)
{
	struct task_struct *t;
	struct thread_state *s;
	struct mm_struct *mm;
	__u32 kind;

	/* By int $0x80 that number is another call, and none of ours either. */
	if (nr == URETPROBE && regs->cs == CS_OF_64_BITS)
		return 0;
	t = bpf_get_current_task_btf();
	s = thread__current(t);
	if (!s)
		return 0;
	mm = POINTER(t, mm);
	s->call_mm = (__u64)mm;
	if (nr == RT_SIGRETURN && s->heap_signals)
		s->heap_signals--;
	kind = task__in_compat(t) ? call__compat_kind(nr) : call__kind(nr & ~X32_BIT);
	/* Also for the others: what a call left behind when its exit was not seen ends here. */
	s->call_kind = kind;
	if (s->armed)
		thread__take_base(s, t, 0, 0);
	if (kind == REC_NONE || s->waits_for_exec)
		return 0;
	if (kind == REC_BRK)
		s->call_old_brk = mm ? mm->brk : 0;
	else if (kind == REC_MADVISE && !task__in_compat(t))
		offer__look(regs);
	s->call_flt = task__faults(t);
	s->call_exceptions = s->exceptions;
	s->call_start_ns = bpf_ktime_get_ns();
	return 0;
}

static __always_inline void call__compat_args(struct rec_call *r, struct pt_regs *regs)
{
	__u32 arg[6] = {regs->bx, regs->cx, regs->dx, regs->si, regs->di, regs->bp};
	int i, old = regs->orig_ax == COMPAT_OLD_MMAP;

	/* The oldest mmap takes the address of its arguments; the newer counts its offset in pages. */
	if (old && bpf_probe_read_user(arg, sizeof(arg), (void *)(regs->bx & 0xffffffff)))
		__builtin_memset(arg, 0, sizeof(arg));
	for (i = 0; i < 6; i++)
		r->arg[i] = arg[i];
	if (r->h.kind == REC_MMAP) {
		r->arg[4] = (__s64)(__s32)arg[4];
		if (!old)
			r->arg[5] <<= PAGE_SHIFT;
	}
	r->h.flags |= CALL_COMPAT;
}

static __always_inline void call__args(struct rec_call *r, struct pt_regs *regs)
{
	r->arg[0] = regs->di;
	r->arg[1] = regs->si;
	r->arg[2] = regs->dx;
	r->arg[3] = regs->r10;
	r->arg[4] = regs->r8;
	r->arg[5] = regs->r9;
}

static long vma__there(struct task_struct *t, struct vm_area_struct *vma, void *unused)
{
	return 0;
}

/* A call that failed half way: before Linux 6.17 an mremap to a fixed place unmaps what is there,
 * and then looks whether it can move anything. What it says why does not tell, the place does. */
static __always_inline void call__failed(struct task_struct *t, struct rec_call *r)
{
	if (r->h.kind != REC_MREMAP || !(r->arg[3] & MREMAP_FIXED))
		return;
	if (bpf_find_vma(t, r->arg[4], vma__there, NULL, 0) != -2 /* ENOENT */)
		return;
	r->h.flags |= CALL_CLEARED;
	code__forget(r->arg[4], r->arg[2]);
}

/* What was known of code where the call has changed the mappings. */
static __always_inline void call__forget_code(struct task_struct *t, struct rec_call *r)
{
	if ((unsigned long)r->ret >= (unsigned long)-MAX_ERRNO) {
		call__failed(t, r);
		return;
	}
	if (r->h.kind == REC_MUNMAP || r->h.kind == REC_MREMAP)
		code__forget(r->arg[0], r->arg[1]);
	/* What was where it has been moved to. */
	if (r->h.kind == REC_MREMAP && r->ret != r->arg[0])
		code__forget(r->ret, r->arg[2]);
	else if (r->h.kind == REC_MMAP && r->arg[3] & MAP_FIXED)
		code__forget(r->ret, r->arg[1]);
}

SEC("tp_btf/sys_exit")
int BPF_PROG(call_exit, struct pt_regs *regs, long ret)
{
	struct task_struct *t;
	struct thread_state *s;
	__u64 now, stack, start, populated;
	struct rec_call *r;
	__u32 kind, compat;
	void *ring;

	if ((long)regs->orig_ax == NO_CALL)
		return 0;
	t = bpf_get_current_task_btf();
	s = thread__current(t);
	if (!s)
		return 0;
	kind = s->call_kind;
	s->call_kind = REC_NONE;
	if (s->armed)
		thread__take_base(s, t, 0, 0);
	s->seen_min = t->min_flt;
	s->seen_maj = t->maj_flt;
	if (kind < REC_BRK || kind > REC_MPROTECT || s->waits_for_exec)
		return 0;
	now = bpf_ktime_get_ns();
	start = s->call_start_ns;
	populated = task__faults(t) - s->call_flt - (s->exceptions - s->call_exceptions);
	compat = task__in_compat(t);
	stack = stack__take(s, t, regs->ip, regs->sp, compat ? 0 : regs->bp, regs->bx);
	ring = ring__get();
	if (!ring)
		return 0;
	r = record__reserve(ring, kind, sizeof(*r));
	if (!r) {
		code__forget_all();
		return 0;
	}
	record__head(&r->h, kind, t, now);
	r->h.aux = populated;
	r->start_ns = start;
	r->ret = ret;
	r->old_brk = s->call_old_brk;
	r->stack_id = stack;
	r->ip = regs->ip;
	r->owner = heap__owner(s, t, regs->sp);
	if (compat)
		call__compat_args(r, regs);
	else
		call__args(r, regs);
	call__forget_code(t, r);
	if (kind == REC_MMAP && !(r->arg[3] & MAP_ANONYMOUS) &&
	    (unsigned long)ret < (unsigned long)-MAX_ERRNO)
		vma__of_mmap(ring, t, r, s->zero);
	record__send(r);
	return 0;
}

#endif /* MEMTRACE_CALLS_BPF_H */
