// SPDX-License-Identifier: MIT
#include "user/check/program.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#define CODE_MOST 4096 /* instructions of one expression */
#define PAGE 4096.0

void program__free(struct program *p)
{
	free(p->code);
	*p = (struct program){0};
}

int program__emit(struct program *p, struct insn in)
{
	struct insn *grown;

	if (p->count == p->room) {
		if (p->room >= CODE_MOST)
			return -E2BIG;
		grown = reallocarray(p->code, p->room ? 2 * p->room : 8, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		p->code = grown;
		p->room = p->room ? 2 * p->room : 8;
	}
	if (in.op <= OP_LOAD)
		p->depth++;
	else if (in.op >= OP_ADD && in.op <= OP_MAX)
		p->depth--;
	if (p->depth > p->deepest)
		p->deepest = p->depth;
	if (p->deepest > STACK_DEPTH)
		return -E2BIG;
	p->code[p->count++] = in;
	return 0;
}

int program__constant(struct program *p, double value)
{
	return program__emit(p, (struct insn){.op = OP_CONSTANT, .value = value});
}

int program__operate(struct program *p, enum opcode op)
{
	size_t operands = op >= OP_ADD ? 2 : 1, i;
	struct insn *in;
	double value;

	if (op == OP_AND || op == OP_OR || p->count < operands)
		return program__emit(p, (struct insn){.op = op});
	for (i = 1; i <= operands; i++)
		if (p->code[p->count - i].op != OP_CONSTANT)
			return program__emit(p, (struct insn){.op = op});
	in = &p->code[p->count - operands];
	value = operate(op, in->value, operands == 2 ? in[1].value : 0);
	p->count -= operands;
	p->depth -= (unsigned)operands;
	return program__constant(p, value);
}

bool program__is_constant(const struct program *p, double *value)
{
	if (p->count != 1 || p->code[0].op != OP_CONSTANT)
		return false;
	*value = p->code[0].value;
	return true;
}

static double logical(enum opcode op, double a, double b)
{
	double decides = op == OP_OR; /* this one alone decides */

	if (a == decides || b == decides)
		return decides;
	return isnan(a) || isnan(b) ? NAN : !decides;
}

/* fmin and fmax would drop a NaN. */
double operate_rarely(enum opcode op, double a, double b)
{
	bool unknown = isnan(a) || isnan(b);

	switch (op) {
	case OP_NEGATE:
		return -a;
	case OP_NOT:
		return isnan(a) ? NAN : !a;
	case OP_ABS:
		return fabs(a);
	case OP_PAGES:
		return ceil(a / PAGE);
	case OP_MODULO:
		return b == 0 ? NAN : fmod(a, b);
	case OP_EQUAL:
		return unknown ? NAN : a == b;
	case OP_UNEQUAL:
		return unknown ? NAN : a != b;
	case OP_AND:
	case OP_OR:
		return logical(op, a, b);
	case OP_LOG:
		/* Of nothing at all a law of growth says no more than of its beginning. */
		return isnan(b) ? NAN : b <= 1 ? 0 : log(b) / log(a);
	case OP_MIN:
		return unknown ? NAN : fmin(a, b);
	case OP_MAX:
		return unknown ? NAN : fmax(a, b);
	default:
		return NAN;
	}
}
