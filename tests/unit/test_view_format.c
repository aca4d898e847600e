/* SPDX-License-Identifier: MIT */
/* Numbers for people, untrusted text, and names of flags. */
#include "tests/unit/view_fixture.h"

#include <errno.h>
#include <linux/mman.h>
#include <math.h>
#include <sys/mman.h>

#include "user/view/decode.h"
#include "user/view/format.h"
#include "user/view/sink.h"

static void bytes_are_binary_and_rounded(void **state)
{
	(void)state;
	assert_string_equal(fmt__bytes(0).s, "0 B");
	assert_string_equal(fmt__bytes(1023).s, "1023 B");
	assert_string_equal(fmt__bytes(1024).s, "1.0 KiB");
	assert_string_equal(fmt__bytes(1536 * KIB).s, "1.5 MiB");
	/* 1.05 MiB lies between 1.0 and 1.1: 1101004.8 is the border */
	assert_string_equal(fmt__bytes(1101004).s, "1.0 MiB");
	assert_string_equal(fmt__bytes(1101005).s, "1.1 MiB");
	/* never "1024.0 KiB" */
	assert_string_equal(fmt__bytes(MIB - 1).s, "1.0 MiB");
	assert_string_equal(fmt__bytes(1023 * KIB).s, "1023.0 KiB");
	assert_string_equal(fmt__bytes(UINT64_MAX - 1).s, "16.0 EiB");
	assert_string_equal(fmt__bytes(UNKNOWN).s, "-");
}

static void durations_choose_their_unit(void **state)
{
	(void)state;
	assert_string_equal(fmt__duration(0).s, "0 ns");
	assert_string_equal(fmt__duration(999).s, "999 ns");
	assert_string_equal(fmt__duration(1000).s, "1.0 us");
	assert_string_equal(fmt__duration(12345).s, "12.3 us");
	assert_string_equal(fmt__duration(999949).s, "999.9 us");
	assert_string_equal(fmt__duration(999950).s, "1.0 ms");
	assert_string_equal(fmt__duration(2500 * MS).s, "2.5 s");
	assert_string_equal(fmt__duration(59940 * MS).s, "59.9 s");
	assert_string_equal(fmt__duration(60000 * MS).s, "1 min 00 s");
	assert_string_equal(fmt__duration(125000 * MS).s, "2 min 05 s");
	assert_string_equal(fmt__duration(3720000 * MS).s, "1 h 02 min");
	assert_string_equal(fmt__duration(UINT64_MAX - 1).s, "213503 d");
	assert_string_equal(fmt__duration(UNKNOWN).s, "-");
	assert_string_equal(fmt__mean(10, 4).s, "3 ns");
	assert_string_equal(fmt__mean(9, 4).s, "2 ns");
	assert_string_equal(fmt__mean(5, 0).s, "-");
	assert_string_equal(fmt__mean(UNKNOWN, 2).s, "-");
}

static void counts_are_grouped(void **state)
{
	(void)state;
	assert_string_equal(fmt__count(0).s, "0");
	assert_string_equal(fmt__count(999).s, "999");
	assert_string_equal(fmt__count(1000).s, "1,000");
	assert_string_equal(fmt__count(1234567).s, "1,234,567");
	assert_string_equal(fmt__count(UINT64_MAX - 1).s, "18,446,744,073,709,551,614");
	assert_string_equal(fmt__count(UNKNOWN).s, "-");
	assert_string_equal(fmt__count_fit(1234567, 9).s, "1,234,567");
	assert_string_equal(fmt__count_fit(1234567, 8).s, "1.2M");
	assert_string_equal(fmt__percent(1, 3).s, "33.3%");
	assert_string_equal(fmt__percent(2, 3).s, "66.7%");
	assert_string_equal(fmt__percent(3, 3).s, "100.0%");
	assert_string_equal(fmt__percent(0, 0).s, "-");
	assert_string_equal(fmt__percent(UNKNOWN, 3).s, "-");
}

static void rates_are_short(void **state)
{
	(void)state;
	assert_string_equal(fmt__rate(0).s, "0");
	assert_string_equal(fmt__rate(1.5).s, "1.5");
	assert_string_equal(fmt__rate(7).s, "7");
	assert_string_equal(fmt__rate(340.2).s, "340");
	assert_string_equal(fmt__rate(999.4).s, "999");
	assert_string_equal(fmt__rate(999.6).s, "1.0k");
	assert_string_equal(fmt__rate(12345).s, "12.3k");
	assert_string_equal(fmt__rate(345678).s, "346k");
	assert_string_equal(fmt__rate(999700).s, "1.0M");
	assert_string_equal(fmt__rate(-1).s, "-");
	assert_string_equal(fmt__rate(NAN).s, "-");
	assert_string_equal(fmt__rate(INFINITY).s, "-");
	assert_string_equal(fmt__bytes_short(512.4).s, "512");
	assert_string_equal(fmt__bytes_short(1536).s, "1.5K");
	assert_string_equal(fmt__bytes_short(1023.0 * 1024).s, "1023K");
	assert_string_equal(fmt__bytes_change(1536 * 1024).s, "+1.5M");
	assert_string_equal(fmt__bytes_change(-65536).s, "-64.0K");
	assert_string_equal(fmt__bytes_change(0).s, "0");
	assert_string_equal(fmt__bytes_change(INT64_MIN).s, "-");
	assert_string_equal(fmt__bytes_change(INT64_MIN + 1).s, "-8.0E");
}

static void expect_safe(const char *text, const char *also, const char *expected)
{
	struct capture c;
	struct sink s;

	sink__init(&s, capture__begin(&c), false);
	sink__safe(&s, text, also);
	assert_int_equal(sink__finish(&s), 0);
	assert_string_equal(capture__text(&c), expected);
	capture__end(&c);
}

static void control_characters_are_escaped(void **state)
{
	(void)state;
	expect_safe("plain [name] <x>", NULL, "plain [name] <x>");
	expect_safe("a\033[2Jb", NULL, "a\\33[2Jb");
	expect_safe("a\0331", NULL, "a\\0331"); /* octal that a digit must not prolong */
	expect_safe("\t\n\v\f\r\a\\", NULL, "\\t\\n\\v\\f\\r\\7\\\\");
	expect_safe("\x7f", NULL, "\\177");
	expect_safe("\xc2\x9b"
		    "2J",
		    NULL, "\\302\\2332J"); /* U+009B, an 8-bit CSI */
	expect_safe("\xe2\x80\xae"
		    "gpj",
		    NULL, "\\342\\200\\256gpj"); /* U+202E reorders */
	expect_safe("caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80", NULL,
		    "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80");
	expect_safe("\xff\xc3", NULL, "\\377\\303");
	expect_safe("\xc0\xaf", NULL, "\\300\\257"); /* overlong '/' */
	expect_safe("\xed\xa0\x80", NULL, "\\355\\240\\200"); /* surrogate */
	expect_safe("\xf4\x90\x80\x80", NULL, "\\364\\220\\200\\200"); /* beyond U+10FFFF */
	expect_safe("a<b>\"]", "<>\"]", "a\\74b\\76\\\"\\135");
}

static void text_is_clipped_by_columns(void **state)
{
	static const struct {
		const char *text;
		unsigned cols;
		const char *expected;
	} cases[] = {
		{"abcdef", 6, "abcdef"},     {"abcdef", 5, "abcd…"},
		{"abcdef", 1, "…"},	     {"abcdef", 0, ""},
		{"a\033bcdef", 5, "a\\33…"}, {"a\033bcdef", 4, "a…"}, /* no half escapes */
		{"日本語", 6, "日本語"},     {"日本語", 5, "日本…"},
		{"日本語", 4, "日…"},
	};
	struct capture c;
	struct sink s;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		sink__init(&s, capture__begin(&c), false);
		sink__clip(&s, cases[i].text, cases[i].cols);
		assert_true(s.col <= cases[i].cols);
		assert_int_equal(sink__finish(&s), 0);
		assert_string_equal(capture__text(&c), cases[i].expected);
		capture__end(&c);
	}
	assert_int_equal(safe__columns("日本\033"), 7);
}

static void output_longer_than_the_buffer_is_whole(void **state)
{
	const size_t bytes = 3 * SINK_BYTES + 7;
	char *text = malloc(bytes + 1);
	struct capture c;
	struct sink s;

	(void)state;
	assert_non_null(text);
	memset(text, 'x', bytes);
	text[bytes] = '\0';
	text[SINK_BYTES] = 'y';
	sink__init(&s, capture__begin(&c), false);
	sink__char(&s, '<');
	sink__safe(&s, text, NULL);
	assert_int_equal(sink__finish(&s), 0);
	assert_string_equal(capture__text(&c) + 1, text);
	capture__end(&c);
	free(text);
}

static void numbers_have_no_limits(void **state)
{
	struct capture c;
	struct sink s;

	(void)state;
	sink__init(&s, capture__begin(&c), false);
	sink__dec(&s, 0);
	sink__char(&s, ' ');
	sink__dec(&s, UINT64_MAX);
	sink__char(&s, ' ');
	sink__hex(&s, UINT64_MAX);
	sink__char(&s, ' ');
	sink__hex(&s, 0x10);
	assert_int_equal(sink__finish(&s), 0);
	assert_string_equal(capture__text(&c), "0 18446744073709551615 0xffffffffffffffff 0x10");
	capture__end(&c);
}

typedef void decoder(struct sink *s, uint64_t value);

static void expect_decoded(decoder *decode, uint64_t value, const char *expected)
{
	struct capture c;
	struct sink s;

	sink__init(&s, capture__begin(&c), false);
	decode(&s, value);
	assert_int_equal(sink__finish(&s), 0);
	assert_string_equal(capture__text(&c), expected);
	capture__end(&c);
}

struct name {
	uint64_t value;
	const char *name;
};
#define NAME(macro)                       \
	{                                 \
		(unsigned)(macro), #macro \
	}

static void every_protection_has_its_name(void **state)
{
	static const struct name names[] = {
		NAME(PROT_NONE), NAME(PROT_READ),      NAME(PROT_WRITE),  NAME(PROT_EXEC),
		{8, "PROT_SEM"}, NAME(PROT_GROWSDOWN), NAME(PROT_GROWSUP)};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		expect_decoded(decode__prot, names[i].value, names[i].name);
	expect_decoded(decode__prot, PROT_READ | PROT_WRITE, "PROT_READ|PROT_WRITE");
	expect_decoded(decode__prot, 7, "PROT_READ|PROT_WRITE|PROT_EXEC");
	expect_decoded(decode__prot, 0x80, "0x80 /* PROT_??? */");
	expect_decoded(decode__prot, 0xf00000001, "PROT_READ|0xf00000000");
}

static void every_advice_has_its_name(void **state)
{
	static const struct name names[] = {
		NAME(MADV_NORMAL),
		NAME(MADV_RANDOM),
		NAME(MADV_SEQUENTIAL),
		NAME(MADV_WILLNEED),
		NAME(MADV_DONTNEED),
		NAME(MADV_FREE),
		NAME(MADV_REMOVE),
		NAME(MADV_DONTFORK),
		NAME(MADV_DOFORK),
		NAME(MADV_MERGEABLE),
		NAME(MADV_UNMERGEABLE),
		NAME(MADV_HUGEPAGE),
		NAME(MADV_NOHUGEPAGE),
		NAME(MADV_DONTDUMP),
		NAME(MADV_DODUMP),
		NAME(MADV_WIPEONFORK),
		NAME(MADV_KEEPONFORK),
		NAME(MADV_COLD),
		NAME(MADV_PAGEOUT),
		NAME(MADV_POPULATE_READ),
		NAME(MADV_POPULATE_WRITE),
		NAME(MADV_HWPOISON),
		/* not in every libc */
		{24, "MADV_DONTNEED_LOCKED"},
		{25, "MADV_COLLAPSE"},
		{101, "MADV_SOFT_OFFLINE"},
		{102, "MADV_GUARD_INSTALL"},
		{103, "MADV_GUARD_REMOVE"},
	};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		expect_decoded(decode__madvice, names[i].value, names[i].name);
	expect_decoded(decode__madvice, 5, "0x5 /* MADV_??? */");
	expect_decoded(decode__madvice, (uint64_t)-1, "0xffffffff /* MADV_??? */");
	expect_decoded(decode__madvice, 0x100000004, "MADV_DONTNEED"); /* the kernel takes an int */
}

static void every_mapping_flag_has_its_name(void **state)
{
	static const struct name names[] = {
		NAME(MAP_FIXED),	   NAME(MAP_ANONYMOUS),	  NAME(MAP_NORESERVE),
		NAME(MAP_POPULATE),	   NAME(MAP_NONBLOCK),	  NAME(MAP_GROWSDOWN),
		NAME(MAP_DENYWRITE),	   NAME(MAP_EXECUTABLE),  NAME(MAP_LOCKED),
		NAME(MAP_STACK),	   NAME(MAP_HUGETLB),	  NAME(MAP_SYNC),
		NAME(MAP_FIXED_NOREPLACE),
#ifdef __x86_64__
		NAME(MAP_32BIT),	   {0x80, "MAP_ABOVE4G"},
#endif
	};
	char expected[64];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(expected, sizeof(expected), "MAP_PRIVATE|%s", names[i].name);
		expect_decoded(decode__map_flags, MAP_PRIVATE | names[i].value, expected);
	}
	expect_decoded(decode__map_flags, 0, "MAP_FILE");
	expect_decoded(decode__map_flags, MAP_SHARED, "MAP_SHARED");
	expect_decoded(decode__map_flags, MAP_SHARED_VALIDATE | MAP_SYNC,
		       "MAP_SHARED_VALIDATE|MAP_SYNC");
	expect_decoded(decode__map_flags, 8 | MAP_ANONYMOUS, "MAP_DROPPABLE|MAP_ANONYMOUS");
	expect_decoded(decode__map_flags, 0xf, "0xf /* MAP_??? */");
	expect_decoded(decode__map_flags, MAP_PRIVATE | 0x200, "MAP_PRIVATE|0x200");
	expect_decoded(decode__map_flags,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | (uint64_t)MAP_HUGE_2MB,
		       "MAP_PRIVATE|MAP_ANONYMOUS|MAP_HUGETLB|21<<MAP_HUGE_SHIFT");
	expect_decoded(decode__map_flags, MAP_PRIVATE | MAP_HUGETLB | (uint64_t)MAP_HUGE_1GB,
		       "MAP_PRIVATE|MAP_HUGETLB|30<<MAP_HUGE_SHIFT");
	expect_decoded(decode__map_flags, 0xffffffff00000022, "MAP_PRIVATE|MAP_ANONYMOUS");
}

static void mremap_flags_have_their_names(void **state)
{
	(void)state;
	expect_decoded(decode__mremap_flags, 0, "0");
	expect_decoded(decode__mremap_flags, MREMAP_MAYMOVE, "MREMAP_MAYMOVE");
	expect_decoded(decode__mremap_flags, 7, "MREMAP_MAYMOVE|MREMAP_FIXED|MREMAP_DONTUNMAP");
	expect_decoded(decode__mremap_flags, 8, "0x8 /* MREMAP_??? */");
	expect_decoded(decode__mremap_flags, 9, "MREMAP_MAYMOVE|0x8");
	assert_true(decode__mremap_has_address(MREMAP_MAYMOVE | MREMAP_FIXED));
	assert_false(decode__mremap_has_address(MREMAP_FIXED));
	assert_false(decode__mremap_has_address(MREMAP_MAYMOVE | 4));
}

static void put_error(struct sink *s, uint64_t n)
{
	decode__error(s, (unsigned)n);
}

static void put_signal(struct sink *s, uint64_t n)
{
	decode__signal(s, (unsigned)n);
}

static void errors_and_signals_have_names(void **state)
{
	(void)state;
	expect_decoded(put_error, ENOMEM, "ENOMEM (Cannot allocate memory)");
	expect_decoded(put_error, EINVAL, "EINVAL (Invalid argument)");
	expect_decoded(put_error, 4000, "(errno 4000)");
	expect_decoded(put_signal, 11, "SIGSEGV");
	expect_decoded(put_signal, 9, "SIGKILL");
	expect_decoded(put_signal, 32, "SIGRTMIN");
	expect_decoded(put_signal, 34, "SIGRT_2");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_are_binary_and_rounded),
		cmocka_unit_test(durations_choose_their_unit),
		cmocka_unit_test(counts_are_grouped),
		cmocka_unit_test(rates_are_short),
		cmocka_unit_test(control_characters_are_escaped),
		cmocka_unit_test(text_is_clipped_by_columns),
		cmocka_unit_test(output_longer_than_the_buffer_is_whole),
		cmocka_unit_test(numbers_have_no_limits),
		cmocka_unit_test(every_protection_has_its_name),
		cmocka_unit_test(every_advice_has_its_name),
		cmocka_unit_test(every_mapping_flag_has_its_name),
		cmocka_unit_test(mremap_flags_have_their_names),
		cmocka_unit_test(errors_and_signals_have_names),
	};

	return cmocka_run_group_tests_name("view_format", tests, NULL, NULL);
}
