/* SPDX-License-Identifier: MIT */
/*
 * Growth by realloc: vectors that double, strings that grow by what is
 * appended, several of them in turn so that none has the end of the heap for
 * itself.
 */
#include "tests/bench/alloc/work.h"

#define VECTORS 8
#define STRINGS 64

struct vector {
	uint32_t *items;
	size_t count, capacity;
};

struct string {
	char *text;
	size_t length;
};

static void push(struct vector *v, uint32_t item)
{
	if (v->count == v->capacity) {
		v->capacity = v->capacity ? v->capacity + v->capacity / 2 : 4;
		v->items = realloc(v->items, v->capacity * sizeof(*v->items));
		WORK_CHECK(v->items);
	}
	v->items[v->count++] = item;
}

static void grow_vectors(size_t items)
{
	struct vector vectors[VECTORS] = {{NULL, 0, 0}};

	for (size_t i = 0; i < items * VECTORS; i++)
		push(&vectors[i % VECTORS], (uint32_t)i);
	for (size_t k = 0; k < VECTORS; k++) {
		for (size_t i = 0; i < items; i++)
			WORK_CHECK(vectors[k].items[i] == (uint32_t)(i * VECTORS + k));
		free(vectors[k].items);
	}
}

static void append(struct string *s, size_t bytes, char c)
{
	s->text = realloc(s->text, s->length + bytes + 1);
	WORK_CHECK(s->text);
	memset(s->text + s->length, c, bytes);
	s->length += bytes;
	s->text[s->length] = '\0';
}

static void grow_strings(struct rng *rng, size_t appends)
{
	struct string strings[STRINGS] = {{NULL, 0}};

	for (size_t i = 0; i < appends * STRINGS; i++)
		append(&strings[rng__below(rng, STRINGS)], rng__between(rng, 1, 64),
		       (char)('a' + i % 26));
	for (size_t k = 0; k < STRINGS; k++) {
		WORK_CHECK(!strings[k].text || strlen(strings[k].text) == strings[k].length);
		free(strings[k].text);
	}
}

int main(int argc, char **argv)
{
	struct rng rng = rng__seed(4);
	size_t turns;

	work__start(argc, argv);
	turns = work__scaled(40);
	for (size_t i = 0; i < turns; i++) {
		grow_vectors(10000);
		grow_vectors(100000);
		grow_strings(&rng, 600);
	}
	grow_vectors(1000000);
	for (size_t i = 0; i < turns * 100; i++)
		grow_strings(&rng, 5);
	return work__end();
}
