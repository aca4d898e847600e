/* SPDX-License-Identifier: MIT */
/* The stream's lines, against what strace 6.1 writes for the same calls. */
#include "tests/unit/view_fixture.h"

#include <errno.h>
#include <sys/mman.h>

static const struct stream_opts plain = {.start_ns = 5000000000};

/* A call that ended 1.234 ms after the start and took 1.2 us. */
static struct rec_call make_call(unsigned kind, int64_t ret)
{
	return (struct rec_call){
		.h = {.kind = (uint16_t)kind, .tgid = 12345, .tid = 12346, .ts_ns = 5001234000},
		.start_ns = 5001234000 - 1200,
		.ret = ret};
}

static void expect_call(const struct rec_call *call, const char *fd_path, const char *expected)
{
	char line[512];
	struct capture c;

	snprintf(line, sizeof(line), "     0.001234 [12345/12346 prog] %s\n", expected);
	assert_int_equal(view__stream_call(capture__begin(&c), call, "prog", fd_path, NULL, &plain),
			 0);
	assert_string_equal(capture__text(&c), line);
	capture__end(&c);
}

static void brk_lines(void **state)
{
	struct rec_call c = make_call(REC_BRK, 0x55d73fb0d000);

	(void)state;
	c.old_brk = 0x55d73fb0d000;
	expect_call(&c, NULL, "brk(NULL) = 0x55d73fb0d000 <1.2us>");
	c.arg[0] = 0x55d73fb2e000;
	c.ret = 0x55d73fb2e000;
	expect_call(&c, NULL, "brk(0x55d73fb2e000) = 0x55d73fb2e000 <1.2us>  # grew 132.0 KiB");
	c.old_brk = 0x55d73fb2f000;
	expect_call(&c, NULL, "brk(0x55d73fb2e000) = 0x55d73fb2e000 <1.2us>  # shrank 4.0 KiB");
	c.arg[0] = 1;
	c.old_brk = 0x55d73fb2e000;
	expect_call(&c, NULL, "brk(0x1) = 0x55d73fb2e000 <1.2us>  # failed");
}

static void mmap_lines(void **state)
{
	struct rec_call c = make_call(REC_MMAP, 0x7f12a0000000);

	(void)state;
	c.arg[1] = 135168;
	c.arg[2] = PROT_READ | PROT_WRITE;
	c.arg[3] = MAP_PRIVATE | MAP_ANONYMOUS;
	c.arg[4] = 0xffffffff;
	expect_call(&c, NULL,
		    "mmap(NULL, 135168, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = "
		    "0x7f12a0000000 <1.2us>");
	c.h.aux = 33;
	expect_call(&c, NULL,
		    "mmap(NULL, 135168, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = "
		    "0x7f12a0000000 <1.2us>  # populated 33");
	c.h.aux = 0;
	c.arg[2] = PROT_READ;
	c.arg[3] = MAP_PRIVATE;
	c.arg[4] = 3;
	c.arg[5] = 0x1000;
	expect_call(&c, "/lib/libc.so.6",
		    "mmap(NULL, 135168, PROT_READ, MAP_PRIVATE, 3</lib/libc.so.6>, 0x1000) = "
		    "0x7f12a0000000 <1.2us>");
	c.ret = -ENOMEM;
	c.arg[0] = 0x1000;
	c.arg[1] = UINT64_MAX;
	c.arg[4] = (uint64_t)-100;
	expect_call(&c, NULL,
		    "mmap(0x1000, 18446744073709551615, PROT_READ, MAP_PRIVATE, -100, 0x1000) = "
		    "-1 ENOMEM (Cannot allocate memory) <1.2us>");
}

static void range_call_lines(void **state)
{
	struct rec_call c = make_call(REC_MUNMAP, 0);

	(void)state;
	c.arg[0] = 0x7f12a0000000;
	c.arg[1] = 4096;
	expect_call(&c, NULL, "munmap(0x7f12a0000000, 4096) = 0 <1.2us>");
	c.h.kind = REC_MADVISE;
	c.arg[2] = MADV_DONTNEED;
	expect_call(&c, NULL, "madvise(0x7f12a0000000, 4096, MADV_DONTNEED) = 0 <1.2us>");
	c.h.kind = REC_MPROTECT;
	c.arg[2] = 0;
	c.ret = -EACCES;
	c.h.flags = CALL_COMPAT;
	expect_call(&c, NULL,
		    "mprotect(0x7f12a0000000, 4096, PROT_NONE) = -1 EACCES (Permission denied) "
		    "<1.2us>  # 32-bit");
	c.h.kind = REC_MUNMAP;
	c.h.flags = 0;
	c.arg[0] = 0;
	c.arg[1] = 0;
	c.ret = -4000;
	expect_call(&c, NULL, "munmap(NULL, 0) = -1 (errno 4000) <1.2us>");
}

static void mremap_lines(void **state)
{
	struct rec_call c = make_call(REC_MREMAP, 0x5000);

	(void)state;
	c.arg[0] = 0x1000;
	c.arg[1] = 4096;
	c.arg[2] = 8192;
	c.arg[3] = 1;
	c.arg[4] = 0x5000;
	expect_call(&c, NULL, "mremap(0x1000, 4096, 8192, MREMAP_MAYMOVE) = 0x5000 <1.2us>");
	c.arg[3] = 3;
	expect_call(
		&c, NULL,
		"mremap(0x1000, 4096, 8192, MREMAP_MAYMOVE|MREMAP_FIXED, 0x5000) = 0x5000 <1.2us>");
	c.arg[3] = 0;
	c.ret = -EFAULT;
	expect_call(&c, NULL, "mremap(0x1000, 4096, 8192, 0) = -1 EFAULT (Bad address) <1.2us>");
}

static void names_cannot_forge_a_line(void **state)
{
	struct rec_call call = make_call(REC_MMAP, 0x1000);
	struct capture c;

	(void)state;
	call.arg[3] = MAP_SHARED;
	call.arg[4] = 3;
	assert_int_equal(view__stream_call(capture__begin(&c), &call, "a] x\n\033[2J", "/t>mp\n\"",
					   "f\033[31m (x.c:1)", &plain),
			 0);
	assert_string_equal(
		capture__text(&c),
		"     0.001234 [12345/12346 a\\135 x\\n\\33[2J] mmap(NULL, 0, PROT_NONE, "
		"MAP_SHARED, 3</t\\76mp\\n\\\">, 0) = 0x1000 <1.2us>  # at f\\33[31m (x.c:1)\n");
	capture__end(&c);
}

static void times_before_and_long_after_the_start(void **state)
{
	static const struct {
		uint64_t ts_ns;
		const char *time;
	} cases[] = {
		{5000000000, "     0.000000 "},
		{4999988000, "    -0.000012 "},
		{5000000000 + 123456789012345, "123456.789012 "},
		{5000000000 + 12345678901234567, "12345678.901234 "},
	};
	struct rec_call call = make_call(REC_BRK, 0);
	struct capture c;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		call.h.ts_ns = cases[i].ts_ns;
		call.start_ns = call.h.ts_ns - 12345678949;
		assert_int_equal(
			view__stream_call(capture__begin(&c), &call, NULL, NULL, NULL, &plain), 0);
		assert_memory_equal(capture__text(&c), cases[i].time, strlen(cases[i].time));
		assert_contains(c.text, "/12346 ?] brk(NULL) = 0 <");
		assert_contains(c.text, i == 1 ? "us>" : " <");
		capture__end(&c);
	}
	call.h.ts_ns = 20000000000;
	call.start_ns = call.h.ts_ns - 12345678949; /* 12345678.949 us */
	assert_int_equal(view__stream_call(capture__begin(&c), &call, NULL, NULL, NULL, &plain), 0);
	assert_contains(capture__text(&c), " <12345678.9us>\n");
	capture__end(&c);
}

static void expect_fault(unsigned flags, uint32_t aux, const char *where, const char *place,
			 const char *expected)
{
	struct rec_fault f = {.h = {.kind = REC_FAULT,
				    .flags = (uint16_t)flags,
				    .tgid = 12345,
				    .tid = 12346,
				    .aux = aux,
				    .ts_ns = 5001300000},
			      .addr = 0x7f12a0000000};
	char line[512];
	struct capture c;

	snprintf(line, sizeof(line), "     0.001300 [12345/12346 prog] %s\n", expected);
	assert_int_equal(view__stream_fault(capture__begin(&c), &f, "prog", where, place, &plain), 0);
	assert_string_equal(capture__text(&c), line);
	capture__end(&c);
}

static void fault_lines(void **state)
{
	(void)state;
	expect_fault(FAULT_WRITE, 700, "anonymous", "touch (t.c:9)",
		     "fault write 0x7f12a0000000 minor anonymous <0.7us>  # at touch (t.c:9)");
	expect_fault(FAULT_MAJOR, 1234567, "/usr/lib/x.so+0x1000", NULL,
		     "fault read 0x7f12a0000000 MAJOR /usr/lib/x.so+0x1000 <1234.6us>");
	expect_fault(FAULT_EXEC, 0, "/bin/x+0x0", NULL,
		     "fault exec 0x7f12a0000000 minor /bin/x+0x0 <0.0us>");
	expect_fault(FAULT_WRITE | FAULT_PRESENT | FAULT_KERNEL, 949, "[heap]", NULL,
		     "fault write 0x7f12a0000000 minor copy-on-write in kernel [heap] <0.9us>");
	/* present, but no write: not a copy */
	expect_fault(FAULT_PRESENT, 950, "[stack]", NULL,
		     "fault read 0x7f12a0000000 minor [stack] <1.0us>");
	/* the entry was not seen: neither access nor time may be made up */
	expect_fault(FAULT_NO_ENTRY | FAULT_WRITE | FAULT_PRESENT, 77, "unmapped", NULL,
		     "fault ? 0x7f12a0000000 minor unmapped <?>");
	expect_fault(FAULT_WRITE, UINT32_MAX, NULL, NULL,
		     "fault write 0x7f12a0000000 minor ? <4294967.3us+>");
	expect_fault(FAULT_WRITE, 0, "/t/\033]0;x\a <b>", NULL,
		     "fault write 0x7f12a0000000 minor /t/\\33]0;x\\7 \\74b\\76 <0.0us>");
}

static void task_lines(void **state)
{
	const struct rec h = {.tgid = 10, .tid = 10, .ts_ns = 5001300000};
	struct rec_fork fork = {.h = h, .child_tgid = 11, .child_tid = 11};
	struct rec_exec exec = {.h = h};
	struct capture c;

	(void)state;
	capture__begin(&c);
	assert_int_equal(view__stream_fork(c.out, &fork, "sh", &plain), 0);
	fork.child_tgid = 10;
	assert_int_equal(view__stream_fork(c.out, &fork, "sh", &plain), 0);
	memset(exec.comm, 'c', sizeof(exec.comm)); /* no NUL */
	assert_int_equal(view__stream_exec(c.out, &exec, "/bin/l\ns", &plain), 0);
	assert_int_equal(view__stream_exec(c.out, &exec, NULL, &plain), 0);
	assert_int_equal(view__stream_lost(c.out, "fault", 1, &plain), 0);
	assert_int_equal(view__stream_lost(c.out, "mmap", 12, &plain), 0);
	assert_string_equal(capture__text(&c),
			    "     0.001300 [10/10 sh] +++ forked process 11 +++\n"
			    "     0.001300 [10/10 sh] +++ started thread 11 +++\n"
			    "     0.001300 [10/10 cccccccccccccccc] +++ executed /bin/l\\ns +++\n"
			    "     0.001300 [10/10 cccccccccccccccc] +++ executed ? +++\n"
			    "+++ LOST 1 fault record +++\n"
			    "+++ LOST 12 mmap records +++\n");
	capture__end(&c);
}

static void expect_exit(uint32_t code, uint32_t aux, const char *expected)
{
	struct rec_exit e = {.h = {.tgid = 10, .tid = 12, .aux = aux, .ts_ns = 5001300000},
			     .exit_code = code};
	char line[256];
	struct capture c;

	snprintf(line, sizeof(line), "[10/12 sh] +++ %s +++", expected);
	assert_int_equal(view__stream_exit(capture__begin(&c), &e, "sh", &plain), 0);
	assert_contains(capture__text(&c), line);
	capture__end(&c);
}

static void exit_lines(void **state)
{
	(void)state;
	expect_exit(3 << 8, 1, "exited with 3");
	expect_exit(11, 1, "killed by SIGSEGV");
	expect_exit(11 | 0x80, 1, "killed by SIGSEGV (core dumped)");
	expect_exit(0, 0, "thread exited with 0");
}

static void colour_is_only_added(void **state)
{
	const struct stream_opts color = {.color = true};
	struct rec_fault f = {.h = {.flags = FAULT_MAJOR}};
	struct capture c;

	(void)state;
	assert_int_equal(view__stream_fault(capture__begin(&c), &f, "x", "y", NULL, &plain), 0);
	assert_lacks(capture__text(&c), "\033");
	capture__end(&c);
	assert_int_equal(view__stream_fault(capture__begin(&c), &f, "x", "y", "z", &color), 0);
	assert_contains(capture__text(&c), "\033[1;31m MAJOR\033[m");
	capture__end(&c);
}

static void a_full_disk_is_told(void **state)
{
	struct rec_call call = make_call(REC_BRK, 0);
	FILE *out = fopen("/dev/full", "w");
	int i, err = 0;

	(void)state;
	if (!out)
		skip();
	for (i = 0; i < 10000 && err == 0; i++)
		err = view__stream_call(out, &call, "x", NULL, NULL, &plain);
	assert_int_equal(err, -ENOSPC);
	/* the stream stays in error: no later line may look as if it were written */
	assert_true(view__stream_call(out, &call, "x", NULL, NULL, &plain) < 0);
	fclose(out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(brk_lines),
		cmocka_unit_test(mmap_lines),
		cmocka_unit_test(range_call_lines),
		cmocka_unit_test(mremap_lines),
		cmocka_unit_test(names_cannot_forge_a_line),
		cmocka_unit_test(times_before_and_long_after_the_start),
		cmocka_unit_test(fault_lines),
		cmocka_unit_test(task_lines),
		cmocka_unit_test(exit_lines),
		cmocka_unit_test(colour_is_only_added),
		cmocka_unit_test(a_full_disk_is_told),
	};

	return cmocka_run_group_tests_name("view_stream", tests, NULL, NULL);
}
