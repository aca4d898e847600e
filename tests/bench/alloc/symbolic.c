/* SPDX-License-Identifier: MIT */
/*
 * Symbolic computation: expressions as trees with reference counts, derived
 * and simplified again and again, as an interpreter of a functional language
 * would. Every value is checked by evaluating it modulo a prime.
 */
#include "tests/bench/alloc/work.h"

#define PRIME 1000003u

enum kind { CONSTANT, VARIABLE, SUM, PRODUCT };

struct expr {
	uint32_t references;
	enum kind kind;
	union {
		uint64_t value;
		struct {
			struct expr *left, *right;
		};
	};
};

static struct expr *leaf(enum kind kind, uint64_t value)
{
	struct expr *e = malloc(sizeof(*e));

	WORK_CHECK(e);
	*e = (struct expr){.references = 1, .kind = kind, .value = value};
	return e;
}

static struct expr *hold(struct expr *e)
{
	e->references++;
	return e;
}

static void release(struct expr *e)
{
	while (!--e->references) {
		struct expr *right = e->kind >= SUM ? e->right : NULL;

		if (right)
			release(e->left);
		free(e);
		if (!right)
			return;
		e = right;
	}
}

static bool is(const struct expr *e, uint64_t value)
{
	return e->kind == CONSTANT && e->value == value;
}

/* Takes both, gives the simplest equal expression that is easy to see. */
static struct expr *join(enum kind kind, struct expr *left, struct expr *right)
{
	struct expr *e;
	uint64_t neutral = kind == PRODUCT;

	if (is(left, neutral)) {
		release(left);
		return right;
	}
	if (is(right, neutral)) {
		release(right);
		return left;
	}
	if (left->kind == CONSTANT && right->kind == CONSTANT) {
		uint64_t value = kind == SUM ? left->value + right->value :
					       left->value * right->value;

		e = leaf(CONSTANT, value % PRIME);
	} else if (kind == PRODUCT && (is(left, 0) || is(right, 0))) {
		e = leaf(CONSTANT, 0);
	} else {
		e = malloc(sizeof(*e));
		WORK_CHECK(e);
		*e = (struct expr){.references = 1, .kind = kind, .left = left, .right = right};
		return e;
	}
	release(left);
	release(right);
	return e;
}

static struct expr *derive(struct expr *e)
{
	switch (e->kind) {
	case CONSTANT:
		return leaf(CONSTANT, 0);
	case VARIABLE:
		return leaf(CONSTANT, 1);
	case SUM:
		return join(SUM, derive(e->left), derive(e->right));
	case PRODUCT:
		break;
	}
	return join(SUM, join(PRODUCT, derive(e->left), hold(e->right)),
		    join(PRODUCT, hold(e->left), derive(e->right)));
}

static uint64_t evaluate(const struct expr *e, uint64_t x)
{
	switch (e->kind) {
	case CONSTANT:
		return e->value;
	case VARIABLE:
		return x;
	case SUM:
		return (evaluate(e->left, x) + evaluate(e->right, x)) % PRIME;
	case PRODUCT:
		break;
	}
	return evaluate(e->left, x) * evaluate(e->right, x) % PRIME;
}

/* (x + root) to the power n: its derivative must be n (x + root)^(n - 1). */
static void check_power(unsigned n, uint64_t root, uint64_t x)
{
	struct expr *power = leaf(CONSTANT, 1), *derived;
	uint64_t want = n;

	for (unsigned i = 0; i < n; i++)
		power = join(PRODUCT, power, join(SUM, leaf(VARIABLE, 0), leaf(CONSTANT, root)));
	for (unsigned i = 1; i < n; i++)
		want = want * ((x + root) % PRIME) % PRIME;
	derived = derive(power);
	WORK_CHECK(evaluate(derived, x) == want);
	release(power);
	power = derive(derived);
	release(derived);
	derived = derive(power);
	release(power);
	release(derived);
}

int main(int argc, char **argv)
{
	struct rng rng = rng__seed(7);
	size_t turns;

	work__start(argc, argv);
	turns = work__scaled(1800);
	for (size_t i = 0; i < turns; i++)
		check_power(4 + rng__below(&rng, 28), 1 + rng__below(&rng, 1000),
			    rng__below(&rng, PRIME));
	return work__end();
}
