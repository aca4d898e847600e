/* SPDX-License-Identifier: MIT */
/* Mangled names: C++, both of Rust's ways, and names made to do harm. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "user/symbol/symbol.h"

static void test_demangle(void **state)
{
	static const char *const names[][2] = {
		{"_ZN4shop4fillEPcm", "shop::fill(char*, unsigned long)"},
		{"_ZN4shop5ShelfIcE4takeEm", "shop::Shelf<char>::take(unsigned long)"},
		{"_ZNSt6vectorIiSaIiEE9push_backERKi",
		 "std::vector<int, std::allocator<int> >::push_back(int const&)"},
		{"_ZZ4mainENKUlvE_clEv", "main::{lambda()#1}::operator()() const"},
		{"_Znwm", "operator new(unsigned long)"},
		{"_ZL6hiddenv.constprop.0", "hidden() [clone .constprop.0]"},
		{"_ZN10stack_rust9warehouse4fill17h9b3a5c7d1e2f4068E", "stack_rust::warehouse::fill"},
		{"_ZN4core3fmt9Formatter3pad17h2a5b8c91f0e3d746E.llvm.1234567890",
		 "core::fmt::Formatter::pad"},
		{"_ZN71_$LT$Test$u20$$u2b$$u20$$u27$static$u20$as$u20$foo..Bar$LT$Test$GT$$GT$3bar"
		 "17h930b740aa94f1d3aE",
		 "<Test + 'static as foo::Bar<Test>>::bar"},
		{"_RNvC6_123foo3bar", "123foo::bar"},
		{"_RNvNtCs1234_7mycrate3foo3bar", "mycrate::foo::bar"},
		{"_RINvNtC3std3mem8align_ofdE", "std::mem::align_of::<f64>"},
		{"_RNCNCNgCs6DXkGYLi8lr_2cc5spawn00B5_", "cc::spawn::{closure#0}::{closure#0}"},
	};
	static const char *const plain[] = {
		"main",	 "",	"_",	"_Z",	  "_R",		  "_Zzz",
		"_Rust", "_ZN", "_ZNK", "malloc", "_RNvC6_123fo", "__libc_malloc"};
	char *name;

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		name = symbol__demangle(names[i][0]);
		assert_non_null(name);
		assert_string_equal(name, names[i][1]);
		free(name);
	}
	for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++)
		assert_null(symbol__demangle(plain[i]));
	assert_null(symbol__demangle(NULL));
}

/* Names made to hurt: a text that doubles with each parameter, nesting without end, great length. */
static void test_demangle_hostile(void **state)
{
	static const char digit[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
	char text[20000] = "_Z1f1AIiiE";
	char *name;

	(void)state;
	alarm(60);
	for (int i = 0; i < 34; i++) {
		size_t n = strlen(text);

		snprintf(text + n, sizeof(text) - n, "S_IS%c_S%c_E", digit[i], digit[i]);
	}
	assert_null(symbol__demangle(text));
	memset(text, 'P', sizeof(text));
	memcpy(text, "_Z1f", 4);
	strcpy(text + 16000, "i");
	free(symbol__demangle(text));
	strcpy(text + sizeof(text) - 2, "i");
	assert_null(symbol__demangle(text));
	for (int i = 0; i < 5000; i++)
		memcpy(text + 3 + 2 * (size_t)i, "Nt", 2);
	memcpy(text, "_RN", 3);
	text[10003] = '\0';
	name = symbol__demangle(text);
	free(name);
	alarm(0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_demangle),
		cmocka_unit_test(test_demangle_hostile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
