/* SPDX-License-Identifier: MIT */
/* The JSON report: read back with a strict parser, and asked for what the fixture put in. */
#include "tests/unit/view_fixture.h"

#include <errno.h>
#include <unistd.h>

/* A key may occur once; numbers must be integers; the bytes must be UTF-8. */
static const char reader[] = "import json, sys\n"
			     "def once(pairs):\n"
			     "    keys = [k for k, v in pairs]\n"
			     "    assert len(keys) == len(set(keys)), keys\n"
			     "    return dict(pairs)\n"
			     "def no_float(text):\n"
			     "    raise ValueError(text)\n"
			     "data = open(sys.argv[1], 'rb').read()\n"
			     "assert not any(b < 32 and b != 10 or b == 127 for b in data)\n"
			     "d = json.loads(data.decode('utf-8', 'strict'), object_pairs_hook=once,\n"
			     "               parse_float=no_float, parse_constant=no_float)\n";

struct expectation {
	const char *expression; /* of Python, with the report as d */
	const char *value; /* as JSON */
};

static size_t most_sites; /* --json-sites */

static void write_report(const struct report *r, char *path)
{
	int fd = mkstemp(path);
	FILE *out;

	assert_true(fd >= 0);
	out = fdopen(fd, "w");
	assert_non_null(out);
	assert_int_equal(view__json(out, r, &(struct view_opts){.json_sites = most_sites}), 0);
	assert_int_equal(fclose(out), 0);
}

static void expect(const struct report *r, const struct expectation *list, size_t n)
{
	char path[] = "/tmp/memtrace-view-json-XXXXXX", command[128];
	FILE *python;
	size_t i;

	if (system("command -v python3 >/dev/null 2>&1") != 0)
		skip();
	write_report(r, path);
	snprintf(command, sizeof(command), "python3 - %s >&2", path);
	python = popen(command, "w");
	assert_non_null(python);
	fputs(reader, python);
	for (i = 0; i < n; i++)
		fprintf(python, "got = json.dumps(%s)\nassert got == r'''%s''', '''%s is ''' + got\n",
			list[i].expression, list[i].value, list[i].expression);
	assert_int_equal(pclose(python), 0);
	unlink(path);
}
#define EXPECT(report, list) expect(report, list, sizeof(list) / sizeof((list)[0]))

static void totals_are_exact(void **state)
{
	static const struct expectation list[] = {
		{"d['schema']", "\"memtrace.report/1\""},
		{"d['version']", "\"0.1\""},
		{"d['duration_ns']", "2500000000"},
		{"d['kernel']['brk']",
		 "{\"calls\": 12, \"failed\": 0, \"bytes\": 1835008, \"time_ns\": 12000, "
		 "\"grown_bytes\": 1572864, \"shrunk_bytes\": 262144, \"populated\": 0}"},
		{"d['kernel']['mmap']",
		 "{\"calls\": 1234, \"failed\": 2, \"bytes\": 67108864, \"time_ns\": 4000000, "
		 "\"populated\": 16}"},
		{"d['kernel']['munmap']['bytes']", "524288"},
		{"d['kernel']['mremap']['grown_bytes']", "4096"},
		{"d['kernel']['mremap']['shrunk_bytes']", "0"},
		{"d['kernel']['madvise']['failed']", "3"},
		{"d['kernel']['mprotect']['calls']", "0"},
		{"{k: v for k, v in d['kernel']['faults'].items() if k != 'histogram_ns'}",
		 "{\"minor\": 5580, \"major\": 3, \"user\": 5500, \"kernel\": 83, \"read\": 1000, "
		 "\"write\": 4570, \"exec\": 10, \"access_unknown\": 3, \"cow_after_fork\": 12, "
		 "\"cow_other\": 40, \"time_ns\": 5580000, \"time_known\": 5580}"},
		{"len(d['kernel']['faults']['histogram_ns'])", "32"},
		{"d['kernel']['faults']['histogram_ns'][0]",
		 "{\"from_ns\": 0, \"to_ns\": 2, \"count\": 0}"},
		{"d['kernel']['faults']['histogram_ns'][9]",
		 "{\"from_ns\": 512, \"to_ns\": 1024, \"count\": 4000}"},
		{"d['kernel']['faults']['histogram_ns'][31]",
		 "{\"from_ns\": 2147483648, \"to_ns\": null, \"count\": 0}"},
		{"d['regions']['text']", "{\"mappings\": 2, \"bytes\": 65536, \"resident_bytes\": 49152, "
					 "\"faults\": {\"minor\": 10, \"major\": 3}}"},
		{"d['regions']['mmap']",
		 "{\"mappings\": null, \"bytes\": null, \"resident_bytes\": null, "
		 "\"faults\": {\"minor\": 5000, \"major\": 0}}"},
		{"d['mapped'][1]",
		 "{\"t_ns\": 1000000000, \"mapped_bytes\": 83886080, \"heap_bytes\": 1048576}"},
		{"len(d['mapped'])", "4"},
		{"d['rss']",
		 "{\"kernel_bytes\": 31457280, \"parts\": {\"live\": null, \"retained\": null, "
		 "\"allocator\": null, \"heap\": 1048576, \"direct_mmap\": 20971520, "
		 "\"file\": 8388608, \"stack\": 1048576, \"other\": 0, \"unknown\": 0}}"},
		{"d['stacks']", "{\"distinct\": 57, \"failed\": 0, \"truncated\": 0, "
				"\"taken\": 0, \"taken_truncated\": 0}"},
		{"d['notes']", "[\"process 4244 ended before it could be followed\"]"},
		{"d['advice']", "[]"},
	};
	struct fixture x;

	(void)state;
	EXPECT(fixture__make(&x), list);
}

static void processes_are_whole(void **state)
{
	static const struct expectation list[] = {
		{"len(d['processes'])", "2"},
		{"[d['processes'][0][k] for k in ('pid', 'ppid', 'comm', 'exe', 'allocators', "
		 "'heap_plane', 'exit_status', 'root', 'ended', 'execs', 'forks', 'threads', "
		 "'start_ns', 'end_ns', 'kernel_minflt', 'kernel_majflt', 'rss_bytes', "
		 "'rss_peak_bytes', 'mapped_bytes')]",
		 "[4242, 1, \"server\", \"/usr/bin/server\", [], \"none\", null, true, false, 0, 1, 3, "
		 "0, 2500000000, 5596, 3, 31457280, 41943040, 73400320]"},
		{"[d['processes'][1][k] for k in ('pid', 'ppid', 'exe', 'exit_status', 'root', "
		 "'ended', 'start_ns', 'kernel_minflt', 'rss_bytes')]",
		 "[4243, 4242, null, 3, false, true, 100000000, null, null]"},
		{"d['processes'][0]['kernel'] == d['kernel']", "true"},
		{"d['processes'][1]['regions']['heap']['mappings']", "null"},
		{"d['processes'][1]['regions']['heap']['faults']['minor']", "0"},
	};
	struct fixture x;

	(void)state;
	EXPECT(fixture__make(&x), list);
}

static void sites_are_whole(void **state)
{
	static const struct expectation list[] = {
		{"len(d['sites'])", "3"},
		{"[o['sites'] for o in d['sites_omitted'].values()]", "[0, 0]"},
		{"d['sites'][0]['stack'][0]",
		 "{\"module\": \"/usr/bin/server\", \"build_id\": \"0123abcd\", \"offset\": 4409, "
		 "\"symbol\": \"touch\", \"symbol_offset\": 9, \"file\": \"/src/app/t.c\", \"line\": 9, "
		 "\"inlined\": true}"},
		{"d['sites'][1]['stack']",
		 "[{\"module\": null, \"build_id\": null, \"offset\": 139637976731648, "
		 "\"symbol\": null, \"symbol_offset\": null, \"file\": null, \"line\": null, "
		 "\"inlined\": false}]"},
		{"{k: v for k, v in d['sites'][0].items() if k != 'stack'}",
		 "{\"truncated\": false, \"kind\": \"kernel\", \"calls\": 1012, \"syscalls\": {\"brk\": 12, \"mmap\": 1000, "
		 "\"munmap\": 0, \"mremap\": 0, \"madvise\": 0, \"mprotect\": 0}, "
		 "\"syscall_ns\": 3000000, \"bytes\": 50331648, \"unmapped_bytes\": 524288, "
		 "\"faults\": {\"minor\": 5000, \"major\": 3, \"cow\": 40}, \"fault_ns\": 5000000, "
		 "\"frees\": null, \"live_blocks\": null, \"live_bytes\": null, "
		 "\"resident_bytes\": null}"},
		{"[s['truncated'] for s in d['sites']]", "[false, true, false]"},
		{"d['sites'][2]['stack']", "[]"},
	};
	struct fixture x;

	(void)state;
	EXPECT(fixture__make(&x), list);
}

/* Of each order the first, and what advice is about; the numbers in advice are those of what is there. */
static void places_can_be_left_out(void **state)
{
	static const struct expectation list[] = {
		{"[len(s['stack']) for s in d['sites']]", "[3, 0]"},
		{"d['advice'][0]['site']", "1"},
		{"d['sites_omitted']",
		 "{\"heap\": {\"sites\": 0, \"calls\": 0, \"bytes\": 0, \"frees\": 0, "
		 "\"live_blocks\": 0, \"live_bytes\": 0}, "
		 "\"kernel\": {\"sites\": 1, \"calls\": 241, \"bytes\": 16777216, "
		 "\"unmapped_bytes\": 0, \"minor\": 500, \"major\": 0}}"},
	};
	static const struct expectation heap[] = {
		{"len(d['sites'])", "1"},
		{"d['sites_omitted']['heap']",
		 "{\"sites\": 2, \"calls\": 12, \"bytes\": 3000, \"frees\": 4, "
		 "\"live_blocks\": 8, \"live_bytes\": null}"},
		{"d['sites_omitted']['kernel']['sites']", "0"},
	};
	struct fixture x;
	struct report *r = fixture__make(&x);
	struct advice advice = {.id = "growth", .text = "it grows", .site = &x.sites[2]};
	size_t i;

	(void)state;
	most_sites = 1;
	r->advice = &advice;
	r->nadvice = 1;
	EXPECT(r, list);
	for (i = 1; i < 3; i++) {
		x.sites[i].is_heap = true;
		x.sites[i].heap = (struct site_heap){.calls = 4 * i,
						     .bytes = 1000 * i,
						     .frees = 2,
						     .live_blocks = 4,
						     .live_bytes = i == 1 ? 500 : UNKNOWN};
	}
	r->nadvice = 0;
	EXPECT(r, heap);
	most_sites = 0;
}

static void losses_balance(void **state)
{
	static const struct expectation list[] = {
		{"[d['events'][k] for k in ('seen', 'delivered', 'lost')]", "[6829, 6800, 29]"},
		{"d['events']['lost_by']", "{\"mmap\": 4, \"fault\": 25}"},
		{"d['events']['by_kind']['fault']",
		 "{\"seen\": 5583, \"delivered\": 5558, \"lost\": 25}"},
		{"d['events']['by_kind']['brk']", "{\"seen\": 12, \"delivered\": 12, \"lost\": 0}"},
		{"'none' in d['events']['by_kind']", "false"},
		{"len(d['events']['by_kind'])", "15"},
	};
	struct fixture x;
	struct report *r = fixture__make(&x);

	(void)state;
	r->events[REC_MMAP].lost = 4;
	r->events[REC_FAULT].lost = 25;
	r->lost = 29;
	r->delivered -= 29;
	EXPECT(r, list);
}

static void unknown_is_null_and_zero_is_zero(void **state)
{
	static const struct expectation list[] = {
		{"d['rss']['kernel_bytes']", "null"},
		{"list(d['rss']['parts'].values())",
		 "[null, null, null, null, null, null, null, null, null]"},
		{"d['kernel']['mmap']['time_ns']", "null"},
		{"d['kernel']['faults']['time_ns']", "null"},
		{"d['kernel']['brk']['calls']", "18446744073709551614"},
		{"[k for k in 'calls failed bytes_requested live_blocks live_bytes peak_live_bytes "
		 "unmatched_frees'.split() if d['heap'][k] is not None]",
		 "[]"},
		{"d['heap']['inside_calls']['faults']", "{\"minor\": null, \"major\": null}"},
		{"[d['mapped'], d['sites'], d['notes'], d['processes']]", "[[], [], [], []]"},
		{"[d['version'], d['how']]", "[null, null]"},
	};
	struct report r = {0};

	(void)state;
	fixture__no_heap(&r);
	r.rss_bytes = r.rss_parts_heap = r.rss_parts_direct_mmap = r.rss_parts_file = UNKNOWN;
	r.rss_parts_stack = r.rss_parts_other = r.rss_parts_unknown = UNKNOWN;
	r.call[CALL_MMAP].time_ns = UNKNOWN;
	r.faults.time_ns = UNKNOWN;
	r.call[CALL_BRK].calls = UINT64_MAX - 1;
	EXPECT(&r, list);
}

static void what_is_memtraces_own_is_apart(void **state)
{
	static const struct expectation list[] = {
		{"d['agent']['mmap']['calls']", "9"},
		{"d['agent']['faults']['minor']", "40"},
		{"[d['agent']['mapped_bytes'], d['agent']['resident_bytes']]", "[680525824, 1258291]"},
		{"d['processes'][0]['agent']['resident_bytes']", "null"},
		{"d['processes'][1]['agent']", "null"},
		{"d['rss']['parts']['agent']", "1258291"},
		{"'agent' in d['regions']", "false"},
	};
	struct fixture x;
	struct report *r = fixture__make(&x);

	(void)state;
	r->has_agent = x.processes[0].has_agent = true;
	r->agent.call[CALL_MMAP].calls = 9;
	r->agent.faults.minor = 40;
	r->agent.mapped_bytes = 649 * MIB;
	r->agent.resident_bytes = r->parts.agent = 1258291;
	r->parts.live = 0;
	x.processes[0].agent.resident_bytes = UNKNOWN;
	EXPECT(r, list);
}

static void exit_statuses_are_the_shell_s(void **state)
{
	static const struct expectation list[] = {
		{"[p['exit_status'] for p in d['processes']]", "[139, null]"},
	};
	struct fixture x;
	struct report *r = fixture__make(&x);

	(void)state;
	x.processes[0].ended = x.processes[0].exit_known = true;
	x.processes[0].exit_status = 11 | 0x80; /* SIGSEGV, core dumped */
	x.processes[1].exit_known = false;
	EXPECT(r, list);
}

/* The reader itself refuses raw control characters and bytes that are not UTF-8. */
static void hostile_names_stay_valid_json(void **state)
{
	static const struct expectation list[] = {
		{"[ord(c) for c in d['processes'][0]['comm']]",
		 "[97, 34, 92, 10, 27, 91, 127, 155, 65533, 233]"},
		{"[ord(c) for c in d['processes'][0]['exe']]",
		 "[65533, 65533, 47, 128512, 8238, 65533]"},
		{"[ord(c) for c in d['sites'][0]['stack'][0]['symbol']]", "[917569, 1, 65533]"},
	};
	struct fixture x;
	struct report *r = fixture__make(&x);

	(void)state;
	x.processes[0].comm = "a\"\\\n\033[\x7f\xc2\x9b\xff\xc3\xa9";
	x.processes[0].exe = "\xc0\xaf/\xf0\x9f\x98\x80\xe2\x80\xae\xe2";
	x.frames[0].symbol = "\xf3\xa0\x81\x81\x01\xfe";
	EXPECT(r, list);
}

static void a_full_disk_is_told(void **state)
{
	struct fixture x;
	FILE *out = fopen("/dev/full", "w");

	(void)state;
	if (!out)
		skip();
	assert_int_equal(view__json(out, fixture__make(&x), &(struct view_opts){.top = 1}), -ENOSPC);
	fclose(out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(totals_are_exact),
		cmocka_unit_test(processes_are_whole),
		cmocka_unit_test(sites_are_whole),
		cmocka_unit_test(places_can_be_left_out),
		cmocka_unit_test(losses_balance),
		cmocka_unit_test(unknown_is_null_and_zero_is_zero),
		cmocka_unit_test(what_is_memtraces_own_is_apart),
		cmocka_unit_test(exit_statuses_are_the_shell_s),
		cmocka_unit_test(hostile_names_stay_valid_json),
		cmocka_unit_test(a_full_disk_is_told),
	};

	return cmocka_run_group_tests_name("view_json", tests, NULL, NULL);
}
