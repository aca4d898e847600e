// SPDX-License-Identifier: MIT
/* The language of contracts: tokens, what is accepted, and each error with its place. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "user/check/contract.h"
#include "user/check/lexer.h"

/* Files in memory: pairs of path and text. */
struct files {
	const char *path, *text;
};

static int read_memory(void *ctx, const char *path, char **text, size_t *length)
{
	const struct files *f;

	for (f = ctx; f->path; f++)
		if (!strcmp(f->path, path)) {
			*length = strlen(f->text);
			*text = malloc(*length + 1);
			if (!*text)
				return -ENOMEM;
			memcpy(*text, f->text, *length + 1);
			return 0;
		}
	return -ENOENT;
}

static struct contract *parse_files(struct files *files, const char *const *defines, size_t n,
				    struct contract_error *e)
{
	struct contract_reader reader = {read_memory, files};

	return contract__parse(files[0].path, defines, n, &reader, e);
}

static struct contract *parse(const char *text, struct contract_error *e)
{
	struct files files[] = {{"c", text}, {NULL, NULL}};

	return parse_files(files, NULL, 0, e);
}

static void expect_error(const char *text, unsigned line, unsigned column, const char *message)
{
	struct contract_error e;
	struct contract *c = parse(text, &e);
	char want[200];

	if (c)
		fail_msg("accepted: %s", text);
	snprintf(want, sizeof(want), "c:%u:%u: %s", line, column, message);
	if (strncmp(e.text, want, strlen(want)) != 0)
		fail_msg("%s\nexpected: %s\ngot: %s", text, want, e.text);
	assert_int_equal(e.line, line);
	assert_int_equal(e.column, column);
}

struct wrong {
	const char *text;
	unsigned column;
	const char *message;
};

/* Each of them, behind the same words. */
static void expect_errors(const char *before, const struct wrong *wrong, size_t n)
{
	char text[200];

	for (size_t i = 0; i < n; i++) {
		snprintf(text, sizeof(text), "%s%s", before, wrong[i].text);
		expect_error(text, 1, (unsigned)strlen(before) + wrong[i].column, wrong[i].message);
	}
}
#define EXPECT_ERRORS(before, wrong) \
	expect_errors(before, wrong, sizeof(wrong) / sizeof((wrong)[0]))

static struct contract *accept(const char *text)
{
	struct contract_error e;
	struct contract *c = parse(text, &e);

	if (!c)
		fail_msg("%s\n%s", text, e.text);
	return c;
}

static void tokens_have_their_places(void **state)
{
	const char *text = "ab_1.c <= 12.5K\n\t$x \"s t\" # no\n!= \xc3\xa4";
	static const struct {
		enum token_kind kind;
		unsigned line, column;
		const char *text;
	} want[] = {
		{TOKEN_NAME, 1, 1, "ab_1.c"},	{TOKEN_PUNCT, 1, 8, "<="},
		{TOKEN_NUMBER, 1, 11, "12.5K"}, {TOKEN_PARAM, 2, 2, "x"},
		{TOKEN_STRING, 2, 5, "s t"},	{TOKEN_PUNCT, 3, 1, "!="},
		{TOKEN_BAD, 3, 4, "\xc3"},
	};
	struct lexer l;
	size_t i;

	(void)state;
	lexer__init(&l, text, strlen(text));
	for (i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
		struct token t = lexer__next(&l);

		assert_int_equal(t.kind, want[i].kind);
		assert_int_equal(t.line, want[i].line);
		assert_int_equal(t.column, want[i].column);
		assert_int_equal(t.length, strlen(want[i].text));
		assert_memory_equal(t.text, want[i].text, t.length);
	}
}

static void numbers_have_units(void **state)
{
	static const struct {
		const char *text;
		double value;
		enum value_type type;
	} want[] = {
		{"0", 0, VALUE_NUMBER},		  {"1.125", 1.125, VALUE_NUMBER},
		{"7B", 7, VALUE_BYTES},		  {"132K", 135168, VALUE_BYTES},
		{"1.5M", 1572864, VALUE_BYTES},	  {"2G", 2147483648.0, VALUE_BYTES},
		{"33pages", 135168, VALUE_BYTES}, {"1page", 4096, VALUE_BYTES},
		{"5ns", 5, VALUE_TIME},		  {"10us", 1e4, VALUE_TIME},
		{"1.5ms", 1.5e6, VALUE_TIME},	  {"2s", 2e9, VALUE_TIME},
	};
	struct lexer l;
	struct token t;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
		lexer__init(&l, want[i].text, strlen(want[i].text));
		t = lexer__next(&l);
		assert_int_equal(t.kind, TOKEN_NUMBER);
		assert_true(t.value == want[i].value);
		assert_int_equal(t.type, want[i].type);
	}
}

static void every_form_is_accepted(void **state)
{
	static const char *const forms[] = {
		"rule a: each malloc: nothing",
		"rule a-b_c.1: first allocation where size < 1K: exactly 1 brk, nothing else",
		"rule a: never brk where shrunk > 0",
		"rule a: never mmap outside",
		"rule a: never fault anywhere in phase p where major",
		"rule a: exactly 3 mmap",
		"rule a: at most 4 + log(2, peak / 1M) brk where bytes > 0",
		"rule a: at least 1 malloc, calloc in phase p where size >= 1K",
		"rule a: always: mapped <= 2 * live + 64M",
		"rule a: always in phase p where live > 0: resident < 2 * live",
		"rule a: each process: all.faults <= 10, outside.mmap < 3, malloc.calls > 0",
		"rule a: each process in phase p: no syscalls, at most 3 faults",
		"rule a: each call: not failed and (moved or size >= 3 pages) or time < 10 us",
		"rule a: each call: 1 mmap or no mmap, at least 0 faults, -1 < 2 - -3",
		"rule a: each release: run.live >= 0, run.outside.brk = 0",
		"rule a: each syscall, fault: time < 1 s",
		"rule a: each madvise: dontneed or free or hugepage or nohugepage or bytes > 0",
		"rule a: each fault: not (write or exec or kernel or copy_on_write or in_break or in_mmap)",
		"rule a: each malloc: address % 16 = 0, min(size, 1) <= max(size, 2), pages(size) < 9",
		"rule a: each process: mmap <= 10 * (time / 1 s)",
		"param x = 2 * 64K param y = $x + 1 rule a: each malloc where size < $y: nothing",
		"phase p after 10 call rule a: each call in phase p: nothing # the end",
		"phase p at probe \"app:warm\" phase q at probe \"x:y\" rule a: each call in phase p: nothing",
	};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(forms) / sizeof(forms[0]); i++)
		contract__free(accept(forms[i]));
}

static void a_phase_begins_at_a_probe(void **state)
{
	struct contract *c = accept("rule a: each call in phase hot: nothing\n"
				    "phase hot at probe \"app:warm_up\" phase p after 3 malloc");

	(void)state;
	assert_int_equal(c->nphases, 2);
	assert_string_equal(c->phases[0].probe, "app:warm_up");
	assert_int_equal(c->phases[0].after.ops, 0);
	assert_null(c->phases[1].probe);
	assert_int_equal(c->phases[1].count, 3);
	contract__free(c);
}

static void a_rule_is_what_was_written(void **state)
{
	struct contract *c =
		accept("# all\nrule a: each malloc,\n  free in phase hot # two\n"
		       " where size > 1K: 0 brk,  nothing else\nrule b: at most 3 mmap outside");
	const struct rule *r = &c->rules[0];

	(void)state;
	assert_int_equal(c->nrules, 2);
	assert_string_equal(r->name, "a");
	assert_string_equal(r->text,
			    "each malloc, free in phase hot where size > 1K: 0 brk, nothing else");
	assert_string_equal(r->file, "c");
	assert_int_equal(r->line, 2);
	assert_int_equal(r->clause, CLAUSE_EACH);
	assert_int_equal(r->subject.scope, SCOPE_CALL);
	assert_int_equal(r->subject.ops, 1 << HEAP_MALLOC | 1 << HEAP_FREE);
	assert_int_equal(r->phase, 0);
	assert_string_equal(c->phases[0].name, "hot");
	assert_int_equal(r->nneeds, 2);
	assert_string_equal(r->needs[0].text, "0 brk");
	assert_string_equal(r->needs[1].text, "nothing else");
	r = &c->rules[1];
	assert_int_equal(r->clause, CLAUSE_COUNT);
	assert_int_equal(r->bound, BOUND_AT_MOST);
	assert_int_equal(r->subject.kinds, 1 << 1);
	assert_int_equal(r->where, WHERE_OUTSIDE);
	contract__free(c);
}

static void errors_say_where_and_what(void **state)
{
	static const struct wrong wrong[] = {
		{"rul a: x", 1, "expected \"rule\", \"param\", \"phase\" or \"include\", got \"rul\""},
		{"rule", 5, "expected the name of a rule, got the end"},
		{"rule : each", 6, "expected the name of a rule, got \":\""},
		{"rule a each", 8, "expected \":\" behind the name of the rule, got \"each\""},
		{"rule a: all malloc", 9,
		 "expected \"each\", \"first\", \"never\", \"always\", \"exactly\" or \"at\", got \"all\""},
		{"rule a: at 3 mmap", 12, "expected \"most\" or \"least\" behind \"at\", got \"3\""},
		{"rule a: each 3", 14,
		 "expected a subject (malloc, call, mmap, fault, process, ...), got \"3\""},
		{"rule a: each quux: nothing", 14, "expected a subject"},
		{"rule a: each malloc, mmap: nothing", 22,
		 "calls, events and processes cannot be subjects together"},
		{"rule a: each malloc outside: nothing", 21,
		 "\"outside\" is said of events (mmap, fault, ...)"},
		{"rule a: each malloc in warm: nothing", 24,
		 "expected \"phase\" behind \"in\", got \"warm\""},
		{"rule a: each malloc in phase 3: nothing", 30,
		 "expected the name of a phase, got \"3\""},
		{"rule a: each malloc in phase aaaaaaaaaaaaaaaaaaaaaaaa: nothing", 30,
		 "the name of a phase has 23 characters at most"},
		{"rule a: each malloc nothing", 21,
		 "expected \":\" before what is needed, got \"nothing\""},
		{"rule a: each process: size < 1", 23,
		 "\"size\" is a fact of a call, not of a process"},
		{"rule a: each mmap: major", 20, "\"major\" is a fact of a fault, not of this event"},
		{"rule a: each fault: grown = 1", 21,
		 "\"grown\" is a fact of a system call, not of a fault"},
		{"rule a: each mmap: nothing", 20, "\"nothing\" is said of calls and processes"},
		{"rule a: each mmap: nothing else", 20,
		 "\"nothing else\" is said of calls and processes"},
		{"rule a: at most 3K mmap", 17, "expected a plain number"},
		{"rule a: at most 3 process", 19,
		 "processes are not counted; expected calls or events"},
		{"rule a: never malloc rule a: never free", 27,
		 "a second rule \"a\"; the first is at c:1"},
		{"param 3 = 1", 7, "expected the name of a parameter, got \"3\""},
		{"param x 1", 9, "expected \"=\" behind the name of the parameter, got \"1\""},
		{"param x = size", 11, "expected a number, got \"size\": there are no facts here"},
		{"param x = 1 param x = 2", 19, "a second parameter \"x\""},
		{"phase p 3", 9,
		 "expected \"after\" or \"at\" behind the name of the phase, got \"3\""},
		{"phase p at 3", 12, "expected \"probe\" behind \"at\", got \"3\""},
		{"phase p at probe app", 18,
		 "expected a probe of the program's own, \"provider:name\", got \"app\""},
		{"phase p at probe \"app\"", 18,
		 "expected a probe of the program's own, \"provider:name\", got"},
		{"phase p at probe \"a:b\" phase p after 1 call", 30,
		 "a second beginning of phase \"p\""},
		{"phase p after 0 call", 15, "expected a plain number, 1 or more"},
		{"phase p after 1 mmap", 17, "expected calls to count (call, malloc, release, ...)"},
		{"phase p after 1 call phase p after 2 call", 28, "a second beginning of phase \"p\""},
		{"include x", 9, "expected the path of a file in quotes, got \"x\""},
		{"include \"\"", 9, "not the path of a file"},
		{"include \"gone\"", 9, "cannot read \"gone\": No such file or directory"},
		{"include \"c\"", 9, "more than 64 files: does one include itself?"},
		{"include \"x", 9, "the string does not end on its line; expected \""},
		{"rule a: each malloc; nothing", 20, "a character that has no meaning here"},
	};

	(void)state;
	EXPECT_ERRORS("", wrong);
	expect_error("rule a:\n  each mallok: nothing", 2, 8,
		     "\"mallok\" is not a subject; did you mean \"malloc\"?");
}

static void errors_in_conditions(void **state)
{
	static const struct wrong wrong[] = {
		{"sise < 1", 1, "\"sise\" is not a fact; did you mean \"size\"?"},
		{"live < 1", 1, "\"live\" is a fact of a process, not of a call"},
		{"xyzzy", 1, "expected a value or a condition, got \"xyzzy\""},
		{")", 1, "expected a value or a condition, got \")\""},
		{"size", 1, "expected a condition, got a size; compare it with something"},
		{"not size", 5, "expected a condition, got a size"},
		{"moved = 1", 1, "expected a number, a size or a time, got a condition"},
		{"1 < moved", 5, "expected a number, a size or a time, got a condition"},
		{"-moved = 1", 2, "expected a number, a size or a time, got a condition"},
		{"moved + 1 = 1", 1, "expected a number, a size or a time, got a condition"},
		{"moved * 1 = 1", 1, "expected a number, a size or a time, got a condition"},
		{"size > 10 ms", 8, "a size and a time do not go together"},
		{"time < 10", 8, "a time and a number without a unit; expected ns, us, ms or s"},
		{"1 < 2 < 3", 7, "a second comparison; expected \"and\", \",\" or the end"},
		{"(moved", 7, "expected \")\" to close the parenthesis, got the end"},
		{"2K mmap", 1, "expected a plain number of \"mmap\", got a size"},
		{"exactly 2 time", 11, "expected what is counted (mmap, faults, ...), got a time"},
		{"exactly 2", 10, "expected what is counted (mmap, faults, ...), got the end"},
		{"exactly mmap", 9, "expected a number or a parameter, got \"mmap\""},
		{"no mmup", 4, "\"mmup\" is not a fact; did you mean \"mmap\"?"},
		{"size < $x", 8, "no parameter \"x\"; expected \"param x = ...\" before"},
		{"log 2", 5, "expected \"(\" behind the name of a function, got \"2\""},
		{"log(1, 2) < 1", 5, "the base of a logarithm: expected a number above 1"},
		{"log(size, 2) < 1", 5, "the base of a logarithm"},
		{"log(2) < 1", 6, "expected \",\" before the next argument, got \")\""},
		{"abs(2, 1) < 1", 6, "expected \")\" behind the last argument, got \",\""},
		{"size / 0 < 1", 8, "division by zero"},
		{"size < 3Q", 9, "not a unit; expected B, K, M, G, page, pages, ns, us, ms or s"},
		{"size < 3.", 8, "expected digits behind the point"},
		{"size == 3", 6, "expected \"=\", which compares"},
		{"!moved", 1, "expected \"!=\"; a condition is denied by \"not\""},
		{"size < $", 8, "expected the name of a parameter behind \"$\""},
		{"size < 12345678901234567890123456789012345678901", 8,
		 "a number of more than 40 digits"},
	};

	(void)state;
	EXPECT_ERRORS("rule a: each malloc: ", wrong);
}

static void the_line_is_shown(void **state)
{
	struct contract_error e;

	(void)state;
	assert_null(parse("# one\nrule a:\n\teach mallok: nothing\n", &e));
	assert_string_equal(e.text, "c:3:7: \"mallok\" is not a subject; did you mean \"malloc\"?\n"
				    "\teach mallok: nothing\n\t     ^");
}

static void what_is_too_deep_is_refused(void **state)
{
	static const struct {
		const char *what, *last;
	} nests[] = {{"(", "1"}, {"not ", "moved"}, {"- ", "1"}};
	struct contract_error e;
	char text[2048];
	size_t i, k, n;

	(void)state;
	for (i = 0; i < sizeof(nests) / sizeof(nests[0]); i++) {
		n = (size_t)snprintf(text, sizeof(text), "rule a: each malloc: ");
		for (k = 0; k < 60; k++)
			n += (size_t)snprintf(text + n, sizeof(text) - n, "%s", nests[i].what);
		snprintf(text + n, sizeof(text) - n, "%s", nests[i].last);
		assert_null(parse(text, &e));
		assert_non_null(strstr(e.text, "nested more than 50 deep"));
	}
}

static void parameters_come_from_outside(void **state)
{
	struct files files[] = {{"c", "param t = 128K rule a: each malloc where size < $t: nothing"},
				{NULL, NULL}};
	const char *const good[] = {"t=1M"}, *const unknown[] = {"u=1"}, *const bad[] = {"t=1Q"},
			  *const bare[] = {"t"};
	struct contract_error e;
	struct contract *c = parse_files(files, good, 1, &e);

	(void)state;
	assert_non_null(c);
	assert_true(c->rules[0].condition.code[1].value == 1 << 20);
	contract__free(c);
	assert_null(parse_files(files, unknown, 1, &e));
	assert_string_equal(e.text, "-D u: c has no parameter of that name");
	assert_null(parse_files(files, bad, 1, &e));
	assert_non_null(strstr(e.text, "-D:1:2: not a unit"));
	assert_null(parse_files(files, bare, 1, &e));
	assert_non_null(strstr(e.text, "\"t\": expected NAME=VALUE"));
}

static void files_are_included_from_beside(void **state)
{
	struct files files[] = {
		{"d/c", "param t = 1K include \"sub/x\" rule b: each malloc where size < $u: nothing"},
		{"d/sub/x", "param u = $t rule a: never mmap include \"y\""},
		{"d/sub/y", "rule\nz: never brk"},
		{NULL, NULL}};
	struct contract_error e;
	struct contract *c = parse_files(files, NULL, 0, &e);

	(void)state;
	if (!c)
		fail_msg("%s", e.text);
	assert_int_equal(c->nrules, 3);
	assert_string_equal(c->rules[1].file, "d/sub/y");
	assert_int_equal(c->rules[1].line, 2);
	contract__free(c);
	files[2].text = "rule z: never";
	assert_null(parse_files(files, NULL, 0, &e));
	assert_non_null(strstr(e.text, "d/sub/y:1:14: expected a subject"));
}

static void a_contract_without_rules_is_none(void **state)
{
	struct contract_error e;

	(void)state;
	assert_null(parse("# nothing\n", &e));
	assert_string_equal(e.text, "c: it has no rule");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tokens_have_their_places),
		cmocka_unit_test(numbers_have_units),
		cmocka_unit_test(every_form_is_accepted),
		cmocka_unit_test(a_phase_begins_at_a_probe),
		cmocka_unit_test(a_rule_is_what_was_written),
		cmocka_unit_test(errors_say_where_and_what),
		cmocka_unit_test(errors_in_conditions),
		cmocka_unit_test(the_line_is_shown),
		cmocka_unit_test(what_is_too_deep_is_refused),
		cmocka_unit_test(parameters_come_from_outside),
		cmocka_unit_test(files_are_included_from_beside),
		cmocka_unit_test(a_contract_without_rules_is_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
