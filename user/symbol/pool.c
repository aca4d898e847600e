/* SPDX-License-Identifier: MIT */
/* Strings kept once each: see pool.h. */
#include "user/symbol/pool.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_SLOTS 256

/* FNV-1a, with a last mix because the tables use the low bits. */
uint64_t hash__bytes(uint64_t seed, const void *data, size_t bytes)
{
	const unsigned char *p = data;
	uint64_t h = seed ^ 0xcbf29ce484222325;

	while (bytes--)
		h = (h ^ *p++) * 0x100000001b3;
	return h ^ h >> 32;
}

static size_t pool__slot(char *const *slot, size_t slots, const char *text)
{
	size_t i = hash__bytes(0, text, strlen(text)) & (slots - 1);

	while (slot[i] && strcmp(slot[i], text) != 0)
		i = (i + 1) & (slots - 1);
	return i;
}

static int pool__grow(struct pool *p)
{
	size_t slots = p->slots ? 2 * p->slots : FIRST_SLOTS;
	char **slot = calloc(slots, sizeof(*slot));

	if (!slot)
		return -1;
	for (size_t i = 0; i < p->slots; i++) {
		if (p->slot[i])
			slot[pool__slot(slot, slots, p->slot[i])] = p->slot[i];
	}
	free(p->slot);
	p->slot = slot;
	p->slots = slots;
	return 0;
}

const char *pool__keep(struct pool *p, const char *text)
{
	size_t i, bytes = strlen(text) + 1;

	if (2 * p->n >= p->slots && pool__grow(p) < 0)
		return NULL;
	i = pool__slot(p->slot, p->slots, text);
	if (!p->slot[i]) {
		char *copy = malloc(bytes);

		if (!copy)
			return NULL;
		memcpy(copy, text, bytes);
		p->slot[i] = copy;
		p->n++;
	}
	return p->slot[i];
}

void pool__free(struct pool *p)
{
	for (size_t i = 0; i < p->slots; i++)
		free(p->slot[i]);
	free(p->slot);
	*p = (struct pool){0};
}
