/* SPDX-License-Identifier: MIT */
/* The command line: what each option means, and that every wrong line is refused with a reason. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "user/options.h"

#define MS 1000000ULL
#define SECOND (1000 * MS)
#define WORDS_MAX 32

/* One parsed line: split at blanks ("" stands for an empty argument), with what it printed. */
struct run {
	char text[512];
	char *argv[WORDS_MAX];
	int argc;
	struct options options;
	int status;
	char message[1024];
};

static void run__split(struct run *r, const char *line)
{
	char *save = NULL, *word;

	snprintf(r->text, sizeof(r->text), "memtrace %s", line);
	for (word = strtok_r(r->text, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
		assert_true(r->argc < WORDS_MAX - 1);
		r->argv[r->argc++] = strcmp(word, "\"\"") == 0 ? word + 2 : word;
	}
	r->argv[r->argc] = NULL;
}

static struct run *run__line(const char *line)
{
	struct run *r = calloc(1, sizeof(*r));
	FILE *capture = tmpfile();
	int saved;
	size_t n;

	assert_non_null(r);
	assert_non_null(capture);
	run__split(r, line);
	fflush(stderr);
	saved = dup(STDERR_FILENO);
	assert_true(saved >= 0);
	assert_true(dup2(fileno(capture), STDERR_FILENO) >= 0);
	r->status = cli__parse(r->argc, r->argv, &r->options);
	fflush(stderr);
	assert_true(dup2(saved, STDERR_FILENO) >= 0);
	close(saved);
	rewind(capture);
	n = fread(r->message, 1, sizeof(r->message) - 1, capture);
	r->message[n] = '\0';
	fclose(capture);
	return r;
}

static void run__free(struct run *r)
{
	cli__free(&r->options);
	free(r);
}

static struct run *good(const char *line)
{
	struct run *r = run__line(line);

	if (r->status != 0 || r->message[0])
		fail_msg("'%s': status %d, said: %s", line, r->status, r->message);
	return r;
}

/* The line is refused with that status, and the message has the text and the hint. */
static void refused(const char *line, int status, const char *text)
{
	struct run *r = run__line(line);

	if (r->status != status || !strstr(r->message, text) ||
	    strncmp(r->message, "memtrace: ", 10) != 0 ||
	    !strstr(r->message, "\nTry 'memtrace --help'\n"))
		fail_msg("'%s': status %d, said: %s", line, r->status, r->message);
	assert_int_equal(r->options.npids, 0);
	run__free(r);
}

static void test_modes(void **state)
{
	static const struct {
		const char *line;
		enum mode mode;
	} cases[] = {
		{"-p 1", MODE_ATTACH},
		{"--pid=1", MODE_ATTACH},
		{"ls", MODE_LAUNCH},
		{"-- ls", MODE_LAUNCH},
		{"-a", MODE_ALL},
		{"--all", MODE_ALL},
		{"doctor", MODE_DOCTOR},
		{"-v doctor", MODE_DOCTOR},
		{"doctor -v", MODE_DOCTOR},
		{"doctor --json", MODE_DOCTOR},
		{"-- doctor", MODE_LAUNCH},
		{"-s -- doctor -p 1", MODE_LAUNCH},
		{"-- check", MODE_LAUNCH},
		{"docter", MODE_LAUNCH},
		{"Doctor", MODE_LAUNCH},
		{"-h", MODE_HELP},
		{"--help --nonsense", MODE_HELP},
		{"-a -p 1 --help", MODE_HELP},
		{"doctor --help", MODE_HELP},
		{"-V", MODE_VERSION},
		{"--version", MODE_VERSION},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct run *r = good(cases[i].line);

		if (r->options.mode != cases[i].mode)
			fail_msg("'%s': mode %d", cases[i].line, r->options.mode);
		run__free(r);
	}
}

static void test_defaults(void **state)
{
	struct run *r = good("-a");

	(void)state;
	assert_int_equal(r->options.duration_ns, 0);
	assert_int_equal(r->options.interval_ns, 0);
	assert_int_equal(r->options.buffer_bytes, 0);
	assert_int_equal(r->options.top, 10);
	assert_false(r->options.json || r->options.stream || r->options.no_follow);
	assert_false(r->options.verbose || r->options.quiet);
	assert_null(r->options.json_path);
	assert_null(r->options.user);
	run__free(r);
}

static void test_command_keeps_its_options(void **state)
{
	struct run *r = good("-d 3 ls -l --json -p 7 -- -x");

	(void)state;
	assert_int_equal(r->options.mode, MODE_LAUNCH);
	assert_string_equal(r->options.argv[0], "ls");
	assert_string_equal(r->options.argv[1], "-l");
	assert_string_equal(r->options.argv[5], "--");
	assert_string_equal(r->options.argv[6], "-x");
	assert_null(r->options.argv[7]);
	assert_int_equal(r->options.npids, 0);
	assert_false(r->options.json);
	run__free(r);

	r = good("-- -odd --name");
	assert_string_equal(r->options.argv[0], "-odd");
	run__free(r);
}

static void test_pids(void **state)
{
	struct run *r = good("-p 12,7,12 --pid 7 -p 4194304");

	(void)state;
	assert_int_equal(r->options.npids, 3);
	assert_int_equal(r->options.pids[0], 12);
	assert_int_equal(r->options.pids[1], 7);
	assert_int_equal(r->options.pids[2], 4194304);
	run__free(r);

	refused("-p 0", EXIT_USAGE, "--pid: \"0\": process 0");
	refused("-p 1,0", EXIT_USAGE, "--pid: \"1,0\": process 0");
	refused("-p -5", EXIT_USAGE, "--pid: \"-5\": not a list");
	refused("-p +5", EXIT_USAGE, "--pid: \"+5\": not a list");
	refused("-p bash", EXIT_USAGE, "--pid: \"bash\": not a list");
	refused("-p 12x", EXIT_USAGE, "--pid: \"12x\": not a list");
	refused("-p 0x10", EXIT_USAGE, "--pid: \"0x10\"");
	refused("-p 1,,2", EXIT_USAGE, "--pid: \"1,,2\": not a list");
	refused("-p 1,", EXIT_USAGE, "--pid: \"1,\": not a list");
	refused("-p ,1", EXIT_USAGE, "--pid: \",1\": not a list");
	refused("-p \"\"", EXIT_USAGE, "--pid: needs a value");
	refused("-p 2147483648", EXIT_USAGE, "larger than any process number");
	refused("-p 4294967297", EXIT_USAGE, "larger than any process number");
	refused("-p 99999999999999999999999", EXIT_USAGE, "larger than any process number");
	refused("-p", EXIT_USAGE, "-p/--pid: needs a value");
	refused("--pid", EXIT_USAGE, "--pid: needs a value");
}

static void test_durations(void **state)
{
	static const struct {
		const char *line;
		uint64_t ns;
	} cases[] = {
		{"-a -d 10", 10 * SECOND},
		{"-a -d 10s", 10 * SECOND},
		{"-a -d 500ms", 500 * MS},
		{"-a -d 1.5", 1500 * MS},
		{"-a -d .25", 250 * MS},
		{"-a -d 1.5m", 90 * SECOND},
		{"-a --duration=2m", 120 * SECOND},
		{"-a -d 1h", 3600 * SECOND},
		{"-a -d 0.000000001", 1},
		{"-a -d 1.0000000009", SECOND},
		{"-a -d 9223372036", 9223372036 * SECOND},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct run *r = good(cases[i].line);

		if (r->options.duration_ns != cases[i].ns)
			fail_msg("'%s': %llu ns", cases[i].line,
				 (unsigned long long)r->options.duration_ns);
		run__free(r);
	}
	refused("-a -d x1", EXIT_USAGE,
		"memtrace: --duration: \"x1\": not a duration (try 10, 500ms, 2m)\n");
	refused("-a -i 1x", EXIT_USAGE, "--interval: \"1x\": not a duration");
	refused("-a -d -1", EXIT_USAGE, "--duration: \"-1\": not a duration");
	refused("-a -d 1.", EXIT_USAGE, "--duration: \"1.\": not a duration");
	refused("-a -d .", EXIT_USAGE, "--duration: \".\": not a duration");
	refused("-a -d 1.5.5", EXIT_USAGE, "not a duration");
	refused("-a -d 1e3", EXIT_USAGE, "not a duration");
	refused("-a -d inf", EXIT_USAGE, "not a duration");
	refused("-a -d 1msx", EXIT_USAGE, "not a duration");
	refused("-a -d ms", EXIT_USAGE, "not a duration");
	refused("-a -d 0", EXIT_USAGE, "must be more than 0");
	refused("-a -i 0.0000000001", EXIT_USAGE, "must be more than 0");
	refused("-a -d 9223372037", EXIT_USAGE, "too long");
	refused("-a -d 18446744073709551616", EXIT_USAGE, "too long");
	refused("-a -d 18446744073709551615h", EXIT_USAGE, "too long");
	refused("-a -d \"\"", EXIT_USAGE, "--duration: needs a value");
	refused("-a -d", EXIT_USAGE, "-d/--duration: needs a value");
}

static void test_buffer(void **state)
{
	static const struct {
		const char *line;
		size_t bytes;
	} cases[] = {
		{"-a --buffer 4096", 4096},	 {"-a --buffer 64K", 64 << 10},
		{"-a --buffer 64KiB", 64 << 10}, {"-a --buffer=16M", 16 << 20},
		{"-a --buffer 16m", 16 << 20},	 {"-a --buffer 1GiB", 1 << 30},
		{"-a --buffer 4G", 4ULL << 30},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct run *r = good(cases[i].line);

		assert_int_equal(r->options.buffer_bytes, cases[i].bytes);
		run__free(r);
	}
	refused("-a --buffer 0", EXIT_USAGE, "--buffer: \"0\": less than 4 KiB");
	refused("-a --buffer 4095", EXIT_USAGE, "less than 4 KiB");
	refused("-a --buffer 5G", EXIT_USAGE, "more than 4 GiB");
	refused("-a --buffer 17179869184G", EXIT_USAGE, "more than 4 GiB");
	refused("-a --buffer 99999999999999999999", EXIT_USAGE, "more than 4 GiB");
	refused("-a --buffer 64KB", EXIT_USAGE, "not a size (try 64K, 16M, 1GiB)");
	refused("-a --buffer 64T", EXIT_USAGE, "not a size");
	refused("-a --buffer 1.5M", EXIT_USAGE, "not a size");
	refused("-a --buffer -1", EXIT_USAGE, "not a size");
	refused("-a --buffer K", EXIT_USAGE, "not a size");
	refused("-a --buffer \"\"", EXIT_USAGE, "--buffer: needs a value");
}

static void test_top(void **state)
{
	struct run *r = good("-a -n 25");

	(void)state;
	assert_int_equal(r->options.top, 25);
	run__free(r);
	refused("-a -n 0", EXIT_USAGE, "--top: \"0\": not a number of rows");
	refused("-a -n -3", EXIT_USAGE, "not a number of rows");
	refused("-a -n 3x", EXIT_USAGE, "not a number of rows");
	refused("-a -n 18446744073709551617", EXIT_USAGE, "more than 1000000 rows");
}

static void test_flags_and_names(void **state)
{
	struct run *r = good("-a -v --comm postgres --cgroup /system.slice --json=/tmp/x -i 2");

	(void)state;
	assert_true(r->options.verbose && r->options.json);
	assert_string_equal(r->options.json_path, "/tmp/x");
	assert_string_equal(r->options.comm, "postgres");
	assert_string_equal(r->options.cgroup, "/system.slice");
	assert_int_equal(r->options.interval_ns, 2 * SECOND);
	run__free(r);

	r = good("-sq --no-follow -u nobody --json --heap=none --planes kernel ls");
	assert_true(r->options.stream && r->options.quiet && r->options.no_follow);
	assert_true(r->options.json);
	assert_null(r->options.json_path);
	assert_string_equal(r->options.user, "nobody");
	assert_string_equal(r->options.argv[0], "ls");
	run__free(r);

	r = good("--dur 4 --heap=auto --no ls");
	assert_int_equal(r->options.duration_ns, 4 * SECOND);
	assert_true(r->options.no_follow);
	run__free(r);

	refused("-a --comm systemd-networkd", EXIT_USAGE, "(try \"systemd-network\")");
	refused("-a --comm \"\"", EXIT_USAGE, "--comm: needs a value");
	refused("-a --json=", EXIT_USAGE, "--json: needs a value");
	refused("-u \"\" ls", EXIT_OWN_FAILURE, "--user: needs a value");
}

static void test_unknown_options(void **state)
{
	(void)state;
	refused("-Z", EXIT_USAGE, "-Z: unknown option");
	refused("-sZ", EXIT_USAGE, "-Z: unknown option");
	refused("--stream -Zv", EXIT_USAGE, "-Z: unknown option");
	refused("--bogus", EXIT_USAGE, "--bogus: unknown option");
	refused("--bogus=3 -a", EXIT_USAGE, "--bogus: unknown option");
	refused("--all=3", EXIT_USAGE, "--all: takes no value");
	refused("--ver", EXIT_USAGE, "--ver: ambiguous option");
	refused("doctor --bogus", EXIT_USAGE, "--bogus: unknown option");
	refused("--bogus -- ls", EXIT_OWN_FAILURE, "--bogus: unknown option");
	refused("-d x ls", EXIT_OWN_FAILURE, "--duration: \"x\"");
}

static void test_conflicts(void **state)
{
	(void)state;
	refused("-p 1 ls", EXIT_USAGE, "-p/--pid with a command (\"ls\")");
	refused("-p 1 -- doctor", EXIT_USAGE, "-p/--pid with a command (\"doctor\")");
	refused("-a -p 1", EXIT_USAGE, "-p/--pid with -a/--all");
	refused("-a ls", EXIT_USAGE, "-a/--all with a command (\"ls\")");
	refused("--comm x -p 1", EXIT_USAGE, "--comm without -a/--all");
	refused("--cgroup x -- ls", EXIT_OWN_FAILURE, "--cgroup without -a/--all");
	refused("-i 1 -s ls", EXIT_OWN_FAILURE, "-i/--interval with -s/--stream");
	refused("-i 1 -s -p 1", EXIT_USAGE, "-i/--interval with -s/--stream");
	refused("-v -q -a", EXIT_USAGE, "-v/--verbose with -q/--quiet");
	refused("-a --no-follow", EXIT_USAGE, "--no-follow with -a/--all");
	refused("-u nobody -p 1", EXIT_USAGE, "-u/--user without a command");
	refused("doctor -p 1", EXIT_USAGE, "doctor with --pid");
	refused("-p 1 doctor", EXIT_USAGE, "doctor with --pid");
	refused("-a doctor", EXIT_USAGE, "doctor with --all");
	refused("doctor now", EXIT_USAGE, "doctor: \"now\": takes no argument");
	refused("doctor -- now", EXIT_USAGE, "doctor: \"now\": takes no argument");
}

static void test_nothing_to_trace(void **state)
{
	(void)state;
	refused("", EXIT_USAGE, "nothing to trace");
	refused("--", EXIT_USAGE, "nothing to trace");
	refused("-d 3 --json", EXIT_USAGE, "nothing to trace");
	refused("\"\"", EXIT_OWN_FAILURE, "the command's name is empty");
}

static void test_check(void **state)
{
	struct run *r = run__line("check -c x.contract -D t=1M -Du=2 --strict --format tap --junit=j "
				  "--json -v -- ls -c -l");

	(void)state;
	assert_int_equal(r->status, 0);
	assert_int_equal(r->options.mode, MODE_LAUNCH);
	assert_true(r->options.check.on && r->options.check.strict && r->options.verbose);
	assert_string_equal(r->options.check.contract, "x.contract");
	assert_int_equal(r->options.check.ndefines, 2);
	assert_string_equal(r->options.check.defines[1], "u=2");
	assert_int_equal(r->options.check.format, CHECK_TAP);
	assert_true(r->options.check.file[CHECK_JSON].on && !r->options.check.file[CHECK_JSON].path);
	assert_string_equal(r->options.check.file[CHECK_JUNIT].path, "j");
	assert_false(r->options.json);
	assert_string_equal(r->options.argv[0], "ls");
	assert_string_equal(r->options.argv[1], "-c");
	run__free(r);
	r = run__line("-q check --learn=out -p 1 -d 2");
	assert_int_equal(r->status, 0);
	assert_int_equal(r->options.mode, MODE_ATTACH);
	assert_true(r->options.check.learn && r->options.quiet);
	assert_string_equal(r->options.check.learn_path, "out");
	run__free(r);
}

static void test_check_refuses(void **state)
{
	(void)state;
	refused("check ls", EXIT_USAGE, "check: which contract?");
	refused("check -c x", EXIT_USAGE, "check: nothing to trace");
	refused("check -c x -p 1 ls", EXIT_USAGE, "attach or launch, not both");
	refused("check -c x --learn ls", EXIT_USAGE, "propose one or hold one");
	refused("check --learn --strict ls", EXIT_USAGE, "are of a contract");
	refused("check -c x -a", EXIT_USAGE, "check with --all: a contract is held against chosen");
	refused("check -c x --sample 64K ls", EXIT_USAGE, "check with --sample: a verdict needs all");
	refused("check -c x -s ls", EXIT_USAGE, "check with --stream: there is no stream");
	refused("check -c x -D t ls", EXIT_USAGE, "--define: \"t\": expected NAME=VALUE");
	refused("check -c x --format xml ls", EXIT_USAGE,
		"not a format (try text, json, tap, junit)");
	refused("check -c x -v -q ls", EXIT_USAGE, "say more or say less");
	refused("check -c x -u me -p 1", EXIT_USAGE, "-u/--user without a command");
	refused("check -c x \"\"", EXIT_USAGE, "the command's name is empty");
	refused("-c x -p 1", EXIT_USAGE, "--contract without check");
	refused("--strict -p 1", EXIT_USAGE, "--strict without check");
}

static void test_not_built_yet(void **state)
{
	(void)state;
	refused("report file", EXIT_USAGE, "report: not built yet");
	refused("report", EXIT_USAGE, "memtrace -- report");
	refused("-o file -p 1", EXIT_USAGE, "--output: \"file\": not built yet");
	refused("--heap=ring -a", EXIT_USAGE, "--heap=ring without a command");
	refused("--on-overrun=block -a", EXIT_USAGE, "--on-overrun without a command");
}

static void test_heap_plane(void **state)
{
	struct run *r;

	(void)state;
	r = good("-p 1");
	assert_int_equal(r->options.heap, HEAP_CHOICE_AUTO);
	assert_int_equal(r->options.sample_bytes, 0);
	run__free(r);

	r = good("--heap=uprobe --sample 512K --allocator /opt/liba.so --allocator-symbol my_malloc "
		 "--allocator-symbol=free=give_back ls");
	assert_int_equal(r->options.heap, HEAP_CHOICE_UPROBE);
	assert_int_equal(r->options.sample_bytes, 512 << 10);
	assert_string_equal(r->options.allocator, "/opt/liba.so");
	assert_int_equal(r->options.nsymbols, 2);
	assert_string_equal(r->options.symbols[0], "my_malloc");
	assert_string_equal(r->options.symbols[1], "free=give_back");
	run__free(r);

	r = good("--planes kernel ls");
	assert_int_equal(r->options.heap, HEAP_CHOICE_NONE);
	run__free(r);
	r = good("--planes heap,kernel -a --comm x --heap uprobe");
	assert_int_equal(r->options.heap, HEAP_CHOICE_UPROBE);
	run__free(r);

	/* The whole machine: only when that is asked for, and sampled always. */
	r = good("-a");
	assert_int_equal(r->options.heap, HEAP_CHOICE_NONE);
	assert_int_equal(r->options.sample_bytes, 0);
	run__free(r);
	r = good("-a --heap=uprobe");
	assert_int_equal(r->options.heap, HEAP_CHOICE_UPROBE);
	assert_int_equal(r->options.sample_bytes, 512 << 10);
	run__free(r);
	r = good("-a --sample 64K");
	assert_int_equal(r->options.heap, HEAP_CHOICE_UPROBE);
	assert_int_equal(r->options.sample_bytes, 64 << 10);
	run__free(r);
	r = good("-a --comm x --heap=uprobe");
	assert_int_equal(r->options.sample_bytes, 0);
	run__free(r);

	r = good("--heap=ring --ring 64K --on-overrun=drop ls");
	assert_int_equal(r->options.heap, HEAP_CHOICE_RING);
	assert_int_equal(r->options.ring_bytes, 64 << 10);
	assert_true(r->options.drop);
	run__free(r);
	r = good("--heap=ring --sample 64K ls");
	assert_int_equal(r->options.heap, HEAP_CHOICE_RING);
	assert_int_equal(r->options.sample_bytes, 64 << 10);
	run__free(r);
	r = good("--heap=ring --on-overrun=block ls");
	assert_false(r->options.drop);
	run__free(r);
	refused("--heap=ring -a", EXIT_USAGE, "--heap=ring without a command");
	refused("--heap=ring --allocator=/x -p 1", EXIT_USAGE, "--heap=ring with -p/--pid");
	refused("check --heap=ring -c x -p 1 -d 1", EXIT_USAGE, "--heap=ring with -p/--pid");
	refused("--ring 1K ls", EXIT_OWN_FAILURE, "--ring: \"1K\": not from 4 KiB");
	refused("--on-overrun=wait ls", EXIT_OWN_FAILURE, "neither block nor drop");
	r = good("--heap=contract -p 1");
	assert_int_equal(r->options.heap, HEAP_CHOICE_CONTRACT);
	run__free(r);
	refused("--heap=contract -a", EXIT_USAGE, "-a/--all with --heap=contract");
	refused("--heap=yes -p 1", EXIT_USAGE, "--heap: \"yes\": not a heap plane");
	refused("--planes heap -p 1", EXIT_USAGE, "--planes: \"heap\": not a list of planes");
	refused("--sample 0 -p 1", EXIT_USAGE, "--sample: \"0\": must be more than 0");
	refused("--sample 1x -p 1", EXIT_USAGE, "--sample: \"1x\": not a size");
	refused("--allocator-symbol grab -p 1", EXIT_USAGE, "--allocator-symbol: \"grab\"");
	refused("--allocator-symbol grab=x -p 1", EXIT_USAGE, "say it: malloc=NAME");
	refused("--sample 1M --heap=none -p 1", EXIT_USAGE, "--sample without a heap plane");
	refused("--planes kernel --allocator x -p 1", EXIT_USAGE, "--allocator without a heap plane");
}

static void test_can_parse_again(void **state)
{
	struct run *r;

	(void)state;
	refused("-sZ ls", EXIT_OWN_FAILURE, "-Z: unknown option");
	for (int i = 0; i < 3; i++) {
		r = good("-p 5 -v");
		assert_int_equal(r->options.npids, 1);
		assert_true(r->options.verbose);
		run__free(r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_modes),
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_command_keeps_its_options),
		cmocka_unit_test(test_pids),
		cmocka_unit_test(test_durations),
		cmocka_unit_test(test_buffer),
		cmocka_unit_test(test_top),
		cmocka_unit_test(test_flags_and_names),
		cmocka_unit_test(test_unknown_options),
		cmocka_unit_test(test_conflicts),
		cmocka_unit_test(test_nothing_to_trace),
		cmocka_unit_test(test_check),
		cmocka_unit_test(test_check_refuses),
		cmocka_unit_test(test_not_built_yet),
		cmocka_unit_test(test_heap_plane),
		cmocka_unit_test(test_can_parse_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
