// SPDX-License-Identifier: MIT
/*
 * The programs of .eh_frame: byte codes that say, while they step through a function's code, how
 * to find the caller's frame and registers. Followed as far as a row can express the outcome.
 */
#include <string.h>

#include "lib/trace/unwind_internal.h"

#define X86_64_RBX 3
#define X86_64_RBP 6
#define X86_64_RSP 7
#define X86_64_RIP 16

#define REMEMBERED 8 /* states; compilers' output takes one */
#define WORD 8

/* The byte codes; the first three have an operand in the low six bits. */
enum {
	CFA_ADVANCE = 0x40,
	CFA_OFFSET = 0x80,
	CFA_RESTORE = 0xc0,
	CFA_NOP = 0x00,
	CFA_SET_LOC = 0x01,
	CFA_ADVANCE1 = 0x02,
	CFA_ADVANCE2 = 0x03,
	CFA_ADVANCE4 = 0x04,
	CFA_OFFSET_EXTENDED = 0x05,
	CFA_RESTORE_EXTENDED = 0x06,
	CFA_UNDEFINED = 0x07,
	CFA_SAME_VALUE = 0x08,
	CFA_REGISTER = 0x09,
	CFA_REMEMBER_STATE = 0x0a,
	CFA_RESTORE_STATE = 0x0b,
	CFA_DEF_CFA = 0x0c,
	CFA_DEF_CFA_REGISTER = 0x0d,
	CFA_DEF_CFA_OFFSET = 0x0e,
	CFA_DEF_CFA_EXPRESSION = 0x0f,
	CFA_EXPRESSION = 0x10,
	CFA_OFFSET_EXTENDED_SF = 0x11,
	CFA_DEF_CFA_SF = 0x12,
	CFA_DEF_CFA_OFFSET_SF = 0x13,
	CFA_VAL_OFFSET = 0x14,
	CFA_VAL_OFFSET_SF = 0x15,
	CFA_VAL_EXPRESSION = 0x16,
	CFA_GNU_ARGS_SIZE = 0x2e,
	CFA_GNU_NEGATIVE_OFFSET_EXTENDED = 0x2f,
};

/* The operations of expressions that are understood. */
enum {
	OP_DEREF = 0x06,
	OP_AND = 0x1a,
	OP_PLUS = 0x22,
	OP_PLUS_UCONST = 0x23,
	OP_SHL = 0x24,
	OP_GE = 0x2a,
	OP_LIT0 = 0x30,
	OP_BREG0 = 0x70,
};

enum where {
	WHERE_SAME, /* in the register */
	WHERE_AT, /* saved at CFA + offset */
	WHERE_EXPRESSION, /* saved at what `expression` gives */
	WHERE_UNDEFINED, /* there is none */
	WHERE_LOST, /* somewhere else */
};

struct saved {
	enum where where;
	int64_t offset;
	struct bytes expression;
};

enum { REG_BP, REG_BX, REG_IP, REGS };

struct state {
	uint64_t cfa_reg;
	int64_t cfa_offset;
	struct bytes cfa_expression; /* at NULL: register and offset */
	struct saved saved[REGS];
};

struct run {
	const struct common *c;
	struct rows *r;
	struct state now, initial, remembered[REMEMBERED];
	unsigned depth;
	uint64_t at;
	uint32_t end;
	bool started; /* the function's own program, not what is common */
	bool failed;
};

/* breg REG OFFSET at the beginning of an expression. */
static bool expression__register(struct bytes *b, unsigned reg, int64_t *offset)
{
	if (bytes__fixed(b, 1) != OP_BREG0 + reg)
		return false;
	*offset = bytes__sleb(b);
	return !b->broken;
}

static bool expression__is_register(struct bytes b, unsigned reg, int64_t *offset)
{
	return expression__register(&b, reg, offset) && b.at == b.end;
}

/* breg REG OFFSET; deref; and then perhaps plus_uconst PLUS. */
static bool expression__is_word(struct bytes b, unsigned reg, int64_t *offset, uint64_t *plus)
{
	if (!expression__register(&b, reg, offset) || bytes__fixed(&b, 1) != OP_DEREF)
		return false;
	*plus = 0;
	if (b.at == b.end)
		return true;
	if (bytes__fixed(&b, 1) != OP_PLUS_UCONST)
		return false;
	*plus = bytes__uleb(&b);
	return !b.broken && b.at == b.end;
}

/* rsp + 8 + ((rip & 15) >= N) << 3: what linkers write for the procedure linkage table. */
static bool expression__is_plt(struct bytes b, unsigned *n)
{
	static const unsigned char test[] = {OP_LIT0 + 15, OP_AND};
	static const unsigned char add[] = {OP_GE, OP_LIT0 + 3, OP_SHL, OP_PLUS};
	int64_t sp, ip;

	if (!expression__register(&b, X86_64_RSP, &sp) || sp != WORD ||
	    !expression__register(&b, X86_64_RIP, &ip) || ip != 0)
		return false;
	if (b.end - b.at != sizeof(test) + 1 + sizeof(add) || memcmp(b.at, test, sizeof(test)) != 0 ||
	    memcmp(b.at + sizeof(test) + 1, add, sizeof(add)) != 0)
		return false;
	*n = b.at[sizeof(test)] - OP_LIT0;
	return *n < 16;
}

/* A row's bits for a register saved below the CFA. */
static unsigned saved__bits(const struct saved *s)
{
	int64_t words = -s->offset / WORD;

	if (s->where == WHERE_SAME)
		return UNWIND_KEPT;
	if (s->where != WHERE_AT || s->offset % WORD || words < 2 || words > UNWIND_LOST)
		return UNWIND_LOST;
	return (unsigned)words - 1;
}

static bool saved__is_at_sp(const struct saved *s, int64_t want)
{
	int64_t offset;

	return s->where == WHERE_EXPRESSION &&
	       expression__is_register(s->expression, X86_64_RSP, &offset) && offset == want;
}

/* A function that has aligned its stack: its own frame and what it has saved lie by rbp. */
static uint32_t state__aligned(const struct state *s, int64_t offset)
{
	const struct saved *bp = &s->saved[REG_BP], *bx = &s->saved[REG_BX];
	unsigned bx_bits = UNWIND_LOST;
	int64_t at;

	if (offset % WORD || offset > 0 || -offset / WORD > UNWIND_VALUE_MAX ||
	    bp->where != WHERE_EXPRESSION ||
	    !expression__is_register(bp->expression, X86_64_RBP, &at) || at != 0)
		return UNWIND_NOTHING;
	if (bx->where == WHERE_SAME)
		bx_bits = UNWIND_KEPT;
	else if (bx->where == WHERE_EXPRESSION &&
		 expression__is_register(bx->expression, X86_64_RBP, &at) && at % WORD == 0 &&
		 at < 0 && -at / WORD < UNWIND_LOST)
		bx_bits = (unsigned)(-at / WORD);
	return UNWIND_RULE_OF(UNWIND_AT_BP, -offset / WORD, UNWIND_KEPT, bx_bits);
}

static uint32_t state__expression(const struct state *s)
{
	const struct bytes e = s->cfa_expression;
	const struct saved *ip = &s->saved[REG_IP];
	bool usual = ip->where == WHERE_AT && ip->offset == -WORD;
	unsigned bp = saved__bits(&s->saved[REG_BP]), bx = saved__bits(&s->saved[REG_BX]), n;
	int64_t offset;
	uint64_t plus;

	if (expression__is_plt(e, &n) && usual)
		return UNWIND_RULE_OF(UNWIND_PLT, n, bp, bx);
	if (expression__is_word(e, X86_64_RBP, &offset, &plus) && !plus && usual)
		return state__aligned(s, offset);
	if (!expression__is_word(e, X86_64_RSP, &offset, &plus))
		return UNWIND_NOTHING;
	if (!plus && offset == UNWIND_SIGNAL_SP && saved__is_at_sp(ip, UNWIND_SIGNAL_IP) &&
	    saved__is_at_sp(&s->saved[REG_BP], UNWIND_SIGNAL_BP) &&
	    saved__is_at_sp(&s->saved[REG_BX], UNWIND_SIGNAL_BX))
		return UNWIND_RULE_OF(UNWIND_SIGNAL, 0, 0, 0);
	if (plus == WORD && usual && offset >= 0 && offset % WORD == 0 &&
	    offset / WORD <= UNWIND_VALUE_MAX)
		return UNWIND_RULE_OF(UNWIND_AT_SP, offset / WORD, bp, bx);
	return UNWIND_NOTHING;
}

static uint32_t state__rule(const struct state *s)
{
	const struct saved *ip = &s->saved[REG_IP];
	unsigned bp, bx, base;

	if (ip->where == WHERE_UNDEFINED)
		return UNWIND_RULE_OF(UNWIND_END, 0, 0, 0);
	if (s->cfa_expression.at)
		return state__expression(s);
	if (ip->where != WHERE_AT || ip->offset != -WORD)
		return UNWIND_NOTHING;
	switch (s->cfa_reg) {
	case X86_64_RSP:
		base = UNWIND_SP;
		break;
	case X86_64_RBP:
		base = UNWIND_BP;
		break;
	case X86_64_RBX:
		base = UNWIND_BX;
		break;
	default:
		return UNWIND_NOTHING;
	}
	if (s->cfa_offset % WORD || s->cfa_offset < WORD || s->cfa_offset / WORD > UNWIND_WORDS_MAX)
		return UNWIND_NOTHING;
	bp = saved__bits(&s->saved[REG_BP]);
	bx = saved__bits(&s->saved[REG_BX]);
	return UNWIND_RULE(base, (uint32_t)(s->cfa_offset / WORD), bp, bx);
}

/* What holds up to offset `to` is known. */
static void run__advance(struct run *u, uint64_t to)
{
	if (to == u->at)
		return;
	/* What is common holds at the beginning, and steps nowhere. */
	if (!u->started) {
		u->failed = true;
		return;
	}
	rows__add(u->r, (uint32_t)u->at, state__rule(&u->now));
	u->at = to < u->end ? to : u->end;
}

static void run__step(struct run *u, uint64_t delta)
{
	uint64_t by;

	if (__builtin_mul_overflow(delta, u->c->code_align, &by) || by > UINT32_MAX)
		u->failed = true;
	else
		run__advance(u, u->at + by);
}

static int64_t run__scaled(struct run *u, int64_t factored)
{
	int64_t offset;

	if (__builtin_mul_overflow(factored, u->c->data_align, &offset) || offset > INT32_MAX ||
	    offset < INT32_MIN) {
		u->failed = true;
		return 0;
	}
	return offset;
}

static struct saved *state__saved(struct state *s, uint64_t reg)
{
	switch (reg) {
	case X86_64_RBP:
		return &s->saved[REG_BP];
	case X86_64_RBX:
		return &s->saved[REG_BX];
	case X86_64_RIP:
		return &s->saved[REG_IP];
	}
	return NULL;
}

static void run__set(struct run *u, uint64_t reg, enum where where, int64_t offset)
{
	struct saved *s = state__saved(&u->now, reg);

	if (s)
		*s = (struct saved){.where = where, .offset = offset};
}

static void run__restore(struct run *u, uint64_t reg)
{
	struct saved *s = state__saved(&u->now, reg), *initial = state__saved(&u->initial, reg);

	if (s)
		*s = *initial;
}

static void run__def_cfa(struct run *u, uint64_t reg, int64_t offset)
{
	u->now.cfa_reg = reg;
	u->now.cfa_offset = offset;
	u->now.cfa_expression = (struct bytes){0};
}

/* An offset that is written unsigned: none is as large as to change its sign. */
static int64_t positive(uint64_t n)
{
	return n > INT32_MAX ? INT32_MAX : (int64_t)n;
}

/* The codes that say where a register is. false: none of these. */
static bool run__register(struct run *u, unsigned op, struct bytes *b)
{
	struct saved *s;
	uint64_t reg;

	switch (op) {
	case CFA_OFFSET_EXTENDED:
		reg = bytes__uleb(b);
		run__set(u, reg, WHERE_AT, run__scaled(u, positive(bytes__uleb(b))));
		return true;
	case CFA_OFFSET_EXTENDED_SF:
		reg = bytes__uleb(b);
		run__set(u, reg, WHERE_AT, run__scaled(u, bytes__sleb(b)));
		return true;
	case CFA_GNU_NEGATIVE_OFFSET_EXTENDED:
		reg = bytes__uleb(b);
		run__set(u, reg, WHERE_AT, -run__scaled(u, positive(bytes__uleb(b))));
		return true;
	case CFA_RESTORE_EXTENDED:
		run__restore(u, bytes__uleb(b));
		return true;
	case CFA_UNDEFINED:
		run__set(u, bytes__uleb(b), WHERE_UNDEFINED, 0);
		return true;
	case CFA_SAME_VALUE:
		run__set(u, bytes__uleb(b), WHERE_SAME, 0);
		return true;
	case CFA_REGISTER:
	case CFA_VAL_OFFSET:
	case CFA_VAL_OFFSET_SF:
		run__set(u, bytes__uleb(b), WHERE_LOST, 0);
		bytes__uleb(b);
		return true;
	case CFA_EXPRESSION:
		reg = bytes__uleb(b);
		run__set(u, reg, WHERE_EXPRESSION, 0);
		s = state__saved(&u->now, reg);
		if (s)
			s->expression = bytes__take(b, bytes__uleb(b));
		else
			bytes__take(b, bytes__uleb(b));
		return true;
	case CFA_VAL_EXPRESSION:
		run__set(u, bytes__uleb(b), WHERE_LOST, 0);
		bytes__take(b, bytes__uleb(b));
		return true;
	}
	return false;
}

/* The codes that say what the CFA is. false: none of these. */
static bool run__cfa(struct run *u, unsigned op, struct bytes *b)
{
	uint64_t reg;

	switch (op) {
	case CFA_DEF_CFA:
		reg = bytes__uleb(b);
		run__def_cfa(u, reg, positive(bytes__uleb(b)));
		return true;
	case CFA_DEF_CFA_SF:
		reg = bytes__uleb(b);
		run__def_cfa(u, reg, run__scaled(u, bytes__sleb(b)));
		return true;
	case CFA_DEF_CFA_REGISTER:
		run__def_cfa(u, bytes__uleb(b), u->now.cfa_offset);
		return true;
	case CFA_DEF_CFA_OFFSET:
		run__def_cfa(u, u->now.cfa_reg, positive(bytes__uleb(b)));
		return true;
	case CFA_DEF_CFA_OFFSET_SF:
		run__def_cfa(u, u->now.cfa_reg, run__scaled(u, bytes__sleb(b)));
		return true;
	case CFA_DEF_CFA_EXPRESSION:
		u->now.cfa_expression = bytes__take(b, bytes__uleb(b));
		return true;
	}
	return false;
}

/* The others. false: unknown. */
static bool run__other(struct run *u, unsigned op, struct bytes *b)
{
	switch (op) {
	case CFA_NOP:
		return true;
	case CFA_ADVANCE1:
		run__step(u, bytes__fixed(b, 1));
		return true;
	case CFA_ADVANCE2:
		run__step(u, bytes__fixed(b, 2));
		return true;
	case CFA_ADVANCE4:
		run__step(u, bytes__fixed(b, 4));
		return true;
	case CFA_REMEMBER_STATE:
		if (u->depth == REMEMBERED)
			return false;
		u->remembered[u->depth++] = u->now;
		return true;
	case CFA_RESTORE_STATE:
		if (!u->depth)
			return false;
		u->now = u->remembered[--u->depth];
		return true;
	case CFA_GNU_ARGS_SIZE:
		bytes__uleb(b);
		return true;
	}
	return false;
}

static void run__code(struct run *u, struct bytes *b)
{
	unsigned op = (unsigned)bytes__fixed(b, 1), low = op & 0x3f;

	switch (op & 0xc0) {
	case CFA_ADVANCE:
		run__step(u, low);
		return;
	case CFA_OFFSET:
		run__set(u, low, WHERE_AT, run__scaled(u, positive(bytes__uleb(b))));
		return;
	case CFA_RESTORE:
		run__restore(u, low);
		return;
	}
	if (!run__register(u, op, b) && !run__cfa(u, op, b) && !run__other(u, op, b))
		u->failed = true;
}

static void run__codes(struct run *u, struct bytes b)
{
	while (b.at < b.end && !u->failed && u->at < u->end) {
		if (!u->r->budget) {
			u->failed = true;
			break;
		}
		u->r->budget--;
		run__code(u, &b);
		u->failed |= b.broken;
	}
}

void program__run(const struct common *c, struct bytes program, uint32_t begin, uint32_t end,
		  struct rows *r)
{
	struct run u = {.c = c, .r = r, .at = begin, .end = end};

	u.now.saved[REG_IP].where = WHERE_LOST;
	run__codes(&u, c->program);
	u.initial = u.now;
	u.started = true;
	run__codes(&u, program);
	if (u.at < u.end)
		rows__add(r, (uint32_t)u.at, u.failed ? UNWIND_NOTHING : state__rule(&u.now));
}
