/* SPDX-License-Identifier: MIT */
/* Sorted address ranges: see span.h. */
#include "user/symbol/span.h"

#include <errno.h>
#include <stdlib.h>

#define FIRST_ROOM 64

int spans__add(struct spans *s, uint64_t start, uint64_t bytes, uint64_t value)
{
	if (bytes == 0 || bytes > UINT32_MAX || start + bytes < start || s->n == SPAN_NONE)
		return 0;
	if (s->n == s->room) {
		size_t room = s->room ? 2 * s->room : FIRST_ROOM;
		struct span *at = reallocarray(s->at, room, sizeof(*at));

		if (!at)
			return -ENOMEM;
		s->at = at;
		s->room = room;
	}
	s->at[s->n++] =
		(struct span){.start = start, .bytes = bytes, .outer = SPAN_NONE, .value = value};
	return 0;
}

static uint64_t span__end(const struct span *s)
{
	return s->start + s->bytes;
}

/* An outer span before its inner ones. */
static int span__compare(const void *left, const void *right)
{
	const struct span *a = left, *b = right;

	if (a->start != b->start)
		return a->start < b->start ? -1 : 1;
	if (a->bytes != b->bytes)
		return a->bytes > b->bytes ? -1 : 1;
	return a->value < b->value ? -1 : a->value > b->value;
}

static void spans__keep_best(struct spans *s, span_better_fn better, void *ctx)
{
	size_t kept = 0;

	for (size_t i = 0; i < s->n; i++) {
		if (kept && s->at[kept - 1].start == s->at[i].start) {
			if (better(&s->at[i], &s->at[kept - 1], ctx))
				s->at[kept - 1] = s->at[i];
		} else {
			s->at[kept++] = s->at[i];
		}
	}
	s->n = kept;
}

/* Give back what doubling took too much: a table lives long. */
static void spans__trim(struct spans *s)
{
	struct span *at;

	if (s->n == 0 || s->n == s->room)
		return;
	at = reallocarray(s->at, s->n, sizeof(*at));
	if (at) {
		s->at = at;
		s->room = s->n;
	}
}

void spans__sort(struct spans *s, span_better_fn better, void *ctx)
{
	if (s->n == 0)
		return;
	qsort(s->at, s->n, sizeof(*s->at), span__compare);
	if (better)
		spans__keep_best(s, better, ctx);
	spans__trim(s);
	for (size_t i = 1; i < s->n; i++) {
		uint32_t outer = i - 1;

		while (outer != SPAN_NONE && span__end(&s->at[outer]) <= span__end(&s->at[i]))
			outer = s->at[outer].outer;
		s->at[i].outer = outer;
	}
}

const struct span *spans__find(const struct spans *s, uint64_t addr)
{
	size_t low = 0, high = s->n;
	uint32_t i;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (s->at[middle].start <= addr)
			low = middle + 1;
		else
			high = middle;
	}
	i = low ? low - 1 : SPAN_NONE;
	while (i != SPAN_NONE && span__end(&s->at[i]) <= addr)
		i = s->at[i].outer;
	return i == SPAN_NONE ? NULL : &s->at[i];
}

void spans__free(struct spans *s)
{
	free(s->at);
	*s = (struct spans){0};
}
