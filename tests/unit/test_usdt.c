// SPDX-License-Identifier: MIT
/* Where a probe's arguments are, as its note says it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "user/source/uprobe/usdt.h"

static void expect_arg(const char *text, struct contract_arg want)
{
	struct contract_arg got;

	if (!usdt__parse_arg(&text, &got))
		fail_msg("%s: refused", text);
	assert_int_equal(got.kind, want.kind);
	assert_int_equal(got.reg, want.reg);
	assert_int_equal(got.bytes, want.bytes);
	assert_int_equal(got.is_signed, want.is_signed);
	assert_int_equal(got.offset, want.offset);
}

#define EXPECT_ARG(text, ...) expect_arg(text, (struct contract_arg){__VA_ARGS__})

static void places_of_arguments(void **state)
{
	(void)state;
	EXPECT_ARG("8@%rdi", .kind = CONTRACT_REGISTER, .reg = 7, .bytes = 8);
	EXPECT_ARG("-4@%r13d", .kind = CONTRACT_REGISTER, .reg = 13, .bytes = 4, .is_signed = 1);
	EXPECT_ARG("1@%al", .kind = CONTRACT_REGISTER, .reg = 0, .bytes = 1);
	EXPECT_ARG("8@-24(%rbp)", .kind = CONTRACT_MEMORY, .reg = 5, .bytes = 8, .offset = -24);
	EXPECT_ARG("8@(%rsp)", .kind = CONTRACT_MEMORY, .reg = 4, .bytes = 8);
	EXPECT_ARG("8@16(%r8) 8@%rax", .kind = CONTRACT_MEMORY, .reg = 8, .bytes = 8, .offset = 16);
	EXPECT_ARG("4@$64", .kind = CONTRACT_CONSTANT, .bytes = 4, .offset = 64);
	EXPECT_ARG("-8@$-1", .kind = CONTRACT_CONSTANT, .bytes = 8, .is_signed = 1, .offset = -1);
}

static void what_is_not_known_is_refused(void **state)
{
	static const char *const bad[] = {
		"",	   "8",	       "@%rdi",		 "3@%rdi",
		"8@%rip",  "8@rdi",    "8@4(%rip)",	 "8@(%rax,%rbx,8)",
		"8@%rdi(", "8@4%rdi",  "8@symbol(%rip)", "16@%rax",
		"8@%",	   "8@8(%rax",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		const char *text = bad[i];
		struct contract_arg arg;

		if (usdt__parse_arg(&text, &arg))
			fail_msg("%s: taken", bad[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(places_of_arguments),
		cmocka_unit_test(what_is_not_known_is_refused),
	};

	return cmocka_run_group_tests_name("usdt", tests, NULL, NULL);
}
