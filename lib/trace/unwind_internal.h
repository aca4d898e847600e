/* SPDX-License-Identifier: MIT */
/* Reading .eh_frame: what its parser (unwind.c) and the interpreter of its programs share. */
#ifndef MEMTRACE_UNWIND_INTERNAL_H
#define MEMTRACE_UNWIND_INTERNAL_H

#include <stdbool.h>

#include "lib/trace/unwind.h"

/* A piece of the input. A read beyond its end gives 0 and sets `broken`. */
struct bytes {
	const unsigned char *at, *end;
	bool broken;
};

uint64_t bytes__fixed(struct bytes *b, unsigned size);
uint64_t bytes__uleb(struct bytes *b);
int64_t bytes__sleb(struct bytes *b);

/* Take the next n bytes as a piece of their own. */
struct bytes bytes__take(struct bytes *b, uint64_t n);

/* What functions have in common: a common information entry. */
struct common {
	uint64_t code_align;
	int64_t data_align;
	uint8_t pointer; /* how addresses are written: DW_EH_PE_* */
	bool augmented; /* each function's description has a length of its own there */
	struct bytes program; /* what holds at the beginning of each function */
};

/* Called for each stretch of code: rule holds from `at` on. */
struct rows {
	struct unwind_row *out; /* NULL: count only */
	size_t room;
	long n;
	uint64_t budget; /* steps that may still be taken */
	uint32_t last_rule;
	bool any;
	uint32_t wanted; /* an offset, and the rule that holds there */
	uint32_t found;
};

void rows__add(struct rows *r, uint32_t at, uint32_t rule);

/* Run the programs of a function at offsets [begin, end) of the file. */
void program__run(const struct common *c, struct bytes program, uint32_t begin, uint32_t end,
		  struct rows *r);

#endif /* MEMTRACE_UNWIND_INTERNAL_H */
