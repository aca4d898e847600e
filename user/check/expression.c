// SPDX-License-Identifier: MIT
/* Expressions: precedence climbs from `or` to primaries, one function for each level. */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "user/check/parser.h"

#define NESTING_MOST 50

static const char *const type_name[] = {"a number", "a size", "a time", "a condition", "an address"};

static int parser__or(struct parser *p, struct program *out, enum value_type *type);

static bool is_numeric(enum value_type t)
{
	return t != VALUE_CONDITION;
}

static int parser__expect_condition(struct parser *p, const struct token *at, enum value_type type)
{
	if (type == VALUE_CONDITION)
		return 0;
	return parser__fail(p, at, "expected a condition, got %s; compare it with something",
			    type_name[type]);
}

static int parser__expect_value(struct parser *p, const struct token *at, enum value_type type)
{
	if (is_numeric(type))
		return 0;
	return parser__fail(p, at, "expected a number, a size or a time, got a condition");
}

/* Whether two values can be compared or added. */
static int parser__agree(struct parser *p, const struct token *at, enum value_type *a,
			 enum value_type b, bool b_is_zero)
{
	if (*a == b)
		return 0;
	if (b_is_zero || (*a == VALUE_ADDRESS && b != VALUE_TIME) ||
	    (b == VALUE_ADDRESS && *a != VALUE_TIME))
		return 0;
	if (*a != VALUE_TIME && b != VALUE_TIME) {
		*a = VALUE_BYTES;
		return 0;
	}
	if (*a == VALUE_NUMBER || b == VALUE_NUMBER)
		return parser__fail(p, at,
				    "a time and a number without a unit; expected ns, us, ms or s");
	return parser__fail(p, at, "%s and %s do not go together", type_name[*a], type_name[b]);
}

int parser__bound(struct parser *p, enum bound *bound)
{
	int err;

	if (token__is(&p->token, "exactly")) {
		*bound = BOUND_EXACTLY;
		return parser__next(p);
	}
	if (!token__is(&p->token, "at"))
		return 1;
	err = parser__next(p);
	if (err)
		return err;
	if (token__is(&p->token, "most"))
		*bound = BOUND_AT_MOST;
	else if (token__is(&p->token, "least"))
		*bound = BOUND_AT_LEAST;
	else
		return parser__expected(p, "\"most\" or \"least\" behind \"at\"");
	return parser__next(p);
}

static int parser__unknown(struct parser *p, const struct token *at)
{
	unsigned elsewhere = fact__scopes(at->text, at->length);
	const char *near = fact__nearest(at->text, at->length, p->scopes);
	int length = (int)at->length;

	if (!p->scopes)
		return parser__fail(p, at, "expected a number, got \"%.*s\": there are no facts here",
				    length, at->text);
	if (elsewhere)
		return parser__fail(p, at, "\"%.*s\" is a fact of %s, not of %s", length, at->text,
				    elsewhere & SCOPE_CALL    ? "a call" :
				    elsewhere & SCOPE_PROCESS ? "a process" :
				    elsewhere & SCOPE_FAULT   ? "a fault" :
								"a system call",
				    p->scopes & SCOPE_CALL    ? "a call" :
				    p->scopes & SCOPE_PROCESS ? "a process" :
				    p->scopes == SCOPE_FAULT  ? "a fault" :
								"this event");
	if (near)
		return parser__fail(p, at, "\"%.*s\" is not a fact; did you mean \"%s\"?", length,
				    at->text, near);
	return parser__fail(p, at, "expected a value or a condition, got \"%.*s\"", length, at->text);
}

static int parser__load(struct parser *p, struct program *out, const struct fact_ref *ref)
{
	return parser__check(p, program__emit(out, (struct insn){.op = OP_LOAD,
								 .source = (uint8_t)ref->source,
								 .index = (uint16_t)ref->index,
								 .type = (uint8_t)ref->type}));
}

static int parser__operate(struct parser *p, struct program *out, enum opcode op)
{
	return parser__check(p, program__operate(out, op));
}

/* What is counted, behind a number. */
static int parser__count(struct parser *p, struct program *out, enum opcode comparison)
{
	struct token at = p->token;
	struct fact_ref ref;
	int err;

	if (at.kind != TOKEN_NAME)
		return parser__expected(p, "what is counted (mmap, faults, ...)");
	if (!fact__find(at.text, at.length, p->scopes, &ref))
		return parser__unknown(p, &at);
	if (!ref.is_count)
		return parser__fail(p, &at, "expected what is counted (mmap, faults, ...), got %s",
				    type_name[ref.type]);
	err = parser__load(p, out, &ref);
	if (!err) /* the number stands first: 2 >= mmap */
		err = parser__operate(p, out, comparison);
	return err ? err : parser__next(p);
}

static int parser__value(struct parser *p, struct program *out, enum value_type *type)
{
	struct token t = p->token;
	const struct param *param;
	double scale;
	int err;

	if (t.kind == TOKEN_PARAM) {
		param = parser__param(p, t.text, t.length);
		if (!param || !param->declared)
			return parser__fail(
				p, &t, "no parameter \"%.*s\"; expected \"param %.*s = ...\" before",
				(int)t.length, t.text, (int)t.length, t.text);
		*type = param->type;
		err = parser__check(p, program__constant(out, param->value));
		return err ? err : parser__next(p);
	}
	if (t.kind != TOKEN_NUMBER)
		return parser__expected(p, "a number or a parameter");
	err = parser__next(p);
	if (err)
		return err;
	*type = t.type;
	if (t.type == VALUE_NUMBER && p->token.kind == TOKEN_NAME) {
		scale = unit__scale(p->token.text, p->token.length, type);
		if (scale) {
			t.value *= scale;
			err = parser__next(p);
		}
	}
	return err ? err : parser__check(p, program__constant(out, t.value));
}

static bool parser__at_count(struct parser *p)
{
	struct fact_ref ref;

	return !p->no_counts && p->token.kind == TOKEN_NAME &&
	       fact__find(p->token.text, p->token.length, p->scopes, &ref);
}

/* "at most 2 mmap", "2 mmap", "128K" */
static int parser__number(struct parser *p, struct program *out, enum value_type *type)
{
	static const enum opcode comparison[] = {OP_EQUAL, OP_MORE_EQUAL, OP_LESS_EQUAL};
	enum bound bound = BOUND_EXACTLY;
	struct token at;
	int bare = parser__bound(p, &bound), err;

	if (bare < 0)
		return bare;
	at = p->token;
	err = parser__value(p, out, type);
	if (err || (bare && !parser__at_count(p)))
		return err;
	if (*type != VALUE_NUMBER)
		return parser__fail(p, &at, "expected a plain number of \"%.*s\", got %s",
				    (int)p->token.length, p->token.text, type_name[*type]);
	*type = VALUE_CONDITION;
	return parser__count(p, out, comparison[bound]);
}

/* How often something was done, less `less` (COUNTERS: nothing), onto what is there. */
int parser__add_counter(struct parser *p, struct program *out, unsigned counter, unsigned less)
{
	uint8_t source = p->scopes == SCOPE_PROCESS ? SOURCE_INSIDE : SOURCE_CALL;
	struct fact_ref ref = {.source = source, .index = counter};
	int err = parser__load(p, out, &ref);

	if (!err)
		err = parser__operate(p, out, OP_ADD);
	ref.index = less;
	if (!err && less != COUNTERS)
		err = parser__load(p, out, &ref);
	if (!err && less != COUNTERS)
		err = parser__operate(p, out, OP_SUBTRACT);
	return err;
}

static int parser__nothing(struct parser *p, struct program *out)
{
	int err;

	if (p->scopes != SCOPE_CALL && p->scopes != SCOPE_PROCESS)
		return parser__fail(p, &p->token, "\"nothing\" is said of calls and processes");
	err = parser__check(p, program__constant(out, 0));
	if (!err)
		err = parser__add_counter(p, out, C_SYSCALLS, COUNTERS);
	/* Code is read from its file when it is first used, which says nothing of the allocator. */
	if (!err)
		err = parser__add_counter(p, out, C_FAULTS, C_FAULTS_IN_FILE);
	if (!err)
		err = parser__check(p, program__constant(out, 0));
	if (!err)
		err = parser__operate(p, out, OP_EQUAL);
	return err ? err : parser__next(p);
}

static const struct function {
	const char *name;
	enum opcode op;
	unsigned arguments;
} functions[] = {
	{"log", OP_LOG, 2}, {"min", OP_MIN, 2},	    {"max", OP_MAX, 2},
	{"abs", OP_ABS, 1}, {"pages", OP_PAGES, 1},
};

static const struct function *function__find(const struct token *t)
{
	size_t i;

	for (i = 0; i < sizeof(functions) / sizeof(functions[0]); i++)
		if (token__is(t, functions[i].name))
			return &functions[i];
	return NULL;
}

static int parser__call(struct parser *p, struct program *out, const struct function *f,
			enum value_type *type)
{
	enum value_type argument = VALUE_NUMBER;
	struct token at;
	unsigned i;
	int err = parser__expect(p, "(", "behind the name of a function");

	for (i = 0; !err && i < f->arguments; i++) {
		if (i)
			err = parser__expect(p, ",", "before the next argument");
		at = p->token;
		if (!err)
			err = parser__sum(p, out, &argument);
		if (!err)
			err = parser__expect_value(p, &at, argument);
		if (!err && f->op == OP_LOG && !i &&
		    (out->code[out->count - 1].op != OP_CONSTANT ||
		     !(out->code[out->count - 1].value > 1)))
			err = parser__fail(p, &at,
					   "the base of a logarithm: expected a number above 1");
		if (!err && i && f->op != OP_LOG)
			err = parser__agree(p, &at, type, argument, false);
		else
			*type = argument;
	}
	if (!err)
		err = parser__operate(p, out, f->op);
	if (f->op == OP_LOG || f->op == OP_PAGES)
		*type = VALUE_NUMBER;
	return err ? err : parser__expect(p, ")", "behind the last argument");
}

static int parser__fact(struct parser *p, struct program *out, enum value_type *type)
{
	const struct function *f = function__find(&p->token);
	struct token at = p->token;
	struct fact_ref ref;
	int err;

	if (fact__find(at.text, at.length, p->scopes, &ref)) {
		*type = ref.type;
		err = parser__load(p, out, &ref);
		return err ? err : parser__next(p);
	}
	if (!f)
		return parser__unknown(p, &at);
	err = parser__next(p);
	return err ? err : parser__call(p, out, f, type);
}

static int parser__nested(struct parser *p, struct program *out, enum value_type *type)
{
	bool no_counts = p->no_counts;
	int err;

	if (++p->nesting > NESTING_MOST)
		return parser__fail(p, &p->token, "nested more than %d deep", NESTING_MOST);
	p->no_counts = false;
	err = parser__next(p);
	if (!err)
		err = parser__or(p, out, type);
	p->no_counts = no_counts;
	p->nesting--;
	return err ? err : parser__expect(p, ")", "to close the parenthesis");
}

static int parser__primary(struct parser *p, struct program *out, enum value_type *type)
{
	const struct token *t = &p->token;
	int err;

	if (t->kind == TOKEN_NUMBER || t->kind == TOKEN_PARAM || token__is(t, "exactly") ||
	    token__is(t, "at"))
		return parser__number(p, out, type);
	if (token__is(t, "("))
		return parser__nested(p, out, type);
	*type = VALUE_CONDITION;
	if (token__is(t, "nothing"))
		return parser__nothing(p, out);
	if (token__is(t, "no")) {
		err = parser__next(p);
		if (!err)
			err = parser__check(p, program__constant(out, 0));
		return err ? err : parser__count(p, out, OP_EQUAL);
	}
	if (t->kind == TOKEN_NAME)
		return parser__fact(p, out, type);
	return parser__expected(p, "a value or a condition");
}

typedef int parser_part(struct parser *, struct program *, enum value_type *);
typedef int parser_expect(struct parser *, const struct token *, enum value_type);

/* Behind a "-" or "not": the same again, of the type that is expected, and the operation on it. */
static int parser__prefixed(struct parser *p, struct program *out, enum value_type *type,
			    parser_part *part, parser_expect *expect, enum opcode op)
{
	struct token at;
	int err;

	if (++p->nesting > NESTING_MOST)
		return parser__fail(p, &p->token, "nested more than %d deep", NESTING_MOST);
	err = parser__next(p);
	at = p->token;
	if (!err)
		err = part(p, out, type);
	if (!err)
		err = expect(p, &at, *type);
	p->nesting--;
	return err ? err : parser__operate(p, out, op);
}

static int parser__unary(struct parser *p, struct program *out, enum value_type *type)
{
	if (!token__is(&p->token, "-"))
		return parser__primary(p, out, type);
	return parser__prefixed(p, out, type, parser__unary, parser__expect_value, OP_NEGATE);
}

/* What a product or quotient is. */
static enum value_type scaled(enum opcode op, enum value_type a, enum value_type b)
{
	if (op == OP_MODULO)
		return a == VALUE_ADDRESS ? VALUE_NUMBER : a;
	if (b == VALUE_NUMBER)
		return a;
	return op == OP_MULTIPLY && a == VALUE_NUMBER ? b : VALUE_NUMBER;
}

static int parser__product(struct parser *p, struct program *out, enum value_type *type)
{
	struct token left = p->token, right;
	enum value_type other = VALUE_NUMBER;
	int err = parser__unary(p, out, type);
	enum opcode op;

	while (!err) {
		if (token__is(&p->token, "*"))
			op = OP_MULTIPLY;
		else if (token__is(&p->token, "/"))
			op = OP_DIVIDE;
		else if (token__is(&p->token, "%"))
			op = OP_MODULO;
		else
			return 0;
		err = parser__expect_value(p, &left, *type);
		if (!err)
			err = parser__next(p);
		right = p->token;
		if (!err)
			err = parser__unary(p, out, &other);
		if (!err)
			err = parser__expect_value(p, &right, other);
		if (!err && op != OP_MULTIPLY && out->code[out->count - 1].op == OP_CONSTANT &&
		    out->code[out->count - 1].value == 0)
			err = parser__fail(p, &right, "division by zero");
		if (!err)
			err = parser__operate(p, out, op);
		*type = scaled(op, *type, other);
	}
	return err;
}

static bool last_is_zero(const struct program *out)
{
	return out->code[out->count - 1].op == OP_CONSTANT && out->code[out->count - 1].value == 0;
}

int parser__sum(struct parser *p, struct program *out, enum value_type *type)
{
	struct token left = p->token, right;
	enum value_type other = VALUE_NUMBER;
	int err = parser__product(p, out, type);
	enum opcode op;

	while (!err && (token__is(&p->token, "+") || token__is(&p->token, "-"))) {
		op = token__is(&p->token, "+") ? OP_ADD : OP_SUBTRACT;
		err = parser__expect_value(p, &left, *type);
		if (!err)
			err = parser__next(p);
		right = p->token;
		if (!err)
			err = parser__product(p, out, &other);
		if (!err)
			err = parser__expect_value(p, &right, other);
		if (!err)
			err = parser__agree(p, &right, type, other, last_is_zero(out));
		if (!err)
			err = parser__operate(p, out, op);
	}
	return err;
}

static bool comparison__of(const struct token *t, enum opcode *op)
{
	static const struct {
		const char *text;
		enum opcode op;
	} comparisons[] = {
		{"=", OP_EQUAL}, {"!=", OP_UNEQUAL},	{"<", OP_LESS},
		{">", OP_MORE},	 {"<=", OP_LESS_EQUAL}, {">=", OP_MORE_EQUAL},
	};
	size_t i;

	for (i = 0; i < sizeof(comparisons) / sizeof(comparisons[0]); i++)
		if (token__is(t, comparisons[i].text)) {
			*op = comparisons[i].op;
			return true;
		}
	return false;
}

static int parser__comparison(struct parser *p, struct program *out, enum value_type *type)
{
	struct token left = p->token, right;
	enum value_type other = VALUE_NUMBER;
	enum opcode op, again;
	int err = parser__sum(p, out, type);

	if (err || !comparison__of(&p->token, &op))
		return err;
	err = parser__expect_value(p, &left, *type);
	if (!err)
		err = parser__next(p);
	right = p->token;
	if (!err)
		err = parser__sum(p, out, &other);
	if (!err)
		err = parser__expect_value(p, &right, other);
	if (!err)
		err = parser__agree(p, &right, type, other, last_is_zero(out));
	*type = VALUE_CONDITION;
	if (!err)
		err = parser__operate(p, out, op);
	if (!err && comparison__of(&p->token, &again))
		err = parser__fail(p, &p->token,
				   "a second comparison; expected \"and\", \",\" or the end");
	return err;
}

static int parser__not(struct parser *p, struct program *out, enum value_type *type)
{
	if (!token__is(&p->token, "not"))
		return parser__comparison(p, out, type);
	return parser__prefixed(p, out, type, parser__not, parser__expect_condition, OP_NOT);
}

/* Conditions joined by a word. What the first ones decide is not looked at further. */
static int parser__chain(struct parser *p, struct program *out, enum value_type *type,
			 const char *word, parser_part *part, enum opcode join, enum opcode skip)
{
	struct token at = p->token;
	enum value_type other = VALUE_NUMBER;
	int err = part(p, out, type);
	size_t jump;

	while (!err && token__is(&p->token, word)) {
		err = parser__expect_condition(p, &at, *type);
		jump = out->count;
		if (!err)
			err = parser__check(p, program__emit(out, (struct insn){.op = skip}));
		if (!err)
			err = parser__next(p);
		at = p->token;
		if (!err)
			err = part(p, out, &other);
		if (!err)
			err = parser__expect_condition(p, &at, other);
		if (!err)
			err = parser__operate(p, out, join);
		if (!err)
			out->code[jump].index = (uint16_t)out->count;
	}
	return err;
}

static int parser__and(struct parser *p, struct program *out, enum value_type *type)
{
	return parser__chain(p, out, type, "and", parser__not, OP_AND, OP_SKIP_IF_FALSE);
}

static int parser__or(struct parser *p, struct program *out, enum value_type *type)
{
	return parser__chain(p, out, type, "or", parser__and, OP_OR, OP_SKIP_IF_TRUE);
}

int parser__condition(struct parser *p, struct program *out)
{
	struct token at = p->token;
	enum value_type type = VALUE_NUMBER;
	int err = parser__or(p, out, &type);

	return err ? err : parser__expect_condition(p, &at, type);
}
