/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/* Threads and processes: fork, exec, exit, and finding the threads that exist already. */
#ifndef MEMTRACE_TASKS_BPF_H
#define MEMTRACE_TASKS_BPF_H

#include "bpf/filter.bpf.h"
#include "bpf/files.bpf.h"
#include "bpf/heap.bpf.h"

/* The processes that the collector asks for; read by the mark iterator only. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, __u32); /* 1: wait for its exec */
} roots SEC(".maps");

/* Threads that the mark iterator marked: it is run again until it finds no more. */
__u64 marked;

SEC("iter/task")
int mark_threads(struct bpf_iter__task *ctx)
{
	struct task_struct *t = ctx->task;
	struct thread_state *s;
	__u32 tgid, *waits;

	if (!t)
		return 0;
	tgid = t->tgid;
	waits = bpf_map_lookup_elem(&roots, &tgid);
	if (!waits || bpf_task_storage_get(&threads, t, 0, 0))
		return 0;
	s = thread__mark(t);
	if (s) {
		s->waits_for_exec = *waits;
		marked++;
	}
	return 0;
}

/* The fault events of the roots' threads are open now. */
SEC("iter/task")
int arm_threads(struct bpf_iter__task *ctx)
{
	struct task_struct *t = ctx->task;
	struct thread_state *s;
	__u32 tgid;

	if (!t)
		return 0;
	tgid = t->tgid;
	if (!bpf_map_lookup_elem(&roots, &tgid))
		return 0;
	s = bpf_task_storage_get(&threads, t, 0, 0);
	if (s && !s->waits_for_exec)
		s->armed = 1;
	return 0;
}

/* One struct task_row for each traced thread. */
SEC("iter/task")
int list_threads(struct bpf_iter__task *ctx)
{
	struct task_struct *t = ctx->task;
	struct task_row row = {};
	struct thread_state *s;

	/* One that is ending has told its counts, or they were lost. */
	if (!t || t->flags & PF_EXITING)
		return 0;
	s = bpf_task_storage_get(&threads, t, 0, 0);
	if (!s || s->waits_for_exec || !s->based)
		return 0;
	row.tgid = t->tgid;
	row.tid = t->pid;
	/* Not what they are now: the events have been closed a moment ago, the faults go on. */
	row.min_flt = s->seen_min - s->base_min;
	row.maj_flt = s->seen_maj - s->base_maj;
	bpf_seq_write(ctx->meta->seq, &row, sizeof(row));
	return 0;
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(task_fork, struct task_struct *parent, struct task_struct *child)
{
	struct thread_state *s = thread__current(parent), *cs;
	int thread = parent->tgid == child->tgid;
	struct rec_fork *r;
	void *ring;

	if (!s || s->waits_for_exec || (!thread && !cfg_follow))
		return 0;
	cs = thread__mark(child);
	ring = ring__get();
	if (!cs || !ring)
		return 0;
	/* At zero, where it inherits the fault events; else when they have been opened for it. */
	cs->armed = s->armed;
	cs->based = s->armed;
	cs->last_flt = 0;
	r = record__reserve(ring, REC_FORK, sizeof(*r));
	if (!r)
		return 0;
	record__head(&r->h, REC_FORK, parent, bpf_ktime_get_ns());
	if (ADDRESS(parent, mm) == ADDRESS(child, mm))
		r->h.flags = FORK_SHARES_MM;
	r->child_tgid = child->tgid;
	r->child_tid = child->pid;
	bpf_probe_read_kernel(r->comm, sizeof(r->comm), child->comm);
	record__send(r);
	return 0;
}

#define AUXV_PAIRS 24 /* saved_auxv may hold a few more; what we look for comes early */
#define AUX_PHDR 3 /* in the main program's first segment */
#define AUX_BASE 7 /* the interpreter's first segment */
#define AUX_VDSO 33
#define VVAR_REACH (16UL << PAGE_SHIFT)

/* One pair of a program's auxiliary vector: of 32-bit words, if the program is. */
static long auxv__step(__u32 i, struct vma_walk *w)
{
	__u64 pair[2] = {};
	__u32 narrow[2] = {};

	if (w->narrow) {
		bpf_probe_read_kernel(narrow, sizeof(narrow), (void *)(w->auxv + i * sizeof(narrow)));
		pair[0] = narrow[0];
		pair[1] = narrow[1];
	} else {
		bpf_probe_read_kernel(pair, sizeof(pair), (void *)(w->auxv + i * sizeof(pair)));
	}
	if (pair[0] == AUX_PHDR)
		w->start[0] = pair[1];
	else if (pair[0] == AUX_BASE)
		w->start[1] = pair[1];
	else if (pair[0] == AUX_VDSO)
		w->limit[2] = pair[1];
	return 0;
}

/* Send the mappings that execve itself made: program, interpreter, vdso, stack, bss. */
static __always_inline void exec__mappings(struct task_struct *t, struct mm_struct *mm, __u32 zero)
{
	struct vma_walk w = {.next = zero, .addr = zero, .zero = zero};

	/* The first one's value is an address or a set of bits of the processor, never 0. */
	w.narrow = mm->saved_auxv[0] >> 32 != 0;
	bpf_core_read(&w.auxv, sizeof(w.auxv), &t->mm); /* a number to the verifier */
	w.auxv += bpf_core_field_offset(mm->saved_auxv);
	/* In a bpf_loop(), of which the verifier walks the body once. */
	bpf_loop(AUXV_PAIRS, auxv__step, &w, 0);
	/* A program's segments need not touch. The kernel's data pages lie before its code page. */
	w.limit[0] = mm->end_data;
	if (w.limit[2])
		w.start[2] = w.limit[2] - VVAR_REACH;
	w.start[3] = mm->start_stack;
	bpf_loop(EXEC_STEPS, vma__step, &w, 0);
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(task_exec, struct task_struct *t, int old_pid, struct linux_binprm *bprm)
{
	struct thread_state *s = thread__current(t);
	struct mm_struct *mm = POINTER(t, mm);
	struct vnode_key key = {};
	struct rec_exec *r;
	__u64 exe = 0;
	void *ring;

	if (!s || !mm)
		return 0;
	ring = ring__get();
	if (!ring)
		return 0;
	s->waits_for_exec = EXEC_DONE;
	s->armed = 1;
	s->heap.start_ns = 0;
	ring__forget(t);
	/* Else an address space that comes where an old one was could be taken for it. */
	if (t->personality & ADDR_NO_RANDOMIZE)
		code__forget_all();
	bpf_core_read(&exe, sizeof(exe), &mm->exe_file);
	if (exe)
		file__announce(exe, bpf_ktime_get_ns(), &key, s->zero);
	exec__mappings(t, mm, s->zero);
	r = record__reserve(ring, REC_EXEC, sizeof(*r));
	if (!r)
		return 0;
	record__head(&r->h, REC_EXEC, t, bpf_ktime_get_ns());
	if (BPF_CORE_READ_BITFIELD(bprm, secureexec))
		r->h.flags = EXEC_SECURE;
	r->h.aux = old_pid;
	r->start_code = mm->start_code;
	r->end_code = mm->end_code;
	r->start_data = mm->start_data;
	r->end_data = mm->end_data;
	r->start_brk = mm->start_brk;
	r->brk = mm->brk;
	r->start_stack = mm->start_stack;
	r->exe_ino = key.ino;
	r->exe_dev = key.dev;
	r->pad = 0;
	bpf_probe_read_kernel(r->comm, sizeof(r->comm), t->comm);
	record__send(r);
	return 0;
}

/* A process is named as its first thread is; what another is named is that thread's own affair. */
SEC("tp_btf/task_rename")
int BPF_PROG(task_rename, struct task_struct *t, const char *comm)
{
	struct thread_state *s;
	struct rec_rename *r;
	void *ring;

	if (!ADDRESS(t, bpf_storage) || t->pid != t->tgid)
		return 0;
	s = bpf_task_storage_get(&threads, t, 0, 0);
	ring = ring__get();
	if (!s || s->waits_for_exec || !ring)
		return 0;
	r = record__reserve(ring, REC_RENAME, sizeof(*r));
	if (!r)
		return 0;
	record__head(&r->h, REC_RENAME, t, bpf_ktime_get_ns());
	__builtin_memset(r->comm, 0, sizeof(r->comm));
	bpf_probe_read_kernel_str(r->comm, sizeof(r->comm), comm);
	record__send(r);
	return 0;
}

__u64 closing; /* set by the collector before it closes the fault events */

SEC("tp_btf/sched_process_exit")
int BPF_PROG(task_exit, struct task_struct *t)
{
	struct thread_state *s = thread__current(t);
	struct signal_struct *sig;
	struct rec_exit *r;
	void *ring;
	int last, code;

	/* One that was traced has ended, whatever its name is by now. */
	if (!s && ADDRESS(t, bpf_storage))
		s = bpf_task_storage_get(&threads, t, 0, 0);
	if (!s)
		return 0;
	ring = ring__get();
	if (!ring)
		return 0;
	heap__abandon(s, t);
	sig = POINTER(t, signal);
	last = sig->live.counter == 0;
	code = sig->group_exit_code;
	if (last)
		ring__forget(t);
	r = record__reserve(ring, REC_EXIT, sizeof(*r));
	if (!r)
		return 0;
	record__head(&r->h, REC_EXIT, t, bpf_ktime_get_ns());
	r->h.aux = last;
	r->exit_code = code ? code : t->exit_code;
	r->pad = 0;
	thread__take_base(s, t, 0, 0);
	/* Once the fault events are being closed the kernel counts what is not seen. */
	if (!closing) {
		s->seen_min = t->min_flt;
		s->seen_maj = t->maj_flt;
	}
	r->min_flt = s->seen_min - s->base_min;
	r->maj_flt = s->seen_maj - s->base_maj;
	record__send(r);
	return 0;
}

#endif /* MEMTRACE_TASKS_BPF_H */
