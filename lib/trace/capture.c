// SPDX-License-Identifier: MIT
#include "lib/trace/capture.h"

#include <sys/mman.h>

#include "lib/trace/sys.h"

struct capture _capture;

/* Zeroed memory that takes none until it is used; NULL: there is none. */
static void *reserve(size_t bytes)
{
	long at = sys__call6(SYS_mmap, 0, (long)bytes, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, (long)CALL_OF_PRODUCER);

	return at < 0 && at > -4096 ? NULL : (void *)at;
}

/* What is there once and for all. */
static bool capture__prepare(struct capture *c, uint32_t slots)
{
	static bool walks;
	void *shared;

	if (!walks) {
		shared = reserve(WALK_SHARED_BYTES);
		if (!shared)
			return false;
		walk__init(shared, WALK_SHARED_BYTES);
		walks = true;
	}
	/* A child of a fork has its parent's, and the next segment is of the same size. */
	if (c->nwalkers >= slots)
		return true;
	c->walkers = reserve(slots * sizeof(*c->walkers));
	c->nwalkers = c->walkers ? slots : 0;
	return c->walkers;
}

void capture__use(const struct ring_header *h, uint32_t slots)
{
	struct capture *c = &_capture;
	uint32_t nodes = 1;

	while (stack_table__bytes(nodes * 2) <= h->stacks_bytes)
		nodes *= 2;
	c->table.nodes = 0;
	if (!h->stack_frames || nodes <= STACK_TABLE_FIRST || !capture__prepare(c, slots))
		return;
	c->table.node = (struct stack_node *)((char *)h + h->stacks_at);
	c->table.nodes = nodes;
}

struct walker *capture__thread(uint32_t i)
{
	struct capture *c = &_capture;
	struct walker *w;

	if (!c->table.nodes || i >= c->nwalkers)
		return NULL;
	w = &c->walkers[i];
	walker__begin(w);
	return w;
}
