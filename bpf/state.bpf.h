/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/*
 * What all programs share: settings, maps, the state of a traced thread, and
 * how a record is counted, reserved and sent.
 *
 * A thread is traced when it has a struct thread_state in its task storage. A
 * task that never had any task storage has a NULL task->bpf_storage, which is
 * all that the rest of the machine pays for: one load and a compare.
 */
#ifndef MEMTRACE_STATE_BPF_H
#define MEMTRACE_STATE_BPF_H

#include "bpf/kernel_types.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include "bpf/event.h"
#include "bpf/pointer.bpf.h"

/* Which threads are traced. */
#define MODE_PIDS 0 /* those marked by the collector, and what they fork */
#define MODE_MATCH 1 /* any that match comm or cgroup */
#define MODE_MACHINE 2 /* all; only for calls into the allocator, the rest has no threads there */

const volatile __u32 cfg_mode = MODE_PIDS;
const volatile __u32 cfg_follow = 1;
const volatile __u32 cfg_match_cgroup; /* in MODE_MATCH: match by cgroup, else by comm */
const volatile char cfg_comm[16]; /* NUL-padded */
const volatile __u32 cfg_ring_mask; /* number of rings - 1 */
const volatile __u32 cfg_lane_mask; /* number of records in a fault lane - 1 */
const volatile __u32 cfg_own_tgid; /* the collector: never traced but in MODE_PIDS */

/* thread_state.waits_for_exec: a launched child is not the command itself until it has exec'ed. */
#define EXEC_DONE 0
#define EXEC_AWAITED 1
#define EXEC_UNDER_WAY 2 /* the new address space is being set up: its faults count */

#define NREGS 16

/* The call into the allocator that a thread is in. */
struct heap_call {
	__u64 start_ns; /* 0: in none */
	__u64 sp; /* where its return address is */
	__u64 cookie;
	__u64 back; /* the return address, when it has no return probe */
	__u64 ip; /* of its probe */
	__u64 size, arg;
	__u64 memptr; /* where the result will be stored */
	__u64 stack_id;
	__u32 align; /* log2 */
	__u16 flags; /* HEAP_* */
	__u8 suspect; /* a longjmp or an exception may have left it */
	__u8 told : 1; /* its record has been sent */
	__u8 quiet : 1; /* left out by sampling */
	__u8 sampled : 1; /* its old block was sampled */
	__u8 thrown : 1; /* it was an exception */
	__u8 left_out : 1; /* its new one is not: told for the sake of the old one alone */
};

struct thread_state {
	__u32 waits_for_exec;
	__u32 call_kind; /* the call it is in, REC_NONE when in none of ours */
	__u64 call_start_ns;
	__u64 call_old_brk;
	__u64 call_mm; /* the address space at the last system call: another one now means an exec */
	__u64 call_flt; /* the kernel's fault count when the call began */
	__u64 call_exceptions; /* .exceptions when the call began */
	__u64 exceptions; /* completed faults seen on this thread */
	/*
	 * The kernel's fault counts when tracing of this thread began. They are taken on the
	 * thread itself, at the first of our programs that runs on it after its fault events
	 * have been opened: in between, faults would be counted and not seen.
	 */
	__u64 base_min, base_maj;
	__u32 armed; /* the fault events are open */
	__u32 based; /* the base has been taken */
	__u64 last_flt; /* the kernel's fault count at the last completed fault */
	__u64 seen_min, seen_maj; /* the kernel's fault counts when we last ran on this thread */
	__u64 fault_start_ns; /* 0: none in flight */
	__u64 fault_addr;
	__u64 fault_error; /* the processor's error code */
	/*
	 * Always zero, but the verifier does not know. It walks the body of a bpf_loop() once,
	 * not once an iteration; before Linux 6.7 it does so with the values of the first
	 * iteration, and drops branches that these do not take: what a body changes
	 * must not start from a value that the verifier knows.
	 */
	__u32 zero;
	__u32 heap_signals; /* handlers that run within the call below */
	struct heap_call heap;
	__u64 ring_start; /* the ring plane's call that heap_signals is about */
	__u64 heap_frame; /* where the last walk found a frame that would return to where .heap does; */
#define FRAME_UNKNOWN 1 /* or that walk was cut before it came there */
	__u64 reg[NREGS]; /* at the probe, by the processor's numbers; here, for the stack is scarce */
	__u64 tables; /* scratch, of direct__word() */
	__u64 sample_left; /* bytes to the next sample; 0: to be drawn */
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct thread_state);
} threads SEC(".maps");

struct ring {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096); /* the collector sets the real size */
};

/* One ring per CPU or few: a shared one is a spinlock between all of them. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1); /* set by the collector */
	__type(key, __u32);
	__array(values, struct ring);
} rings SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct event_counts);
} counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_CGROUP_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} match_cgroup SEC(".maps");

static __always_inline struct event_counts *counts__get(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&counts, &zero);
}

/*
 * Add one. Atomic although the counters are per CPU: programs on system call
 * tracepoints can be preempted, by one on the same CPU that counts the same.
 */
static __always_inline void count__add(__u64 *counter)
{
	__sync_fetch_and_add(counter, 1);
}

static __always_inline void *ring__get(void)
{
	__u32 i = bpf_get_smp_processor_id() & cfg_ring_mask;

	return bpf_map_lookup_elem(&rings, &i);
}

/* Count a record of `kind`, and reserve it. NULL: lost, and counted as such. */
static __always_inline void *record__reserve(void *ring, __u32 kind, __u64 size)
{
	struct event_counts *c = counts__get();
	void *r;

	if (!c)
		return NULL;
	count__add(&c->seen[kind]);
	r = bpf_ringbuf_reserve(ring, size, 0);
	if (!r)
		count__add(&c->lost[kind]);
	return r;
}

/* The collector polls; a wakeup per record would cost the target more than the record. */
static __always_inline void record__send(void *r)
{
	bpf_ringbuf_submit(r, BPF_RB_NO_WAKEUP);
}

static __always_inline void record__head(struct rec *h, __u32 kind, struct task_struct *t, __u64 ts)
{
	h->kind = kind;
	h->flags = 0;
	h->tgid = t->tgid;
	h->tid = t->pid;
	h->aux = 0;
	h->ts_ns = ts;
}

static __always_inline __u64 task__faults(struct task_struct *t)
{
	return t->min_flt + t->maj_flt;
}

#endif /* MEMTRACE_STATE_BPF_H */
