// SPDX-License-Identifier: (GPL-2.0-only OR MIT)
/*
 * The least that any tracer of this kind does, hook by hook: each program does what the one
 * before it did and one thing more. Nothing is filtered, hashed, walked or counted.
 *
 *   empty    returns
 *   state    finds the thread's state
 *   time     and takes the time
 *   record   and writes a record of the size of ours to a lane of this CPU
 *   stack    and copies 64 bytes of the user's stack
 */
#include "bpf/kernel_types.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "bpf/event.h"

#define LANE_WORDS (1U << 19) /* 4 MiB: as ours, larger than a core's cache */
#define STACK_WORDS 8

struct state {
	__u64 word[4];
	__u64 begin_ns;
	__u64 stack[STACK_WORDS];
};

struct lane {
	__u64 head;
	__u64 pad[7];
	__u64 word[LANE_WORDS + 16];
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct state);
} states SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* CPUs */
	__type(key, __u32);
	__type(value, struct lane);
} lanes SEC(".maps");

static __always_inline struct state *state__get(void)
{
	return bpf_task_storage_get(&states, bpf_get_current_task_btf(), 0,
				    BPF_LOCAL_STORAGE_GET_F_CREATE);
}

static __always_inline void record__write(const struct state *s, __u64 now, __u64 what, int words)
{
	__u32 cpu = bpf_get_smp_processor_id();
	struct lane *l = bpf_map_lookup_elem(&lanes, &cpu);
	__u64 *w;
	int i;

	if (!l)
		return;
	w = &l->word[l->head & (LANE_WORDS - 1)];
	for (i = 0; i < words; i++)
		w[i] = i & 1 ? now : what + s->begin_ns;
	l->head += words;
}

static __always_inline int nothing(__u64 a, __u64 b)
{
	(void)a;
	(void)b;
	return 0;
}

/* How far a program goes. */
enum step { STATE, TIME, RECORD, STACK };

static __always_inline int begin(enum step step, __u64 a, __u64 b)
{
	struct state *s = state__get();

	if (!s)
		return 0;
	s->word[0] = a;
	s->word[1] = b;
	if (step >= TIME)
		s->begin_ns = bpf_ktime_get_ns();
	return 0;
}

static __always_inline int end(enum step step, __u64 what, __u64 sp, int words)
{
	struct state *s = state__get();
	__u64 now;

	if (!s)
		return 0;
	s->word[2] = what;
	if (step < TIME)
		return 0;
	now = bpf_ktime_get_ns();
	s->word[3] = now;
	if (step >= STACK && bpf_probe_read_user(s->stack, sizeof(s->stack), (void *)sp))
		return 0;
	if (step >= RECORD)
		record__write(s, now, what, words);
	return 0;
}

#define CALL_WORDS (sizeof(struct rec_call) / 8)
#define FAULT_WORDS (sizeof(struct rec_fault) / 8)

#define PROGRAMS(name, do_begin, do_call_end, do_fault_end)                                \
	SEC("tp_btf/sys_enter")                                                            \
	int BPF_PROG(enter_##name, struct pt_regs *regs, long nr)                          \
	{                                                                                  \
		__u64 a = nr, b = 0;                                                       \
		return do_begin;                                                           \
	}                                                                                  \
	SEC("tp_btf/sys_exit")                                                             \
	int BPF_PROG(exit_##name, struct pt_regs *regs, long ret)                          \
	{                                                                                  \
		return do_call_end;                                                        \
	}                                                                                  \
	SEC("tp_btf/page_fault_user")                                                      \
	int BPF_PROG(fault_##name, unsigned long a, struct pt_regs *regs, unsigned long b) \
	{                                                                                  \
		return do_begin;                                                           \
	}                                                                                  \
	SEC("perf_event")                                                                  \
	int served_##name(struct bpf_perf_event_data *ctx)                                 \
	{                                                                                  \
		return do_fault_end;                                                       \
	}
#define STEP(name, step)                                                        \
	PROGRAMS(name, begin(step, a, b), end(step, ret, regs->sp, CALL_WORDS), \
		 end(step, ctx->addr, ctx->sp, FAULT_WORDS))

PROGRAMS(empty, nothing(a, b), nothing(ret, 0), nothing(0, 0))
STEP(state, STATE)
STEP(time, TIME)
STEP(record, RECORD)
STEP(stack, STACK)

char LICENSE[] SEC("license") = "Dual MIT/GPL";
