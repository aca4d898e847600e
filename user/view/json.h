/* SPDX-License-Identifier: MIT */
/* Writing JSON: what the parts of the JSON report share. Strings are untrusted, keys are ours. */
#ifndef MEMTRACE_VIEW_JSON_H
#define MEMTRACE_VIEW_JSON_H

#include "user/view/sink.h"
#include "user/view/view.h"

/* A writer that places commas and line breaks. */
struct json {
	struct sink s;
	unsigned depth;
	unsigned flat; /* inside a value that is kept on one line */
	bool first; /* nothing was written yet at this depth */
};

/* Begin an object or array as a member (key) or an element (NULL). */
void json__open(struct json *j, const char *key, char bracket);
/* The same, on one line with all that is in it. */
void json__open_flat(struct json *j, const char *key, char bracket);
void json__close(struct json *j, char bracket);
void json__null(struct json *j, const char *key);
/* UNKNOWN is null. */
void json__u64(struct json *j, const char *key, uint64_t n);
void json__bool(struct json *j, const char *key, bool value);
/* An object of numbers, on one line. */
struct json_number {
	const char *key;
	uint64_t n;
};
void json__numbers(struct json *j, const char *key, const struct json_number *numbers, size_t count);
#define JSON_NUMBERS(j, key, ...)                                        \
	json__numbers(j, key, (const struct json_number[]){__VA_ARGS__}, \
		      sizeof((const struct json_number[]){__VA_ARGS__}) / sizeof(struct json_number))
/* The sum, which is not known where a part of it is not. */
static inline uint64_t json__both(uint64_t a, uint64_t b)
{
	return a == UNKNOWN || b == UNKNOWN ? UNKNOWN : a + b;
}
/* Any bytes; NULL is null. */
void json__string(struct json *j, const char *key, const char *text);

/* The heap's parts of the report. */
void json__heap(struct json *j, const struct heap_stats *h);
void json__allocators(struct json *j, const struct process_report *p);
void json__hooks(struct json *j, const struct report *r);
void json__parts(struct json *j, const struct resident_parts *p);
void json__heap_site(struct json *j, const struct site_heap *s);

/* The number of each site in the array "sites", UNKNOWN: it is left out. most: of each of the report's
 * orders; 0: no limit. To be freed; NULL: no memory. */
uint64_t *json__number_sites(const struct report *r, size_t most);
/* "sites", and "sites_omitted", the sums of what is left out. */
void json__sites(struct json *j, const struct report *r, const uint64_t *numbers);

#endif /* MEMTRACE_VIEW_JSON_H */
