// SPDX-License-Identifier: MIT
/* What a check gives out: verdicts, and contracts that it proposes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/check_lib.h"
#include "user/check/learn.h"
#include "user/check/output.h"

static char *written(int (*write)(FILE *, const struct check_result *), const struct check_result *r)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	assert_non_null(f);
	assert_int_equal(write(f, r), 0);
	fclose(f);
	return text;
}

static int write_text(FILE *out, const struct check_result *r)
{
	return check_result__text(out, r, false);
}

static void expect_text(char *text, const char *want)
{
	if (!strstr(text, want))
		fail_msg("expected: %s\ngot: %s", want, text);
	free(text);
}

static void verdicts_are_written(void **state)
{
	struct check_result r = {
		.contract = "c", .how = "prog", .version = "1", .seen = 3, .delivered = 3};
	uint64_t call;

	(void)state;
	begin("rule a: each malloc: nothing rule b: each malloc: size = 10 rule c: each calloc: nothing");
	call = begin_call();
	take_mmap(call, MAP, 4096);
	take_malloc(call, 10, MAP);
	finish();
	r.verdicts = check__verdicts(check, &r.nverdicts);
	r.summary = check__summary(check);
	assert_false(check_result__held(&r));
	expect_text(written(write_text, &r),
		    "BROKEN         a, 1 of 1\n"
		    "  c:1: each malloc: nothing\n"
		    "  1. process 100 (prog <&>)\n"
		    "       nothing: syscalls = 1\n"
		    "     | call of 10\n"
		    "     |   event 2\n"
		    "         at stack 9 of 100\n"
		    "held           b, 1 time\n"
		    "not exercised  c\n"
		    "1 held, 1 broken, 1 not exercised; 1 allocator calls, ");
	expect_text(written(check_result__tap, &r), "TAP version 13\n1..3\nnot ok 1 - a\n");
	expect_text(written(check_result__tap, &r), "ok 2 - b\nok 3 - c # SKIP not exercised\n");
	expect_text(written(check_result__json, &r), "\"result\": \"broken\"");
	expect_text(written(check_result__junit, &r),
		    "<testsuite name=\"c\" tests=\"3\" failures=\"1\" skipped=\"1\" errors=\"0\"");
	r.strict = true;
	r.incomplete = "1 event was lost";
	expect_text(written(check_result__tap, &r),
		    "not ok 3 - c (not exercised)\nBail out! 1 event was lost\n");
	expect_text(written(write_text, &r), "NO VERDICT: 1 event was lost\n");
	expect_text(written(check_result__json, &r), "\"result\": \"no verdict\"");
	expect_text(written(check_result__junit, &r), "<error message=\"1 event was lost\"/>");
	end();
}

static void what_is_learned_can_be_parsed_and_holds(void **state)
{
	struct contract_reader reader = {read_source, NULL};
	struct contract_error e;
	unsigned round, i;
	char *text = NULL;
	size_t size, n;
	FILE *f = open_memstream(&text, &size);

	(void)state;
	for (round = 0; round < 2; round++) {
		now = 1000000;
		source = text;
		contract = round ? contract__parse("c", NULL, 0, &reader, &e) : NULL;
		if (round && !contract)
			fail_msg("%s\n%s", e.text, text);
		check = check__new(contract, &printer, now, !round);
		take_exec(PID);
		for (i = 0; i < 20; i++) {
			uint64_t call = begin_call();

			take_mmap(call, MAP, 1 << 20);
			take_malloc(call, (1 << 20) - 64, MAP);
			call = begin_call();
			if (i % 4 == 0)
				take_brk(call, BREAK, BREAK + 4096);
			take_malloc(call, 64 + i, BREAK);
			call = begin_call();
			take_free(call, MAP, (1 << 20) - 64);
			take_munmap(call, MAP, 1 << 20);
		}
		finish();
		if (round) {
			const struct verdict *v = check__verdicts(check, &n);

			for (i = 0; i < n; i++)
				if (verdict__kind(&v[i]) != VERDICT_HELD)
					fail_msg("%s: %s", v[i].rule->name, v[i].rule->text);
			assert_true(n > 5);
		} else {
			assert_int_equal(learned__write(check__learned(check), f, "prog"), 0);
			fclose(f);
		}
		end();
		contract = NULL;
	}
	assert_non_null(strstr(text, "rule malloc-from-512K:\n    each malloc where size >= 512K:\n"
				     "        exactly 1 mmap, nothing else\n"));
	assert_non_null(strstr(text, "rule malloc-below-512K:\n    each malloc where size < 512K:\n"
				     "        at most 2 brk, nothing else\n"));
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(verdicts_are_written),
		cmocka_unit_test(what_is_learned_can_be_parsed_and_holds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
