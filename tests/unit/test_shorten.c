// SPDX-License-Identifier: MIT
/* Expressions shortened: random ones have the value that they had, whatever the facts are. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/dice.h"
#include "user/check/state.h"
#include "user/model/report.h"

#define ROUNDS 20000
#define FACTS_OF_ROUND 8
#define DEEPEST 5

/* A few numbers, so that comparisons come out either way. */
static double small_number(void)
{
	return (double)dice(4);
}

static void emit(struct program *p, struct insn in)
{
	assert_int_equal(program__emit(p, in), 0);
}

static void emit_value(struct program *p, unsigned depth);
static void emit_condition(struct program *p, unsigned depth);

static void emit_fact(struct program *p, bool condition)
{
	static const struct insn values[] = {
		{.op = OP_LOAD, .source = SOURCE_FACT, .index = FACT_SIZE},
		{.op = OP_LOAD, .source = SOURCE_FACT, .index = FACT_OLD_SIZE},
		{.op = OP_LOAD, .source = SOURCE_FACT, .index = FACT_NUMBER},
		{.op = OP_LOAD, .source = SOURCE_FACT, .index = FACT_LIVE},
		{.op = OP_LOAD, .source = SOURCE_FACT, .index = FACT_PEAK},
		{.op = OP_LOAD, .source = SOURCE_CALL, .index = C_SYSCALLS},
		{.op = OP_LOAD, .source = SOURCE_CALL, .index = C_FAULTS_IN_BLOCK},
		{.op = OP_LOAD, .source = SOURCE_INSIDE, .index = C_FAULTS},
	};
	static const struct insn conditions[] = {
		{.op = OP_LOAD, .source = SOURCE_FACT, .index = FACT_FRESH, .type = VALUE_CONDITION},
		{.op = OP_LOAD, .source = SOURCE_FACT, .index = FACT_MAIN, .type = VALUE_CONDITION},
		{.op = OP_LOAD,
		 .source = SOURCE_FACT,
		 .index = FACT_BLOCK_IN_BREAK,
		 .type = VALUE_CONDITION},
	};

	emit(p, condition ? conditions[dice(3)] : values[dice(8)]);
}

/* As the parser emits it: the skip's target is behind the joining operation. */
static void emit_joined(struct program *p, unsigned depth)
{
	bool is_and = dice(2);
	size_t skip;

	emit_condition(p, depth - 1);
	skip = p->count;
	emit(p, (struct insn){.op = is_and ? OP_SKIP_IF_FALSE : OP_SKIP_IF_TRUE});
	emit_condition(p, depth - 1);
	assert_int_equal(program__operate(p, is_and ? OP_AND : OP_OR), 0);
	p->code[skip].index = (uint16_t)p->count;
}

static void emit_condition(struct program *p, unsigned depth)
{
	switch (depth ? dice(6) : 5) {
	case 0:
	case 1:
		emit_joined(p, depth);
		break;
	case 2:
		emit_condition(p, depth - 1);
		assert_int_equal(program__operate(p, OP_NOT), 0);
		break;
	case 3:
	case 4:
		emit_value(p, depth - 1);
		emit_value(p, depth - 1);
		assert_int_equal(program__operate(p, OP_EQUAL + dice(6)), 0);
		break;
	default:
		emit_fact(p, true);
	}
}

static void emit_value(struct program *p, unsigned depth)
{
	static const enum opcode two[] = {OP_ADD,    OP_SUBTRACT, OP_MULTIPLY, OP_DIVIDE,
					  OP_MODULO, OP_LOG,	  OP_MIN,      OP_MAX};
	static const enum opcode one[] = {OP_NEGATE, OP_ABS, OP_PAGES};

	switch (depth ? dice(6) : 4 + dice(2)) {
	case 0:
	case 1:
	case 2:
		emit_value(p, depth - 1);
		emit_value(p, depth - 1);
		assert_int_equal(program__operate(p, two[dice(8)]), 0);
		break;
	case 3:
		emit_value(p, depth - 1);
		assert_int_equal(program__operate(p, one[dice(3)]), 0);
		break;
	case 4:
		assert_int_equal(program__constant(p, small_number()), 0);
		break;
	default:
		emit_fact(p, false);
	}
}

/* ---- what it is evaluated on ---- */

static struct life life;
static struct call call;
static struct thread thread;

static uint64_t maybe_unknown(void)
{
	return dice(5) ? dice(4) : UNKNOWN;
}

static void roll_facts(bool quiet)
{
	memset(&call, 0, sizeof(call));
	life.whole = dice(2);
	life.has_history = dice(4);
	life.unseen = !dice(8);
	life.live = dice(4);
	life.peak = dice(4);
	life.now.in.n[C_FAULTS] = dice(4);
	call.r.h.aux = dice(2) ? HEAP_REALLOC : HEAP_FREE;
	call.r.h.tid = 1 + (uint32_t)dice(2);
	call.r.h.tgid = 1;
	call.r.size = dice(4);
	call.r.arg = call.r.result = 0x1000;
	call.old_size = maybe_unknown();
	call.number = dice(4);
	call.in_break = dice(3) ? (double)dice(2) : NAN;
	if (quiet)
		return;
	call.tally.n[C_SYSCALLS] = dice(4);
	call.tally.n[C_FAULTS_IN_BLOCK] = maybe_unknown();
	call.ngot = (unsigned)dice(2);
	call.got[0] = (struct range){0x1000, 0x2000};
	call.got_more = dice(2);
}

static bool is_quiet_zero(const struct insn *load)
{
	return load->source == SOURCE_CALL ||
	       (load->source == SOURCE_FACT && load->index == FACT_FRESH);
}

static void expect_same(const struct program *p, bool quiet)
{
	struct sight s = {.life = &life, .thread = &thread, .call = &call};
	struct program shorter;
	double wanted, got;

	assert_int_equal(program__shorten(p, quiet ? is_quiet_zero : NULL, &shorter), 0);
	assert_in_range(shorter.count, p->count ? 1 : 0, p->count);
	for (unsigned i = 0; i < FACTS_OF_ROUND; i++) {
		roll_facts(quiet);
		wanted = eval(p, &s);
		got = eval(&shorter, &s);
		assert_int_equal(isnan(got) != 0, isnan(wanted) != 0);
		assert_true(isnan(wanted) || got == wanted);
	}
	program__free(&shorter);
}

static void random_expressions_keep_their_value(void **state)
{
	struct program p;
	unsigned chains = 0;

	(void)state;
	seed = 1;
	for (unsigned round = 0; round < ROUNDS; round++) {
		struct program shorter;

		p = (struct program){0};
		emit_condition(&p, 1 + (unsigned)dice(DEEPEST));
		expect_same(&p, false);
		expect_same(&p, true);
		assert_int_equal(program__shorten(&p, NULL, &shorter), 0);
		chains += shorter.is_chain;
		program__free(&shorter);
		program__free(&p);
	}
	/* Both ways of evaluation were put to the test. */
	assert_in_range(chains, ROUNDS / 20, ROUNDS - ROUNDS / 20);
}

static void nothing_stays_nothing(void **state)
{
	struct program p = {0};

	(void)state;
	expect_same(&p, false);
}

/* "size >= 2 and syscalls > 0 and fresh": of a call without events known to be false. */
static void what_follows_from_what_is_known_is_worked_out(void **state)
{
	struct program p = {0}, shorter;
	double value;
	size_t skip;

	(void)state;
	emit(&p, (struct insn){.op = OP_LOAD, .source = SOURCE_FACT, .index = FACT_SIZE});
	assert_int_equal(program__constant(&p, 2), 0);
	assert_int_equal(program__operate(&p, OP_MORE_EQUAL), 0);
	skip = p.count;
	emit(&p, (struct insn){.op = OP_SKIP_IF_FALSE});
	assert_int_equal(program__constant(&p, 0), 0);
	emit(&p, (struct insn){.op = OP_LOAD, .source = SOURCE_CALL, .index = C_SYSCALLS});
	assert_int_equal(program__operate(&p, OP_LESS), 0);
	assert_int_equal(program__operate(&p, OP_AND), 0);
	p.code[skip].index = (uint16_t)p.count;
	assert_int_equal(program__shorten(&p, is_quiet_zero, &shorter), 0);
	assert_true(program__is_constant(&shorter, &value));
	assert_true(value == 0);
	program__free(&shorter);
	assert_int_equal(program__shorten(&p, NULL, &shorter), 0);
	assert_int_equal(shorter.count, 4); /* test, skip, test, and */
	assert_true(shorter.is_chain);
	program__free(&shorter);
	program__free(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_expressions_keep_their_value),
		cmocka_unit_test(nothing_stays_nothing),
		cmocka_unit_test(what_follows_from_what_is_known_is_worked_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
