/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/*
 * User stacks, by frame pointers.
 *
 * Our own walk and not bpf_get_stack(): the kernel's follows a frame pointer
 * wherever it leads, and the read that ends nearly every walk (libc's start code keeps
 * a number there) is a page fault inside the kernel, about 1 us for each stack
 * on Linux 6.18. This one reads the innermost bytes of the stack at once,
 * leaves it only by plausible frame pointers, and costs a tenth of that.
 *
 * Where the innermost function has no frame (memset, libc's system call
 * wrappers), the frame pointer is still its caller's, and the chain would miss
 * that caller. Its return address is then the word at the stack pointer: kept as
 * leaf_word when it follows a call instruction; the collector has the unwind tables to
 * say if the function really had pushed nothing.
 */
#ifndef MEMTRACE_STACK_BPF_H
#define MEMTRACE_STACK_BPF_H

#include "bpf/state.bpf.h"

#define FRAME_MAX (1UL << 20) /* no frame is larger, so a pointer further away is not one */
#define SAME_LIBRARY (256UL << 20) /* how far apart code of one address space's libraries may be */
#define HASH_FACTOR 0x9E3779B97F4A7C15ULL

/* The least recently used goes when it is full, and is sent again if it comes again. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, __u64);
	__type(value, __u32);
} stacks_sent SEC(".maps");

static __always_inline __u64 hash__mix(__u64 h, __u64 v)
{
	h = (h ^ v) * HASH_FACTOR;
	return h ^ (h >> 32);
}

/* Whether the code before addr is a call instruction: call rel32, or call r/m of 2, 3, 6 or 7 bytes. */
static __always_inline int code__follows_call(__u64 addr)
{
	__u8 b[8];

	if (bpf_probe_read_user(b, sizeof(b), (void *)(addr - 8)))
		return 0;
	return b[3] == 0xe8 || b[6] == 0xff || b[5] == 0xff || b[2] == 0xff || b[1] == 0xff;
}

static __always_inline __u64 stack__leaf_word(struct thread_state *s, struct task_struct *t,
					      __u64 ip, __u64 word)
{
	struct mm_struct *mm = t->mm;

	if (word && word == s->known_leaf[word & (RECENT - 1)])
		return word;
	if (!mm)
		return 0;
	if (!(word >= mm->start_code && word < mm->end_code) &&
	    word - ip + SAME_LIBRARY > 2 * SAME_LIBRARY)
		return 0;
	if (!code__follows_call(word))
		return 0;
	s->known_leaf[word & (RECENT - 1)] = word;
	return word;
}

/* Send the stack in s->stack unless it has been; 0 when it could not be sent. */
static __always_inline __u64 stack__publish(struct thread_state *s, struct task_struct *t,
					    void *ring, __u64 id, __u32 n, __u32 flags)
{
	struct event_counts *c;
	__u32 one = 1;
	__u64 size;

	if (id == s->known_stack[id & (RECENT - 1)])
		return id;
	if (!bpf_map_lookup_elem(&stacks_sent, &id)) {
		c = counts__get();
		if (!c)
			return 0;
		count__add(&c->seen[REC_STACK]);
		record__head(&s->stack.h, REC_STACK, t, bpf_ktime_get_ns());
		s->stack.h.aux = n;
		s->stack.h.flags = flags;
		s->stack.stack_id = id;
		barrier_var(n);
		if (n > STACK_FRAMES)
			return 0;
		size = sizeof(s->stack) - sizeof(s->stack.ip) + n * sizeof(__u64);
		if (bpf_ringbuf_output(ring, &s->stack, size, BPF_RB_NO_WAKEUP)) {
			count__add(&c->lost[REC_STACK]);
			return 0;
		}
		/* A full map only means that stacks are sent again. */
		bpf_map_update_elem(&stacks_sent, &id, &one, BPF_ANY);
	}
	s->known_stack[id & (RECENT - 1)] = id;
	return id;
}

struct stack_walk {
	struct thread_state *s;
	__u64 sp;
	__u64 fp; /* the next frame */
	__u64 low; /* the next frame lies above this */
	__u64 hash;
	__u32 len; /* valid bytes of s->window */
	__u32 n; /* frames so far */
	__u32 flags; /* why it ended */
	__u32 pad;
};

/* Frame number n; 1 ends the walk. */
static __always_inline long stack__frame(struct stack_walk *w, __u32 n)
{
	struct thread_state *s = w->s;
	__u64 fp = w->fp, off = fp - w->sp, next, ret;

	if (!fp) {
		w->flags = 0;
		return 1;
	}
	if ((fp & 7) || fp < w->low || fp - w->low > FRAME_MAX) {
		w->flags = STACK_BROKEN;
		return 1;
	}
	if (off + 16 <= w->len && off <= STACK_WINDOW - 16) {
		next = *(__u64 *)(s->window + off);
		ret = *(__u64 *)(s->window + off + 8);
	} else if (!bpf_probe_read_user(s->frame, sizeof(s->frame), (void *)fp)) {
		next = s->frame[0];
		ret = s->frame[1];
	} else {
		w->flags = STACK_BROKEN;
		return 1;
	}
	if (!ret) {
		w->flags = next ? STACK_BROKEN : 0;
		return 1;
	}
	/* Keep the compiler from computing the address before the bound is known. */
	barrier_var(n);
	if (n >= STACK_FRAMES)
		return 1;
	s->stack.ip[n] = ret;
	w->n = n + 1;
	w->hash = hash__mix(w->hash, ret);
	w->low = fp + 16;
	w->fp = next;
	return 0;
}

static long stack__step(__u32 i, struct stack_walk *w)
{
	return stack__frame(w, w->n);
}

/*
 * The first frames in a loop of our own, which costs half as much a frame; the rest
 * in a bpf_loop(), of which the verifier walks the body once: a loop of 60
 * took it 0.3 s, at each start.
 */
#define STACK_QUICK_FRAMES 12

static __always_inline void stack__walk(struct stack_walk *w)
{
	int i;

	for (i = 0; i < STACK_QUICK_FRAMES; i++)
		if (stack__frame(w, w->n))
			return;
	bpf_loop(STACK_FRAMES, stack__step, w, 0);
}

/*
 * Take the current task's user stack, send it if it is new. Returns its id, 0
 * when it could not be sent.
 */
static __always_inline __u64 stack__take(struct thread_state *s, struct task_struct *t, void *ring,
					 __u64 ip, __u64 sp, __u64 fp)
{
	struct stack_walk w = {
		.s = s, .sp = sp, .fp = fp, .low = sp, .n = s->zero + 1, .flags = STACK_TRUNCATED};
	__u32 len = 4096 - (sp & 4095), want = s->stack_span;
	__u64 word = 0, span;

	if (want < 64 || want > STACK_WINDOW)
		want = STACK_WINDOW;
	if (len > want)
		len = want;
	s->stack.ip[0] = ip;
	w.hash = hash__mix(0, ip);
	/* Linux 6.1's verifier does not carry the bound of want over to len. */
	barrier_var(len);
	if (len > STACK_WINDOW || bpf_probe_read_user(s->window, len, (void *)sp)) {
		w.flags = STACK_UNREADABLE;
		goto out;
	}
	w.len = len;
	if (len >= 8)
		word = stack__leaf_word(s, t, ip, *(__u64 *)s->window);
	w.hash = hash__mix(w.hash, word);
	stack__walk(&w);
	span = (w.low - sp + 63) & ~63ULL;
	s->stack_span = span > STACK_WINDOW ? STACK_WINDOW : span;
out:
	s->stack.leaf_word = word;
	return stack__publish(s, t, ring, w.hash ?: 1, w.n, w.flags);
}

#endif /* MEMTRACE_STACK_BPF_H */
