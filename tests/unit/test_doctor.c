/* SPDX-License-Identifier: MIT */
/* The doctor's answer: layout, JSON, verdict, exit status without any right. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "user/doctor/doctor.h"
#include "user/options.h"

static const struct check all_ok[] = {
	{"btf", "BTF", true, CHECK_OK, "12 types", "Nothing works.", "get one"},
	{"memlock", "memlock", false, CHECK_PART, "limit 64 KiB", "Small buffers.", "raise it"},
	{"kprobe", "kprobes", false, CHECK_NO, "ENOENT", "Nothing.", NULL},
	{"fentry", "fentry", false, CHECK_UNKNOWN, "not permitted to try", NULL, NULL},
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static char *text_of(const struct check *checks, size_t n)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	assert_non_null(out);
	assert_int_equal(checks__text(out, false, checks, n), 0);
	assert_int_equal(fclose(out), 0);
	return text;
}

static char *json_of(const struct check *checks, size_t n)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	assert_non_null(out);
	assert_int_equal(checks__json(out, checks, n), 0);
	assert_int_equal(fclose(out), 0);
	return text;
}

static void assert_ends(const char *text, const char *end)
{
	assert_true(strlen(text) >= strlen(end));
	assert_string_equal(text + strlen(text) - strlen(end), end);
}

static void a_line_a_check(void **state)
{
	char *text = text_of(all_ok, COUNT(all_ok));

	(void)state;
	assert_string_equal(text, "BTF               ok    12 types\n"
				  "memlock           part  limit 64 KiB\n"
				  "                        Small buffers.\n"
				  "                        mend: raise it\n"
				  "kprobes           no    ENOENT\n"
				  "                        Nothing.\n"
				  "fentry            ?     not permitted to try\n"
				  "\n"
				  "The kernel plane can run on this machine.\n");
	free(text);
}

static void long_lines_wrap(void **state)
{
	struct check c = {"x", "x", false, CHECK_NO, "", NULL, ""};
	char mend[400] = "", *text, *line, *rest;

	(void)state;
	while (strlen(mend) < 300)
		strcat(mend, "word ");
	strcat(mend, "last");
	c.mend = mend;
	text = text_of(&c, 1);
	for (line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		assert_true(strlen(line) <= 96);
		if (strstr(line, "last"))
			assert_memory_equal(line, "                              word", 34);
	}
	free(text);
}

static void a_value_cannot_drive_the_terminal(void **state)
{
	struct check c = {"x", "x", false, CHECK_OK, "a\033[2Jb", NULL, NULL};
	char *text = text_of(&c, 1);

	(void)state;
	assert_null(strchr(text, '\033'));
	free(text);
}

static void the_verdict_names_what_is_missing(void **state)
{
	struct check checks[COUNT(all_ok)];
	char *text;

	(void)state;
	memcpy(checks, all_ok, sizeof(checks));
	assert_true(checks__kernel_plane(checks, COUNT(checks)));

	checks[0].status = CHECK_NO;
	assert_false(checks__kernel_plane(checks, COUNT(checks)));
	text = text_of(checks, COUNT(checks));
	assert_ends(text, "\nThe kernel plane cannot run: see BTF.\n");
	free(text);

	checks[3].required = true;
	text = text_of(checks, COUNT(checks));
	assert_ends(text, "see BTF; 1 check could not be made (fentry).\n");
	free(text);

	checks[0].status = CHECK_PART;
	assert_false(checks__kernel_plane(checks, COUNT(checks)));
	text = text_of(checks, COUNT(checks));
	assert_ends(text, "cannot run: 1 check could not be made (fentry).\n");
	free(text);
}

static void many_untried_checks_are_counted(void **state)
{
	struct check checks[5];
	char *text;
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(checks); i++)
		checks[i] = (struct check){"x", "x", true, CHECK_UNKNOWN, "", NULL, NULL};
	text = text_of(checks, COUNT(checks));
	assert_ends(text, "cannot run: 5 checks could not be made.\n");
	free(text);
}

static void json_says_the_same(void **state)
{
	char *text = json_of(all_ok, 2), *expected;

	(void)state;
	assert_true(asprintf(&expected,
			     "{\n"
			     "  \"schema\": \"memtrace.doctor/1\",\n"
			     "  \"version\": \"%s\",\n"
			     "  \"checks\": [\n"
			     "    {\"id\": \"btf\", \"status\": \"ok\", \"value\": \"12 types\", "
			     "\"follows\": null, \"mend\": null, \"required\": true},\n"
			     "    {\"id\": \"memlock\", \"status\": \"part\", "
			     "\"value\": \"limit 64 KiB\", \"follows\": \"Small buffers.\", "
			     "\"mend\": \"raise it\", \"required\": false}\n"
			     "  ],\n"
			     "  \"kernel_plane\": true\n"
			     "}\n",
			     MEMTRACE_VERSION) > 0);
	assert_string_equal(text, expected);
	free(expected);
	free(text);
}

static void json_escapes(void **state)
{
	struct check c = {"x", "x", true, CHECK_NO, "a\"b\\c\n\xff\xc3\xa9", NULL, NULL};
	char *text = json_of(&c, 1);

	(void)state;
	assert_non_null(strstr(text, "\"a\\\"b\\\\c\\u000a\\ufffd\xc3\xa9\""));
	assert_non_null(strstr(text, "\"kernel_plane\": false"));
	free(text);
}

static void a_refusal_without_rights_is_not_a_no(void **state)
{
	struct exam none = {0}, all = {.capabilities = ~0ULL, .may_bpf = true};
	struct check c = {.follows = "follows", .mend = "mend"};

	(void)state;
	check__fail(&all, &c, "load", -EPERM);
	assert_int_equal(c.status, CHECK_NO);
	assert_string_equal(c.value, "load: EPERM");
	assert_string_equal(c.mend, "mend");

	check__fail(&none, &c, "load", -EINVAL);
	assert_int_equal(c.status, CHECK_NO);

	check__fail(&none, &c, "load", -EPERM);
	assert_int_equal(c.status, CHECK_UNKNOWN);
	assert_null(c.follows);
	assert_null(c.mend);
}

static int complain(void)
{
	fputs("memtrace: first: line\nsecond line\n", stderr);
	fflush(stderr);
	return 7;
}

static int die(void)
{
	abort();
}

static void a_child_is_heard(void **state)
{
	char said[64], little[6];

	(void)state;
	assert_int_equal(run_in_child(complain, said, sizeof(said)), 7);
	assert_string_equal(said, "first: line");
	assert_int_equal(run_in_child(complain, little, sizeof(little)), 7);
	assert_string_equal(little, "memtr");
	assert_int_equal(run_in_child(complain, NULL, 0), 7);
	assert_true(run_in_child(die, said, sizeof(said)) < 0);
}

/* With rights or without: an answer, a status of the two, nothing left open. */
static void it_runs_here(void **state)
{
	char path[] = "/tmp/memtrace-doctor-XXXXXX", first[32] = "";
	struct options o = {.json = true, .json_path = path};
	int fd = mkstemp(path), before = dup(0), after, status;
	ssize_t n;

	(void)state;
	assert_true(fd >= 0 && before >= 0);
	close(fd);
	close(before);
	status = doctor__run(&o);
	assert_true(status == EXIT_OK || status == EXIT_UNABLE);
	after = open(path, O_RDONLY);
	assert_int_equal(after, fd);
	n = read(after, first, sizeof(first) - 1);
	assert_true(n > 0);
	assert_memory_equal(first, "{\n  \"schema\": \"memtrace.doctor/1", 33 - 2);
	close(after);
	unlink(path);
}

static void an_unwritable_output_is_a_failure(void **state)
{
	struct options o = {.json = true, .json_path = "/nonexistent/directory/file"};

	(void)state;
	assert_int_equal(doctor__run(&o), EXIT_FAIL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_line_a_check),
		cmocka_unit_test(long_lines_wrap),
		cmocka_unit_test(a_value_cannot_drive_the_terminal),
		cmocka_unit_test(the_verdict_names_what_is_missing),
		cmocka_unit_test(many_untried_checks_are_counted),
		cmocka_unit_test(json_says_the_same),
		cmocka_unit_test(json_escapes),
		cmocka_unit_test(a_refusal_without_rights_is_not_a_no),
		cmocka_unit_test(a_child_is_heard),
		cmocka_unit_test(it_runs_here),
		cmocka_unit_test(an_unwritable_output_is_a_failure),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
