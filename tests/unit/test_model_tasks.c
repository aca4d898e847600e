/* SPDX-License-Identifier: MIT */
/* Processes: forks, images, ends, pids that come again, and the totals over all of them. */
#include "tests/unit/model_lib.h"

static void a_fork_copies_the_space(void **state)
{
	const struct process_report *child;

	(void)state;
	mmap_call(MMAP, 4 * PAGE, RW, ANON);
	fork_record(PID, PID + 1, 0);
	child = model__process(m, PID + 1);
	assert_non_null(child);
	assert_int_equal(child->ppid, PID);
	assert_false(child->root);
	assert_string_equal(model__comm(m, PID + 1), "child");
	assert_string_equal(model__exe(m, PID + 1), "/usr/bin/prog");
	assert_int_equal(model__process(m, PID)->forks, 1);
	assert_int_equal(m->mapped_bytes, 2 * (IMAGE_BYTES + 4 * PAGE));
	/* From here on they are two. */
	munmap_call(MMAP, PAGE);
	CALL(.kind = REC_MUNMAP, .pid = PID + 1, .arg = {MMAP + 3 * PAGE, PAGE});
	assert_null(model__find(m, PID, MMAP));
	assert_non_null(model__find(m, PID, MMAP + 3 * PAGE));
	assert_non_null(model__find(m, PID + 1, MMAP));
	assert_null(model__find(m, PID + 1, MMAP + 3 * PAGE));
	assert_int_equal(model__process(m, PID + 1)->call[CALL_MUNMAP].calls, 1);
	assert_int_equal(model__process(m, PID + 1)->call[CALL_MMAP].calls, 0);
	assert_int_equal(m->mapped_bytes, 2 * (IMAGE_BYTES + 3 * PAGE));
}

static void a_new_thread_is_no_process(void **state)
{
	struct rec_fork f = {.h = head(REC_FORK, PID), .child_tgid = PID, .child_tid = PID + 1};

	(void)state;
	assert_int_equal(apply(&f, sizeof(f)), 0);
	assert_int_equal(m->nprocesses, 1);
	assert_int_equal(model__process(m, PID)->threads, 2);
	assert_int_equal(model__process(m, PID)->forks, 0);
	exit_record(PID, false, 0);
	assert_false(model__process(m, PID)->ended);
	assert_int_equal(model__process(m, PID)->kernel_minflt, 5);
}

/* Its parent's memory is used, not doubled, until it has an image of its own. */
static void a_vfork_maps_nothing(void **state)
{
	struct report *r;
	size_t i;

	(void)state;
	brk_call(HEAP, HEAP + PAGE, HEAP + PAGE);
	fork_record(PID, PID + 1, FORK_SHARES_MM);
	assert_int_equal(m->mapped_bytes, IMAGE_BYTES + PAGE);
	assert_int_equal(m->heap_bytes, PAGE);
	assert_non_null(model__find(m, PID + 1, TEXT)); /* but it runs in it */
	assert_false(model__find(m, PID, DATA)->flags & VMA_PRE_FORK);
	exec_image(PID + 1, 0);
	assert_int_equal(m->mapped_bytes, 2 * IMAGE_BYTES + PAGE);
	exit_record(PID + 1, true, 0);
	assert_int_equal(m->mapped_bytes, IMAGE_BYTES + PAGE);
	fork_record(PID, PID + 2, FORK_SHARES_MM);
	exit_record(PID + 2, true, 0);
	assert_int_equal(m->mapped_bytes, IMAGE_BYTES + PAGE);
	r = report_now();
	for (i = 0; i < r->nmapped; i++)
		assert_true(r->mapped[i].mapped_bytes <= 2 * IMAGE_BYTES + PAGE);
	report__free(r);
}

/* What a child of vfork maps its parent has, counted once; its calls are its own. */
static void a_vfork_s_calls_change_its_parent_s_memory(void **state)
{
	(void)state;
	brk_call(HEAP, HEAP + PAGE, HEAP + PAGE);
	fork_record(PID, PID + 1, FORK_SHARES_MM);
	fork_record(PID + 1, PID + 2, FORK_SHARES_MM);
	CALL(.kind = REC_BRK, .pid = PID + 1, .ret = HEAP + 3 * PAGE, .arg = {HEAP + 3 * PAGE},
	     .old_brk = HEAP + PAGE);
	CALL(.kind = REC_MMAP, .pid = PID + 2, .ret = MMAP, .arg = {0, 2 * PAGE, RW, ANON, -1ULL});
	assert_int_equal(m->mapped_bytes, IMAGE_BYTES + 5 * PAGE);
	assert_int_equal(m->heap_bytes, 3 * PAGE);
	exit_record(PID + 2, true, 0);
	exec_image(PID + 1, 0);
	CALL(.kind = REC_MMAP, .pid = PID + 1, .ret = MMAP + 16 * PAGE,
	     .arg = {0, PAGE, RW, ANON, -1ULL});
	assert_int_equal(m->mapped_bytes, 2 * IMAGE_BYTES + 6 * PAGE);
	assert_non_null(model__find(m, PID, MMAP));
	assert_null(model__find(m, PID, MMAP + 16 * PAGE));
	assert_int_equal(model__process(m, PID)->call[REC_BRK - REC_BRK].calls, 1);
	assert_int_equal(model__process(m, PID + 1)->call[REC_BRK - REC_BRK].calls, 1);
}

static void an_exec_replaces_the_image(void **state)
{
	const struct process_report *p = model__process(m, PID);

	(void)state;
	mmap_call(MMAP, 4 * PAGE, RW, ANON);
	brk_call(HEAP, HEAP + PAGE, HEAP + PAGE);
	assert_int_equal(p->execs, 0);
	exec_image(PID, 16 * PAGE);
	assert_int_equal(p->execs, 1);
	assert_string_equal(p->comm, "prog");
	assert_string_equal(p->exe, "/usr/bin/prog");
	assert_null(model__find(m, PID, MMAP));
	assert_null(model__find(m, PID, HEAP));
	MAPPINGS(PID, TEXT + 16 * PAGE, DATA + 16 * PAGE, DATA + 16 * PAGE, BSS + 16 * PAGE,
		 BSS + 16 * PAGE, BSS + 18 * PAGE, STACK, STACK_TOP, VDSO, VDSO + PAGE);
	assert_int_equal(model__find(m, PID, VDSO)->file, model__vdso(m));
	assert_string_equal(model__file_path(m, model__vdso(m)), "[vdso]");
	assert_int_equal(m->mapped_bytes, IMAGE_BYTES);
	assert_int_equal(m->heap_bytes, 0);
	assert_int_equal(p->call[CALL_MMAP].calls, 1); /* what was counted stays */
}

/* When the records of its mappings were lost, the new image is not taken for the old. */
static void an_exec_without_mappings_leaves_none(void **state)
{
	struct report *r;

	(void)state;
	exec_record(PID, "sixteen-bytes-ab"); /* no end mark */
	assert_string_equal(model__comm(m, PID), "sixteen-bytes-ab");
	MAPPINGS(PID);
	assert_false(model__knows(m, PID));
	r = report_now();
	assert_true(r->processes[0].mapped_bytes == UNKNOWN);
	report__free(r);
}

static void a_name_may_change(void **state)
{
	(void)state;
	rename_record(PID, "worker");
	assert_string_equal(model__comm(m, PID), "worker");
	rename_record(PID, "sixteen bytes..."); /* all of it, and no NUL */
	assert_string_equal(model__comm(m, PID), "sixteen bytes...");
	fork_record(PID, PID + 1, 0);
	rename_record(PID + 1, "other");
	assert_string_equal(model__comm(m, PID), "sixteen bytes...");
	assert_string_equal(model__comm(m, PID + 1), "other");
	rename_record(PID + 2, "nobody"); /* of whom nothing is known is not made by its name */
	assert_null(model__process(m, PID + 2));
	exit_record(PID, true, 0);
	rename_record(PID, "late");
	assert_string_equal(model__comm(m, PID), "sixteen bytes...");
}

static void an_end_is_told(void **state)
{
	struct report *r;

	(void)state;
	mmap_call(MMAP, 4 * PAGE, RW, ANON);
	exit_record(PID, false, 0);
	exit_record(PID, true, 3 << 8);
	assert_null(model__process(m, PID));
	assert_false(model__knows(m, PID));
	assert_int_equal(model__alive(m, NULL, 0), 0);
	assert_string_equal(model__comm(m, PID), "prog"); /* for what is still said about it */
	assert_string_equal(model__comm(m, 9999), "?");
	assert_int_equal(m->mapped_bytes, 0);
	r = report_now();
	assert_int_equal(r->nprocesses, 1);
	assert_true(r->processes[0].ended && r->processes[0].exit_known);
	assert_int_equal(r->processes[0].exit_status, 3 << 8);
	assert_int_equal(r->processes[0].end_ns, now - START);
	assert_int_equal(r->processes[0].kernel_minflt, 10);
	assert_int_equal(r->processes[0].kernel_majflt, 4);
	assert_int_equal(r->processes[0].mapped_bytes, 0);
	report__free(r);
}

/* Threads that end at once: each may say it was the last, and one fault more may come after. */
static void threads_that_end_together_are_one_process(void **state)
{
	const struct process_report *p = &m->processes[0]->r;
	struct report *r;

	(void)state;
	exit_record(PID, true, 9);
	FAULT(.addr = DATA);
	exit_record(PID, true, 9);
	exit_record(PID, false, 9);
	assert_int_equal(m->nprocesses, 1);
	assert_int_equal(model__alive(m, NULL, 0), 0);
	assert_int_equal(p->kernel_minflt, 15);
	assert_int_equal(p->kernel_majflt, 6);
	assert_int_equal(p->exit_status, 9);
	assert_int_equal(p->faults.minor, 1);
	r = report_now();
	assert_int_equal(r->regions[REGION_UNKNOWN].faults_minor, 1);
	assert_balanced(r);
	report__free(r);
}

static void a_pid_comes_again(void **state)
{
	(void)state;
	fork_record(PID, PID + 1, 0);
	CALL(.kind = REC_MADVISE, .pid = PID + 1);
	exit_record(PID + 1, true, 0);
	fork_record(PID, PID + 1, 0);
	assert_int_equal(m->nprocesses, 3);
	assert_int_equal(model__process(m, PID + 1)->call[CALL_MADVISE].calls, 0);
	assert_int_equal(m->processes[1]->r.call[CALL_MADVISE].calls, 1);
	model__set_exit(m, PID + 1, 7, UNKNOWN); /* the latest */
	assert_int_equal(m->processes[1]->r.exit_status, 0);
	assert_int_equal(m->processes[2]->r.exit_status, 7);
	/* One that execs or calls was forked meanwhile, by someone whose record was lost. */
	exec_image(PID + 1, 0);
	assert_int_equal(m->nprocesses, 4);
	assert_int_equal(model__process(m, PID + 1)->execs, 1);
	/* Nobody else comes between. */
	exit_record(PID + 1, true, 0);
	CALL(.kind = REC_MADVISE, .pid = PID + 1);
	CALL(.kind = REC_MADVISE, .pid = PID + 1);
	assert_int_equal(m->nprocesses, 5);
	assert_int_equal(model__process(m, PID + 1)->call[CALL_MADVISE].calls, 2);
}

/* The record of an end was lost, and the pid is used again. */
static void an_end_that_was_lost_is_made_up_for(void **state)
{
	pid_t pids[4];

	(void)state;
	fork_record(PID, PID + 1, 0);
	fork_record(PID, PID + 1, 0);
	assert_int_equal(m->mapped_bytes, 2 * IMAGE_BYTES);
	assert_int_equal(model__alive(m, pids, 4), 2);
	assert_int_equal(pids[0], PID);
	assert_int_equal(pids[1], PID + 1);
	assert_true(m->processes[1]->r.ended);
	assert_false(m->processes[1]->r.exit_known);
}

static void a_command_whose_end_was_lost_has_ended(void **state)
{
	struct report *r;

	(void)state;
	mmap_call(MMAP, PAGE, RW, ANON);
	model__set_exit(m, PID, 0, 5 * PAGE);
	r = report_now();
	assert_true(r->processes[0].ended && r->processes[0].exit_known);
	assert_int_equal(r->processes[0].end_ns, now - START);
	assert_int_equal(r->processes[0].rss_peak_bytes, 5 * PAGE);
	assert_int_equal(r->processes[0].mapped_bytes, 0);
	assert_int_equal(r->mapped[r->nmapped - 1].mapped_bytes, 0);
	report__free(r);
}

/* Nobody said who it is: it is counted all the same. */
static void an_unknown_process_is_made(void **state)
{
	struct report *r;

	(void)state;
	CALL(.kind = REC_MMAP, .pid = 5000, .ret = MMAP, .arg = {0, PAGE, RW, ANON, -1ULL});
	assert_false(model__knows(m, 5000));
	assert_string_equal(model__comm(m, 5000), "?");
	assert_null(model__exe(m, 5000));
	r = report_now();
	assert_int_equal(r->nprocesses, 2);
	assert_int_equal(r->processes[1].ppid, 0);
	assert_int_equal(r->processes[1].start_ns, now - START);
	assert_true(r->processes[1].mapped_bytes == UNKNOWN);
	assert_int_equal(r->call[CALL_MMAP].bytes, PAGE);
	report__free(r);
}

/* A process that was there before: its mappings come from outside. */
static void a_snapshot_is_what_it_starts_with(void **state)
{
	struct vma v = {
		.start = HEAP, .end = HEAP + 8 * PAGE, .kind = VMA_HEAP, .prot = RW, .file = NO_FILE};
	struct report *r;

	(void)state;
	assert_int_equal(model__snapshot_begin(m, 4711, now), -ESRCH);
	assert_int_equal(model__snapshot_vma(m, 4711, &v), -ESRCH);
	assert_int_equal(model__snapshot_begin(m, PID, START), 0);
	assert_int_equal(model__snapshot_vma(m, PID, &v), 0);
	v.start = MMAP;
	v.end = MMAP + PAGE;
	v.kind = VMA_ANON;
	assert_int_equal(model__snapshot_vma(m, PID, &v), 0);
	assert_int_equal(m->mapped_bytes, 9 * PAGE);
	assert_int_equal(m->heap_bytes, 8 * PAGE);
	/* Records from before it was complete are applied again, and change nothing. */
	brk_call(HEAP, HEAP + 8 * PAGE, HEAP + 8 * PAGE);
	MAPPINGS(PID, HEAP, HEAP + 8 * PAGE, MMAP, MMAP + PAGE);
	r = report_now();
	assert_int_equal(r->mapped[0].t_ns, 0);
	assert_int_equal(r->mapped[0].mapped_bytes, 9 * PAGE);
	assert_int_equal(r->mapped[0].heap_bytes, 8 * PAGE);
	assert_int_equal(r->processes[0].mapped_bytes, 9 * PAGE);
	report__free(r);
}

static void the_mapped_total_keeps_peaks_and_its_end(void **state)
{
	uint64_t last = 0;
	struct report *r;
	size_t i;

	(void)state;
	for (i = 0; i < 20000; i++) { /* 4 s, many times what there is room for */
		mmap_call(MMAP, (i == 5000 ? 1000 : 1 + i % 10) * PAGE, RW, ANON);
		munmap_call(MMAP, 1000 * PAGE);
		now += 200000;
	}
	mmap_call(MMAP, 3 * PAGE, RW, ANON);
	r = report_now();
	assert_true(r->nmapped <= MAPPED_POINTS + 1 && r->nmapped > MAPPED_POINTS / 4);
	for (i = 1; i < r->nmapped; i++) {
		assert_true(r->mapped[i].t_ns >= r->mapped[i - 1].t_ns);
		last = r->mapped[i].mapped_bytes > last ? r->mapped[i].mapped_bytes : last;
	}
	assert_int_equal(last, 1000 * PAGE);
	assert_int_equal(r->mapped[r->nmapped - 1].mapped_bytes, 3 * PAGE);
	assert_int_equal(r->mapped[r->nmapped - 1].t_ns, r->duration_ns);
	report__free(r);
}

/* Threads that live at the end have their kernel's counts from elsewhere. */
static void counts_of_living_threads_are_added(void **state)
{
	struct task_row row = {.tgid = PID, .tid = PID, .min_flt = 100, .maj_flt = 1};

	(void)state;
	model__add_thread_faults(m, &row);
	row.tid++;
	model__add_thread_faults(m, &row);
	exit_record(PID, false, 0);
	row.tgid = 4711;
	model__add_thread_faults(m, &row);
	assert_int_equal(model__process(m, PID)->kernel_minflt, 205);
	assert_int_equal(model__process(m, PID)->kernel_majflt, 4);
	assert_int_equal(m->nprocesses, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST_IMAGE(a_fork_copies_the_space),
		TEST_IMAGE(a_new_thread_is_no_process),
		TEST_IMAGE(a_vfork_maps_nothing),
		TEST_IMAGE(a_vfork_s_calls_change_its_parent_s_memory),
		TEST(an_exec_replaces_the_image),
		TEST_IMAGE(an_exec_without_mappings_leaves_none),
		TEST_IMAGE(a_name_may_change),
		TEST_IMAGE(an_end_is_told),
		TEST_IMAGE(threads_that_end_together_are_one_process),
		TEST_IMAGE(a_pid_comes_again),
		TEST_IMAGE(an_end_that_was_lost_is_made_up_for),
		TEST_IMAGE(a_command_whose_end_was_lost_has_ended),
		TEST(an_unknown_process_is_made),
		TEST(a_snapshot_is_what_it_starts_with),
		TEST(the_mapped_total_keeps_peaks_and_its_end),
		TEST(counts_of_living_threads_are_added),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
