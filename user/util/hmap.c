// SPDX-License-Identifier: MIT
/*
 * Linear probing. A removed entry leaves a mark, so that probing goes on past
 * it; `used` counts entries and marks alike and only rehashing sweeps marks out.
 */
#include "user/util/hmap.h"

#include <errno.h>
#include <stdlib.h>

enum { FREE, USED, DELETED };

static struct hmap_slot *hmap__slot(const struct hmap *m, uint64_t key)
{
	size_t i;

	if (!m->size)
		return NULL;
	for (i = hmap__mix(key, 1) & (m->size - 1); m->slots[i].state != FREE;
	     i = (i + 1) & (m->size - 1))
		if (m->slots[i].state == USED && m->slots[i].key == key)
			return &m->slots[i];
	return NULL;
}

uint64_t *hmap__find(const struct hmap *m, uint64_t key)
{
	struct hmap_slot *s = hmap__slot(m, key);

	return s ? &s->value : NULL;
}

/* Put a key that is not there into a map that has room. */
static void hmap__place(struct hmap *m, uint64_t key, uint64_t value)
{
	size_t i = hmap__mix(key, 1) & (m->size - 1);

	while (m->slots[i].state != FREE)
		i = (i + 1) & (m->size - 1);
	m->slots[i] = (struct hmap_slot){key, value, USED};
	m->used++;
}

/* Rehash into a table that the entries fill to a quarter at most. */
static int hmap__grow(struct hmap *m)
{
	struct hmap next = {.size = 16};
	size_t i, entries = 0;

	for (i = 0; i < m->size; i++)
		entries += m->slots[i].state == USED;
	while (next.size < entries * 4)
		next.size *= 2;
	next.slots = calloc(next.size, sizeof(*next.slots));
	if (!next.slots)
		return -ENOMEM;
	for (i = 0; i < m->size; i++)
		if (m->slots[i].state == USED)
			hmap__place(&next, m->slots[i].key, m->slots[i].value);
	free(m->slots);
	*m = next;
	return 0;
}

int hmap__set(struct hmap *m, uint64_t key, uint64_t value)
{
	uint64_t *v = hmap__find(m, key);

	if (v) {
		*v = value;
		return 0;
	}
	if ((m->used + 1) * 2 > m->size && hmap__grow(m))
		return -ENOMEM;
	hmap__place(m, key, value);
	return 0;
}

void hmap__remove(struct hmap *m, uint64_t key)
{
	struct hmap_slot *s = hmap__slot(m, key);

	if (s)
		s->state = DELETED;
}

void hmap__clear(struct hmap *m)
{
	free(m->slots);
	*m = (struct hmap){0};
}

bool hmap__next(const struct hmap *m, size_t *pos, uint64_t *key, uint64_t *value)
{
	while (*pos < m->size) {
		const struct hmap_slot *s = &m->slots[(*pos)++];

		if (s->state == USED) {
			*key = s->key;
			*value = s->value;
			return true;
		}
	}
	return false;
}
