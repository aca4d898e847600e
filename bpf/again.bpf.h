/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/*
 * Walks that are made again
 *
 * Where a walk leads is decided by the registers it begins with, the rules of the code it meets, the words
 * it reads, and `wanted`. If all of these are what they were for an earlier one, so is what it finds. Rules are
 * the same as long as code_generation is. So the words are read in the same way, without looking
 * rules up. Kept are walks that reached the end; not those that looked at code or at what a uretprobe keeps, or
 * that had to do without a table for once.
 *
 * The page that was read in last is taken to be where it was, which saves looking it up: whether it is,
 * is looked at afterwards, as ever.
 */
#ifndef MEMTRACE_AGAIN_BPF_H
#define MEMTRACE_AGAIN_BPF_H

#include "bpf/walker.bpf.h"

/* Whether the words that past[i] went by are what they were. Most lie in one page, and are not 0. */
__noinline int walker__same_words(struct walker *w, __u32 i)
{
	__u32 from = (i & (PAST_WALKS - 1)) * PAST_WORDS, n, k;
	__u64 word = 0, page, page_at;
	struct past_word *p;

	if (!w)
		return 0;
	n = w->past[i & (PAST_WALKS - 1)].words;
	page = w->page;
	page_at = w->page_at;
	for (k = 0; k < PAST_WORDS && k < n; k++) {
		p = &w->past_word[from + k];
		if (cfg_direct && (p->at & ~(PAGE_BYTES - 8)) == page) {
			word = direct__load(page_at + (p->at - page));
			if (word && word == p->value)
				continue;
		}
		if (walker__read_anywhere(w, p->at, &word) || word != p->value)
			return 0;
		page = w->page;
		page_at = w->page_at;
	}
	return 1;
}

/* Whether what has been read counts. A function of its own to the verifier. */
__noinline int walker__stayed(struct walker *w)
{
	return w && !w->moved && (!cfg_direct || walker__page_stays(w));
}

/* The stack's id and w->found without a walk, 0: there has to be one. */
__noinline __u64 walker__again(struct walker *w, __u64 wanted)
{
	struct past_walk *p;
	__u32 i;

	if (!w || w->returns)
		return 0;
	w->window_bytes = 0;
	w->moved = 0;
	for (i = 0; i < PAST_WALKS; i++) {
		p = &w->past[i];
		if (p->ip != w->from_ip || p->sp != w->from_sp || !p->id ||
		    p->generation != w->generation || p->wanted != wanted ||
		    (p->by_bp && p->bp != w->from_bp) || (p->by_bx && p->bx != w->from_bx) ||
		    p->id != w->known_stack[p->id & (RECENT - 1)] || !walker__same_words(w, i))
			continue;
		if (!walker__stayed(w))
			return 0;
		w->found = p->found;
		return p->id;
	}
	return 0;
}

/* Keep the walk that has been done, which led to this stack, if it can be. */
static __always_inline void walker__keep(struct walker *w, __u64 id)
{
	__u32 i = w->turn & (PAST_WALKS - 1), words = w->words - i * PAST_WORDS;
	struct past_walk *p = &w->past[i];

	p->id = 0;
	if (w->returns || w->unsure || w->flags & STACK_INCOMPLETE || words >= PAST_WORDS - 1)
		return;
	p->ip = w->from_ip;
	p->sp = w->from_sp;
	p->bp = w->from_bp;
	p->bx = w->from_bx;
	p->by_bp = w->by_bp;
	p->by_bx = w->by_bx;
	p->wanted = w->wanted;
	p->generation = w->generation;
	p->found = w->found;
	p->words = words;
	p->id = id;
	w->turn++;
}

#endif /* MEMTRACE_AGAIN_BPF_H */
