/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/*
 * User stacks: where an event happened. Each is walked to its end (walker.bpf.h) unless the thread has
 * just made the same walk (again.bpf.h), and sent the first time it is met.
 */
#ifndef MEMTRACE_STACK_BPF_H
#define MEMTRACE_STACK_BPF_H

#include "bpf/again.bpf.h"
#include "bpf/walker.bpf.h"

/* The least recently used goes when it is full, and is sent again if it comes again. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, __u64);
	__type(value, __u32);
} stacks_sent SEC(".maps");

/* Send the stack in w->stack unless it has been; 0 when it could not be sent. */
static __always_inline __u64 walker__publish(struct walker *w, struct task_struct *t)
{
	__u64 id = w->hash ?: 1, size;
	struct event_counts *c;
	__u32 one = 1, n = w->n;
	void *ring;

	if (id == w->known_stack[id & (RECENT - 1)])
		return id;
	if (!bpf_map_lookup_elem(&stacks_sent, &id)) {
		c = counts__get();
		ring = ring__get();
		if (!c || !ring)
			return 0;
		count__add(&c->seen[REC_STACK]);
		record__head(&w->stack.h, REC_STACK, t, bpf_ktime_get_ns());
		w->stack.h.aux = n;
		w->stack.h.flags = w->flags;
		w->stack.stack_id = id;
		barrier_var(n);
		if (n > STACK_FRAMES)
			return 0;
		size = sizeof(w->stack) - sizeof(w->stack.ip) + n * sizeof(__u64);
		if (bpf_ringbuf_output(ring, &w->stack, size, BPF_RB_NO_WAKEUP)) {
			count__add(&c->lost[REC_STACK]);
			return 0;
		}
		/* A full map only means that stacks are sent again. */
		bpf_map_update_elem(&stacks_sent, &id, &one, BPF_ANY);
	}
	w->known_stack[id & (RECENT - 1)] = id;
	return id;
}

static __always_inline struct walker *walker__of(struct task_struct *t)
{
	struct walker *w = bpf_task_storage_get(&walkers, t, 0, 0);

	return w ?: bpf_task_storage_get(&walkers, t, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
}

/* What the walk needs to know of the task, and where it begins. */
static __always_inline void walker__begin(struct walker *w, struct task_struct *t, __u64 ip,
					  __u64 sp, __u64 fp, __u64 bx)
{
	struct uprobe_task *utask = POINTER(t, utask);
	struct mm_struct *mm = POINTER(t, mm);
	__u64 image = 0, tables;
	int i;

	/* Through memory, the verifier takes it for a number. */
	*(volatile __u64 *)&w->mm = (__u64)mm;
	w->bottom = 0;
	if (mm) {
		image = mm__image(t, mm, *(volatile __u64 *)&w->mm);
		w->bottom = mm->start_stack;
	}
	if (w->image != image) {
		w->image = image;
		w->start_code = mm ? mm->start_code : 0;
		w->end_code = mm ? mm->end_code : 0;
		__builtin_memset(w->known_leaf, 0, sizeof(w->known_leaf)); /* of the old image's code */
		for (i = 0; i < PAST_WALKS; i++)
			w->past[i].id = 0;
	}
	w->returns = utask ? ADDRESS(utask, return_instances) : 0;
	w->generation = code_generation;
	w->stamp = hash__mix(image, w->generation);
	tables = w->tables;
	w->tables = direct__tables(mm, &w->tables);
	if (w->tables != tables || !w->page_at)
		walker__no_page(w);
	w->from_ip = ip;
	w->from_sp = sp;
	w->from_bp = fp;
	w->from_bx = bx;
}

/*
 * Take the current task's user stack, send it if it is new. Returns its id, 0
 * when it could not be sent.
 *
 * s: the thread's state; t: the current task. ip, sp, fp, bx: the registers of user mode: at a
 * system call's exit and in a fault those of bpf_task_pt_regs(t), in a program on a uprobe those
 * of its context, at the function's entry or any instruction of it. In a uretprobe the frame is
 * gone: take it at the entry.
 */
static __always_inline __u64 stack__take(struct thread_state *s, struct task_struct *t, __u64 ip,
					 __u64 sp, __u64 fp, __u64 bx)
{
	struct walker *w = walker__of(t);
	__u64 wanted = s->heap.start_ns && COOKIE_NO_END(s->heap.cookie) ? s->heap.sp : 0, id;

	s->heap_frame = 0;
	if (!w)
		return 0;
	walker__begin(w, t, ip, sp, fp, bx);
	id = walker__again(w, wanted);
	if (id) {
		s->heap_frame = w->found;
		return id;
	}
	walker__walk(w, wanted, s->zero);
	if (cfg_direct && w->moved) {
		w->tables = 0;
		walker__walk(w, wanted, s->zero);
	}
	s->heap_frame = w->found;
	if (!w->found && w->flags & STACK_INCOMPLETE && w->sp <= wanted)
		s->heap_frame = FRAME_UNKNOWN;
	id = walker__publish(w, t);
	walker__keep(w, id);
	return id;
}

#endif /* MEMTRACE_STACK_BPF_H */
