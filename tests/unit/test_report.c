/* SPDX-License-Identifier: MIT */
/* From the model to a report: totals, what is not known, the order of sites. */
#include "tests/unit/model_lib.h"

static void an_empty_report_is_one(void **state)
{
	struct report *r = report_now();

	(void)state;
	assert_int_equal(r->nprocesses, 1);
	assert_int_equal(r->nsites, 0);
	assert_int_equal(r->nby_faults, 0);
	assert_int_equal(r->nby_bytes, 0);
	assert_int_equal(r->nmapped, 1);
	assert_int_equal(r->seen, 0);
	assert_true(r->rss_bytes == UNKNOWN);
	assert_true(r->rss_parts_heap == UNKNOWN && r->rss_parts_unknown == UNKNOWN);
	assert_true(r->regions[REGION_HEAP].mappings == UNKNOWN);
	assert_true(r->regions[REGION_HEAP].resident_bytes == UNKNOWN);
	assert_int_equal(r->regions[REGION_HEAP].faults_minor, 0);
	assert_string_equal(r->version, model__version());
	report__free(r);
	report__free(NULL);
}

/* A sum is of what is known, and unknown only when nothing is. */
static void unknown_is_no_number(void **state)
{
	struct process_report *p;
	struct report *r;

	(void)state;
	fork_record(PID, PID + 1, 0);
	p = model__process(m, PID + 1);
	p->rss_bytes = 7 * PAGE;
	p->regions[REGION_TEXT].mappings = 3;
	p->regions[REGION_TEXT].bytes = p->regions[REGION_TEXT].resident_bytes = 3 * PAGE;
	r = report_now();
	assert_int_equal(r->rss_bytes, 7 * PAGE);
	assert_int_equal(r->regions[REGION_TEXT].mappings, 3);
	assert_int_equal(r->regions[REGION_TEXT].bytes, 3 * PAGE);
	assert_true(r->regions[REGION_DATA].mappings == UNKNOWN);
	assert_true(r->processes[0].rss_bytes == UNKNOWN);
	report__free(r);
	model__process(m, PID)->rss_bytes = PAGE;
	r = report_now();
	assert_int_equal(r->rss_bytes, 8 * PAGE);
	report__free(r);
}

static void totals_are_over_all_processes(void **state)
{
	struct report *r;

	(void)state;
	fork_record(PID, PID + 1, 0);
	mmap_call(MMAP, PAGE, RW, ANON);
	CALL(.kind = REC_MMAP, .pid = PID + 1, .ret = MMAP, .arg = {0, 2 * PAGE, RW, ANON});
	CALL(.kind = REC_MMAP, .pid = PID + 1, .ret = -ENOMEM, .arg = {0, 2 * PAGE, RW, ANON});
	FAULT(.addr = DATA, .took = 100);
	FAULT(.pid = PID + 1, .addr = MMAP, .flags = FAULT_MAJOR, .took = 200);
	exit_record(PID + 1, true, 0);
	r = report_now();
	assert_int_equal(r->call[CALL_MMAP].calls, 3);
	assert_int_equal(r->call[CALL_MMAP].failed, 1);
	assert_int_equal(r->call[CALL_MMAP].bytes, 3 * PAGE);
	assert_int_equal(r->faults.minor, 1);
	assert_int_equal(r->faults.major, 1);
	assert_int_equal(r->faults.time_ns, 300);
	assert_int_equal(r->faults.histogram[6], 1);
	assert_int_equal(r->faults.histogram[7], 1);
	assert_int_equal(r->regions[REGION_DATA].faults_minor, 1);
	assert_int_equal(r->regions[REGION_MMAP].faults_major, 1);
	assert_int_equal(r->duration_ns, now - START);
	assert_int_equal(r->processes[0].end_ns, now - START);
	assert_int_equal(r->processes[1].end_ns, now - START);
	assert_balanced(r);
	report__free(r);
}

/* The same order every time, so that two reports can be compared. */
static void sites_are_sorted_most_first(void **state)
{
	static const unsigned counts[] = {3, 9, 1, 0, 9, 4};
	struct report *r;
	size_t i;
	unsigned j;

	(void)state;
	for (i = 0; i < 6; i++) {
		uint64_t ip = TEXT + 16 * i + 16;

		CALL(.kind = REC_MADVISE, .ip = ip);
		for (j = 0; j < counts[i]; j++) {
			FAULT(.addr = DATA, .ip = ip, .flags = j % 2 ? FAULT_MAJOR : 0);
			CALL(.kind = REC_MMAP, .ip = ip, .ret = MMAP,
			     .arg = {0, (10 - counts[i]) * PAGE, RW, ANON});
		}
	}
	r = report_now();
	assert_int_equal(r->nsites, 6);
	assert_int_equal(r->nby_faults, 5);
	assert_int_equal(r->nby_bytes, 5);
	assert_ptr_equal(r->by_faults[0], &r->sites[1]);
	assert_ptr_equal(r->by_faults[1], &r->sites[4]);
	assert_ptr_equal(r->by_faults[2], &r->sites[5]);
	assert_ptr_equal(r->by_faults[3], &r->sites[0]);
	assert_ptr_equal(r->by_faults[4], &r->sites[2]);
	/* 4 * 6, 3 * 7, 9 * 1 twice, 1 * 9 pages */
	assert_ptr_equal(r->by_bytes[0], &r->sites[5]);
	assert_ptr_equal(r->by_bytes[1], &r->sites[0]);
	assert_ptr_equal(r->by_bytes[2], &r->sites[1]);
	assert_ptr_equal(r->by_bytes[3], &r->sites[2]);
	assert_ptr_equal(r->by_bytes[4], &r->sites[4]);
	assert_balanced(r);
	report__free(r);
}

static void events_are_counted_by_kind(void **state)
{
	struct event_counts c = {.seen = {[REC_BRK] = 5, [REC_FAULT] = 100},
				 .lost = {[REC_FAULT] = 40}};
	uint64_t delivered[REC_KINDS] = {[REC_BRK] = 5, [REC_FAULT] = 60};
	struct report *r = model__report(m, now, &c, delivered, &names);

	(void)state;
	assert_int_equal(r->seen, 105);
	assert_int_equal(r->lost, 40);
	assert_int_equal(r->delivered, 65);
	assert_int_equal(r->events[REC_FAULT].seen, 100);
	assert_int_equal(r->events[REC_FAULT].lost, 40);
	assert_int_equal(r->events[REC_BRK].lost, 0);
	assert_int_equal(r->processes[0].kernel_minflt, 0);
	report__free(r);
}

/* With an end's record its kernel counts are gone: the sum would be too small. */
static void lost_ends_make_the_kernels_counts_unknown(void **state)
{
	struct event_counts c = {.seen = {[REC_EXIT] = 2}, .lost = {[REC_EXIT] = 1}};
	uint64_t delivered[REC_KINDS] = {[REC_EXIT] = 1};
	struct report *r;

	(void)state;
	exit_record(PID, false, 0);
	r = model__report(m, now, &c, delivered, &names);
	assert_true(r->processes[0].kernel_minflt == UNKNOWN);
	assert_true(r->processes[0].kernel_majflt == UNKNOWN);
	report__free(r);
	c.lost[REC_EXIT] = 0;
	r = model__report(m, now, &c, delivered, &names);
	assert_int_equal(r->processes[0].kernel_minflt, 5);
	assert_int_equal(r->processes[0].kernel_majflt, 2);
	report__free(r);
}

/* A stack that reaches where stacks begin is whole, whatever came after. */
static int resolve_main(void *ctx, uint32_t file, uint64_t offset, bool is_return,
			struct frame *out, int max)
{
	(void)ctx;
	(void)file;
	assert_true(max >= 3);
	out[0] = out[1] = (struct frame){.offset = offset};
	out[0].symbol = is_return ? "inlined" : "leaf";
	out[1].symbol = is_return ? "main" : "outer";
	return 2;
}

static int none(void *ctx, uint32_t file, uint64_t offset)
{
	(void)ctx;
	(void)file;
	(void)offset;
	return -ENOENT;
}

static void a_stack_that_reaches_main_is_whole(void **state)
{
	static const struct model_names to_main = {NULL, resolve_main, none, none};
	const struct site *s;
	struct report *r;

	(void)state;
	STACK_OF(1, TEXT + 1, STACK_BROKEN, TEXT + 16, TEXT + 32, TEXT + 48);
	FAULT(.addr = DATA, .stack = 1);
	STACK_OF(2, 0, STACK_BROKEN, TEXT + 16);
	FAULT(.addr = DATA, .stack = 2);
	r = model__report(m, now, NULL, NULL, &to_main);
	assert_int_equal(r->nsites, 2);
	s = &r->sites[0];
	assert_false(s->truncated);
	assert_int_equal(s->nframes, 4);
	assert_string_equal(s->frames[0].symbol, "leaf");
	assert_true(s->frames[0].inlined);
	assert_false(s->frames[1].inlined);
	assert_string_equal(s->frames[3].symbol, "main");
	assert_true(r->sites[1].truncated);
	report__free(r);
}

/* Names fail for want of memory: the report goes on without. */
static int resolve_nothing(void *ctx, uint32_t file, uint64_t offset, bool is_return,
			   struct frame *out, int max)
{
	(void)ctx;
	(void)file;
	(void)offset;
	(void)is_return;
	(void)out;
	(void)max;
	return -ENOMEM;
}

static void a_place_without_names_still_counts(void **state)
{
	static const struct model_names nameless = {NULL, resolve_nothing, none, none};
	struct report *r;

	(void)state;
	FAULT(.addr = DATA, .ip = TEXT);
	r = model__report(m, now, NULL, NULL, &nameless);
	assert_non_null(r);
	assert_int_equal(r->nby_faults, 1);
	assert_balanced(r);
	report__free(r);
}

static void notes_are_kept(void **state)
{
	struct report *r = report_now();

	(void)state;
	assert_int_equal(report__note(r, "%d of %s", 3, "them"), 0);
	assert_int_equal(report__note(r, "plain"), 0);
	assert_int_equal(r->nnotes, 2);
	assert_string_equal(r->notes[0], "3 of them");
	assert_string_equal(r->notes[1], "plain");
	report__free(r);
}

static void a_report_can_be_made_again(void **state)
{
	struct report *a, *b;

	(void)state;
	mmap_call(MMAP, PAGE, RW, ANON);
	FAULT(.addr = 16, .flags = FAULT_MAJOR);
	a = report_now();
	b = report_now();
	assert_memory_equal(a->call, b->call, sizeof(a->call));
	assert_memory_equal(&a->faults, &b->faults, sizeof(a->faults));
	assert_memory_equal(a->regions, b->regions, sizeof(a->regions));
	assert_int_equal(a->nsites, b->nsites);
	assert_int_equal(a->nmapped, b->nmapped);
	report__free(a);
	report__free(b);
}

static void names_of_kinds_are_in_order(void **state)
{
	(void)state;
	assert_string_equal(vmcall_name[CALL_MPROTECT], "mprotect");
	assert_string_equal(rec_kind_name[REC_MPROTECT], vmcall_name[REC_MPROTECT - REC_BRK]);
	assert_string_equal(rec_kind_name[REC_FAULT], "fault");
	assert_string_equal(rec_kind_name[REC_FILE], "file");
	assert_string_equal(region_name[REGION_HEAP], "heap");
	assert_string_equal(region_name[REGION_UNKNOWN], "unknown");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(an_empty_report_is_one),
		TEST(unknown_is_no_number),
		TEST_IMAGE(totals_are_over_all_processes),
		TEST_IMAGE(sites_are_sorted_most_first),
		TEST(events_are_counted_by_kind),
		TEST(lost_ends_make_the_kernels_counts_unknown),
		TEST_IMAGE(a_stack_that_reaches_main_is_whole),
		TEST_IMAGE(a_place_without_names_still_counts),
		TEST(notes_are_kept),
		TEST_IMAGE(a_report_can_be_made_again),
		TEST(names_of_kinds_are_in_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
