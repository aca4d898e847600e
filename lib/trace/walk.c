// SPDX-License-Identifier: MIT
/*
 * The walk. What the thread reads is its own stack, and must never fault:
 *
 * - On the stack that the thread was given all words from the stack pointer to the end can be read.
 *   It ends, for the first thread, where the name of the program lies, and for others below what the
 *   thread pointer points to, which libc puts on top of the stack. That it is one piece
 *   is asked of the kernel, page by page and once for each.
 * - On another (sigaltstack, coroutines) each page is asked for in each walk: such a stack can
 *   have become a smaller one since.
 */
#include "lib/trace/walk.h"

#include <string.h>

#include "lib/trace/walk_internal.h"

#define FRAME_MAX (1UL << 26) /* no frame is larger */
#define BOTTOM_BYTES 64 /* less than this is between there and the first frame */
/* Less than this below its end a stack pointer is on the first thread's stack: the kernel leaves so
 * much room for it. */
#define FIRST_STACK_BYTES (120UL << 20)
#define STRETCH_BYTES (16UL << 20) /* that a thread's stack is looked through for at once */
#define NEAR_BYTES 65536 /* around a stack pointer that was on no stack of the thread's own */
#define NOT_SAVED 0
#define SAVED_NOWHERE 1 /* no word lies there */

enum walk_step_kind {
	STEP_HARD, /* by the tables each time */
	STEP_SP, /* its CFA follows from the stack pointer */
	STEP_BP, /* from rbp */
	STEP_END, /* nobody called it, or the return address is 0 */
};

#define WALK_END (WALK_FRAMES + 2) /* of `last` */

#define barrier() __asm__ volatile("" ::: "memory")

#define STEP_SETS_BP 1
#define STEP_SETS_BX 2

/* ---- memory ---- */

static uint64_t thread_pointer(void)
{
	uint64_t self = 0;
#ifdef __x86_64__
	__asm__("mov %%fs:0, %0" : "=r"(self));
#endif
	return self;
}

/* Also words that no variable of C's is at. */
static inline __attribute__((no_sanitize("address"))) uint64_t load(uint64_t addr)
{
	return *(const volatile uint64_t *)addr;
}

static bool all_readable(uint64_t from, uint64_t to)
{
	for (from &= ~(PAGE_BYTES - 1); from < to; from += PAGE_BYTES)
		if (!walk__readable(from))
			return false;
	return true;
}

bool walk__seems_own(uint64_t sp)
{
	return walk_stack_end - sp < FIRST_STACK_BYTES || thread_pointer() - sp < STRETCH_BYTES;
}

/* Whether sp is on the thread's own stack, which then is known from there on. */
static bool walker__is_own(struct walker *w, uint64_t sp)
{
	uint64_t end = w->own_end ? w->own_start : thread_pointer();

	if (sp - w->own_start < w->own_end - w->own_start)
		return true;
	if (walk_stack_end - sp < FIRST_STACK_BYTES) {
		w->own_start = walk_stack_end - FIRST_STACK_BYTES;
		w->own_end = walk_stack_end;
		return true;
	}
	if (sp - (w->foreign - NEAR_BYTES) < 2 * NEAR_BYTES)
		return false;
	if (!w->main && end - sp < STRETCH_BYTES && all_readable(sp, end)) {
		w->own_start = sp & ~(PAGE_BYTES - 1);
		if (!w->own_end)
			w->own_end = end & ~7ULL;
		return true;
	}
	w->foreign = sp;
	return false;
}

/* The walk comes to a stack. */
static void walker__enter(struct walker *w, uint64_t sp)
{
	w->own = walker__is_own(w, sp);
	w->start = w->own ? sp & ~7ULL : sp & ~(PAGE_BYTES - 1);
	w->bytes = w->own ? w->own_end - w->start : 0;
}

/* A word beyond what is known to be readable. */
static __attribute__((noinline)) bool walker__may_read(struct walker *w, uint64_t addr)
{
	uint64_t page = addr & ~(PAGE_BYTES - 1);

	if (w->own || !walk__readable(addr))
		return false;
	if (page == w->start + w->bytes) {
		w->bytes += PAGE_BYTES;
	} else {
		w->start = page;
		w->bytes = PAGE_BYTES;
	}
	return true;
}

static inline bool walker__word(struct walker *w, uint64_t addr, uint64_t *word)
{
	if (addr & 7 || (addr - w->start >= w->bytes && !walker__may_read(w, addr)))
		return false;
	*word = load(addr);
	return true;
}

/* ---- a step by the tables ---- */

static inline uint32_t walker__rule(struct walker *w, uint32_t stamp)
{
	uint64_t at = w->ip - w->behind, value;
	struct walk_known *r = &w->rules[at * HASH_FACTOR >> 32 & (WALK_RULES - 1)];
	bool in_doubt = !(w->flags & WALK_CHECKED);
	uint32_t rule;

	value = r->value;
	if ((r->key ^ value) == at && (uint32_t)value == stamp)
		return value >> 32;
	rule = walk__rule(at, in_doubt);
	/* What may not have been looked up is no answer for the next time. */
	if (!in_doubt) {
		value = (uint64_t)rule << 32 | stamp;
		r->value = value;
		r->key = at ^ value;
	}
	return rule;
}

static inline bool walker__need_bp(struct walker *w)
{
	if (w->bp_at == NOT_SAVED)
		return true;
	if (!walker__word(w, w->bp_at, &w->bp))
		return false;
	w->bp_at = NOT_SAVED;
	return true;
}

static bool walker__need_bx(struct walker *w)
{
	if (w->bx_at == NOT_SAVED)
		return true;
	if (!walker__word(w, w->bx_at, &w->bx))
		return false;
	w->bx_at = NOT_SAVED;
	return true;
}

static bool walker__stop(struct walker *w, uint32_t flags)
{
	w->flags = (w->flags & ~WALK_TRUNCATED) | flags;
	return false;
}

/* A frame by rbp, which is known: code without a table. */
static bool walker__by_frame(struct walker *w)
{
	uint64_t fp = w->bp;

	w->flags = (w->flags & ~WALK_CHECKED) | WALK_GUESSED;
	if (!fp)
		return walker__stop(w, 0);
	if ((fp & 7) || fp < w->sp || fp - w->sp > FRAME_MAX || !walker__word(w, fp, &w->bp) ||
	    !walker__word(w, fp + 8, &w->ip))
		return walker__stop(w, WALK_BROKEN);
	w->bp_at = NOT_SAVED;
	w->bx_at = SAVED_NOWHERE;
	w->sp = fp + 16;
	w->behind = 1;
	/* A frame pointer that leads on without a return address was none. */
	return w->ip ? true : walker__stop(w, w->bp ? WALK_BROKEN : 0);
}

static uint64_t saved_at(uint32_t saved, uint64_t cfa)
{
	return saved == UNWIND_LOST ? SAVED_NOWHERE : cfa - 8 * ((uint64_t)saved + 1);
}

static inline void walker__saved(struct walker *w, uint32_t rule, uint64_t cfa)
{
	uint32_t saved = UNWIND_SAVED_BP(rule);

	if (saved) {
		w->bp_at = saved_at(saved, cfa);
		w->sets |= STEP_SETS_BP;
	}
	saved = UNWIND_SAVED_BX(rule);
	if (saved) {
		w->bx_at = saved_at(saved, cfa);
		w->sets |= STEP_SETS_BX;
	}
}

/* The caller's frame, from its CFA. */
static inline bool walker__to(struct walker *w, uint64_t cfa)
{
	if ((cfa & 7) || cfa - w->sp - 1 >= FRAME_MAX || !walker__word(w, cfa - 8, &w->ip))
		return walker__stop(w, WALK_BROKEN);
	w->sp = cfa;
	w->behind = 1;
	return true;
}

static bool walker__signal(struct walker *w)
{
	uint64_t sp = w->sp, to;

	if (!walker__word(w, sp + UNWIND_SIGNAL_SP, &to) ||
	    !walker__word(w, sp + UNWIND_SIGNAL_IP, &w->ip) ||
	    !walker__word(w, sp + UNWIND_SIGNAL_BP, &w->bp) ||
	    !walker__word(w, sp + UNWIND_SIGNAL_BX, &w->bx))
		return walker__stop(w, WALK_BROKEN);
	w->bp_at = w->bx_at = NOT_SAVED;
	w->behind = 0;
	w->sp = to;
	walker__enter(w, to);
	return true;
}

static bool walker__at_bp(struct walker *w, uint32_t rule)
{
	uint32_t saved = UNWIND_SAVED_BX(rule);
	uint64_t bp, cfa;

	if (!walker__need_bp(w) || !walker__word(w, w->bp - 8 * (uint64_t)UNWIND_VALUE(rule), &cfa))
		return walker__stop(w, WALK_BROKEN);
	bp = w->bp;
	if (!walker__to(w, cfa))
		return false;
	w->bp_at = bp;
	if (saved)
		w->bx_at = saved == UNWIND_LOST ? SAVED_NOWHERE : bp - 8 * (uint64_t)saved;
	return true;
}

/* The rules that are rare. */
static __attribute__((noinline)) bool walker__special(struct walker *w, uint32_t rule)
{
	uint32_t value = UNWIND_VALUE(rule);
	uint64_t cfa;

	switch (UNWIND_KIND(rule)) {
	case UNWIND_END:
		w->kind = STEP_END;
		return walker__stop(w, 0);
	case UNWIND_SIGNAL:
		return walker__signal(w);
	case UNWIND_AT_BP:
		return walker__at_bp(w, rule);
	case UNWIND_PLT:
		cfa = w->sp + 8 + ((w->ip & 15) >= value ? 8 : 0);
		break;
	case UNWIND_AT_SP:
		if (!walker__word(w, w->sp + 8 * (uint64_t)value, &cfa))
			return walker__stop(w, WALK_BROKEN);
		cfa += 8;
		break;
	case UNWIND_UNKNOWN:
		/* ld.so's first instructions are in no table. */
		if (walk_stack_bottom - w->sp < BOTTOM_BYTES)
			return walker__stop(w, 0);
		/* fall through */
	default:
		if (!walker__need_bp(w))
			return walker__stop(w, WALK_BROKEN);
		return walker__by_frame(w);
	}
	if (!walker__to(w, cfa))
		return false;
	walker__saved(w, rule, cfa);
	return true;
}

/* From the present frame to its caller's. false: there is none. */
static inline bool walker__step(struct walker *w, uint32_t stamp)
{
	uint32_t rule = walker__rule(w, stamp);
	uint64_t cfa = w->sp;
	bool fetched = false;

	w->sets = 0;
	w->kind = STEP_HARD;
	if (UNWIND_BASE(rule) == UNWIND_SPECIAL)
		return walker__special(w, rule);
	if (UNWIND_BASE(rule) == UNWIND_BP) {
		fetched = w->bp_at != NOT_SAVED;
		if (!walker__need_bp(w))
			return walker__stop(w, WALK_BROKEN);
		w->bp_used = cfa = w->bp;
	} else if (UNWIND_BASE(rule) == UNWIND_BX) {
		if (!walker__need_bx(w))
			return walker__stop(w, WALK_BROKEN);
		cfa = w->bx;
	}
	cfa += 8 * (uint64_t)UNWIND_WORDS(rule);
	if (!walker__to(w, cfa))
		return false;
	walker__saved(w, rule, cfa);
	if (w->own && UNWIND_BASE(rule) == UNWIND_SP)
		w->kind = STEP_SP;
	/* One that fetched rbp and leaves it in the register would have to do so again. */
	else if (w->own && UNWIND_BASE(rule) == UNWIND_BP && (!fetched || w->sets & STEP_SETS_BP))
		w->kind = STEP_BP;
	return w->ip ? true : walker__stop(w, 0);
}

/* ---- along the last walk ---- */

/* Whether the words by which the last walk went from s outwards, to the end, are what they were. Known of a
 * step that has none but plain ones outwards, when rbp is where it was: they lie on the thread's own stack
 * or in w->bp. */
static inline bool walker__sees_again(const struct walker *w, const struct walk_step *s)
{
	const struct walk_seen *seen = &w->seen[WALK_SEEN - s->pairs];

#pragma GCC unroll 4
	for (; seen < w->seen + WALK_SEEN; seen++)
		if (load(seen->at) != seen->is)
			return false;
	return true;
}

/* Where rbp is in a frame, as walker.seen has it. */
static uint64_t walker__bp_seen_at(const struct walker *w, const struct walk_step *s)
{
	return s->bp_at == NOT_SAVED ? (uintptr_t)&w->bp : s->bp_at;
}

/* Put down what the steps last[first] to last[rest - 1] went by. Those further out are all plain, and remain. */
static void walker__see(struct walker *w, uint32_t first, uint32_t rest)
{
	uint32_t pairs = rest < WALK_END ? w->last[rest].pairs : 0, i;
	struct walk_step *s;

	w->hard = 0;
	for (i = rest; i-- > first;) {
		s = &w->last[i];
		if (s->kind == STEP_SP || s->kind == STEP_BP) {
			w->seen[WALK_SEEN - ++pairs] = (struct walk_seen){s[1].sp - 8, s[1].ip};
			if (s->kind == STEP_BP)
				w->seen[WALK_SEEN - ++pairs] =
					(struct walk_seen){walker__bp_seen_at(w, s), s->bp};
		} else if (s->kind == STEP_HARD && !w->hard) {
			w->hard = i;
		}
		s->pairs = (uint8_t)pairs;
	}
}

/* In last[k] rbp is elsewhere than it was: so it is in what is outwards, until it is saved anew. */
static void walker__moved_bp(struct walker *w, uint32_t k, uint64_t bp_at)
{
	struct walk_step *s = &w->last[k];

	for (;; s++) {
		s->bp_at = bp_at;
		if (s->kind == STEP_BP)
			w->seen[WALK_SEEN - s->pairs].at = walker__bp_seen_at(w, s);
		if ((s->kind != STEP_SP && s->kind != STEP_BP) || s[1].sets & STEP_SETS_BP)
			break;
	}
}

/*
 * The walk stands in last[*k]. Go on as far as what the last one read is still there; *k: where
 * that is. True: to the end. The state is brought up to date.
 */
static inline bool walker__follow(struct walker *w, uint32_t *k)
{
	const struct walk_step *s = &w->last[*k], *caller;
	uint64_t bp_at = w->bp_at, bx_at = w->bx_at;
	bool whole = false;

	for (;; s = caller) {
		caller = s + 1;
		if (s->kind != STEP_SP) {
			whole = s->kind == STEP_END;
			if (s->kind != STEP_BP)
				break;
			if (bp_at != NOT_SAVED && (bp_at & 7 || bp_at - w->start >= w->bytes))
				break;
			if ((bp_at == NOT_SAVED ? w->bp : load(bp_at)) != s->bp)
				break;
		}
		if (load(caller->sp - 8) != caller->ip)
			break;
		if (caller->sets & STEP_SETS_BP)
			bp_at = caller->bp_at;
		if (caller->sets & STEP_SETS_BX)
			bx_at = caller->bx_at;
	}
	*k = (uint32_t)(s - w->last);
	w->ip = s->ip;
	w->sp = s->sp;
	w->behind = s->behind;
	w->sets = s->sets;
	w->bp_at = bp_at;
	w->bx_at = bx_at;
	return whole;
}

/* Whether rbp can be read. */
static inline bool walker__may_have_bp(const struct walker *w)
{
	return w->bp_at == NOT_SAVED || (!(w->bp_at & 7) && w->bp_at - w->start < w->bytes);
}

/* The frame that the walk stands in, as a step. */
static inline struct walk_step *walker__record(struct walker *w, enum walk_step_kind kind)
{
	struct walk_step *s = &w->now[w->n++];

	s->ip = w->ip;
	s->sp = w->sp;
	s->bp_at = w->bp_at;
	s->bx_at = w->bx_at;
	s->behind = w->behind;
	s->sets = w->sets;
	s->kind = kind;
	s->id = 0;
	return s;
}

/* Go along the last walk where there is something to go along, *k being where. True: to its end, and
 * *k is where that began. */
static bool walker__join(struct walker *w, uint32_t *k, uint32_t end)
{
	uint32_t from;
	struct walk_step *s;

	while (*k < end && w->last[*k].sp < w->sp)
		++*k;
	s = &w->last[*k];
	if (*k >= end || !w->own || s->sp != w->sp || s->ip != w->ip || s->behind != w->behind ||
	    s->kind == STEP_HARD)
		return false;
	/* The outermost of a stack that is cut are not those of the last. */
	if (w->n + (end - *k) > WALK_FRAMES)
		return false;
	/* What is further in is of this walk. */
	s->sets = w->sets;
	s->bx_at = w->bx_at;
	if (s->bp_at != w->bp_at)
		walker__moved_bp(w, *k, w->bp_at);
	if (*k > w->hard && walker__may_have_bp(w) && walker__sees_again(w, s))
		return true;
	from = *k;
	if (walker__follow(w, k)) {
		*k = from;
		return true;
	}
	for (; from < *k && w->n < WALK_FRAMES; from++) {
		s = &w->now[w->n++];
		*s = w->last[from];
		s->id = 0; /* of another stack: they part further out */
	}
	return false;
}

/* Walk: what is not in last[return] and on is in now[0] to now[n - 1]. */
static uint32_t walker__walk(struct walker *w, uint32_t stamp, uint32_t k, uint32_t end)
{
	struct walk_step *s;
	bool on;

	w->n = 0;
	do {
		if (walker__join(w, &k, end)) {
			walker__stop(w, 0);
			return k;
		}
		if (w->n >= WALK_FRAMES)
			return end;
		s = walker__record(w, STEP_HARD);
		on = walker__step(w, stamp);
		s->kind = w->kind;
		s->bp = w->bp_used;
	} while (on);
	/* A return address that is 0: to be found so again. */
	if (!w->ip && (w->kind == STEP_SP || w->kind == STEP_BP))
		walker__record(w, STEP_END);
	return end;
}

/* ---- ids ---- */

static inline uint32_t walker__child(struct walker *w, const struct stack_table *t, uint32_t parent,
				     uint64_t ip)
{
	uint64_t hash = (ip ^ (uint64_t)parent << 32) * HASH_FACTOR, value;
	struct walk_known *c = &w->children[hash >> 32 & (WALK_CHILDREN - 1)];
	uint32_t id;

	value = c->value;
	if ((c->key ^ value) == ip && value >> 32 == parent && (uint32_t)value)
		return (uint32_t)value;
	id = stack_table__child(t, parent, ip);
	if (id) {
		value = (uint64_t)parent << 32 | id;
		c->value = value;
		c->key = ip ^ value;
	}
	return id;
}

static uint32_t cut(const struct stack_table *t, uint32_t parent)
{
	stack_table__drop(t);
	return parent >= STACK_TABLE_FIRST ? parent | STACK_TABLE_CUT : 0;
}

/* The id of the walk in last[first] to last[WALK_END - 1] from the caller at `top` on outwards, and `entry`. */
static uint32_t walker__id(struct walker *w, const struct stack_table *t, uint32_t first,
			   uint64_t top, uint64_t entry)
{
	uint32_t from = first, i, parent, id;

	while (from < WALK_END && w->last[from].sp != top)
		from++;
	for (i = from; i < WALK_END && !w->last[i].id; i++)
		;
	parent = i < WALK_END ? w->last[i].id : w->flags;
	if (from == WALK_END)
		parent = WALK_BROKEN;
	while (i > from) {
		const struct walk_step *s = &w->last[--i];

		if (!s->ip)
			continue;
		id = walker__child(w, t, parent, s->ip + !s->behind);
		if (!id)
			return cut(t, parent);
		w->last[i].id = parent = id;
	}
	id = walker__child(w, t, parent, entry);
	return id ? id : cut(t, parent);
}

/* ---- all of it ---- */

void walker__begin(struct walker *w)
{
	w->first = w->end = 0;
	memset(w->children, 0, sizeof(w->children));
	w->foreign = 0;
	/* Also in the child of a fork this is a stack of the same thread. And of another one that libc gave
	 * the same memory: its end is the same, and beyond where it begins nobody stands. */
	if (w->thread == thread_pointer())
		return;
	w->thread = thread_pointer();
	w->own_start = w->own_end = 0;
	w->main = walk__is_first();
}

/* A walk of a signal's handler came in between: then what this one had is gone. */
static bool walker__was_interrupted(const struct walker *w, uint32_t turn)
{
	barrier();
	return w->turn != turn;
}

/* What there is of it: no more than the call. What it has put down may be in the other's last walk. */
static __attribute__((noinline)) uint32_t
walker__interrupted(struct walker *w, const struct stack_table *t, uint64_t entry)
{
	w->first = w->end = 0;
	return stack_table__child(t, WALK_BROKEN, entry);
}

/* Whether the walk from here is the last one again. */
static inline bool walker__is_last(struct walker *w, const struct walk_regs *from)
{
	const struct walk_step *s = &w->last[w->first];

	if (w->first <= w->hard || s->ip != from->ip || s->sp != from->sp || s->behind ||
	    s->bp_at != NOT_SAVED)
		return false;
	w->bp = from->bp;
	barrier();
	return walker__sees_again(w, s);
}

/* One that is not the last again. */
static __attribute__((noinline)) uint32_t walker__take_anew(struct walker *w,
							    const struct stack_table *t,
							    const struct walk_regs *from,
							    uint64_t top, uint64_t entry)
{
	uint32_t turn = w->turn, stamp = walk__stamp(), first, end, rest, n, i, id;

	barrier();
	first = w->first;
	end = w->end;
	if (w->stamp != stamp)
		first = end = 0;
	/* Until this walk is whole there is none to go along: a handler may leave by longjmp(). */
	w->first = w->end = 0;
	barrier();
	w->stamp = stamp;
	w->ip = from->ip;
	w->sp = from->sp;
	w->bp = from->bp;
	w->bx = from->bx;
	w->bp_at = w->bx_at = NOT_SAVED;
	w->behind = w->sets = 0;
	w->flags = WALK_TRUNCATED | WALK_CHECKED;
	walker__enter(w, w->sp);
	rest = walker__walk(w, stamp, first, end);
	n = w->n;
	if (walker__was_interrupted(w, turn))
		return walker__interrupted(w, t, entry);
	if (rest == end)
		rest = WALK_END;
	else if (w->flags != w->last_flags)
		for (first = rest; first < WALK_END; first++)
			w->last[first].id = 0;
	/* There is room: no walk has more than WALK_FRAMES in all. */
	first = rest - n;
	for (i = 0; i < n; i++)
		w->last[first + i] = w->now[i];
	walker__see(w, first, rest);
	id = walker__id(w, t, first, top, entry);
	w->last_flags = w->flags;
	if (walker__was_interrupted(w, turn))
		return walker__interrupted(w, t, entry);
	if (!(w->flags & WALK_TRUNCATED)) {
		w->first = first;
		w->end = WALK_END;
		w->top = top;
		w->entry = entry;
		/* Each stack that is cut is counted. */
		w->id = id & STACK_TABLE_CUT ? 0 : id;
	}
	return id;
}

uint32_t walker__take(struct walker *w, const struct stack_table *t, const struct walk_regs *from,
		      uint64_t top, uint64_t entry)
{
	uint32_t turn = ++w->turn, id;

	barrier();
	id = w->id;
	if (w->entry == entry && w->top == top && w->stamp == walk__stamp() && id &&
	    walker__is_last(w, from) && !walker__was_interrupted(w, turn))
		return id;
	return walker__take_anew(w, t, from, top, entry);
}
