// SPDX-License-Identifier: MIT
#include "user/source/lanes.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

struct lanes {
	char *map;
	unsigned count;
	size_t records, value_size;
	uint64_t seen[]; /* read up to here, not yet given back */
};

size_t lanes__value_size(size_t records)
{
	return sizeof(struct fault_lane) + records * sizeof(struct rec_fault);
}

static struct fault_lane *lanes__get(const struct lanes *l, unsigned i)
{
	return (struct fault_lane *)(l->map + i * l->value_size);
}

static size_t lanes__bytes(const struct lanes *l)
{
	/* mmap of the map takes whole pages only, and rounds up itself. */
	return l->count * l->value_size;
}

struct lanes *lanes__open(int map_fd, unsigned count, size_t records)
{
	struct lanes *l = calloc(1, sizeof(*l) + count * sizeof(l->seen[0]));

	if (!l)
		return NULL;
	l->count = count;
	l->records = records;
	l->value_size = lanes__value_size(records);
	l->map = mmap(NULL, lanes__bytes(l), PROT_READ | PROT_WRITE, MAP_SHARED, map_fd, 0);
	if (l->map == MAP_FAILED) {
		free(l);
		return NULL;
	}
	return l;
}

void lanes__close(struct lanes *l)
{
	if (!l)
		return;
	munmap(l->map, lanes__bytes(l));
	free(l);
}

int lanes__read(struct lanes *l, struct order *o, unsigned first, uint64_t *delivered)
{
	unsigned i;

	for (i = 0; i < l->count; i++) {
		const struct fault_lane *lane = lanes__get(l, i);
		uint64_t head = __atomic_load_n(&lane->head, __ATOMIC_ACQUIRE);

		for (; l->seen[i] < head; l->seen[i]++) {
			const struct rec_fault *r = &lane->rec[l->seen[i] & (l->records - 1)];

			if (order__add(o, first + i, &r->h, sizeof(*r)))
				return -ENOMEM;
			delivered[REC_FAULT]++;
		}
	}
	return 0;
}

void lanes__consume(struct lanes *l)
{
	unsigned i;

	for (i = 0; i < l->count; i++)
		__atomic_store_n(&lanes__get(l, i)->tail, l->seen[i], __ATOMIC_RELEASE);
}

double lanes__fill(const struct lanes *l)
{
	uint64_t most = 0, waiting;
	unsigned i;

	for (i = 0; i < l->count; i++) {
		waiting = __atomic_load_n(&lanes__get(l, i)->head, __ATOMIC_ACQUIRE) - l->seen[i];
		if (waiting > most)
			most = waiting;
	}
	return (double)most / l->records;
}
