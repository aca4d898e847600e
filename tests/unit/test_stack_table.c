/* SPDX-License-Identifier: MIT */
/* The table of stacks: full, shared by threads, and with anything at all in its memory. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "lib/trace/walk.h"
#include "tests/unit/dice.h"

#define ROOM 200
#define SHARED_NODES 16384

static struct walker walker;
static struct stack_table table = {.nodes = SHARED_NODES};

static void a_full_table(void **state)
{
	struct stack_table small = {.nodes = 64};
	uint32_t parent = WALK_CHECKED, id, flags, n = 0;
	struct walk_regs regs;
	uint64_t ip[ROOM];

	(void)state;
	small.node = calloc(1, stack_table__bytes(small.nodes));
	assert_non_null(small.node);
	while ((id = stack_table__child(&small, parent, 1000 + n))) {
		assert_true(id > parent);
		assert_int_equal(stack_table__child(&small, parent, 1000 + n), id);
		parent = id;
		n++;
	}
	assert_int_equal(n, small.nodes - STACK_TABLE_FIRST);
	assert_int_equal(stack_table__read(&small, parent, ip, ROOM, &flags), n);
	assert_int_equal(flags, WALK_CHECKED);
	assert_int_equal(ip[0], 1000 + n - 1);
	assert_int_equal(ip[n - 1], 1000);
	/* A stack that has no room is cut, and counted. */
	walk__here(&regs);
	assert_int_equal(walker__take(&walker, &small, &regs, WALK_TOP(), 1), 0);
	assert_int_equal(stack_table__dropped(&small), 1);
	assert_int_equal(stack_table__read(&small, parent | STACK_TABLE_CUT, ip, ROOM, &flags), n);
	assert_int_equal(flags, WALK_CHECKED | WALK_BROKEN);
	free(small.node);
}

/* Whatever is in the memory, reading it and adding to it comes to an end. */
static void a_table_that_lies(void **state)
{
	struct stack_table t = {.nodes = 64};
	size_t bytes = stack_table__bytes(t.nodes), i;
	uint64_t ip[ROOM];
	uint32_t flags;
	int turn;

	(void)state;
	t.node = malloc(bytes);
	assert_non_null(t.node);
	for (turn = 0; turn < 20000; turn++) {
		for (i = 0; i < bytes / 4; i++)
			((uint32_t *)t.node)[i] = dice(3) ? dice(80) : (uint32_t)dice64();
		assert_true(stack_table__read(&t, (uint32_t)dice64() & 0x8000007f, ip, ROOM,
					      &flags) <= 64);
		stack_table__child(&t, dice(80), dice(80));
	}
	free(t.node);
}

struct adder {
	pthread_t thread;
	uint32_t id[4096];
};

static void *adder(void *argument)
{
	struct adder *a = argument;
	uint32_t parent = 0, i;

	for (i = 0; i < 4096; i++) {
		parent = stack_table__child(&table, i % 64 ? parent : 1, 777000 + i);
		a->id[i] = parent;
	}
	return NULL;
}

static void added_by_several_threads(void **state)
{
	static struct adder adders[4];
	unsigned i;

	(void)state;
	table.node = calloc(1, stack_table__bytes(table.nodes));
	assert_non_null(table.node);
	for (i = 0; i < 4; i++)
		pthread_create(&adders[i].thread, NULL, adder, &adders[i]);
	for (i = 0; i < 4; i++)
		pthread_join(adders[i].thread, NULL);
	for (i = 1; i < 4; i++)
		assert_memory_equal(adders[0].id, adders[i].id, sizeof(adders[0].id));
	free(table.node);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_full_table),
		cmocka_unit_test(a_table_that_lies),
		cmocka_unit_test(added_by_several_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
