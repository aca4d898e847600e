/* SPDX-License-Identifier: MIT */
/*
 * Requests to a server that parses documents: each is read into a tree of
 * objects, lists and strings, walked, written out into a buffer that grows,
 * and dropped as a whole. A few of the trees are kept for longer.
 */
#include "tests/bench/alloc/work.h"

#define KEPT 200

enum kind { NUMBER, STRING, LIST };

struct value {
	enum kind kind;
	union {
		long number;
		char *string;
		struct {
			struct value **items;
			size_t count, capacity;
		};
	};
};

struct buffer {
	char *text;
	size_t length, capacity;
};

static void put(struct buffer *b, const char *s, size_t length)
{
	if (b->length + length + 1 > b->capacity) {
		b->capacity = (b->length + length + 1) * 2;
		b->text = realloc(b->text, b->capacity);
		WORK_CHECK(b->text);
	}
	memcpy(b->text + b->length, s, length);
	b->length += length;
	b->text[b->length] = '\0';
}

static struct value *make(enum kind kind)
{
	struct value *v = calloc(1, sizeof(*v));

	WORK_CHECK(v);
	v->kind = kind;
	return v;
}

static struct value *parse(const char **at);

static struct value *parse_list(const char **at)
{
	struct value *v = make(LIST);

	++*at;
	while (**at != ']') {
		if (v->count == v->capacity) {
			v->capacity = v->capacity ? v->capacity * 2 : 2;
			v->items = realloc(v->items, v->capacity * sizeof(struct value *));
			WORK_CHECK(v->items);
		}
		v->items[v->count++] = parse(at);
		if (**at == ',')
			++*at;
	}
	++*at;
	return v;
}

static struct value *parse(const char **at)
{
	struct value *v;
	const char *end;

	if (**at == '[')
		return parse_list(at);
	if (**at == '"') {
		end = strchr(*at + 1, '"');
		WORK_CHECK(end);
		v = make(STRING);
		v->string = strndup(*at + 1, (size_t)(end - *at - 1));
		WORK_CHECK(v->string);
		*at = end + 1;
		return v;
	}
	v = make(NUMBER);
	v->number = strtol(*at, (char **)at, 10);
	return v;
}

static void print(const struct value *v, struct buffer *b)
{
	char digits[32];

	switch (v->kind) {
	case NUMBER:
		put(b, digits, (size_t)snprintf(digits, sizeof(digits), "%ld", v->number));
		break;
	case STRING:
		put(b, "\"", 1);
		put(b, v->string, strlen(v->string));
		put(b, "\"", 1);
		break;
	case LIST:
		put(b, "[", 1);
		for (size_t i = 0; i < v->count; i++) {
			if (i)
				put(b, ",", 1);
			print(v->items[i], b);
		}
		put(b, "]", 1);
	}
}

static void drop(struct value *v)
{
	if (!v)
		return;
	if (v->kind == STRING)
		free(v->string);
	if (v->kind == LIST) {
		for (size_t i = 0; i < v->count; i++)
			drop(v->items[i]);
		free(v->items);
	}
	free(v);
}

/* A document of lists, texts and numbers, about as deep as asked for. */
static void invent(struct rng *rng, unsigned depth, struct buffer *b)
{
	static const char text[] = "the quick brown fox jumps over the lazy dog and sleeps at noon";
	uint32_t what = rng__below(rng, 10);
	char digits[32];

	if (depth && what < 7) {
		put(b, "[", 1);
		for (uint32_t i = 0, n = 1 + rng__below(rng, 8); i < n; i++) {
			if (i)
				put(b, ",", 1);
			invent(rng, depth - 1, b);
		}
		put(b, "]", 1);
	} else if (what % 2) {
		put(b, "\"", 1);
		put(b, text, 1 + rng__below(rng, sizeof(text) - 1));
		put(b, "\"", 1);
	} else {
		put(b, digits,
		    (size_t)snprintf(digits, sizeof(digits), "%u", rng__next(rng) >> what));
	}
}

int main(int argc, char **argv)
{
	static struct value *kept[KEPT];
	struct buffer documents[8] = {{NULL, 0, 0}};
	struct rng rng = rng__seed(9);
	size_t turns;

	work__start(argc, argv);
	turns = work__scaled(1200);
	for (size_t i = 0; i < 8; i++) {
		put(&documents[i], "[", 1);
		for (unsigned k = 0; k < 6; k++) {
			invent(&rng, 5, &documents[i]);
			put(&documents[i], k < 5 ? "," : "]", 1);
		}
	}
	for (size_t i = 0; i < turns; i++) {
		const struct buffer *document = &documents[i % 8];
		const char *at = document->text;
		struct value *v = parse(&at);
		struct buffer out = {NULL, 0, 0};

		print(v, &out);
		WORK_CHECK(out.length == document->length &&
			   !memcmp(out.text, document->text, out.length));
		free(out.text);
		if (i % 5 == 0) {
			struct value **slot = &kept[rng__below(&rng, KEPT)];

			drop(*slot);
			*slot = v;
		} else {
			drop(v);
		}
	}
	for (size_t i = 0; i < KEPT; i++)
		drop(kept[i]);
	for (size_t i = 0; i < 8; i++)
		free(documents[i].text);
	return work__end();
}
