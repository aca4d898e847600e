// SPDX-License-Identifier: MIT
/* The heap of a process in figures alone: what comes and goes, and nothing that stays behind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/dice.h"
#include "user/model/estimate.h"
#include "user/model/tally.h"

#define MEAN 4096

struct call {
	unsigned op, flags;
	uint64_t size, arg, result, weight;
};

static void take(struct tally *t, struct call c)
{
	struct rec_heap r = {.h = {.kind = REC_HEAP, .flags = c.flags, .aux = c.op},
			     .size = c.size,
			     .arg = c.arg,
			     .result = c.result,
			     .weight = c.weight};

	assert_int_equal(tally__take(t, &r), 0);
}

#define TAKE(t, ...) take(t, (struct call){__VA_ARGS__})

static void what_is_freed_takes_back_what_it_was(void **state)
{
	struct tally t = {.mean = MEAN};
	struct heap_stats f;
	enum { BLOCKS = 5000 };

	(void)state;
	for (uint64_t i = 1; i <= BLOCKS; i++)
		TAKE(&t, .op = HEAP_MALLOC, .size = dice(100000), .result = i * 16, .weight = MEAN);
	tally__figures(&t, &f);
	assert_true(f.live_bytes == f.bytes_requested);
	assert_true(f.live_bytes_error > 0 && f.live_bytes_error == f.requested_error);
	assert_true(f.calls[HEAP_MALLOC] >= BLOCKS);
	assert_true(f.calls_error[HEAP_MALLOC] == f.live_blocks_error);
	for (uint64_t i = 1; i <= BLOCKS; i++)
		TAKE(&t, .op = HEAP_FREE, .arg = i * 16);
	assert_int_equal(t.stats.live_bytes, 0);
	assert_int_equal(t.stats.live_blocks, 0);
	assert_int_equal(t.stats.live_bytes_variance, 0);
	assert_int_equal(t.stats.live_blocks_variance, 0);
	assert_int_equal(t.stats.freed_bytes, t.stats.bytes_requested);
	assert_int_equal(t.stats.calls[HEAP_FREE], t.stats.calls[HEAP_MALLOC]);
	tally__drop(&t, NULL, NULL);
}

static void a_block_that_moves(void **state)
{
	struct tally t = {.mean = MEAN};
	uint64_t calls;

	(void)state;
	TAKE(&t, .op = HEAP_MALLOC, .size = 1 << 20, .result = 16, .weight = MEAN);
	calls = t.stats.calls[HEAP_MALLOC];
	/* Failed: it stays. */
	TAKE(&t, .op = HEAP_REALLOC, .size = 10, .arg = 16, .flags = HEAP_FAILED);
	assert_int_equal(t.stats.live_bytes, 1 << 20);
	/* To one that was left out, which does not count. */
	TAKE(&t, .op = HEAP_REALLOC, .size = 10, .arg = 16, .result = 32);
	assert_int_equal(t.stats.live_bytes, 0);
	assert_int_equal(t.stats.calls[HEAP_REALLOC], 0);
	/* From one that was left out. */
	TAKE(&t, .op = HEAP_REALLOC, .size = 1 << 20, .arg = 32, .result = 48, .weight = MEAN);
	assert_int_equal(t.stats.live_bytes, 1 << 20);
	assert_int_equal(t.stats.calls[HEAP_REALLOC], calls);
	/* In place. */
	TAKE(&t, .op = HEAP_REALLOC, .size = 2 << 20, .arg = 48, .result = 48, .weight = MEAN);
	assert_int_equal(t.stats.live_bytes, 2 << 20);
	tally__drop(&t, NULL, NULL);
}

static void what_cannot_be_followed_is_no_part_of_what_lives(void **state)
{
	struct tally t = {.mean = MEAN};

	(void)state;
	TAKE(&t, .op = HEAP_MALLOC, .size = 1 << 20, .result = 16, .weight = MEAN,
	     .flags = HEAP_UNTRACKED);
	assert_int_equal(t.stats.bytes_requested, 1 << 20);
	assert_int_equal(t.stats.live_bytes, 0);
	assert_true(t.stats.untracked_blocks >= HEAP_UNIT);
	TAKE(&t, .op = HEAP_MALLOC, .size = 1 << 20, .flags = HEAP_FAILED, .weight = MEAN);
	assert_true(t.stats.failed >= HEAP_UNIT);
	/* An address again, whose free was not seen. */
	TAKE(&t, .op = HEAP_MALLOC, .size = 1 << 20, .result = 32, .weight = MEAN);
	TAKE(&t, .op = HEAP_MALLOC, .size = 2 << 20, .result = 32, .weight = MEAN);
	assert_int_equal(t.stats.live_bytes, 2 << 20);
	/* A free of nothing that is known. */
	TAKE(&t, .op = HEAP_FREE, .arg = 64);
	assert_int_equal(t.stats.live_bytes, 2 << 20);
	tally__drop(&t, NULL, NULL);
}

static void count(void *ctx, uint64_t addr)
{
	*(uint64_t *)ctx += addr;
}

static void an_image_takes_its_blocks_along(void **state)
{
	struct tally t = {.mean = MEAN}, sum = {.mean = MEAN};
	uint64_t told = 0;
	struct heap_stats f;

	(void)state;
	TAKE(&t, .op = HEAP_MALLOC, .size = 1 << 20, .result = 16, .weight = MEAN);
	TAKE(&t, .op = HEAP_CALLOC, .size = 1 << 20, .result = 32, .weight = MEAN);
	tally__add(&sum, &t);
	tally__drop(&t, count, &told);
	assert_int_equal(told, 48);
	assert_int_equal(t.stats.live_bytes, 0);
	assert_int_equal(t.stats.bytes_requested, 2 << 20);
	tally__add(&sum, &t);
	tally__figures(&sum, &f);
	assert_int_equal(f.bytes_requested, 4 << 20);
	/* Not kept here. */
	assert_true(f.unmatched_frees == UNKNOWN && f.temporary == UNKNOWN);
	assert_true(f.syscalls[0] == UNKNOWN && f.touch_minor == UNKNOWN);
}

static void what_is_no_call_is_refused(void **state)
{
	struct tally t = {.mean = MEAN};
	struct rec_heap r = {.h = {.kind = REC_HEAP, .aux = HEAP_OPS}};

	(void)state;
	assert_int_not_equal(tally__take(&t, &r), 0);
	r.h.aux = HEAP_NONE;
	assert_int_not_equal(tally__take(&t, &r), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_freed_takes_back_what_it_was),
		cmocka_unit_test(a_block_that_moves),
		cmocka_unit_test(what_cannot_be_followed_is_no_part_of_what_lives),
		cmocka_unit_test(an_image_takes_its_blocks_along),
		cmocka_unit_test(what_is_no_call_is_refused),
	};

	return cmocka_run_group_tests_name("tally", tests, NULL, NULL);
}
