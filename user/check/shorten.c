// SPDX-License-Identifier: MIT
/*
 * Expressions made shorter for where they are evaluated again and again: facts that are known
 * beforehand become numbers, what follows from numbers is worked out, and an operation on a fact and
 * a number is one instruction. The value is the same in every case, also where it is not known.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "user/check/program.h"

#define WITHOUT_SKIP SIZE_MAX

struct shortening {
	struct program *out;
	size_t value[STACK_DEPTH + 1]; /* where the code of each value on the stack begins */
	unsigned depth;
	size_t skip[STACK_DEPTH + 1]; /* of each "and" or "or" that is open: its skip in the code */
	unsigned nskips;
};

/* The value on the stack, `below` from the top, when it is nothing but one instruction. */
static struct insn *shortening__single(struct shortening *s, unsigned below, enum opcode op)
{
	size_t start = s->value[s->depth - 1 - below];
	size_t end = below ? s->value[s->depth - below] : s->out->count;

	return end - start == 1 && s->out->code[start].op == op ? &s->out->code[start] : NULL;
}

static void shortening__emit(struct shortening *s, struct insn in)
{
	s->out->code[s->out->count++] = in;
}

static void shortening__push(struct shortening *s, struct insn in)
{
	s->value[s->depth++] = s->out->count;
	shortening__emit(s, in);
}

/* a OP b = b MIRRORED a; OP_CONSTANT: there is none. */
static enum opcode mirrored(enum opcode op)
{
	switch (op) {
	case OP_ADD:
	case OP_MULTIPLY:
	case OP_EQUAL:
	case OP_UNEQUAL:
		return op;
	case OP_LESS:
		return OP_MORE;
	case OP_LESS_EQUAL:
		return OP_MORE_EQUAL;
	case OP_MORE:
		return OP_LESS;
	case OP_MORE_EQUAL:
		return OP_LESS_EQUAL;
	default:
		return OP_CONSTANT;
	}
}

static void shortening__unary(struct shortening *s, enum opcode op)
{
	struct insn *a = shortening__single(s, 0, OP_CONSTANT);

	if (a)
		a->value = operate(op, a->value, 0);
	else
		shortening__emit(s, (struct insn){.op = op});
}

static void shortening__binary(struct shortening *s, enum opcode op)
{
	struct insn *a = shortening__single(s, 1, OP_CONSTANT);
	struct insn *b = shortening__single(s, 0, OP_CONSTANT);
	struct insn *fact = shortening__single(s, a ? 0 : 1, OP_LOAD);
	enum opcode with = a && !b ? mirrored(op) : op;
	double value;

	s->depth--;
	if (a && b) {
		a->value = operate(op, a->value, b->value);
		s->out->count--;
	} else if ((a || b) && fact && with != OP_CONSTANT) {
		value = a ? a->value : b->value;
		fact->op = OP_LOAD_WITH;
		fact->with = with;
		fact->value = value;
		s->out->code[s->value[s->depth - 1]] = *fact;
		s->out->count--;
	} else if (b) {
		*b = (struct insn){.op = OP_WITH, .with = op, .value = b->value};
	} else {
		shortening__emit(s, (struct insn){.op = op});
	}
}

/*
 * In front of the right side of an "and" or "or"; decides: the value of the left side that makes the
 * other needless. True if it is.
 */
static bool shortening__skip(struct shortening *s, const struct insn *in, double decides)
{
	const struct insn *left = shortening__single(s, 0, OP_CONSTANT);

	if (left && left->value == decides)
		return true;
	if (left && left->value == !decides) { /* the whole is what its right side is */
		s->out->count--;
		s->depth--;
		s->skip[s->nskips++] = WITHOUT_SKIP;
		return false;
	}
	s->skip[s->nskips++] = s->out->count;
	shortening__emit(s, *in);
	return false;
}

static void shortening__join(struct shortening *s, enum opcode op)
{
	size_t skip = s->skip[--s->nskips];
	const struct insn *right;
	double decides = op == OP_OR;

	if (skip == WITHOUT_SKIP)
		return;
	right = shortening__single(s, 0, OP_CONSTANT);
	s->depth--;
	if (right && right->value == decides) {
		s->out->count = s->value[s->depth - 1];
		shortening__emit(s, (struct insn){.op = OP_CONSTANT, .value = decides});
	} else if (right && right->value == !decides) {
		s->out->count = skip; /* the whole is what its left side is */
	} else {
		shortening__emit(s, (struct insn){.op = op});
		s->out->code[skip].index = (uint16_t)s->out->count;
	}
}

/* Whether each of its parts can be looked at by itself: the first that is 0 decides. */
static bool program__is_chain(const struct program *p)
{
	size_t i;

	for (i = 0; i < p->count; i++) {
		const struct insn *in = &p->code[i];
		bool compares = in->op == OP_LOAD_WITH && in->with >= OP_EQUAL &&
				in->with <= OP_MORE_EQUAL;
		bool is_condition = in->op == OP_LOAD && in->type == VALUE_CONDITION;

		if (!compares && !is_condition && in->op != OP_AND && in->op != OP_SKIP_IF_FALSE)
			return false;
	}
	return p->count != 0;
}

int program__shorten(const struct program *p, fact_known_fn *is_zero, struct program *out)
{
	struct shortening s = {.out = out};
	size_t i;

	*out = (struct program){0};
	if (!p->count)
		return 0;
	out->code = calloc(p->count, sizeof(*out->code));
	if (!out->code)
		return -ENOMEM;
	out->room = p->count; /* it is never longer */
	out->deepest = p->deepest;
	out->depth = p->depth;
	for (i = 0; i < p->count; i++) {
		const struct insn *in = &p->code[i];
		bool skips = in->op == OP_SKIP_IF_FALSE || in->op == OP_SKIP_IF_TRUE;

		if (in->op == OP_LOAD && is_zero && is_zero(in))
			shortening__push(&s, (struct insn){.op = OP_CONSTANT});
		else if (in->op <= OP_LOAD)
			shortening__push(&s, *in);
		else if (skips && shortening__skip(&s, in, in->op == OP_SKIP_IF_TRUE))
			i = in->index - 1U;
		else if (in->op == OP_AND || in->op == OP_OR)
			shortening__join(&s, in->op);
		else if (in->op >= OP_ADD && !skips)
			shortening__binary(&s, in->op);
		else if (!skips)
			shortening__unary(&s, in->op);
	}
	out->is_chain = program__is_chain(out);
	return 0;
}
