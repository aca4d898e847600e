/* SPDX-License-Identifier: MIT */
/* Places: a stack is one site wherever its code was loaded; what cannot be a frame is left out. */
#include "tests/unit/model_lib.h"

#define FUNC (TEXT + 0x100) /* offset PAGE + 0x100 of the program's file */
#define CALLER (TEXT + 0x200)
#define ROOT (TEXT + 0x300)
#define OFFSET(addr) ((addr)-TEXT + PAGE)

static int set_up(void **state)
{
	bare_leaf_at = no_call_before = 0;
	return bed__set_up_image(state);
}

#undef TEST_IMAGE
#define TEST_IMAGE(f) cmocka_unit_test_setup_teardown(f, set_up, bed__tear_down)

/* The one site has these offsets in the program, the innermost first. */
static void assert_frames(const struct site *s, size_t n, const uint64_t *offsets)
{
	size_t i;

	assert_int_equal(s->nframes, n);
	for (i = 0; i < n; i++) {
		assert_string_equal(s->frames[i].module, "/usr/bin/prog");
		assert_int_equal(s->frames[i].offset, offsets[i]);
		/* All but the first are where a call returns to. */
		assert_int_equal(s->frames[i].line, i > 0);
	}
}

#define FRAMES(s, ...) \
	assert_frames(s, sizeof((uint64_t[]){__VA_ARGS__}) / 8, (uint64_t[]){__VA_ARGS__})

static void one_stack_is_one_site(void **state)
{
	struct report *r;

	(void)state;
	STACK_OF(1, 0, 0, FUNC, CALLER, ROOT);
	STACK_OF(1, 0, 0, ROOT); /* the same hash: it is not looked at again */
	CALL(.kind = REC_MMAP, .ret = MMAP, .arg = {0, PAGE, RW, ANON}, .stack = 1, .began_ago = 10);
	CALL(.kind = REC_MUNMAP, .arg = {MMAP, PAGE}, .stack = 1, .began_ago = 5);
	FAULT(.addr = DATA, .stack = 1, .took = 3);
	FAULT(.addr = DATA, .stack = 1, .flags = FAULT_MAJOR, .took = 4);
	FAULT(.addr = DATA, .stack = 1, .flags = FAULT_WRITE | FAULT_PRESENT, .took = 5);
	r = report_now();
	assert_int_equal(r->nsites, 1);
	FRAMES(&r->sites[0], OFFSET(FUNC), OFFSET(CALLER), OFFSET(ROOT));
	assert_false(r->sites[0].truncated);
	assert_int_equal(r->sites[0].calls[CALL_MMAP], 1);
	assert_int_equal(r->sites[0].calls[CALL_MUNMAP], 1);
	assert_int_equal(r->sites[0].call_ns, 15);
	assert_int_equal(r->sites[0].mapped_bytes, PAGE);
	assert_int_equal(r->sites[0].unmapped_bytes, PAGE);
	assert_int_equal(r->sites[0].faults.minor, 2);
	assert_int_equal(r->sites[0].faults.major, 1);
	assert_int_equal(r->sites[0].faults.cow, 1);
	assert_int_equal(r->sites[0].faults.time_ns, 12);
	assert_int_equal(r->stacks, 1);
	assert_balanced(r);
	report__free(r);
}

static void load_addresses_do_not_matter(void **state)
{
	uint64_t shift = 0x123000;
	struct report *r;

	(void)state;
	fork_record(PID, PID + 1, FORK_SHARES_MM);
	exec_image(PID + 1, shift);
	STACK_OF(1, 0, 0, FUNC, CALLER);
	STACK_OF(2, 0, 0, FUNC + shift, CALLER + shift);
	STACK_OF(3, 0, 0, FUNC, ROOT); /* another */
	FAULT(.addr = DATA, .stack = 1);
	FAULT(.pid = PID + 1, .addr = DATA + shift, .stack = 2);
	FAULT(.addr = DATA, .stack = 3);
	r = report_now();
	assert_int_equal(r->nsites, 2);
	assert_int_equal(r->sites[0].faults.minor, 2);
	FRAMES(&r->sites[0], OFFSET(FUNC), OFFSET(CALLER));
	FRAMES(&r->sites[1], OFFSET(FUNC), OFFSET(ROOT));
	assert_int_equal(m->nplaces, 2);
	report__free(r);
}

/* One address means another place after other code came to be there. */
static void addresses_are_looked_up_again_when_code_moves(void **state)
{
	struct report *r;

	(void)state;
	STACK_OF(1, 0, 0, FUNC);
	FAULT(.addr = DATA, .stack = 1);
	mmap_file(TEXT, 4 * PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_FIXED, EXE_INO, 64 * PAGE);
	FAULT(.addr = DATA, .stack = 1);
	r = report_now();
	assert_int_equal(r->nsites, 3); /* and the mmap's own, without a stack */
	assert_int_equal(r->by_faults[0]->frames[0].offset, PAGE + 0x100);
	assert_int_equal(r->by_faults[1]->frames[0].offset, 64 * PAGE + 0x100);
	report__free(r);
}

/* A program that makes code all the time: what is remembered does not grow with it. */
static void what_is_remembered_is_bounded(void **state)
{
	unsigned i;

	(void)state;
	STACK_OF(1, 0, 0, FUNC, CALLER);
	mmap_call(MMAP, PAGE, RW, ANON);
	for (i = 0; i < 2000; i++) {
		CALL(.kind = REC_MPROTECT, .stack = 1,
		     .arg = {MMAP, PAGE, i % 2 ? PROT_READ | PROT_EXEC : RW});
		FAULT(.addr = DATA, .stack = 1);
	}
	assert_true(model__live(m, PID)->places.size <= 16);
	assert_int_equal(m->nplaces, 2);
}

/* The word at the stack pointer is the caller only if the function has pushed nothing. */
static void a_leaf_word_counts_only_when_it_is_bare(void **state)
{
	struct report *r;

	(void)state;
	STACK_OF(1, CALLER, 0, FUNC, ROOT);
	FAULT(.addr = DATA, .stack = 1);
	r = report_now();
	assert_int_equal(r->nsites, 1);
	FRAMES(&r->sites[0], OFFSET(FUNC), OFFSET(ROOT));
	report__free(r);
	bare_leaf_at = OFFSET(FUNC);
	r = report_now();
	FRAMES(&r->sites[0], OFFSET(FUNC), OFFSET(CALLER), OFFSET(ROOT));
	report__free(r);
}

/* Garbage at the stack pointer makes many places, which the unwind tables make one again. */
static void garbage_words_do_not_split_a_site(void **state)
{
	struct report *r;
	unsigned i;

	(void)state;
	for (i = 0; i < 50; i++) {
		STACK_OF(i + 1, CALLER + i, 0, FUNC, ROOT);
		FAULT(.addr = DATA, .stack = i + 1);
	}
	STACK_OF(100, DATA, 0, FUNC, ROOT); /* no code at all */
	FAULT(.addr = DATA, .stack = 100);
	r = report_now();
	assert_int_equal(r->nsites, 1);
	assert_int_equal(r->sites[0].faults.minor, 51);
	assert_balanced(r);
	report__free(r);
}

static void a_chain_ends_where_no_call_is(void **state)
{
	struct report *r;

	(void)state;
	STACK_OF(1, 0, 0, FUNC, CALLER, ROOT);
	FAULT(.addr = DATA, .stack = 1);
	no_call_before = OFFSET(CALLER);
	r = report_now();
	FRAMES(&r->sites[0], OFFSET(FUNC));
	assert_true(r->sites[0].truncated);
	report__free(r);
	/* The instruction itself need not follow one. */
	no_call_before = OFFSET(FUNC);
	r = report_now();
	FRAMES(&r->sites[0], OFFSET(FUNC), OFFSET(CALLER), OFFSET(ROOT));
	assert_false(r->sites[0].truncated);
	report__free(r);
}

static void a_chain_ends_outside_code(void **state)
{
	struct report *r;

	(void)state;
	STACK_OF(1, 0, 0, FUNC, CALLER, DATA, ROOT);
	FAULT(.addr = DATA, .stack = 1);
	STACK_OF(2, 0, 0, FUNC, CALLER, 0x10, ROOT);
	FAULT(.addr = DATA, .stack = 2);
	r = report_now();
	assert_int_equal(r->nsites, 1);
	FRAMES(&r->sites[0], OFFSET(FUNC), OFFSET(CALLER));
	assert_true(r->sites[0].truncated);
	report__free(r);
}

static void a_stack_that_was_cut_says_so(void **state)
{
	struct report *r;

	(void)state;
	STACK_OF(1, 0, STACK_TRUNCATED, FUNC, CALLER);
	FAULT(.addr = DATA, .stack = 1);
	STACK_OF(2, 0, STACK_BROKEN, FUNC);
	FAULT(.addr = DATA, .stack = 2);
	r = report_now();
	assert_int_equal(r->nsites, 2);
	assert_true(r->sites[0].truncated && r->sites[1].truncated);
	assert_int_equal(r->stacks, 2);
	assert_int_equal(r->stacks_truncated, 2);
	report__free(r);
}

/* No stack, or one that was lost: the instruction is known all the same. */
static void without_a_stack_there_is_the_instruction(void **state)
{
	struct report *r;

	(void)state;
	FAULT(.addr = DATA, .ip = FUNC);
	FAULT(.addr = DATA, .ip = FUNC, .stack = 12345);
	FAULT(.addr = DATA, .ip = CALLER, .stack = 12345);
	r = report_now();
	assert_int_equal(r->nsites, 2);
	FRAMES(&r->sites[0], OFFSET(FUNC));
	FRAMES(&r->sites[1], OFFSET(CALLER));
	assert_true(r->sites[0].truncated);
	assert_int_equal(r->sites[0].faults.minor, 2);
	report__free(r);
	/* It may yet come. */
	STACK_OF(12345, 0, 0, FUNC, ROOT);
	FAULT(.addr = DATA, .ip = FUNC, .stack = 12345);
	r = report_now();
	assert_int_equal(r->nsites, 3);
	FRAMES(&r->sites[2], OFFSET(FUNC), OFFSET(ROOT));
	assert_balanced(r);
	report__free(r);
}

static void code_without_a_file_is_its_address(void **state)
{
	struct report *r;

	(void)state;
	mmap_call(MMAP, PAGE, RW | PROT_EXEC, ANON);
	STACK_OF(1, 0, 0, MMAP + 16, FUNC);
	FAULT(.addr = DATA, .stack = 1);
	FAULT(.addr = STACK_TOP - 8, .execve = true);
	r = report_now();
	assert_int_equal(r->nby_faults, 2);
	assert_int_equal(r->by_faults[0]->nframes, 2);
	assert_null(r->by_faults[0]->frames[0].module);
	assert_int_equal(r->by_faults[0]->frames[0].offset, MMAP + 16);
	assert_int_equal(r->by_faults[0]->frames[1].offset, OFFSET(FUNC));
	assert_string_equal(r->by_faults[1]->frames[0].symbol, "execve, setting up the new image");
	assert_false(r->by_faults[1]->truncated);
	assert_int_equal(r->stacks_truncated, 0);
	report__free(r);
}

/* Files 2 and 3, one offset, one stack whole and one cut: two sites. */
static void sites_are_told_apart_by_all_they_are(void **state)
{
	struct report *r;

	(void)state;
	mmap_file(MMAP, 4 * PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE, 1234, PAGE);
	mmap_file(MMAP + 8 * PAGE, 4 * PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE, 1235, PAGE);
	assert_int_equal(model__find(m, PID, MMAP)->file, 2);
	assert_int_equal(model__find(m, PID, MMAP + 8 * PAGE)->file, 3);
	STACK_OF(1, 0, 0, MMAP + 16);
	STACK_OF(2, 0, STACK_BROKEN, MMAP + 8 * PAGE + 16);
	FAULT(.addr = DATA, .stack = 1);
	FAULT(.addr = DATA, .stack = 2);
	r = report_now();
	assert_int_equal(r->nby_faults, 2);
	report__free(r);
}

/* 62 frames and the leaf word. */
static void the_longest_stack_is_kept(void **state)
{
	uint64_t ip[STACK_FRAMES];
	struct report *r;
	unsigned i;

	(void)state;
	for (i = 0; i < STACK_FRAMES; i++)
		ip[i] = TEXT + 16 * i + 16;
	stack_record(1, CALLER + 1, STACK_TRUNCATED, STACK_FRAMES, ip);
	FAULT(.addr = DATA, .stack = 1);
	bare_leaf_at = OFFSET(ip[0]);
	r = report_now();
	assert_int_equal(r->sites[0].nframes, STACK_FRAMES + 1);
	assert_int_equal(r->sites[0].frames[1].offset, OFFSET(CALLER + 1));
	assert_int_equal(r->sites[0].frames[STACK_FRAMES].offset, OFFSET(ip[STACK_FRAMES - 1]));
	report__free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST_IMAGE(one_stack_is_one_site),
		TEST_IMAGE(load_addresses_do_not_matter),
		TEST_IMAGE(addresses_are_looked_up_again_when_code_moves),
		TEST_IMAGE(what_is_remembered_is_bounded),
		TEST_IMAGE(a_leaf_word_counts_only_when_it_is_bare),
		TEST_IMAGE(garbage_words_do_not_split_a_site),
		TEST_IMAGE(a_chain_ends_where_no_call_is),
		TEST_IMAGE(a_chain_ends_outside_code),
		TEST_IMAGE(a_stack_that_was_cut_says_so),
		TEST_IMAGE(without_a_stack_there_is_the_instruction),
		TEST_IMAGE(code_without_a_file_is_its_address),
		TEST_IMAGE(sites_are_told_apart_by_all_they_are),
		TEST_IMAGE(the_longest_stack_is_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
