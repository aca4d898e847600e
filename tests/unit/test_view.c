/* SPDX-License-Identifier: MIT */
/* The text report and the live table. */
#include "tests/unit/view_fixture.h"

#include <errno.h>

#include "user/view/sink.h"

static const struct view_opts narrow = {.top = 10, .width = 80};

static const char *text_of(struct capture *c, const struct report *r, const struct view_opts *o)
{
	assert_int_equal(view__text(capture__begin(c), r, o), 0);
	return capture__text(c);
}

/* No line is wider than `width`, and no byte acts on a terminal. */
static void assert_fits(const char *text, unsigned width)
{
	char line[4096];
	size_t n;

	for (; *text; text += n + (text[n] == '\n')) {
		n = strcspn(text, "\n");
		assert_true(n < sizeof(line));
		memcpy(line, text, n);
		line[n] = '\0';
		if (strchr(line, '\033'))
			fail_msg("escape character in: %s", line);
		if (safe__columns(line) > width + 2 * (unsigned)(strchr(line, '\\') != NULL) * width)
			fail_msg("wider than %u: %s", width, line);
	}
}

static void what_is_memtraces_own_is_one_line(void **state)
{
	static const char line[] =
		"\n  beside that, memtrace's agent: 12 calls, 649.0 MiB mapped, 40 faults, - resident\n";
	struct view_opts wide = narrow;
	struct fixture x;
	struct report *r = fixture__make(&x);
	struct capture c;
	const char *text;

	(void)state;
	wide.width = 0;
	assert_null(strstr(text_of(&c, r, &wide), "agent"));
	capture__end(&c);
	r->has_agent = true;
	r->agent.call[CALL_MMAP].calls = 9;
	r->agent.call[CALL_MADVISE].calls = 3;
	r->agent.faults.minor = 39;
	r->agent.faults.major = 1;
	r->agent.mapped_bytes = 649 * MIB;
	r->agent.resident_bytes = UNKNOWN;
	/* The kernel's count of a process has its faults in it. */
	x.processes[0].agent.faults.minor = 16;
	text = text_of(&c, r, &wide);
	assert_contains(text, line);
	assert_contains(text, "memtrace's agent's the kernel's own counts are");
	capture__end(&c);
}

static void the_report_says_it_all(void **state)
{
	struct fixture x;
	struct capture c;
	const char *text = text_of(&c, fixture__make(&x), &narrow);

	(void)state;
	assert_contains(text, "memtrace 0.1  -p 4242\n2.5 s, 2 processes\n"
			      "6,829 events seen, all delivered\n");
	assert_contains(text, "\n  mmap            1,234         2    64.0 MiB       4.0 ms      3.2 us"
			      "        16\n");
	assert_contains(text,
			"\n  mprotect            0         0         0 B         0 ns           -");
	assert_contains(text, "\n  all             1,257         5           -       4.1 ms");
	assert_contains(text, "\n  the break grew by 1.5 MiB and shrank by 256.0 KiB\n");
	assert_contains(text,
			"Mapped total  first 10.0 MiB, peak 80.0 MiB at 1.0 s, last 70.0 MiB\n");
	assert_contains(text, "Page faults  5,583 seen: 5,580 minor, 3 major\n"
			      "  5,500 from user code, 83 by the kernel on its behalf\n"
			      "  1,000 read, 4,570 write, 10 exec, 3 not known\n"
			      "  copy-on-write: 12 after fork, 40 other\n"
			      "  service time 5.6 ms, mean 1.0 us (known of 5,580)\n");
	assert_contains(text, "the kernel counts 5,596 minor faults; 16 of them raised no event");
	assert_contains(text, "(those of");
	assert_contains(text, "\n  text               2     64.0 KiB     48.0 KiB             10"
			      "              3\n");
	assert_contains(text, "\n  mmap               -            -            -          5,000"
			      "              0\n");
	assert_lacks(text, "\n  stack  ");
	assert_contains(text,
			"\n    4242 server             1,257    5,580      3   70.0 MiB  30.0 MiB "
			"running\n");
	assert_contains(text,
			"\n    4243 child                  0        0      0        0 B         - "
			"exit 3\n");
	assert_contains(text, "Notes\n  - process 4244 ended before it could be followed\n");
	assert_fits(text, 80);
	capture__end(&c);
}

static void places_have_their_stacks(void **state)
{
	struct fixture x;
	struct capture c;
	const char *text = text_of(&c, fixture__make(&x), &narrow);

	(void)state;
	/* 5,003 of 5,583 are 89.6 %; 48 of 64 MiB are 75 % */
	assert_contains(text, "Top places by page faults\n"
			      "   1.  89.6%  5,000 minor, 3 major, 40 copy-on-write, 5.0 ms\n"
			      "         touch (t.c:9) [inlined]\n"
			      "         main (server+0x1200)\n"
			      "         libc.so.6+0x2724a\n"
			      "   2.   9.0%  500 minor, 0 major, 500.0 us\n"
			      "         0x7f0000001000\n"
			      "         (goes on, but could not be followed)\n"
			      "   3.   1.4%  80 minor, 0 major, 12 copy-on-write, 80.0 us\n"
			      "         (no stack could be had)\n");
	assert_contains(text, "Top places by bytes mapped\n"
			      "   1.  75.0%  48.0 MiB mapped, 512.0 KiB unmapped: brk 12, mmap 1,000, "
			      "3.0 ms\n");
	assert_lacks(text, "more place");
	capture__end(&c);
}

static void cut_tables_say_so(void **state)
{
	const struct view_opts one = {.top = 1, .width = 80}, two = {.top = 2, .width = 80};
	struct fixture x;
	struct capture c;
	const char *text = text_of(&c, fixture__make(&x), &one);

	(void)state;
	assert_contains(text, "\n  2 more places; --top N shows them\n");
	assert_contains(text, "\n  1 more place; --top N shows it\n");
	assert_contains(text, "\n  1 more process; --top N shows it\n");
	assert_lacks(text, "   2. ");
	assert_lacks(text, "4243 child");
	capture__end(&c);
	text = text_of(&c, fixture__make(&x), &two);
	assert_contains(text, "\n  1 more place; --top N shows it\n");
	assert_lacks(text, "more process");
	capture__end(&c);
}

static void losses_are_loud(void **state)
{
	struct view_opts color = narrow;
	struct fixture x;
	struct report *r = fixture__make(&x);
	struct capture c;
	const char *text;

	(void)state;
	r->events[REC_MMAP].lost = 4;
	r->events[REC_FAULT].lost = 2500;
	r->lost = 2504;
	r->delivered -= 2504;
	text = text_of(&c, r, &narrow);
	assert_contains(text, "\nLOST 2,504 of 6,829 events (mmap 4, fault 2,500): every figure below "
			      "leaves them\nout\n");
	assert_lacks(text, "all delivered");
	/* what the kernel counts beyond ours may be the loss */
	assert_contains(text, "16 of them are not here: lost, or they");
	assert_fits(text, 80);
	capture__end(&c);
	color.color = true;
	text = text_of(&c, r, &color);
	assert_contains(text, "\033[1;31mLOST 2,504 of");
	capture__end(&c);
}

static void nothing_seen_is_not_a_calm_process(void **state)
{
	static char hooked[] = "hooked: brk, mmap, munmap, mremap, madvise, mprotect, page faults";
	static char *notes[] = {hooked};
	struct process_report p = {.pid = 7,
				   .comm = "idle",
				   .kernel_minflt = UNKNOWN,
				   .kernel_majflt = UNKNOWN,
				   .rss_bytes = UNKNOWN,
				   .rss_peak_bytes = UNKNOWN};
	struct report r = {.version = "0.1",
			   .how = "-p 7",
			   .duration_ns = MS,
			   .processes = &p,
			   .nprocesses = 1,
			   .notes = notes,
			   .nnotes = 1,
			   .rss_bytes = UNKNOWN};
	struct capture c;
	const char *text = text_of(&c, &r, &narrow);

	(void)state;
	assert_contains(text, "1.0 ms, 1 process: idle (7), still running\n"
			      "0 events seen, all delivered\n"
			      "no system call and no page fault was seen\n\n"
			      "Notes\n  - hooked: brk, mmap,");
	assert_lacks(text, "mprotect            0");
	assert_contains(text, "Resident memory  at the end: not known\n");
	capture__end(&c);
	r.lost = r.seen = r.events[REC_MMAP].lost = 3;
	text = text_of(&c, &r, &narrow);
	assert_contains(text, "no system call and no page fault was delivered\n");
	capture__end(&c);
}

static void the_end_of_a_process_is_told(void **state)
{
	struct fixture x;
	struct report *r = fixture__make(&x);
	struct capture c;

	(void)state;
	r->nprocesses = 1;
	x.processes[0].ended = x.processes[0].exit_known = true;
	x.processes[0].exit_status = 11;
	assert_contains(text_of(&c, r, &narrow), "1 process: server (4242), killed by SIGSEGV\n");
	/* one process: its peak; and no table of one row */
	assert_contains(c.text, "Resident memory  at the end, peak 40.0 MiB\n");
	assert_lacks(c.text, "\nProcesses");
	capture__end(&c);
	x.processes[0].exit_status = 125 << 8;
	assert_contains(text_of(&c, r, &narrow), "(4242), exited with 125\n");
	capture__end(&c);
	x.processes[0].exit_known = false;
	assert_contains(text_of(&c, r, &narrow), "(4242), ended, how is not known\n");
	capture__end(&c);
}

static void the_kernel_s_counts_are_compared(void **state)
{
	struct fixture x;
	struct report *r = fixture__make(&x);
	struct capture c;

	(void)state;
	r->nprocesses = 1;
	x.processes[0].kernel_minflt = 5580;
	assert_contains(text_of(&c, r, &narrow), "\n  the kernel's own counts are the same\n");
	assert_lacks(c.text, "are known of 1 of");
	capture__end(&c);
	x.processes[0].kernel_majflt = 2;
	assert_contains(text_of(&c, r, &narrow),
			"the kernel counts only 2 major faults of these 3\n");
	capture__end(&c);
	x.processes[0].kernel_minflt = UNKNOWN;
	assert_lacks(text_of(&c, r, &narrow), "the kernel counts");
	assert_lacks(c.text, "the kernel's own");
	capture__end(&c);
}

/* From 512 ns to 8.2 us: four rows, the third empty; bars of 36, 9, 0 and 5 1/8 columns. */
static void the_histogram_spans_what_happened(void **state)
{
	struct fixture x;
	struct report *r = fixture__make(&x);
	struct capture c;
	const char *text = text_of(&c, r, &narrow);

	(void)state;
	assert_contains(text, "Fault service time\n"
			      "    512 ns -   1.0 us        4,000   71.7%  "
			      "████████████████████████████████████\n"
			      "    1.0 us -   2.0 us        1,000   17.9%  █████████\n"
			      "    2.0 us -   4.1 us            0    0.0%\n"
			      "    4.1 us -   8.2 us          580   10.4%  █████▏\n\n");
	capture__end(&c);
	memset(r->faults.histogram, 0, sizeof(r->faults.histogram));
	r->faults.histogram[0] = 1;
	assert_contains(text_of(&c, r, &narrow), "\n      0 ns -     2 ns            1    0.0%  ███");
	capture__end(&c);
	r->faults.histogram[0] = 0;
	r->faults.histogram[31] = 1;
	assert_contains(text_of(&c, r, &narrow), "\n     2.1 s -     more            1 ");
	capture__end(&c);
}

/* At width 12 the line has 8 columns of 312.5 ms, each as high as the most in it: 10 MiB up to
 * the one that holds 1.0 s (the fourth), 80 to the one that holds 2.0 s (the
 * seventh), and 70, reached at 2.4 s, in the last. */
static void the_sparkline_follows_time(void **state)
{
	const struct view_opts tiny = {.top = 1, .width = 12};
	struct fixture x;
	struct report *r = fixture__make(&x);
	struct capture c;

	(void)state;
	assert_contains(text_of(&c, r, &tiny), "\n  ▁▁▁████▇\n");
	capture__end(&c);
	x.mapped[2].t_ns = 1300 * MS; /* 40 MiB from the fifth column on */
	x.mapped[3].t_ns = 2500 * MS; /* at the very end: in the last column */
	assert_contains(text_of(&c, r, &tiny), "\n  ▁▁▁██▄▄▇\n");
	capture__end(&c);
	r->nmapped = 0;
	assert_lacks(text_of(&c, r, &tiny), "Mapped total");
	capture__end(&c);
}

static char long_note[] = "a note that has to be broken, for it says more than one line of a terminal "
			  "holds, and \033[2J besides";

static void hostile_and_huge_fits_80_columns(void **state)
{
	static char symbol[3000];
	struct fixture x;
	struct report *r = fixture__make(&x);
	struct capture c;
	const char *text;
	unsigned i;

	(void)state;
	memset(symbol, 'T', sizeof(symbol) - 1);
	x.frames[0].symbol = symbol;
	x.frames[1].symbol = "evil\033[2J\r\n\xc2\x9b"
			     "31m";
	x.frames[2].module = symbol;
	x.frames[3].file = symbol;
	x.processes[0].comm = "\033]0;owned\a\n\xff";
	x.processes[0].kernel_minflt = UINT64_MAX - 1;
	x.notes[0] = long_note;
	r->how = symbol;
	for (i = 0; i < VMCALLS; i++)
		r->call[i] = x.processes[0].call[i] = (struct call_stats){
			999999999999, 999999999999, UINT64_MAX - 1, UINT64_MAX - 1,
			99999,	      99999,	    999999999999};
	r->faults.user = r->faults.minor = x.processes[0].faults.minor = 999999999999;
	r->regions[REGION_DATA] = (struct region_stats){999999999999, UINT64_MAX - 1, UINT64_MAX - 1,
							999999999999999, 999999999999999};
	x.sites[0].calls[CALL_MADVISE] = x.sites[0].calls[CALL_MUNMAP] = 999999999999;
	text = text_of(&c, r, &narrow);
	assert_fits(text, 80);
	assert_contains(text, "evil\\33[2J\\r\\n\\302\\23331m (server+0x1200)");
	assert_contains(text, "T… (t.c:9) [inlined]\n");
	assert_contains(text, "\\33]0;owned");
	assert_contains(text, "\\33[2J besides");
	capture__end(&c);
}

static void unlimited_width_cuts_no_name(void **state)
{
	const struct view_opts wide = {.top = 10};
	static char symbol[3000];
	struct fixture x;
	struct report *r = fixture__make(&x);
	struct capture c;

	(void)state;
	memset(symbol, 'T', sizeof(symbol) - 1);
	x.frames[0].symbol = symbol;
	x.notes[0] = long_note;
	assert_contains(text_of(&c, r, &wide), symbol);
	assert_contains(c.text, "more than one line of a terminal holds, and");
	capture__end(&c);
}

static void verbose_shows_whole_stacks_and_paths(void **state)
{
	const struct view_opts verbose = {.top = 10, .width = 80, .verbose = true};
	struct frame frames[12] = {0};
	struct fixture x;
	struct report *r = fixture__make(&x);
	struct capture c;
	size_t i;

	(void)state;
	for (i = 0; i < 12; i++)
		frames[i] = (struct frame){.module = "/usr/lib/x.so", .offset = i};
	x.sites[1].frames = frames;
	x.sites[1].nframes = 12;
	assert_contains(text_of(&c, r, &narrow),
			"x.so+0x7\n         ... 4 more frames; -v shows them\n");
	capture__end(&c);
	assert_contains(text_of(&c, r, &verbose), "         /usr/lib/x.so+0xb\n");
	assert_contains(c.text, "touch (/src/app/t.c:9) [inlined]\n");
	capture__end(&c);
}

static void stacks_that_failed_are_told(void **state)
{
	struct fixture x;
	struct report *r = fixture__make(&x);
	struct capture c;

	(void)state;
	r->stacks_failed = 5;
	r->stacks_truncated = 12;
	r->stacks_taken = 4000;
	r->stacks_taken_truncated = 20;
	assert_contains(text_of(&c, r, &narrow), "of 4,000 stacks taken 20 (0.5%)");
	assert_contains(c.text, "distinct ones 12");
	assert_contains(c.text, "5 times");
	capture__end(&c);
}

static struct table make_table(const struct table_row *rows, size_t n)
{
	return (struct table){.elapsed_s = 12.04,
			      .interval_s = 1,
			      .rows = rows,
			      .nrows = n,
			      .total = {.faults_per_s = 12348,
					.rss_bytes = 30 * MIB,
					.rss_change = -4096,
					.faults = 99000,
					.calls = 6,
					.live_bytes = UNKNOWN}};
}

static void the_table_has_a_row_a_process(void **state)
{
	const struct table_row rows[] = {
		{.pid = 4242,
		 .comm = "server",
		 .faults_per_s = 12345,
		 .major_per_s = 0.5,
		 .calls_per_s = 10,
		 .mapped_per_s = 1536,
		 .unmapped_per_s = 0,
		 .break_change = -65536,
		 .rss_change = INT64_MIN,
		 .rss_bytes = UNKNOWN},
		{.pid = 7, .comm = "a\033[2Jb", .faults_per_s = 3, .rss_bytes = 30 * MIB},
	};
	struct table t = make_table(rows, 2);
	struct capture c;

	(void)state;
	assert_int_equal(view__table(capture__begin(&c), &t, &narrow, false), 0);
	assert_string_equal(
		capture__text(&c),
		"memtrace  12.0 s, last 1.0 s, 2 processes; since the start 99,000 faults, 6 calls\n"
		"    PID FAULT/S MAJ/S CALL/S MAP/S UNMAP/S  BREAK   RSS +/-RSS COMMAND\n"
		"   4242   12.3k   0.5     10  1.5K       0 -64.0K     -      - server\n"
		"      7       3     0      0     0       0      0 30.0M      0 a\\33[2Jb\n"
		"    all   12.3k     0      0     0       0      0 30.0M  -4.0K (total)\n"
		"\n");
	capture__end(&c);
}

/* As long as one process has a heap plane there is a column for it. */
static void the_table_has_the_heap(void **state)
{
	const struct table_row rows[] = {
		{.pid = 4242, .comm = "server", .live_bytes = 1536 * KIB, .alloc_per_s = 2048},
		{.pid = 7, .comm = "other", .live_bytes = UNKNOWN, .alloc_per_s = -1},
	};
	struct table t = make_table(rows, 2);
	struct capture c;

	(void)state;
	t.total.live_bytes = 1536 * KIB;
	t.total.alloc_per_s = 2048;
	assert_int_equal(view__table(capture__begin(&c), &t, &narrow, false), 0);
	assert_contains(capture__text(&c), " +/-RSS ALLOC/S   LIVE COMMAND\n");
	assert_contains(c.text, "      0    2.0K   1.5M server\n");
	assert_contains(c.text, "      0       -      - other\n");
	assert_contains(c.text, "  -4.0K    2.0K   1.5M (total)\n");
	capture__end(&c);

	/* Estimates do not look exact. */
	t.sample_bytes = 64 * KIB;
	t.heap.bytes_requested = 3 * MIB;
	t.heap.requested_error = MIB;
	t.heap.live_bytes = 2 * MIB;
	t.heap.live_bytes_error = 512 * KIB;
	assert_int_equal(view__table(capture__begin(&c), &t, &narrow, false), 0);
	assert_contains(capture__text(&c), " +/-RSS ~ALLOC/S  ~LIVE COMMAND\n");
	assert_contains(c.text,
			"allocators, by one sample in 64.0 KiB: requested about 3.0 MiB +/- 1.0 MiB, "
			"live of it about 2.0 MiB +/- 512.0 KiB\n");
	capture__end(&c);
}

static void the_table_refreshes_and_tells_what_it_leaves_out(void **state)
{
	const struct view_opts one = {.top = 1, .width = 72};
	const struct table_row rows[2] = {{.pid = 1, .comm = "systemd-journal"}, {.pid = 2}};
	struct table t = make_table(rows, 2);
	struct capture c;

	(void)state;
	t.lost = 1234;
	assert_int_equal(view__table(capture__begin(&c), &t, &one, true), 0);
	assert_memory_equal(capture__text(&c), "\033[H", 3);
	assert_contains(c.text, "LOST 1,234 events so far");
	assert_contains(c.text, " systemd-…\033[K\n");
	assert_contains(c.text, "\n1 more; --top N shows them\033[K\n\033[J");
	capture__end(&c);
}

static void a_full_disk_is_told(void **state)
{
	struct table t = make_table(NULL, 0);
	struct fixture x;
	FILE *out = fopen("/dev/full", "w");

	(void)state;
	if (!out)
		skip();
	assert_int_equal(view__text(out, fixture__make(&x), &narrow), -ENOSPC);
	fclose(out);
	out = fopen("/dev/full", "w");
	assert_int_equal(view__table(out, &t, &narrow, true), -ENOSPC);
	fclose(out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_memtraces_own_is_one_line),
		cmocka_unit_test(the_report_says_it_all),
		cmocka_unit_test(places_have_their_stacks),
		cmocka_unit_test(cut_tables_say_so),
		cmocka_unit_test(losses_are_loud),
		cmocka_unit_test(nothing_seen_is_not_a_calm_process),
		cmocka_unit_test(the_end_of_a_process_is_told),
		cmocka_unit_test(the_kernel_s_counts_are_compared),
		cmocka_unit_test(the_histogram_spans_what_happened),
		cmocka_unit_test(the_sparkline_follows_time),
		cmocka_unit_test(hostile_and_huge_fits_80_columns),
		cmocka_unit_test(unlimited_width_cuts_no_name),
		cmocka_unit_test(verbose_shows_whole_stacks_and_paths),
		cmocka_unit_test(stacks_that_failed_are_told),
		cmocka_unit_test(the_table_has_a_row_a_process),
		cmocka_unit_test(the_table_has_the_heap),
		cmocka_unit_test(the_table_refreshes_and_tells_what_it_leaves_out),
		cmocka_unit_test(a_full_disk_is_told),
	};

	return cmocka_run_group_tests_name("view", tests, NULL, NULL);
}
