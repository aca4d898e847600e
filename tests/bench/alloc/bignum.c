/* SPDX-License-Identifier: MIT */
/*
 * Numbers of any length that are never changed: each operation makes a new
 * one and drops the old. Two or three blocks of 20 to 100 bytes live at a
 * time in a busy spot, tens of thousands in a table.
 *
 * It walks the Fibonacci numbers and holds each step against Cassini's
 * identity, F(n-1) F(n+1) - F(n)^2 = (-1)^n.
 */
#include "tests/bench/alloc/work.h"

struct number {
	uint32_t length; /* digits, the last of which is not 0; none: the number is 0 */
	uint32_t digits[];
};

static struct number *make(size_t length)
{
	struct number *n = malloc(sizeof(*n) + length * sizeof(n->digits[0]));

	WORK_CHECK(n);
	n->length = (uint32_t)length;
	return n;
}

static struct number *trim(struct number *n)
{
	while (n->length && !n->digits[n->length - 1])
		n->length--;
	return n;
}

static struct number *number(uint32_t value)
{
	struct number *n = make(1);

	n->digits[0] = value;
	return trim(n);
}

static struct number *add(const struct number *a, const struct number *b)
{
	const struct number *high = a->length > b->length ? a : b, *low = high == a ? b : a;
	struct number *n = make(high->length + 1);
	uint64_t carry = 0;

	for (uint32_t i = 0; i < high->length; i++) {
		carry += (uint64_t)high->digits[i] + (i < low->length ? low->digits[i] : 0);
		n->digits[i] = (uint32_t)carry;
		carry >>= 32;
	}
	n->digits[high->length] = (uint32_t)carry;
	return trim(n);
}

static struct number *multiply(const struct number *a, const struct number *b)
{
	struct number *n = make(a->length + b->length);

	memset(n->digits, 0, n->length * sizeof(n->digits[0]));
	for (uint32_t i = 0; i < a->length; i++) {
		uint64_t carry = 0;

		for (uint32_t k = 0; k < b->length; k++) {
			carry += (uint64_t)a->digits[i] * b->digits[k] + n->digits[i + k];
			n->digits[i + k] = (uint32_t)carry;
			carry >>= 32;
		}
		n->digits[i + b->length] = (uint32_t)carry;
	}
	return trim(n);
}

static bool equal(const struct number *a, const struct number *b)
{
	return a->length == b->length &&
	       !memcmp(a->digits, b->digits, a->length * sizeof(a->digits[0]));
}

/* The product of the outer two against the square of the one between. */
static void check_step(const struct number *before, const struct number *at,
		       const struct number *after, unsigned n)
{
	struct number *outer = multiply(before, after), *square = multiply(at, at), *one = number(1);
	struct number *more = add(n % 2 ? outer : square, one);

	WORK_CHECK(equal(more, n % 2 ? square : outer));
	free(outer);
	free(one);
	free(square);
	free(more);
}

static void walk(unsigned steps, struct number **table)
{
	struct number *before = number(0), *at = number(1);

	for (unsigned n = 1; n <= steps; n++) {
		struct number *after = add(before, at);

		check_step(before, at, after, n);
		free(table[n]);
		table[n] = before;
		before = at;
		at = after;
	}
	free(before);
	free(at);
}

int main(int argc, char **argv)
{
	enum { STEPS = 300, TABLES = 64 };
	static struct number *table[TABLES][STEPS + 1];
	size_t turns;

	work__start(argc, argv);
	turns = work__scaled(10000);
	for (size_t i = 0; i < turns; i++)
		walk(STEPS, table[i % TABLES]);
	for (size_t i = 0; i < TABLES; i++)
		for (size_t n = 0; n <= STEPS; n++)
			free(table[i][n]);
	return work__end();
}
