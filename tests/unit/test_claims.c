/* SPDX-License-Identifier: MIT */
/* Who traces a process, rings or probes: whoever came first, for as long as its image lives. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "user/source/ring/claims.h"
#include "user/wait.h"

#define PID 7

static int set_up(void **state)
{
	*state = claims__new();
	return *state ? 0 : -1;
}

static int tear_down(void **state)
{
	claims__free(*state);
	return 0;
}

static void heard_first(void **state)
{
	struct claims *c = *state;

	assert_false(claims__heard(c, PID, 0));
	assert_true(claims__hello(c, PID));
	assert_true(claims__heard(c, PID, 0));
	assert_int_equal(claims__claim(c, PID, 0), -EEXIST);
	assert_int_equal(claims__claim(c, PID + 1, 0), 0);
}

static void claimed_first(void **state)
{
	struct claims *c = *state;

	assert_int_equal(claims__claim(c, PID, 0), 0);
	assert_false(claims__hello(c, PID));
	assert_false(claims__heard(c, PID, 0));
	assert_true(claims__hello(c, PID + 1));
	claims__release(c, PID, false);
	assert_true(claims__hello(c, PID));
}

static void an_image_before_was_heard(void **state)
{
	struct claims *c = *state;
	uint64_t exec_ns;

	assert_true(claims__hello(c, PID));
	exec_ns = clock__now() + 1;
	assert_false(claims__heard(c, PID, exec_ns));
	assert_int_equal(claims__claim(c, PID, exec_ns), 0);
	assert_false(claims__hello(c, PID));
}

static void heard_but_not_served(void **state)
{
	struct claims *c = *state;

	assert_true(claims__hello(c, PID));
	claims__unhear(c, PID);
	assert_int_equal(claims__claim(c, PID, 0), 0);
}

static void its_number_is_used_again(void **state)
{
	struct claims *c = *state;

	assert_true(claims__hello(c, PID));
	claims__release(c, PID, true);
	assert_false(claims__heard(c, PID, 0));
	assert_int_equal(claims__claim(c, PID, 0), 0);
	claims__release(c, PID, true);
	assert_true(claims__hello(c, PID));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(heard_first, set_up, tear_down),
		cmocka_unit_test_setup_teardown(claimed_first, set_up, tear_down),
		cmocka_unit_test_setup_teardown(an_image_before_was_heard, set_up, tear_down),
		cmocka_unit_test_setup_teardown(heard_but_not_served, set_up, tear_down),
		cmocka_unit_test_setup_teardown(its_number_is_used_again, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
