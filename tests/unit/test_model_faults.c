/* SPDX-License-Identifier: MIT */
/* Page faults: how they are counted, and what kind of memory they fell in. */
#include "tests/unit/model_lib.h"

static const struct fault_stats *faults(void)
{
	return &model__process(m, PID)->faults;
}

static uint64_t in_region(enum region_class class)
{
	const struct region_stats *r = &model__process(m, PID)->regions[class];

	return r->faults_minor + r->faults_major;
}

/* One fault at addr falls in this class and no other. */
static void assert_class(uint64_t addr, enum region_class want)
{
	uint64_t before[REGION_CLASSES];
	unsigned i;

	for (i = 0; i < REGION_CLASSES; i++)
		before[i] = in_region(i);
	FAULT(.addr = addr);
	for (i = 0; i < REGION_CLASSES; i++)
		assert_int_equal(in_region(i), before[i] + (i == want));
}

static void each_part_of_an_image_has_its_class(void **state)
{
	(void)state;
	assert_class(TEXT, REGION_TEXT);
	assert_class(TEXT + 4 * PAGE - 1, REGION_TEXT);
	assert_class(DATA + 10, REGION_DATA);
	assert_class(BSS, REGION_DATA);
	assert_class(STACK, REGION_STACK);
	assert_class(VDSO + 5, REGION_OTHER);
	brk_call(HEAP, HEAP + 4 * PAGE, HEAP + 4 * PAGE);
	assert_class(HEAP + 4 * PAGE - 1, REGION_HEAP);
	mmap_call(MMAP, 4 * PAGE, RW, ANON);
	assert_class(MMAP, REGION_MMAP);
	mmap_call(MMAP + 10 * PAGE, 4 * PAGE, RW, MAP_SHARED | MAP_ANONYMOUS);
	assert_class(MMAP + 10 * PAGE, REGION_MMAP);
}

/* A library as the loader maps it: all of it from its constants on, then its parts over that. */
static void a_library_is_text_and_data(void **state)
{
	uint64_t lib = MMAP + 1024 * PAGE;

	(void)state;
	mmap_file(lib, 10 * PAGE, PROT_READ, MAP_PRIVATE, 8, 0);
	assert_class(lib, REGION_FILE); /* not known to be code yet */
	mmap_file(lib + 2 * PAGE, 3 * PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_FIXED, 8,
		  2 * PAGE);
	mmap_file(lib + 6 * PAGE, 2 * PAGE, RW, MAP_PRIVATE | MAP_FIXED, 8, 5 * PAGE);
	mmap_call(lib + 8 * PAGE, 2 * PAGE, RW, ANON | MAP_FIXED);
	assert_class(lib, REGION_TEXT); /* its headers and constants */
	assert_class(lib + 2 * PAGE, REGION_TEXT);
	assert_class(lib + 5 * PAGE, REGION_TEXT);
	assert_class(lib + 6 * PAGE, REGION_DATA);
	assert_class(lib + 8 * PAGE, REGION_DATA); /* bss */
	/* RELRO: written to once, then made read-only, but still data. */
	CALL(.kind = REC_MPROTECT, .arg = {lib + 6 * PAGE, PAGE, PROT_READ});
	assert_class(lib + 6 * PAGE, REGION_DATA);
	assert_class(lib + 7 * PAGE, REGION_DATA);
}

static void other_files_are_files(void **state)
{
	(void)state;
	mmap_file(MMAP, 2 * PAGE, RW, MAP_SHARED, 9, 0);
	mmap_file(MMAP + 16 * PAGE, 2 * PAGE, RW, MAP_PRIVATE, 9, 0);
	assert_class(MMAP, REGION_FILE);
	assert_class(MMAP + 16 * PAGE, REGION_FILE);
	/* Anonymous memory at a fixed place behind a file that is only read is no bss. */
	mmap_file(MMAP + 32 * PAGE, 2 * PAGE, PROT_READ, MAP_PRIVATE, 9, 0);
	mmap_call(MMAP + 34 * PAGE, PAGE, RW, ANON | MAP_FIXED);
	assert_class(MMAP + 34 * PAGE, REGION_MMAP);
}

static void the_stack_grows_down_to_a_touch(void **state)
{
	uint64_t before = m->mapped_bytes;

	(void)state;
	assert_class(STACK - 3 * PAGE + 8, REGION_STACK);
	assert_int_equal(model__find(m, PID, STACK_TOP - 1)->start, STACK - 3 * PAGE);
	assert_int_equal(m->mapped_bytes, before + 3 * PAGE);
	/* The totals go back to nothing, not below it. */
	exit_record(PID, true, 0);
	assert_int_equal(m->mapped_bytes, 0);
}

/* What the thread library maps for a stack does not grow into what we do not know. */
static void a_threads_stack_does_not_grow(void **state)
{
	(void)state;
	mmap_call(MMAP, 16 * PAGE, RW, ANON | MAP_STACK | MAP_NORESERVE);
	assert_class(MMAP + 3 * PAGE, REGION_STACK);
	FAULT(.addr = MMAP - PAGE);
	assert_null(model__find(m, PID, MMAP - PAGE));
	mmap_call(MMAP - 1000 * PAGE, PAGE, RW, ANON | MAP_GROWSDOWN);
	assert_class(MMAP - 1001 * PAGE, REGION_STACK);
}

/* Where nothing is known to be mapped: it is unknown when there is no hope left. */
static void unknown_is_said(void **state)
{
	struct report *r;
	unsigned i;

	(void)state;
	for (i = 0; i < EARLY_FAULTS; i++)
		FAULT(.addr = MMAP + i * PAGE);
	assert_int_equal(in_region(REGION_UNKNOWN), 0);
	FAULT(.addr = MMAP + i * PAGE, .flags = FAULT_MAJOR);
	assert_int_equal(in_region(REGION_UNKNOWN), 1); /* no more of them are kept */
	r = report_now();
	assert_int_equal(r->regions[REGION_UNKNOWN].faults_minor, EARLY_FAULTS);
	assert_int_equal(r->regions[REGION_UNKNOWN].faults_major, 1);
	assert_balanced(r);
	report__free(r);
}

static void each_fault_is_split_every_way(void **state)
{
	const struct fault_stats *f = faults();

	(void)state;
	FAULT(.addr = DATA);
	FAULT(.addr = DATA, .flags = FAULT_MAJOR);
	FAULT(.addr = DATA, .flags = FAULT_WRITE);
	FAULT(.addr = DATA, .flags = FAULT_WRITE | FAULT_KERNEL | FAULT_MAJOR);
	FAULT(.addr = TEXT, .flags = FAULT_EXEC);
	FAULT(.addr = TEXT, .flags = FAULT_EXEC | FAULT_MAJOR);
	FAULT(.addr = DATA, .flags = FAULT_KERNEL);
	FAULT(.addr = DATA, .flags = FAULT_NO_ENTRY | FAULT_KERNEL, .took = 12345);
	assert_int_equal(f->minor, 5);
	assert_int_equal(f->major, 3);
	assert_int_equal(f->user, 5);
	assert_int_equal(f->kernel, 3);
	assert_int_equal(f->read, 3);
	assert_int_equal(f->write, 2);
	assert_int_equal(f->exec, 2);
	assert_int_equal(f->access_unknown, 1);
	assert_int_equal(f->time_known, 7);
	assert_int_equal(f->time_ns, 0);
	assert_int_equal(model__process(m, PID)->regions[REGION_DATA].faults_major, 2);
	assert_int_equal(model__process(m, PID)->regions[REGION_DATA].faults_minor, 4);
}

static void the_histogram_goes_by_powers_of_two(void **state)
{
	static const struct {
		unsigned took, bucket;
	} cases[] = {
		{0, 0},		{1, 0},		  {2, 1},     {3, 1},	      {4, 2},
		{1023, 9},	{1024, 10},	  {2047, 10}, {1U << 30, 30}, {(1U << 31) - 1, 30},
		{1U << 31, 31}, {UINT32_MAX, 31},
	};
	uint64_t want[HIST_BUCKETS] = {0}, total = 0;
	unsigned i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		FAULT(.addr = DATA, .took = cases[i].took);
		want[cases[i].bucket]++;
		total += cases[i].took;
		assert_memory_equal(faults()->histogram, want, sizeof(want));
	}
	assert_int_equal(faults()->time_ns, total);
	FAULT(.addr = DATA, .flags = FAULT_NO_ENTRY, .took = 999);
	assert_memory_equal(faults()->histogram, want, sizeof(want));
	assert_int_equal(faults()->time_ns, total);
	assert_int_equal(faults()->time_known, i);
}

#define COW (FAULT_WRITE | FAULT_PRESENT)

static void copy_on_write_is_told_apart(void **state)
{
	const struct fault_stats *f = faults(), *child;

	(void)state;
	brk_call(HEAP, HEAP + 4 * PAGE, HEAP + 4 * PAGE);
	FAULT(.addr = HEAP, .flags = COW);
	FAULT(.addr = DATA, .flags = COW);
	assert_int_equal(f->cow_other, 2);
	assert_int_equal(f->cow_after_fork, 0);
	fork_record(PID, PID + 1, 0);
	child = &model__process(m, PID + 1)->faults;
	FAULT(.addr = HEAP, .flags = COW);
	FAULT(.addr = HEAP, .flags = FAULT_WRITE); /* a page that was not there: nothing to copy */
	FAULT(.addr = HEAP, .flags = FAULT_PRESENT); /* a read */
	FAULT(.pid = PID + 1, .addr = HEAP, .flags = COW);
	FAULT(.pid = PID + 1, .addr = DATA, .flags = COW);
	assert_int_equal(f->cow_other, 2);
	assert_int_equal(f->cow_after_fork, 1);
	assert_int_equal(child->cow_after_fork, 2);
	/* What is mapped after the fork is shared with nobody; nor is shared memory copied. */
	brk_call(HEAP + 4 * PAGE, HEAP + 6 * PAGE, HEAP + 6 * PAGE);
	FAULT(.addr = HEAP + 5 * PAGE, .flags = COW);
	assert_int_equal(f->cow_after_fork, 1);
	assert_int_equal(f->cow_other, 3);
	/* And a new image has left it behind. */
	exec_image(PID + 1, 0);
	child = &model__process(m, PID + 1)->faults;
	FAULT(.pid = PID + 1, .addr = DATA, .flags = COW);
	assert_int_equal(child->cow_after_fork, 2);
	assert_int_equal(child->cow_other, 1);
}

static void shared_memory_and_vfork_are_not_copied(void **state)
{
	(void)state;
	mmap_call(MMAP, 4 * PAGE, RW, MAP_SHARED | MAP_ANONYMOUS);
	fork_record(PID, PID + 1, 0);
	FAULT(.addr = MMAP, .flags = COW);
	assert_int_equal(faults()->cow_other, 0);
	assert_int_equal(faults()->write, 1);
	exec_image(PID, 0);
	fork_record(PID, PID + 2, FORK_SHARES_MM);
	FAULT(.addr = DATA, .flags = COW);
	assert_int_equal(faults()->cow_other, 1);
	assert_int_equal(faults()->cow_after_fork, 0);
}

/* While execve sets up the new image its faults come before the record that tells the mappings. */
static void early_faults_of_an_exec_are_classified_after_it(void **state)
{
	(void)state;
	FAULT(.addr = STACK_TOP - 8, .flags = FAULT_WRITE | FAULT_KERNEL, .execve = true);
	FAULT(.addr = BSS, .flags = FAULT_WRITE | FAULT_KERNEL | FAULT_MAJOR, .execve = true);
	assert_int_equal(faults()->minor, 1);
	assert_int_equal(in_region(REGION_STACK) + in_region(REGION_UNKNOWN), 0);
	exec_image(PID, 0);
	assert_int_equal(in_region(REGION_STACK), 1);
	assert_int_equal(in_region(REGION_DATA), 1);
	assert_int_equal(model__process(m, PID)->regions[REGION_DATA].faults_major, 1);
	assert_int_equal(in_region(REGION_UNKNOWN), 0);
	/* And those of one that ends instead are unknown. */
	FAULT(.addr = MMAP);
	exit_record(PID, true, 0);
	assert_int_equal(m->processes[0]->r.regions[REGION_UNKNOWN].faults_minor, 1);
}

/* The old image's mappings say nothing of the new one's, nor does its stack grow. */
static void an_exec_does_not_fault_in_the_old_image(void **state)
{
	(void)state;
	FAULT(.addr = STACK - 8 * PAGE, .flags = FAULT_WRITE | FAULT_KERNEL, .execve = true);
	FAULT(.addr = DATA, .flags = FAULT_WRITE | FAULT_KERNEL, .execve = true);
	assert_int_equal(m->mapped_bytes, IMAGE_BYTES);
	exec_image(PID, 4 * PAGE); /* where the data was, there is the text */
	assert_int_equal(in_region(REGION_TEXT), 1);
	assert_int_equal(in_region(REGION_DATA), 0);
	assert_int_equal(in_region(REGION_STACK), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST_IMAGE(each_part_of_an_image_has_its_class),
		TEST_IMAGE(a_library_is_text_and_data),
		TEST_IMAGE(other_files_are_files),
		TEST_IMAGE(the_stack_grows_down_to_a_touch),
		TEST_IMAGE(a_threads_stack_does_not_grow),
		TEST_IMAGE(unknown_is_said),
		TEST_IMAGE(each_fault_is_split_every_way),
		TEST_IMAGE(the_histogram_goes_by_powers_of_two),
		TEST_IMAGE(copy_on_write_is_told_apart),
		TEST_IMAGE(shared_memory_and_vfork_are_not_copied),
		TEST(early_faults_of_an_exec_are_classified_after_it),
		TEST_IMAGE(an_exec_does_not_fault_in_the_old_image),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
