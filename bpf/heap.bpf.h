/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/*
 * The malloc family, by uprobes at its entry points and at their returns.
 *
 * A call is in flight from its entry to its return, and so are the kernel events in
 * between on its thread: they name it as their owner. Calls nest (operator new calls
 * malloc): the outermost one counts.
 *
 * A call can end without a return: by longjmp, by its thread's end. So that nothing is
 * owned by a call that is gone, being in flight is proved each time that it matters.
 * The kernel makes a return probe by putting the address of its trampoline where
 * the return address was: as long as the call is in flight, that word is there and the stack
 * pointer below it. After a longjmp both may still be so by chance, therefore longjmp has
 * a probe too, and makes the call suspect: only its return can clear it.
 *
 * What a free does inside is rare, and its record is sent when it begins, so it has no return probe
 * where its code can be followed: when a kernel event comes, or another call, the stack is walked, and
 * the free is under way if one of the frames will return to where it returns, and stands in its
 * code. It is the one that was seen last, for each passes the probe. A walk that is cut before that
 * does not tell, and the return address that is still in place counts.
 *
 * A function that may throw has no return probe, since no unwinder gets past the trampoline: there
 * are probes at its exits, and the return address itself is what has to be in place.
 *
 * A signal handler that runs within a call is not part of it: its kernel events have no owner.
 *
 * Which register holds what is told by the probe's cookie, so that one program serves
 * every function of the family.
 */
#ifndef MEMTRACE_HEAP_BPF_H
#define MEMTRACE_HEAP_BPF_H

#include "bpf/filter.bpf.h"
#include "bpf/sample.h"
#include "bpf/stack.bpf.h"

/* For each hook, on each CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, HEAP_HOOKS_MAX);
	__type(key, __u32);
	__type(value, struct heap_hook_counts);
} heap_hooks SEC(".maps");

/* Sampling */

const volatile __u64 cfg_sample_bytes; /* on the average one sample each so many; 0: all are told */

struct block_key {
	__u64 addr;
	__u32 tgid, pad;
};

/* The blocks that were sampled and live: only their frees are told. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1); /* set by the collector */
	__type(key, struct block_key);
	__type(value, __u32);
} sampled SEC(".maps");

static __noinline __u64 sample__draw(void)
{
	__u64 high = bpf_get_prandom_u32();

	return sample__distance(cfg_sample_bytes, high << 32 | bpf_get_prandom_u32());
}

/* Whether an allocation of this size is sampled. */
static __always_inline int sample__takes(struct thread_state *s, __u64 size)
{
	if (!s->sample_left)
		s->sample_left = sample__draw();
	if (!sample__hits(&s->sample_left, sample__bytes(size)))
		return 0;
	s->sample_left = sample__draw();
	return 1;
}

/* Whether this block was sampled; forgotten with that. */
static __always_inline int sample__forget(struct task_struct *t, __u64 addr)
{
	struct block_key key = {.addr = addr, .tgid = t->tgid};

	return !bpf_map_delete_elem(&sampled, &key);
}

/* Its free is going to be told. 0, or not: there is no room. */
static __always_inline int sample__remember(struct task_struct *t, __u64 addr)
{
	struct block_key key = {.addr = addr, .tgid = t->tgid};
	__u32 one = 1;

	return bpf_map_update_elem(&sampled, &key, &one, BPF_ANY) != 0;
}

/* Calls */

static __always_inline struct heap_hook_counts *hook__counts(__u64 cookie)
{
	__u32 i = COOKIE_HOOK(cookie);

	return bpf_map_lookup_elem(&heap_hooks, &i);
}

/* All registers, by the processor's numbers: the program may not read its context at an offset
 * that is not a constant. */
static __always_inline void regs__copy(__u64 reg[NREGS], struct uprobe_regs *regs)
{
	reg[0] = regs->ax;
	reg[1] = regs->cx;
	reg[2] = regs->dx;
	reg[3] = regs->bx;
	reg[4] = regs->sp;
	reg[5] = regs->bp;
	reg[6] = regs->si;
	reg[7] = regs->di;
	reg[8] = regs->r8;
	reg[9] = regs->r9;
	reg[10] = regs->r10;
	reg[11] = regs->r11;
	reg[12] = regs->r12;
	reg[13] = regs->r13;
	reg[14] = regs->r14;
	reg[15] = regs->r15;
}

/* which: as in a cookie */
static __always_inline __u64 regs__arg(const __u64 reg[NREGS], __u32 which)
{
	return which ? reg[(which - 1) & (NREGS - 1)] : 0;
}

static __always_inline __u32 align__log2(__u64 cookie, __u64 align)
{
	__u32 n = 0;

	if (!COOKIE_ALIGN(cookie))
		return 0;
	if (COOKIE_ALIGN_IS_FLAGS(cookie))
		return align & 63;
	if (align >> 32)
		return 32;
	if (align >> 16)
		align >>= 16, n += 16;
	if (align >> 8)
		align >>= 8, n += 8;
	if (align >> 4)
		align >>= 4, n += 4;
	if (align >> 2)
		align >>= 2, n += 2;
	return n + (align >> 1 & 1);
}

static __always_inline void count__lost_op(__u64 op)
{
	struct event_counts *c = counts__get();

	if (c && op < HEAP_OPS) {
		/* Linux 6.1's verifier knows no bound of what was on the stack meanwhile. */
		barrier_var(op);
		count__add(&c->lost_ops[op & (HEAP_OPS_ROOM - 1)]);
	}
}

/* Send the call in flight; it is over with that. */
static __always_inline void heap__send(struct thread_state *s, struct task_struct *t, __u64 now,
				       __u64 result, __u16 flags)
{
	struct heap_hook_counts *hook;
	void *ring = ring__get();
	struct rec_heap *r;
	__u32 op = s->heap.cookie & 0xff;

	if (!ring)
		return;
	r = record__reserve(ring, REC_HEAP, sizeof(*r));
	if (!r) {
		hook = hook__counts(s->heap.cookie);
		if (hook)
			count__add(&hook->lost);
		count__lost_op(op);
		return;
	}
	record__head(&r->h, REC_HEAP, t, now);
	r->h.flags = flags | s->heap.flags;
	r->h.aux = op | s->heap.align << 8 | COOKIE_HOOK(s->heap.cookie) << 16;
	r->start_ns = s->heap.start_ns;
	r->size = s->heap.size;
	r->arg = s->heap.arg;
	r->result = result;
	r->stack_id = s->heap.stack_id;
	r->weight = s->heap.left_out ? 0 : cfg_sample_bytes;
	record__send(r);
}

/* The call in flight will not return. A free has been sent when it began. */
static __always_inline void heap__abandon(struct thread_state *s, struct task_struct *t)
{
	/* What throws without having returned a block has failed. */
	if (s->heap.start_ns && !s->heap.told && !s->heap.quiet)
		heap__send(s, t, bpf_ktime_get_ns(), 0,
			   s->heap.thrown ? HEAP_FAILED : HEAP_ABANDONED);
	s->heap.start_ns = 0;
	s->heap_signals = 0;
}

static __always_inline __u64 task__trampoline(struct task_struct *t)
{
	struct xol_area *area = BPF_CORE_READ(t, mm, uprobes_state.xol_area);

	return area ? BPF_CORE_READ(area, vaddr) : 0;
}

/* The ring plane: code inside the process tells which call a thread is in. */

const volatile __u32 cfg_ring; /* there is one */

/* tgid -> where its threads have their struct ring_call, from %fs */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1); /* set by the collector */
	__type(key, __u32);
	__type(value, __s64);
} ring_calls SEC(".maps");

/* As in lib/trace/ring.h. */
struct ring_call {
	__u64 start, sp;
};

/* The call that this thread is in by the ring plane's account. 0: in none, or not known. */
static __always_inline __u64 ring__call(struct task_struct *t, __u64 *sp)
{
	__u32 tgid = t->tgid;
	struct ring_call c;
	__s64 *at;

	if (!cfg_ring)
		return 0;
	at = bpf_map_lookup_elem(&ring_calls, &tgid);
	if (!at || bpf_probe_read_user(&c, sizeof(c), (void *)(t->thread.fsbase + *at)))
		return 0;
	*sp = c.sp;
	return c.start;
}

/* A new image has another one, or none; a process that has ended none. */
static __always_inline void ring__forget(struct task_struct *t)
{
	__u32 tgid = t->tgid;

	if (cfg_ring)
		bpf_map_delete_elem(&ring_calls, &tgid);
}

static __always_inline int task__on_altstack(struct task_struct *t, __u64 sp)
{
	return sp - t->sas_ss_sp < t->sas_ss_size;
}

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, HEAP_HOOKS_MAX);
	__type(key, __u32);
	__type(value, struct hook_code);
} heap_code SEC(".maps");

/* Whether the stack that has just been walked goes through the call, whose end is not seen. */
static __always_inline int heap__on_stack(struct thread_state *s)
{
	__u32 hook = COOKIE_HOOK(s->heap.cookie), i;
	struct hook_code *code = bpf_map_lookup_elem(&heap_code, &hook);
	__s64 at = s->heap_frame - s->heap.ip;

	if (!code || !s->heap_frame)
		return 0;
	for (i = 0; i < HOOK_RANGES; i++)
		if (at >= code->range[i].from && at < code->range[i].to)
			return 1;
	return 0;
}

/* Whether a call whose end is not seen may still be under way: if not, no walk is needed. A call at
 * the same place is the next one: functions that jump to another with a probe have ends. */
static __always_inline int heap__may_live(struct thread_state *s, struct task_struct *t, __u64 sp)
{
	__u64 word = 0;

	return sp < s->heap.sp && !direct__word(s, t, s->heap.sp, &word) && word == s->heap.back;
}

/* Whether a call whose end is not seen is under way, by the walk from sp that has just been done, and by what is
 * left of it on the stack where that walk was cut. */
static __always_inline int heap__is_under_way(struct thread_state *s, struct task_struct *t, __u64 sp)
{
	return s->heap_frame == FRAME_UNKNOWN ? heap__may_live(s, t, sp) : heap__on_stack(s);
}

/* Whether the call in flight, whose end is seen, still is, from stack pointer sp. */
static __always_inline int heap__alive(struct thread_state *s, struct task_struct *t, __u64 sp)
{
	__u64 word = 0;

	if (s->heap.suspect)
		return 0;
	if (sp > s->heap.sp && !(task__on_altstack(t, sp) && !task__on_altstack(t, s->heap.sp)))
		return 0;
	if (direct__word(s, t, s->heap.sp, &word))
		return 0;
	if (COOKIE_BY_EXITS(s->heap.cookie))
		return word == s->heap.back;
	return word && word == task__trampoline(t);
}

/* The owner of a kernel event on this thread, whose user stack pointer is sp and whose stack has
 * just been taken. */
static __always_inline __u64 heap__owner(struct thread_state *s, struct task_struct *t, __u64 sp)
{
	__u64 call_sp = 0, start = ring__call(t, &call_sp);

	if (start)
		return sp < call_sp && !(s->heap_signals && s->ring_start == start) ?
			       start | OWNER_TICKS :
			       0;
	if (!s->heap.start_ns || s->heap_signals || s->heap.quiet)
		return 0;
	if (COOKIE_NO_END(s->heap.cookie) ? !heap__is_under_way(s, t, sp) : !heap__alive(s, t, sp))
		return 0;
	return s->heap.start_ns;
}

static __always_inline __u64 heap__size(const __u64 *regs, __u64 cookie, __u16 *flags)
{
	__u64 size = regs__arg(regs, COOKIE_SIZE(cookie)), count, most;

	if (!COOKIE_COUNT(cookie))
		return size;
	count = regs__arg(regs, COOKIE_COUNT(cookie));
	most = count ? ~0ULL / count : ~0ULL;
	barrier_var(most); /* else the compiler makes it a 128-bit product, which BPF has not */
	if (size > most) {
		*flags |= HEAP_OVERFLOW;
		return ~0ULL;
	}
	return size * count;
}

static __always_inline void heap__free(struct thread_state *s, struct task_struct *t)
{
	if (cfg_sample_bytes && !sample__forget(t, s->heap.arg)) {
		s->heap.quiet = 1;
		return;
	}
	s->heap.told = 1;
	heap__send(s, t, s->heap.start_ns, 0, 0);
}

/* stack__take(), as a function of its own to the verifier: heap_enter calls it twice. */
__noinline __u64 heap__stack(struct thread_state *s, __u64 ip, __u64 sp, __u64 fp, __u64 bx)
{
	return s ? stack__take(s, bpf_get_current_task_btf(), ip, sp, fp, bx) : 0;
}

__u32 heap_closed; /* set by the collector before it takes the probes away, which is not done at once */

SEC("uprobe")
int heap_enter(struct uprobe_regs *ctx)
{
	struct task_struct *t = bpf_get_current_task_btf();
	struct thread_state *s = thread__current(t);
	__u64 cookie, sp, now;
	struct heap_hook_counts *hook;
	struct heap_call *h;
	__u64 *reg;
	__u16 flags = 0;

	if (!s || s->waits_for_exec || heap_closed)
		return 0;
	cookie = bpf_get_attach_cookie(ctx);
	hook = hook__counts(cookie);
	if (!hook)
		return 0;
	count__add(&hook->hits);
	h = &s->heap;
	sp = ctx->sp;
	if (h->start_ns) {
		/* In what the whole machine is told of no stack is walked, and frees are of samples: one
		 * within another finds its block taken back already. */
		if (COOKIE_NO_END(h->cookie) ?
			    cfg_mode != MODE_MACHINE && heap__may_live(s, t, sp) &&
				    (heap__stack(s, ctx->ip, sp, ctx->bp, ctx->bx),
				     heap__is_under_way(s, t, sp)) :
			    heap__alive(s, t, sp)) {
			h->flags |= HEAP_NESTED;
			count__add(&hook->nested);
			return 0;
		}
		heap__abandon(s, t);
	}
	reg = s->reg;
	regs__copy(reg, ctx);
	h->arg = regs__arg(reg, COOKIE_PTR(cookie));
	if (COOKIE_OP(cookie) >= HEAP_FREE && !h->arg) {
		count__add(&hook->ignored);
		return 0;
	}
	now = bpf_ktime_get_ns();
	h->size = heap__size(reg, cookie, &flags);
	h->align = align__log2(cookie, regs__arg(reg, COOKIE_ALIGN(cookie)));
	if (COOKIE_RESULT(cookie) == RESULT_STORED) {
		h->memptr = h->arg;
		h->arg = 0;
	}
	h->cookie = cookie;
	h->sp = sp;
	h->flags = flags;
	h->suspect = 0;
	h->thrown = 0;
	h->back = 0;
	h->ip = ctx->ip;
	if (COOKIE_BY_EXITS(cookie) || COOKIE_NO_END(cookie))
		direct__word(s, t, sp, &h->back);
	h->told = 0;
	h->quiet = 0;
	h->sampled = 0;
	h->left_out = 0;
	h->stack_id = 0;
	s->heap_signals = 0;
	if (COOKIE_OP(cookie) >= HEAP_FREE) {
		h->start_ns = now;
		heap__free(s, t);
		if (h->quiet)
			count__add(&hook->ignored);
		return 0;
	}
	if (cfg_sample_bytes) {
		h->quiet = !sample__takes(s, h->size);
		h->left_out = h->quiet;
		/* What moves a sampled block is told, so that the block is not thought to live. */
		if (h->arg && sample__forget(t, h->arg)) {
			h->quiet = 0;
			h->sampled = 1;
		}
		if (h->quiet)
			count__add(&hook->ignored);
	}
	/* There are no places in what the whole machine is told of. */
	if (!h->quiet && cfg_mode != MODE_MACHINE)
		h->stack_id = heap__stack(s, ctx->ip, sp, ctx->bp, ctx->bx);
	h->start_ns = now;
	return 0;
}

/* The call in flight returns. */
static __always_inline void heap__leave(struct thread_state *s, struct task_struct *t, __u64 returned)
{
	struct heap_call *h = &s->heap;
	__u64 result = 0, now;
	__u16 flags = 0;

	if (h->told || h->quiet) {
		h->start_ns = 0;
		return;
	}
	now = bpf_ktime_get_ns();
	switch (COOKIE_RESULT(h->cookie)) {
	case RESULT_STORED:
		if (returned)
			flags = HEAP_FAILED;
		else
			bpf_probe_read_user(&result, sizeof(result), (void *)h->memptr);
		break;
	case RESULT_IN_PLACE:
		h->size = returned;
		result = h->arg;
		break;
	default:
		result = returned;
		if (!result && h->size)
			flags = HEAP_FAILED;
		break;
	}
	if (cfg_sample_bytes && result && !(flags & HEAP_FAILED) && !h->left_out &&
	    sample__remember(t, result))
		flags |= HEAP_UNTRACKED;
	if (h->sampled && flags & HEAP_FAILED)
		sample__remember(t, h->arg);
	heap__send(s, t, now, result, flags);
	h->start_ns = 0;
}

SEC("uprobe")
int heap_leave(struct uprobe_regs *ctx)
{
	struct task_struct *t = bpf_get_current_task_btf();
	struct thread_state *s = thread__current(t);

	if (!s || !s->heap.start_ns || ctx->sp != s->heap.sp + sizeof(__u64))
		return 0;
	heap__leave(s, t, ctx->ax);
	return 0;
}

/* As the processor evaluates the condition of a branch: by its number. */
static __always_inline int flags__hold(__u64 flags, __u32 condition)
{
	int carry = flags & 1, parity = flags >> 2 & 1, zero = flags >> 6 & 1,
	    sign = flags >> 7 & 1, overflow = flags >> 11 & 1, holds = 0;

	switch (condition >> 1) {
	case 0:
		holds = overflow;
		break;
	case 1:
		holds = carry;
		break;
	case 2:
		holds = zero;
		break;
	case 3:
		holds = carry | zero;
		break;
	case 4:
		holds = sign;
		break;
	case 5:
		holds = parity;
		break;
	case 6:
		holds = sign ^ overflow;
		break;
	case 7:
		holds = zero | (sign ^ overflow);
		break;
	}
	return holds ^ (condition & 1);
}

/* An instruction after which a function without return probe returns. */
SEC("uprobe")
int heap_exit(struct uprobe_regs *ctx)
{
	struct task_struct *t = bpf_get_current_task_btf();
	struct thread_state *s = thread__current(t);
	__u64 cookie;
	__u32 edge;

	if (!s || !s->heap.start_ns || !COOKIE_BY_EXITS(s->heap.cookie))
		return 0;
	cookie = bpf_get_attach_cookie(ctx);
	if (ctx->sp + sizeof(__u64) * EXIT_WORDS(cookie) != s->heap.sp)
		return 0;
	edge = flags__hold(ctx->flags, EXIT_CONDITION(cookie)) ? EXIT_TAKEN : EXIT_NOT_TAKEN;
	if (!(EXIT_EDGES(cookie) & edge))
		return 0;
	regs__copy(s->reg, ctx);
	heap__leave(s, t, s->reg[EXIT_REG(cookie) & (NREGS - 1)]);
	return 0;
}

/* longjmp, or the beginning of an exception: whether it leaves the call is not known. */
SEC("uprobe")
int heap_escape(struct uprobe_regs *ctx)
{
	struct task_struct *t = bpf_get_current_task_btf();
	struct thread_state *s = thread__current(t);

	if (!s || !s->heap.start_ns)
		return 0;
	s->heap.suspect = 1;
	s->heap.thrown = bpf_get_attach_cookie(ctx) == ESCAPE_THROW &&
			 COOKIE_BY_EXITS(s->heap.cookie);
	return 0;
}

SEC("tp_btf/signal_deliver")
int BPF_PROG(heap_signal, int sig, struct kernel_siginfo *info, struct k_sigaction *ka)
{
	struct task_struct *t = bpf_get_current_task_btf();
	struct thread_state *s = thread__current(t);
	__u64 call_sp, start;

	/* 0 and 1 are SIG_DFL and SIG_IGN: no handler is going to run. */
	if (!s || (unsigned long)ka->sa.sa_handler <= 1)
		return 0;
	start = ring__call(t, &call_sp);
	if (start && s->ring_start != start) {
		s->ring_start = start;
		s->heap_signals = 0;
	}
	if (start || s->heap.start_ns)
		s->heap_signals++;
	return 0;
}

#endif /* MEMTRACE_HEAP_BPF_H */
