/* SPDX-License-Identifier: MIT */
/*
 * Sorted address ranges with one value each, which may nest and overlap: symbols, the functions
 * of a compilation unit, the units themselves. Filled, sorted once, then asked.
 */
#ifndef MEMTRACE_SPAN_H
#define MEMTRACE_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct span {
	uint64_t start;
	uint32_t bytes;
	uint32_t outer; /* index of the nearest span before that ends later; SPAN_NONE: there is none */
	uint64_t value;
};

#define SPAN_NONE UINT32_MAX

/* All zero: empty. */
struct spans {
	struct span *at;
	size_t n, room;
};

/* Add [start, start + bytes). Empty ones and those of 4 GiB or more, which no code is, are left
 * out. 0, or -ENOMEM. */
int spans__add(struct spans *s, uint64_t start, uint64_t bytes, uint64_t value);

/* Whether a is the better one of two spans that begin at the same address. */
typedef bool (*span_better_fn)(const struct span *a, const struct span *b, void *ctx);

/* Make ready for spans__find. With `better`, only the best of those that begin at the same
 * address stays. */
void spans__sort(struct spans *s, span_better_fn better, void *ctx);

/* The innermost span that contains addr, NULL when none does. */
const struct span *spans__find(const struct spans *s, uint64_t addr);

void spans__free(struct spans *s);

#endif /* MEMTRACE_SPAN_H */
