/* SPDX-License-Identifier: MIT */
/*
 * What the figures of a report suggest to do: a few rules, each with the figures that it rests on. A rule
 * speaks only where the figures leave no other reading; where they are not known it is silent.
 */
#ifndef MEMTRACE_ADVICE_H
#define MEMTRACE_ADVICE_H

#include <stddef.h>
#include <stdint.h>

#define ADVICE_EVIDENCE 6
#define ADVICE_LEAST 100 /* of what happened less often nothing is said */
#define ADVICE_SITES 3 /* as many places one rule may name, those that cost most */

struct site;
struct report;

/* A figure. Keys that end in _bytes and _ns are of that unit, others are counts. */
struct evidence {
	const char *key;
	uint64_t value;
};

struct advice {
	const char *id; /* a stable name of the rule */
	const char *text;
	const struct site *site; /* NULL: of no one place */
	struct evidence evidence[ADVICE_EVIDENCE];
	size_t nevidence;
};

/* Fill r->advice, once all else of the report is there. 0 or -ENOMEM. */
int report__advise(struct report *r);

#endif /* MEMTRACE_ADVICE_H */
