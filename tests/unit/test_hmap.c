/* SPDX-License-Identifier: MIT */
/* The hash map, against a plain array of the keys that are in use. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "user/util/hmap.h"

#define KEYS 997
#define STEPS 200000

static void an_empty_map_holds_nothing(void **state)
{
	struct hmap m = {0};
	uint64_t k, v;
	size_t pos = 0;

	(void)state;
	assert_null(hmap__find(&m, 0));
	hmap__remove(&m, 0);
	assert_false(hmap__next(&m, &pos, &k, &v));
	hmap__clear(&m);
}

static void what_was_set_is_found(void **state)
{
	static bool there[KEYS];
	static uint64_t value[KEYS];
	struct hmap m = {0};
	uint64_t r = 1, k, v;
	size_t i, n = 0, found = 0, pos = 0;

	(void)state;
	for (i = 0; i < STEPS; i++) {
		r = r * 6364136223846793005ULL + 1442695040888963407ULL;
		k = (r >> 33) % KEYS;
		if (r >> 32 & 1) {
			assert_int_equal(hmap__set(&m, k, r), 0);
			n += !there[k];
			there[k] = true;
			value[k] = r;
		} else {
			hmap__remove(&m, k);
			n -= there[k];
			there[k] = false;
		}
		k = (r >> 20) % KEYS;
		assert_int_equal(hmap__find(&m, k) != NULL, there[k]);
		if (there[k])
			assert_true(*hmap__find(&m, k) == value[k]);
	}
	while (hmap__next(&m, &pos, &k, &v)) {
		assert_true(there[k] && value[k] == v);
		found++;
	}
	assert_int_equal(found, n);
	hmap__clear(&m);
	assert_null(hmap__find(&m, 1));
}

/* Keys come and go for ever, as pids do: the table is swept, it does not grow. */
static void removed_keys_take_no_room_for_long(void **state)
{
	struct hmap m = {0};
	uint64_t i;

	(void)state;
	for (i = 0; i < 100000; i++) {
		assert_int_equal(hmap__set(&m, i, i), 0);
		if (i >= 10)
			hmap__remove(&m, i - 10);
	}
	assert_true(m.size <= 128);
	hmap__clear(&m);
}

/* Keys as they occur: addresses and small numbers must not pile up in one run of slots. */
static void regular_keys_spread(void **state)
{
	static const unsigned shifts[] = {0, 3, 12, 21, 32, 48};
	size_t s, i;

	(void)state;
	for (s = 0; s < sizeof(shifts) / sizeof(*shifts); s++) {
		struct hmap m = {0};
		size_t run = 0, longest = 0;

		for (i = 0; i < 10000; i++)
			assert_int_equal(hmap__set(&m, (uint64_t)i << shifts[s], i), 0);
		for (i = 0; i < m.size; i++) {
			run = m.slots[i].state ? run + 1 : 0;
			longest = run > longest ? run : longest;
		}
		assert_true(longest < 200);
		hmap__clear(&m);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_empty_map_holds_nothing),
		cmocka_unit_test(what_was_set_is_found),
		cmocka_unit_test(removed_keys_take_no_room_for_long),
		cmocka_unit_test(regular_keys_spread),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
