// SPDX-License-Identifier: MIT
/*
 * Places: stacks with the load addresses taken out, so that the same stack in
 * two processes, or in two runs of a library at other addresses, is one.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "user/model/internal.h"

#define STEPS_MAX (STACK_FRAMES + 1)

/* Where an address is: in a file, in anonymous code, or (false) in no code at all. */
static bool step__of(const struct process *p, uint64_t addr, struct step *out)
{
	const struct vma *v = space__find(&p->space, addr);

	*out = (struct step){NO_FILE, addr};
	if (!v)
		return !p->has_space;
	if (!(v->prot & PROT_EXEC))
		return false;
	if (v->file != NO_FILE)
		*out = (struct step){v->file, v->offset + (addr - v->start)};
	return true;
}

/* Turn a stack into steps; a frame that is not in executable memory ends it. */
static uint32_t stack__steps(const struct process *p, const struct rec_stack *st, uint64_t ip,
			     struct step *steps, bool *has_leaf, bool *cut)
{
	uint32_t n = 0, i, frames = st ? st->h.aux : 1;

	*has_leaf = false;
	*cut = !st || st->h.flags != 0;
	if (!step__of(p, st ? st->ip[0] : ip, &steps[n]))
		steps[0] = (struct step){NO_FILE, st ? st->ip[0] : ip};
	n = 1;
	if (st && st->leaf_word && step__of(p, st->leaf_word, &steps[n])) {
		*has_leaf = true;
		n++;
	}
	for (i = 1; i < frames; i++) {
		if (!step__of(p, st->ip[i], &steps[n])) {
			*cut = true;
			break;
		}
		n++;
	}
	return n;
}

static uint64_t steps__hash(const struct step *steps, uint32_t n, bool has_leaf)
{
	uint64_t h = n * 2 + has_leaf;
	uint32_t i;

	for (i = 0; i < n; i++)
		h = hmap__mix(h ^ steps[i].file, steps[i].at);
	return h;
}

static bool place__is(const struct place *p, const struct step *steps, uint32_t n, bool has_leaf)
{
	uint32_t i;

	if (p->nsteps != n || p->has_leaf != has_leaf)
		return false;
	for (i = 0; i < n; i++)
		if (p->steps[i].file != steps[i].file || p->steps[i].at != steps[i].at)
			return false;
	return true;
}

/* The number of the place with these steps, made if new; SIZE_MAX: no memory. */
static size_t model__intern(struct model *m, const struct step *steps, uint32_t n, bool has_leaf,
			    bool cut)
{
	uint64_t h = steps__hash(steps, n, has_leaf), *found;
	struct place *p;

	while ((found = hmap__find(&m->by_steps, h))) {
		if (place__is(&m->places[*found], steps, n, has_leaf))
			return *found;
		h++;
	}
	if (array__grow(&m->places, &m->places_room, m->nplaces, sizeof(*m->places)))
		return SIZE_MAX;
	p = &m->places[m->nplaces];
	*p = (struct place){.nsteps = n, .has_leaf = has_leaf, .cut = cut};
	p->steps = malloc(n * sizeof(*steps));
	if (!p->steps || hmap__set(&m->by_steps, h, m->nplaces)) {
		free(p->steps);
		return SIZE_MAX;
	}
	memcpy(p->steps, steps, n * sizeof(*steps));
	return m->nplaces++;
}

struct place *model__place(struct model *m, struct process *p, uint64_t stack_id, uint64_t ip)
{
	uint64_t key = stack_id ? stack_id : ip, *cached;
	const struct rec_stack *st;
	struct step steps[STEPS_MAX];
	bool has_leaf, cut;
	uint32_t n;
	size_t i;

	if (p->places_at != p->space.code_changes) {
		hmap__clear(&p->places);
		p->places_at = p->space.code_changes;
	}
	cached = hmap__find(&p->places, key);
	if (cached)
		return &m->places[*cached];
	st = stack_id ? model__stack(m, stack_id) : NULL;
	n = stack__steps(p, st, ip, steps, &has_leaf, &cut);
	i = model__intern(m, steps, n, has_leaf, cut);
	if (i == SIZE_MAX)
		return NULL;
	/* A stack that has not come (yet) is not remembered as missing. */
	if ((st || !stack_id) && hmap__set(&p->places, key, i))
		return NULL;
	return &m->places[i];
}
