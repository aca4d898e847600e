/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/* Who is traced: marking threads, and finding the state of the current one. */
#ifndef MEMTRACE_FILTER_BPF_H
#define MEMTRACE_FILTER_BPF_H

#include "bpf/state.bpf.h"

/* Begin to trace a thread. NULL when there is no memory, which is counted. */
static __always_inline struct thread_state *thread__mark(struct task_struct *t)
{
	struct thread_state *s;

	s = bpf_task_storage_get(&threads, t, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (s) {
		s->call_mm = ADDRESS(t, mm); /* not zero: a call that is under way is no exec */
		s->armed = cfg_mode == MODE_MATCH; /* there the events are those of the CPUs */
		s->last_flt = t->min_flt + t->maj_flt;
	} else {
		struct event_counts *c = counts__get();

		if (c)
			count__add(&c->missed_tasks);
	}
	return s;
}

/* Take the base, of which `minor` and `major` faults have just been seen, when it is time. */
static __always_inline void thread__take_base(struct thread_state *s, struct task_struct *t,
					      __u32 minor, __u32 major)
{
	if (s->based)
		return;
	s->based = 1;
	s->base_min = s->seen_min = t->min_flt - minor;
	s->base_maj = s->seen_maj = t->maj_flt - major;
}

static __always_inline int comm__matches(struct task_struct *t)
{
	char comm[16];
	int i;

	bpf_probe_read_kernel(comm, sizeof(comm), t->comm);
	for (i = 0; i < 16; i++) {
		if (comm[i] != cfg_comm[i])
			return 0;
		if (!comm[i])
			break;
	}
	return 1;
}

/* In MODE_MATCH: whether the current task is one to trace. */
static __always_inline int task__matches(struct task_struct *t)
{
	if ((__u32)t->tgid == cfg_own_tgid)
		return 0;
	if (cfg_match_cgroup)
		return bpf_current_task_under_cgroup(&match_cgroup, 0) == 1;
	return comm__matches(t);
}

/* The state of the current task, NULL when it is not traced. */
static __always_inline struct thread_state *thread__current(struct task_struct *t)
{
	struct thread_state *s;

	if (cfg_mode == MODE_PIDS) {
		if (!ADDRESS(t, bpf_storage))
			return NULL;
		return bpf_task_storage_get(&threads, t, 0, 0);
	}
	if (cfg_mode == MODE_MACHINE ? (__u32)t->tgid == cfg_own_tgid : !task__matches(t))
		return NULL;
	s = bpf_task_storage_get(&threads, t, 0, 0);
	return s ?: thread__mark(t);
}

#endif /* MEMTRACE_FILTER_BPF_H */
