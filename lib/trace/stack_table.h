/* SPDX-License-Identifier: MIT */
/*
 * Stacks in shared memory: a producer writes each once, the collector reads it by its id.
 *
 * A node is a frame and the node of its caller, so stacks share their outer frames, and the id of
 * a node names the whole stack from there outwards. The outermost frame's parent is none of the
 * nodes, but what there is to say of the walk: WALK_* (walk.h), less than STACK_TABLE_FIRST.
 *
 * Nodes are only added: by any thread of any process that has the memory mapped, without a lock,
 * so one that dies on the way leaves nothing locked. A caller is entered before whom it called and
 * has a lower id: no chain is a loop, whatever the memory holds.
 */
#ifndef MEMTRACE_STACK_TABLE_H
#define MEMTRACE_STACK_TABLE_H

#include <stddef.h>
#include <stdint.h>

#define STACK_TABLE_FIRST 32 /* the lowest id of a node */
#define STACK_TABLE_CUT (1U << 31) /* in an id: the table was full, the inner frames are missing */

struct stack_node {
	uint64_t ip;
	uint32_t parent;
	uint32_t next; /* with the same hash; 0: none */
};

/* In place of the first nodes. All zero: an empty table. */
struct stack_table_head {
	uint32_t added;
	uint32_t pad;
	uint64_t dropped; /* stacks that are cut as there was no room */
};

_Static_assert(sizeof(struct stack_node) == 16, "stack_node");
_Static_assert(sizeof(struct stack_table_head) <= STACK_TABLE_FIRST * sizeof(struct stack_node),
	       "the head is where no node is");

/* A table in this process. `nodes` is agreed upon elsewhere, never read from the memory. */
struct stack_table {
	struct stack_node *node; /* nodes of them, then the heads of the chains, as many */
	uint32_t nodes; /* a power of two */
};

/* The memory of a table: zeroed when it is new, aligned to 16. */
static inline size_t stack_table__bytes(uint32_t nodes)
{
	return (size_t)nodes * (sizeof(struct stack_node) + sizeof(uint32_t));
}

/* The id of the frame at ip that `parent` called, added when it is new; 0: there is no room. */
uint32_t stack_table__child(const struct stack_table *t, uint32_t parent, uint64_t ip);

/* Count a stack that is cut. */
void stack_table__drop(const struct stack_table *t);
uint64_t stack_table__dropped(const struct stack_table *t);

/*
 * The frames of a stack, the innermost first, from memory that is not trusted. At most `room` are
 * written. Returns how many, 0 for an id that is none; *flags: WALK_*.
 */
unsigned stack_table__read(const struct stack_table *t, uint32_t id, uint64_t *ip, unsigned room,
			   uint32_t *flags);

#endif /* MEMTRACE_STACK_TABLE_H */
