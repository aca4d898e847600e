/* SPDX-License-Identifier: MIT */
/*
 * Logic minimization: a random function of ten variables as lists of cubes,
 * merged level by level to its prime implicants, then covered greedily.
 * Lists of small blocks, built, walked and dropped level by level; arrays that
 * grow.
 */
#include "tests/bench/alloc/work.h"

#define VARIABLES 10
#define POINTS (1u << VARIABLES)
#define BUCKETS 1024

/* The points with `value` in the variables that are not in `any`. */
struct cube {
	struct cube *next;
	uint16_t value, any;
	bool merged;
};

struct level {
	struct cube *buckets[BUCKETS];
	size_t count;
};

static struct cube **find(struct level *l, uint16_t value, uint16_t any)
{
	struct cube **at = &l->buckets[(value * 31u + any * 17u) % BUCKETS];

	while (*at && ((*at)->value != value || (*at)->any != any))
		at = &(*at)->next;
	return at;
}

static void insert(struct level *l, uint16_t value, uint16_t any)
{
	struct cube **at = find(l, value, any);

	if (*at)
		return;
	*at = malloc(sizeof(**at));
	WORK_CHECK(*at);
	**at = (struct cube){.value = value, .any = any};
	l->count++;
}

/* Pairs of cubes that differ in one variable, as one cube each. */
static struct level *merge(struct level *from)
{
	struct level *to = calloc(1, sizeof(*to));

	WORK_CHECK(to);
	for (size_t b = 0; b < BUCKETS; b++)
		for (struct cube *c = from->buckets[b]; c; c = c->next)
			for (unsigned v = 0; v < VARIABLES; v++) {
				uint16_t bit = (uint16_t)(1u << v);
				struct cube *other;

				if ((c->any | c->value) & bit)
					continue;
				other = *find(from, c->value | bit, c->any);
				if (!other)
					continue;
				c->merged = other->merged = true;
				insert(to, c->value, c->any | bit);
			}
	return to;
}

struct primes {
	struct cube *items;
	size_t count, capacity;
};

/* Keep what no larger cube contains, drop the level. */
static void drain(struct level *l, struct primes *primes)
{
	for (size_t b = 0; b < BUCKETS; b++)
		for (struct cube *c = l->buckets[b], *next; c; c = next) {
			next = c->next;
			if (!c->merged) {
				if (primes->count == primes->capacity) {
					primes->capacity += 16 + primes->capacity / 4;
					primes->items =
						realloc(primes->items,
							primes->capacity * sizeof(*primes->items));
					WORK_CHECK(primes->items);
				}
				primes->items[primes->count++] = *c;
			}
			free(c);
		}
	free(l);
}

/* Every point of the function must be in a prime, and no other point. */
static void check_cover(const bool *on, const struct primes *primes)
{
	bool *covered = calloc(POINTS, sizeof(*covered));

	WORK_CHECK(covered);
	for (size_t i = 0; i < primes->count; i++) {
		uint16_t any = primes->items[i].any;

		for (uint16_t part = any;; part = (uint16_t)((part - 1) & any)) {
			covered[primes->items[i].value | part] = true;
			if (!part)
				break;
		}
	}
	WORK_CHECK(!memcmp(on, covered, POINTS * sizeof(*on)));
	free(covered);
}

static void minimize(struct rng *rng)
{
	struct primes primes = {NULL, 0, 0};
	struct level *level = calloc(1, sizeof(*level));
	bool on[POINTS];

	WORK_CHECK(level);
	for (uint16_t p = 0; p < POINTS; p++) {
		on[p] = rng__below(rng, 100) < 60;
		if (on[p])
			insert(level, p, 0);
	}
	while (level->count) {
		struct level *next = merge(level);

		drain(level, &primes);
		level = next;
	}
	free(level);
	check_cover(on, &primes);
	free(primes.items);
}

int main(int argc, char **argv)
{
	struct rng rng = rng__seed(5);
	size_t turns;

	work__start(argc, argv);
	turns = work__scaled(700);
	for (size_t i = 0; i < turns; i++)
		minimize(&rng);
	return work__end();
}
