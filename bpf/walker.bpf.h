/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/*
 * The walk of a user stack: by unwind tables (unwind.bpf.h), by frame pointers where code has no table.
 *
 * Our own walk and not bpf_get_stack(): the kernel's knows frame pointers only, and follows
 * one wherever it leads: the read that ends nearly every walk (libc's start code keeps
 * a number there) is a page fault inside the kernel.
 *
 * The stack is read a window at a time, 512 bytes at once, from where the next word is
 * wanted up. rbp and rbx are not read until a rule needs them: only where they have been
 * saved is kept up. Rules are remembered by address for each thread, since a program
 * comes back through the same calls.
 *
 * Where the innermost function has neither table nor frame, the frame pointer is its
 * caller's, and the chain would miss that caller. Its return address is then the word
 * at the stack pointer: kept as leaf_word when it follows a call instruction; the collector has
 * other tables (.debug_frame) to say if the function really had pushed nothing.
 *
 * A return address that a uretprobe has replaced is looked up where the kernel keeps it.
 */
#ifndef MEMTRACE_WALKER_BPF_H
#define MEMTRACE_WALKER_BPF_H

#include "bpf/direct.bpf.h"
#include "bpf/unwind.bpf.h"

#define FRAME_MAX (1UL << 26) /* no frame is larger, so a pointer further away is not one */
#define SAME_LIBRARY (256UL << 20) /* how far apart code of one address space's libraries may be */
#define STACK_WINDOW 512
#define RECENT 8 /* a power of two */
#define RETURNS_MAX 8 /* uretprobes under way at once that are looked through */
#define RULES 128 /* a power of two */
#define BOTTOM_BYTES 64 /* less than this is between there and the first frame */
#define NO_PAGE 1
#define NOT_SAVED 0
#define SAVED_NOWHERE 1 /* no word lies there */
#define FETCHED 2 /* from where it was saved: bp or bx is right, but is not the register's */
#define PAST_WALKS 4 /* a power of two */
#define PAST_WORDS 32 /* a power of two; a walk is kept if it reads two less, or fewer */

struct known_rule {
	__u64 at;
	__u32 rule;
	__u32 stamp; /* of the address space and code_generation that it holds for */
};

/* A walk that came to its end, and all that it was found by beside the words that it read. */
struct past_walk {
	__u64 ip, sp;
	__u64 bp, bx; /* if they were used */
	__u64 wanted;
	__u64 generation; /* code_generation */
	__u64 id; /* of the stack; 0: none is kept here */
	__u64 found; /* as in struct walker */
	__u32 words; /* so many */
	__u16 by_bp, by_bx; /* 1: the register was used */
};

struct past_word {
	__u64 at, value;
};

/* What the walks of a thread keep; made at the first one. */
struct walker {
	__u64 image; /* mm__image() */
	__u64 mm;
	__u64 bottom; /* where the main thread's stack began at its exec */
	__u64 start_code, end_code; /* of the program */
	__u64 from_ip, from_sp, from_bp, from_bx; /* the innermost frame */
	/* The frame that the walk stands in. */
	__u64 ip, sp;
	__u64 bp, bx; /* as far as they are still in the register */
	__u64 bp_at, bx_at; /* else where they have been saved */
	__u64 hash;
	__u64 wanted; /* where a return address is that is looked out for */
	__u64 found; /* where the frame stands that will return by it; 0: none has been met */
	__u64 returns; /* the innermost uretprobe under way, 0: none */
	/* The page that the walk reads words of. */
	__u64 tables; /* as direct__tables() */
	__u64 page; /* or NO_PAGE */
	__u64 page_at; /* where it can be read, 0: by the helper only */
	__u64 window_at;
	__u32 window_bytes; /* valid bytes of it */
	__u32 moved; /* 1: a page has not stayed where it was */
	__u32 stamp;
	__u32 behind; /* 1: ip is a return address, so the call is before it */
	__u32 n; /* frames so far */
	__u32 flags; /* STACK_*, of the record */
	__u64 generation; /* code_generation, as it was when the walk began */
	__u32 unsure; /* 1: more than registers, words and lasting rules has been looked at */
	__u16 by_bp, by_bx; /* 1: what was in the register has been used */
	__u32 words; /* where the next word that is read is kept in past_word */
	__u32 turn; /* which of `past` is the next to be made use of */
	/* What a loop meets again and again, each where its low bits say. */
	__u64 known_leaf[RECENT]; /* words that were found to follow a call */
	__u64 known_stack[RECENT]; /* stack ids that have been sent */
	struct known_rule rules[RULES];
	struct past_walk past[PAST_WALKS];
	struct past_word past_word[PAST_WALKS * PAST_WORDS];
	struct rec_stack stack; /* of the walk, and to be sent */
	__u8 window[STACK_WINDOW];
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct walker);
} walkers SEC(".maps");

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

static __always_inline __u64 walker__leaf_word(struct walker *w, __u64 ip, __u64 word)
{
	if (word && word == w->known_leaf[word & (RECENT - 1)])
		return word;
	if (!(word >= w->start_code && word < w->end_code) &&
	    word - ip + SAME_LIBRARY > 2 * SAME_LIBRARY)
		return 0;
	if (!code__follows_call(word))
		return 0;
	w->known_leaf[word & (RECENT - 1)] = word;
	return word;
}

/* Whether the page that is read in is where it was: else what was read of it does not count. */
static __always_inline int walker__page_stays(struct walker *w)
{
	return !w->page_at || direct__find(w->tables, w->page) == w->page_at;
}

/* Read in another page from now on. */
__noinline int walker__turn_page(struct walker *w, __u64 page)
{
	if (!w || !cfg_direct)
		return 0;
	if (!walker__page_stays(w))
		w->moved = 1;
	w->page = page;
	w->page_at = page == NO_PAGE ? 0 : direct__find(w->tables, page);
	return 0;
}

static __always_inline void walker__no_page(struct walker *w)
{
	w->page = NO_PAGE;
	w->page_at = 0;
}

static __always_inline void walker__read_anew(struct walker *w)
{
	walker__no_page(w);
	w->window_bytes = 0;
	w->moved = 0;
}

/* As walker__read(), wherever the word is: once to the verifier, not once a place. */
__noinline int walker__read_anywhere(struct walker *w, __u64 addr, __u64 *word)
{
	__u64 off, value;
	__u32 bytes;

	if (!w || !word)
		return -1;
	if (cfg_direct && w->tables && !(addr & 7)) {
		if (w->page != (addr & ~(PAGE_BYTES - 1)))
			walker__turn_page(w, addr & ~(PAGE_BYTES - 1));
		if (w->page_at) {
			value = direct__load(w->page_at + (addr & (PAGE_BYTES - 1)));
			if (!value && bpf_probe_read_user(&value, sizeof(value), (void *)addr))
				return -1;
			*word = value;
			return 0;
		}
	}
	off = addr - w->window_at;
	if (off + 8 > w->window_bytes || off > STACK_WINDOW - 8) {
		if (addr & 7)
			return -1;
		bytes = 4096 - (addr & 4095);
		if (bytes > STACK_WINDOW)
			bytes = STACK_WINDOW;
		/* Linux 6.1's verifier does not keep the bound through the call's registers. */
		barrier_var(bytes);
		if (bytes > STACK_WINDOW)
			return -1;
		w->window_bytes = 0;
		if (bpf_probe_read_user(w->window, bytes, (void *)addr))
			return -1;
		w->window_at = addr;
		w->window_bytes = bytes;
		off = 0;
	}
	barrier_var(off);
	if (off > STACK_WINDOW - 8)
		return -1;
	*word = *(__u64 *)(w->window + off);
	return 0;
}

/* Read the word at addr. 0, or -1: there is none. */
static __always_inline int walker__read(struct walker *w, __u64 addr, __u64 *word)
{
	__u64 value;

	if (cfg_direct && w->page == (addr & ~(PAGE_BYTES - 1)) && w->page_at && !(addr & 7)) {
		value = direct__load(w->page_at + (addr & (PAGE_BYTES - 1)));
		/* A load where nothing is gives 0, too. */
		if (value) {
			*word = value;
			return 0;
		}
	}
	return walker__read_anywhere(w, addr, word);
}

/* Read a word, and keep it: the walk goes by it. The last place for one of a walk is never left. */
static __always_inline int walker__word(struct walker *w, __u64 addr, __u64 *word)
{
	struct past_word *p;
	__u32 i = w->words;

	if (walker__read(w, addr, word))
		return -1;
	barrier_var(i);
	if (i >= PAST_WALKS * PAST_WORDS)
		return -1;
	p = &w->past_word[i];
	p->at = addr;
	p->value = *word;
	w->words = i + ((i & (PAST_WORDS - 1)) != PAST_WORDS - 1);
	return 0;
}

/* The rule for the code that the walk stands in. */
static __always_inline __u32 walker__rule(struct walker *w)
{
	__u64 at = w->ip - w->behind;
	__u32 i = at * HASH_FACTOR >> 57, rule;
	struct known_rule *k;

	barrier_var(i);
	if (i >= RULES)
		return UNWIND_NOTHING;
	k = &w->rules[i];
	if (k->at == at && k->stamp == w->stamp)
		return k->rule;
	rule = unwind__look_up(at, w->image);
	/* What may be otherwise the next time is not kept. */
	if (rule == UNWIND_RULE_OF(UNWIND_UNKNOWN, UNKNOWN_BUSY, 0, 0)) {
		w->unsure = 1;
		return rule;
	}
	k->at = at;
	k->rule = rule;
	k->stamp = w->stamp;
	return rule;
}

/* The real return address that a uretprobe keeps for the frame whose own lies at `slot`; 0: none. */
static __always_inline __u64 task__real_return(__u64 instance, __u64 slot)
{
	struct return_instance *r = (void *)instance;
	int i;

	for (i = 0; i < RETURNS_MAX && r; i++) {
		if (BPF_CORE_READ(r, stack) == slot)
			return BPF_CORE_READ(r, orig_ret_vaddr);
		r = BPF_CORE_READ(r, next);
	}
	return 0;
}

/* rbp is needed: fetch it from where it has been saved. */
static __always_inline int walker__need_bp(struct walker *w)
{
	if (w->bp_at == FETCHED)
		return 0;
	if (w->bp_at == NOT_SAVED) {
		w->by_bp = 1;
		return 0;
	}
	if (walker__word(w, w->bp_at, &w->bp))
		return -1;
	w->bp_at = FETCHED;
	return 0;
}

static __always_inline int walker__need_bx(struct walker *w)
{
	if (w->bx_at == FETCHED)
		return 0;
	if (w->bx_at == NOT_SAVED) {
		w->by_bx = 1;
		return 0;
	}
	if (walker__word(w, w->bx_at, &w->bx))
		return -1;
	w->bx_at = FETCHED;
	return 0;
}

static __always_inline long walker__end(struct walker *w, __u32 flags)
{
	w->flags = (w->flags & ~STACK_TRUNCATED) | flags;
	return 1;
}

/* A frame by rbp, which is known: code without a table. 1: the walk is over. */
static __always_inline long walker__by_frame(struct walker *w, __u64 fp, __u64 *ip, __u64 *sp)
{
	w->flags &= ~STACK_CHECKED;
	if (!fp)
		return walker__end(w, 0);
	if ((fp & 7) || fp < w->sp || fp - w->sp > FRAME_MAX)
		return walker__end(w, STACK_BROKEN);
	if (walker__word(w, fp, &w->bp) || walker__word(w, fp + 8, ip))
		return walker__end(w, STACK_BROKEN);
	w->bp_at = FETCHED;
	w->bx_at = SAVED_NOWHERE;
	*sp = fp + 16;
	/* A frame pointer that leads on without a return address was none. */
	if (!*ip)
		return walker__end(w, w->bp ? STACK_BROKEN : 0);
	return 0;
}

/*
 * The rules that are rare: the caller's frame from the present one. 1: the walk is over. A function
 * of its own to the verifier.
 */
__noinline int walker__special(struct walker *w, __u32 rule)
{
	__u64 ip = 0, sp = w ? w->sp : 0, cfa;
	__u32 value = UNWIND_VALUE(rule), saved;

	if (!w)
		return 1;
	if ((UNWIND_KIND(rule) == UNWIND_AT_BP || UNWIND_KIND(rule) == UNWIND_FRAME ||
	     UNWIND_KIND(rule) == UNWIND_UNKNOWN) &&
	    walker__need_bp(w))
		return walker__end(w, STACK_BROKEN);
	switch (UNWIND_KIND(rule)) {
	case UNWIND_END:
		return walker__end(w, 0);
	case UNWIND_SIGNAL:
		if (walker__word(w, sp + UNWIND_SIGNAL_SP, &cfa) ||
		    walker__word(w, sp + UNWIND_SIGNAL_IP, &ip))
			return walker__end(w, STACK_BROKEN);
		w->bp_at = sp + UNWIND_SIGNAL_BP;
		w->bx_at = sp + UNWIND_SIGNAL_BX;
		w->sp = cfa;
		w->ip = ip;
		w->behind = 0;
		return 0;
	case UNWIND_PLT:
		cfa = sp + 8 + ((w->ip & 15) >= value ? 8 : 0);
		break;
	case UNWIND_AT_SP:
		if (walker__word(w, sp + 8 * (__u64)value, &cfa))
			return walker__end(w, STACK_BROKEN);
		cfa += 8;
		break;
	case UNWIND_AT_BP:
		if (walker__word(w, w->bp - 8 * (__u64)value, &cfa))
			return walker__end(w, STACK_BROKEN);
		break;
	case UNWIND_UNKNOWN:
		if (value == UNKNOWN_NO_CODE)
			return walker__end(w, STACK_BROKEN);
		/* ld.so's first instructions are in no table. */
		if (w->bottom - sp < BOTTOM_BYTES)
			return walker__end(w, 0);
		w->flags |= STACK_GUESSED;
	default:
		if (walker__by_frame(w, w->bp, &ip, &sp))
			return 1;
		w->sp = sp;
		w->ip = ip;
		w->behind = 1;
		return 0;
	}
	if ((cfa & 7) || cfa - sp - 1 >= FRAME_MAX)
		return walker__end(w, STACK_BROKEN);
	saved = UNWIND_SAVED_BX(rule);
	if (UNWIND_KIND(rule) == UNWIND_AT_BP) {
		w->bp_at = w->bp;
		if (saved)
			w->bx_at = saved == UNWIND_LOST ? SAVED_NOWHERE : w->bp - 8 * (__u64)saved;
	} else {
		if (saved)
			w->bx_at = saved == UNWIND_LOST ? SAVED_NOWHERE :
							  cfa - 8 * ((__u64)saved + 1);
		saved = UNWIND_SAVED_BP(rule);
		if (saved)
			w->bp_at = saved == UNWIND_LOST ? SAVED_NOWHERE :
							  cfa - 8 * ((__u64)saved + 1);
	}
	if (walker__word(w, cfa - 8, &ip))
		return walker__end(w, STACK_BROKEN);
	w->sp = cfa;
	w->ip = ip;
	w->behind = 1;
	return 0;
}

/* From the present frame to its caller's; 1 ends the walk. A function of its own to the verifier. */
__noinline int walker__step(struct walker *w)
{
	__u32 rule, saved, n;
	__u64 cfa, ip = 0, from;

	if (!w)
		return 1;
	rule = walker__rule(w);
	from = w->ip;
	if (UNWIND_BASE(rule) == UNWIND_SPECIAL) {
		if (walker__special(w, rule))
			return 1;
		ip = w->ip;
	} else {
		cfa = w->sp;
		if (UNWIND_BASE(rule) == UNWIND_BP) {
			if (walker__need_bp(w))
				return walker__end(w, STACK_BROKEN);
			cfa = w->bp;
		} else if (UNWIND_BASE(rule) == UNWIND_BX) {
			if (walker__need_bx(w))
				return walker__end(w, STACK_BROKEN);
			cfa = w->bx;
		}
		cfa += 8 * (__u64)UNWIND_WORDS(rule);
		if ((cfa & 7) || cfa - w->sp - 1 >= FRAME_MAX || walker__word(w, cfa - 8, &ip))
			return walker__end(w, STACK_BROKEN);
		saved = UNWIND_SAVED_BP(rule);
		if (saved)
			w->bp_at = saved == UNWIND_LOST ? SAVED_NOWHERE :
							  cfa - 8 * ((__u64)saved + 1);
		saved = UNWIND_SAVED_BX(rule);
		if (saved)
			w->bx_at = saved == UNWIND_LOST ? SAVED_NOWHERE :
							  cfa - 8 * ((__u64)saved + 1);
		w->sp = cfa;
		w->ip = ip;
		w->behind = 1;
	}
	if (w->sp - 8 == w->wanted && w->behind)
		w->found = from;
	if (!ip)
		return walker__end(w, 0);
	if (w->returns && w->behind) {
		cfa = task__real_return(w->returns, w->sp - 8);
		if (cfa)
			w->ip = ip = cfa;
	}
	n = w->n;
	/* Keep the compiler from computing the address before the bound is known. */
	barrier_var(n);
	if (n >= STACK_FRAMES)
		return 1;
	ip += !w->behind;
	w->stack.ip[n] = ip;
	w->n = n + 1;
	w->hash = hash__mix(w->hash, ip);
	return 0;
}

static long walker__turn(__u32 i, struct walker **w)
{
	int over = walker__step(*w);

	/* What the compiler knows of it, the verifier does not. */
	barrier_var(over);
	return over != 0;
}

/* The first frames in a loop of our own, which costs less a frame; the rest in a bpf_loop(), of
 * which the verifier walks the body once. */
#define STACK_QUICK_FRAMES 2

/* Stand in the innermost frame, with nothing read yet. */
static __always_inline void walker__stand(struct walker *w, __u64 wanted, __u32 zero)
{
	w->wanted = wanted;
	w->found = 0;
	w->ip = w->from_ip;
	w->sp = w->from_sp;
	w->bp = w->from_bp;
	w->bp_at = NOT_SAVED;
	w->bx = w->from_bx;
	w->bx_at = NOT_SAVED;
	w->behind = 0;
	w->unsure = 0;
	w->by_bp = w->by_bx = 0;
	w->words = (w->turn & (PAST_WALKS - 1)) * PAST_WORDS;
	walker__read_anew(w);
	w->n = zero + 1;
	w->flags = STACK_TRUNCATED | STACK_CHECKED;
	w->stack.leaf_word = 0;
	w->stack.ip[0] = w->ip;
	w->hash = hash__mix(0, w->ip);
}

/* The whole walk, to the end or as far as there is room. wanted: as in struct walker; zero: 0. */
__noinline int walker__walk(struct walker *w, __u64 wanted, __u32 zero)
{
	struct walker *on = w;
	__u64 word = 0;
	__u32 first;
	int i;

	if (!w)
		return 0;
	walker__stand(w, wanted, zero);
	first = walker__rule(w);
	if (UNWIND_BASE(first) == UNWIND_SPECIAL &&
	    (UNWIND_KIND(first) == UNWIND_FRAME || UNWIND_KIND(first) == UNWIND_UNKNOWN)) {
		w->unsure = 1; /* of code, which is not compared */
		if (!walker__read(w, w->sp & ~7ULL, &word)) {
			w->stack.leaf_word = walker__leaf_word(w, w->ip, word);
			w->hash = hash__mix(w->hash, w->stack.leaf_word);
		}
	}
	for (i = 0; i < STACK_QUICK_FRAMES; i++)
		if (walker__step(w))
			goto end;
	bpf_loop(STACK_FRAMES, walker__turn, &on, 0);
end:
	/*
	 * A function that has made room and touched none of it yet stands where no page is. Its
	 * caller's frame is there all the same, and so is what leads to it.
	 */
	if (w->n == 1 && w->flags & STACK_BROKEN && walker__read(w, w->from_sp & ~7ULL, &word))
		w->flags = STACK_UNREADABLE;
	if (cfg_direct)
		walker__turn_page(w, NO_PAGE);
	return 0;
}

#endif /* MEMTRACE_WALKER_BPF_H */
