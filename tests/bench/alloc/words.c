/* SPDX-License-Identifier: MIT */
/*
 * A dictionary of strings: entries and keys made separately, a table that is
 * made anew when it fills, keys that come and go with a few very common ones.
 */
#include "tests/bench/alloc/work.h"

struct entry {
	struct entry *next;
	char *key;
	uint64_t count;
};

struct dictionary {
	struct entry **buckets;
	size_t size, used;
};

static uint64_t hash(const char *s)
{
	uint64_t h = 5381;

	while (*s)
		h = h * 33 + (unsigned char)*s++;
	return h ^ h >> 29;
}

static void rehash(struct dictionary *d, size_t size)
{
	struct entry **buckets = calloc(size, sizeof(*buckets));

	WORK_CHECK(buckets);
	for (size_t i = 0; i < d->size; i++)
		for (struct entry *e = d->buckets[i], *next; e; e = next) {
			struct entry **to = &buckets[hash(e->key) % size];

			next = e->next;
			e->next = *to;
			*to = e;
		}
	free(d->buckets);
	d->buckets = buckets;
	d->size = size;
}

static struct entry **find(const struct dictionary *d, const char *key)
{
	struct entry **at = &d->buckets[hash(key) % d->size];

	while (*at && strcmp((*at)->key, key))
		at = &(*at)->next;
	return at;
}

static void count_word(struct dictionary *d, const char *key)
{
	struct entry **at = find(d, key);

	if (*at) {
		(*at)->count++;
		return;
	}
	*at = malloc(sizeof(**at));
	WORK_CHECK(*at);
	**at = (struct entry){.key = strdup(key), .count = 1};
	WORK_CHECK((*at)->key);
	if (++d->used > d->size)
		rehash(d, d->size * 2);
}

/* How often it was counted. */
static uint64_t forget(struct dictionary *d, struct entry **at)
{
	struct entry *e = *at;
	uint64_t count = e->count;

	*at = e->next;
	free(e->key);
	free(e);
	d->used--;
	return count;
}

static void word(struct rng *rng, char *to, size_t bytes)
{
	uint32_t n = (uint32_t)rng__skewed(rng, 0, 20);
	size_t length = 3 + n % 37;

	snprintf(to, bytes, "%x-", n);
	for (size_t i = strlen(to); i < length && i < bytes - 1; i++) {
		to[i] = (char)('a' + i % 26);
		to[i + 1] = '\0';
	}
}

int main(int argc, char **argv)
{
	struct dictionary d = {NULL, 0, 0};
	struct rng rng = rng__seed(6);
	uint64_t counted = 0;
	size_t turns;

	work__start(argc, argv);
	turns = work__scaled(1000000);
	rehash(&d, 64);
	for (size_t i = 0; i < turns; i++) {
		struct entry **at;
		char text[64];

		word(&rng, text, sizeof(text));
		count_word(&d, text);
		word(&rng, text, sizeof(text));
		at = find(&d, text);
		if (*at && i % 2)
			counted += forget(&d, at);
	}
	for (size_t i = 0; i < d.size; i++)
		while (d.buckets[i])
			counted += forget(&d, &d.buckets[i]);
	WORK_CHECK(counted == turns && !d.used);
	free(d.buckets);
	return work__end();
}
