/* SPDX-License-Identifier: MIT */
/* Advice: each rule speaks from its threshold on, and not below it, nor where a figure is unknown. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "user/model/report.h"

#define MIB (1ULL << 20)

/* One place of the heap, in every order, of a process that lives. */
static struct report report;
static struct process_report process;
static struct site site;
static const struct site *order[1];
static struct mapped_point mapped;
static struct site_heap *const h = &site.heap;

static int begin(void **state)
{
	(void)state;
	report = (struct report){.processes = &process,
				 .nprocesses = 1,
				 .sites = &site,
				 .nsites = 1,
				 .by_live = order,
				 .nby_live = 1,
				 .by_cost = order,
				 .nby_cost = 1,
				 .by_requested = order,
				 .nby_requested = 1,
				 .mapped = &mapped,
				 .nmapped = 1};
	process = (struct process_report){0};
	site = (struct site){.is_heap = true};
	order[0] = &site;
	mapped = (struct mapped_point){0};
	return 0;
}

static void expect_advice(const char *id)
{
	size_t i;

	assert_int_equal(report__advise(&report), 0);
	assert_int_equal(report.nadvice, id ? 1 : 0);
	for (i = 0; i < report.nadvice; i++) {
		assert_string_equal(report.advice[i].id, id);
		assert_true(report.advice[i].nevidence > 0);
	}
	free(report.advice);
	report.advice = NULL;
	report.nadvice = 0;
}

static void mapped_blocks(void **state)
{
	(void)state;
	h->calls = h->frees = 200;
	h->temporary = 200;
	h->touch_minor = 200;
	h->syscalls[CALL_MMAP] = h->syscalls[CALL_MUNMAP] = 100;
	expect_advice("mmap-churn"); /* which explains the faults as well */
	h->frees = 99;
	h->temporary = 99;
	expect_advice(NULL); /* they are kept */
	h->frees = h->temporary = 0;
	h->syscalls[CALL_MUNMAP] = 99;
	expect_advice(NULL);
}

static void temporary_blocks(void **state)
{
	(void)state;
	h->calls = h->frees = 200;
	h->temporary = 100;
	h->inside_minor = 60;
	h->touch_minor = 40;
	expect_advice("temporary-faults");
	h->touch_minor = 39;
	expect_advice(NULL); /* the pages were there */
	h->touch_minor = 200;
	h->temporary = UNKNOWN;
	expect_advice(NULL);
}

static void break_goes_up_and_down(void **state)
{
	struct call_stats *brk = &report.call[CALL_BRK];

	(void)state;
	site.heap.syscalls[CALL_BRK] = 1;
	mapped.heap_bytes = MIB;
	*brk = (struct call_stats){.calls = 200, .grown_bytes = 8 * MIB, .shrunk_bytes = 4 * MIB};
	assert_int_equal(report__advise(&report), 0);
	assert_int_equal(report.nadvice, 1);
	assert_ptr_equal(report.advice[0].site, &site);
	free(report.advice);
	report.advice = NULL;
	report.nadvice = 0;
	brk->shrunk_bytes = 3 * MIB;
	expect_advice(NULL);
	brk->shrunk_bytes = 8 * MIB;
	mapped.heap_bytes = 2 * MIB;
	expect_advice(NULL); /* it goes up, and down once */
	mapped.heap_bytes = MIB;
	brk->calls = 199;
	expect_advice(NULL);
	brk->calls = UNKNOWN;
	expect_advice(NULL);
}

static void moved_blocks(void **state)
{
	(void)state;
	h->calls = 200;
	h->moved = 110;
	h->syscalls[CALL_MREMAP] = 10;
	expect_advice("realloc-moves");
	h->syscalls[CALL_MREMAP] = 11; /* the kernel moved those */
	expect_advice(NULL);
	h->syscalls[CALL_MREMAP] = 0;
	h->calls = 222;
	expect_advice(NULL); /* a factor makes it seldom */
}

static void touched_page_by_page(void **state)
{
	(void)state;
	h->calls = 2;
	h->bytes = 16 * MIB;
	h->touch_minor = 3072;
	expect_advice("first-touch");
	h->touch_minor = 3071;
	expect_advice(NULL);
	h->touch_minor = 4096;
	h->calls = 5;
	expect_advice(NULL); /* small blocks */
	h->calls = 2;
	report.sample_bytes = 4096;
	expect_advice(NULL);
	report.sample_bytes = 0;
	h->failed = 2;
	expect_advice(NULL);
}

static void memory_that_is_kept(void **state)
{
	(void)state;
	report.parts.retained = 16 * MIB;
	report.parts.live = 16 * MIB;
	expect_advice("retained");
	report.parts.live++;
	expect_advice(NULL);
	report.parts.live = 0;
	report.parts.retained--;
	expect_advice(NULL);
	report.parts.retained = report.parts.live = UNKNOWN;
	expect_advice(NULL);
}

static void blocks_that_stay(void **state)
{
	(void)state;
	h->calls = 1000;
	h->frees = 10;
	h->live_bytes = MIB;
	expect_advice("growth");
	h->frees = 11;
	expect_advice(NULL);
	h->frees = 0;
	report.events[REC_HEAP].lost = 1;
	expect_advice(NULL); /* there may have been frees */
	report.events[REC_HEAP].lost = 0;
	process.ended = true;
	expect_advice(NULL); /* it had them to its end, as it may */
	process.ended = false;
	h->calls = 999;
	expect_advice(NULL);
}

static void no_more_places_than_help(void **state)
{
	static struct site many[ADVICE_SITES + 2];
	static const struct site *sites[ADVICE_SITES + 2];
	size_t i;

	(void)state;
	for (i = 0; i < ADVICE_SITES + 2; i++) {
		many[i] = (struct site){.is_heap = true, .heap = {.calls = 100, .moved = 100}};
		sites[i] = &many[i];
	}
	report.by_requested = sites;
	report.nby_requested = ADVICE_SITES + 2;
	assert_int_equal(report__advise(&report), 0);
	assert_int_equal(report.nadvice, ADVICE_SITES);
	assert_ptr_equal(report.advice[0].site, &many[0]);
	free(report.advice);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(mapped_blocks, begin),
		cmocka_unit_test_setup(temporary_blocks, begin),
		cmocka_unit_test_setup(break_goes_up_and_down, begin),
		cmocka_unit_test_setup(moved_blocks, begin),
		cmocka_unit_test_setup(touched_page_by_page, begin),
		cmocka_unit_test_setup(memory_that_is_kept, begin),
		cmocka_unit_test_setup(blocks_that_stay, begin),
		cmocka_unit_test_setup(no_more_places_than_help, begin),
	};

	return cmocka_run_group_tests_name("advice", tests, NULL, NULL);
}
