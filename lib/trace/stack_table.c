// SPDX-License-Identifier: MIT
#include "lib/trace/stack_table.h"

#include "lib/trace/walk.h"

#define CHAIN_MAX 256 /* longer ones are not there, unless somebody wrote over them */
#define HASH_FACTOR 0x9E3779B97F4A7C15ULL

static struct stack_table_head *table__head(const struct stack_table *t)
{
	return (struct stack_table_head *)t->node;
}

static uint32_t *table__chain(const struct stack_table *t, uint32_t parent, uint64_t ip)
{
	uint64_t hash = (ip ^ (uint64_t)parent << 40 ^ parent) * HASH_FACTOR;

	return (uint32_t *)(t->node + t->nodes) + ((hash >> 32) & (t->nodes - 1));
}

/* Look through a chain from node `id` to before node `end`. */
static uint32_t chain__find(const struct stack_table *t, uint32_t id, uint32_t end, uint32_t parent,
			    uint64_t ip)
{
	const struct stack_node *n;
	unsigned i;

	for (i = 0; i < CHAIN_MAX && id != end && id >= STACK_TABLE_FIRST && id < t->nodes; i++) {
		n = &t->node[id];
		if (n->ip == ip && n->parent == parent)
			return id;
		id = n->next;
	}
	return 0;
}

uint32_t stack_table__child(const struct stack_table *t, uint32_t parent, uint64_t ip)
{
	uint32_t *chain = table__chain(t, parent, ip), first, seen, id, own;
	struct stack_table_head *head = table__head(t);

	first = __atomic_load_n(chain, __ATOMIC_ACQUIRE);
	id = chain__find(t, first, 0, parent, ip);
	if (id)
		return id;
	/* Looked at first, so that the counter never wraps. */
	if (__atomic_load_n(&head->added, __ATOMIC_RELAXED) >= t->nodes - STACK_TABLE_FIRST)
		return 0;
	own = STACK_TABLE_FIRST + __atomic_fetch_add(&head->added, 1, __ATOMIC_RELAXED);
	if (own >= t->nodes)
		return 0;
	t->node[own].ip = ip;
	t->node[own].parent = parent;
	seen = first;
	do {
		/* Others were faster: with the same? Then the node taken stays unused. */
		id = chain__find(t, first, seen, parent, ip);
		if (id)
			return id;
		seen = first;
		t->node[own].next = first;
	} while (!__atomic_compare_exchange_n(chain, &first, own, 0, __ATOMIC_ACQ_REL,
					      __ATOMIC_ACQUIRE));
	return own;
}

void stack_table__drop(const struct stack_table *t)
{
	__atomic_fetch_add(&table__head(t)->dropped, 1, __ATOMIC_RELAXED);
}

uint64_t stack_table__dropped(const struct stack_table *t)
{
	return __atomic_load_n(&table__head(t)->dropped, __ATOMIC_RELAXED);
}

unsigned stack_table__read(const struct stack_table *t, uint32_t id, uint64_t *ip, unsigned room,
			   uint32_t *flags)
{
	const struct stack_node *n;
	uint32_t cut = id & STACK_TABLE_CUT ? WALK_BROKEN : 0, parent;
	unsigned frames = 0;

	id &= ~STACK_TABLE_CUT;
	*flags = 0;
	if (id >= t->nodes)
		return 0;
	while (id >= STACK_TABLE_FIRST && frames < room) {
		n = &t->node[id];
		ip[frames++] = __atomic_load_n(&n->ip, __ATOMIC_RELAXED);
		parent = __atomic_load_n(&n->parent, __ATOMIC_RELAXED);
		/* Only who writes nonsense has it so. */
		if (parent >= id)
			return 0;
		id = parent;
	}
	*flags = (id < STACK_TABLE_FIRST ? id : WALK_TRUNCATED) | cut;
	return frames;
}
