/* SPDX-License-Identifier: MIT */
/*
 * An expression of a contract, compiled: instructions for a stack of doubles. Conditions are
 * three-valued: 0, 1, or NaN for what is not known.
 */
#ifndef MEMTRACE_CHECK_PROGRAM_H
#define MEMTRACE_CHECK_PROGRAM_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "user/check/facts.h"

#define STACK_DEPTH 64 /* of the values; the parser refuses what needs more */

enum opcode {
	OP_CONSTANT,
	OP_LOAD, /* the fact `ref` */
	OP_NEGATE,
	OP_NOT,
	OP_ABS,
	OP_PAGES,
	OP_ADD, /* from here on: two operands */
	OP_SUBTRACT,
	OP_MULTIPLY,
	OP_DIVIDE,
	OP_MODULO,
	OP_EQUAL,
	OP_UNEQUAL,
	OP_LESS,
	OP_LESS_EQUAL,
	OP_MORE,
	OP_MORE_EQUAL,
	OP_AND,
	OP_OR,
	OP_LOG,
	OP_MIN,
	OP_MAX,
	OP_SKIP_IF_FALSE, /* the rest of an "and" cannot change it: go on at `to`; nothing is taken */
	OP_SKIP_IF_TRUE,
	OP_LOAD_WITH, /* of shortened programs: the fact, with a number behind it; then `with` */
	OP_WITH, /* likewise the topmost value, with a number */
};

struct insn {
	uint8_t op;
	uint8_t source; /* OP_LOAD: enum source */
	uint16_t index; /* OP_LOAD: of the fact; OP_SKIP_*: where to */
	uint8_t type; /* OP_LOAD: enum value_type */
	uint8_t with; /* OP_LOAD_WITH, OP_WITH: the operation */
	double value; /* OP_CONSTANT; the number of the last two */
};

struct program {
	struct insn *code;
	size_t count, room;
	unsigned depth, deepest; /* of the stack: at the end, and anywhere */
	bool is_chain; /* shortened: nothing but facts and comparisons joined by "and" */
};

/* 0, -ENOMEM, or -E2BIG when it would need too much of the stack. */
int program__emit(struct program *p, struct insn in);
int program__constant(struct program *p, double value);
/* An operation on the topmost values; done at once when they are constants. */
int program__operate(struct program *p, enum opcode op);
/* Whether it is nothing but a number. */
bool program__is_constant(const struct program *p, double *value);
void program__free(struct program *p);

/*
 * The same expression for where the facts that is_zero says so of are 0 (NULL: of none), in fewer
 * instructions. out is to be freed. 0 or -ENOMEM.
 */
typedef bool fact_known_fn(const struct insn *load);
int program__shorten(const struct program *p, fact_known_fn *is_zero, struct program *out);

/* Those operations that rules are seldom made of: for operate(). */
double operate_rarely(enum opcode op, double a, double b);

/* An operation on one or two values. NaN, what is not known, is carried on. */
static inline double operate(enum opcode op, double a, double b)
{
	switch (op) {
	case OP_ADD:
		return a + b;
	case OP_SUBTRACT:
		return a - b;
	case OP_MULTIPLY:
		return a * b;
	case OP_DIVIDE:
		return b == 0 ? NAN : a / b;
	case OP_LESS:
		return a < b ? 1 : a >= b ? 0 : NAN;
	case OP_LESS_EQUAL:
		return a <= b ? 1 : a > b ? 0 : NAN;
	case OP_MORE:
		return a > b ? 1 : a <= b ? 0 : NAN;
	case OP_MORE_EQUAL:
		return a >= b ? 1 : a < b ? 0 : NAN;
	default:
		return operate_rarely(op, a, b);
	}
}

#endif /* MEMTRACE_CHECK_PROGRAM_H */
