/* SPDX-License-Identifier: MIT */
/* A run without the kernel plane: the model is told of processes by others, the report of what is missing. */
#include "tests/unit/model_lib.h"
#include "user/model/advice.h"

#define OTHER 300

static void malloc_record(unsigned pid, uint64_t addr, uint64_t size)
{
	struct rec_heap r = {.h = head(REC_HEAP, pid), .size = size, .result = addr};

	r.h.aux = HEAP_MALLOC;
	r.start_ns = r.h.ts_ns - 100;
	assert_int_equal(apply(&r, sizeof(r)), 0);
}

static void allocator_record(unsigned pid)
{
	struct rec_allocator r = {
		.h = head(REC_ALLOCATOR, pid), .ino = 1, .name = "glibc", .text = "/lib/libc.so"};

	r.h.flags = ALLOCATOR_RING;
	assert_int_equal(apply(&r, sizeof(r)), 0);
}

static void a_process_is_met_and_has_another_image_later(void **state)
{
	(void)state;
	assert_int_equal(model__meet(m, PID, 1, "sh", "/bin/sh", now), 0);
	assert_string_equal(model__comm(m, PID), "sh");
	allocator_record(PID);
	malloc_record(PID, HEAP, 100);
	assert_int_equal(model__live_bytes(m, model__process(m, PID)), 100);
	/* It is the same process, with nothing of what it had. */
	assert_int_equal(model__meet(m, PID, 1, "prog", "/bin/prog", now), 0);
	assert_string_equal(model__comm(m, PID), "prog");
	assert_string_equal(model__exe(m, PID), "/bin/prog");
	assert_int_equal(model__live_bytes(m, model__process(m, PID)), 0);
	assert_int_equal(model__meet(m, OTHER, PID, "child", NULL, now), 0);
	assert_null(model__exe(m, OTHER));
	assert_int_equal(model__process(m, OTHER)->ppid, PID);
	assert_int_equal(model__alive(m, NULL, 0), 2);
}

static void an_end_that_nobody_told(void **state)
{
	struct rec_exit e;
	struct report *r;

	(void)state;
	assert_int_equal(model__meet(m, OTHER, PID, "child", NULL, now), 0);
	e = (struct rec_exit){.h = head(REC_EXIT, OTHER)};
	e.h.aux = 1;
	e.h.flags = EXIT_UNTOLD;
	assert_int_equal(apply(&e, sizeof(e)), 0);
	assert_int_equal(model__alive(m, NULL, 0), 1);
	r = report_now();
	assert_true(r->processes[1].ended);
	assert_false(r->processes[1].exit_known);
	report__free(r);
}

static void the_kernels_figures_are_not_known(void **state)
{
	struct report *r;
	unsigned i;

	(void)state;
	assert_int_equal(model__meet(m, PID, 1, "prog", "/bin/prog", now), 0);
	allocator_record(PID);
	malloc_record(PID, HEAP, 100);
	r = report_now();
	r->sites[0].heap.temporary = r->sites[0].heap.calls = r->sites[0].heap.frees = 5000;
	assert_int_equal(report__without_kernel(r, "no right to it"), 0);
	/* Nothing is advised by what is not known. */
	assert_int_equal(report__advise(r), 0);
	assert_int_equal(r->nadvice, 0);
	assert_string_equal(r->without_kernel, "no right to it");
	for (i = 0; i < VMCALLS; i++) {
		assert_true(r->call[i].calls == UNKNOWN && r->call[i].grown_bytes == UNKNOWN);
		assert_true(r->processes[0].call[i].calls == UNKNOWN);
		assert_true(r->heap.syscalls[i] == UNKNOWN);
	}
	assert_true(r->faults.minor == UNKNOWN && r->processes[0].faults.major == UNKNOWN);
	assert_true(r->processes[0].kernel_minflt == UNKNOWN);
	assert_true(r->processes[0].mapped_bytes == UNKNOWN && !r->nmapped);
	assert_true(r->events[REC_MMAP].seen == UNKNOWN);
	assert_true(r->sites[0].heap.inside_minor == UNKNOWN);
	/* What is known stays. */
	assert_int_equal(r->heap.calls[HEAP_MALLOC], 1);
	assert_int_equal(r->heap.live_bytes, 100);
	assert_int_equal(r->sites[0].heap.bytes, 100);
	assert_int_equal(r->nnotes, 1);
	report__free(r);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(a_process_is_met_and_has_another_image_later),
		TEST(an_end_that_nobody_told),
		TEST(the_kernels_figures_are_not_known),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
