// SPDX-License-Identifier: MIT
/*
 * Places: stacks with the load addresses taken out, so that the same stack in
 * two processes, or in two runs of a library at other addresses, is one. Those that
 * call the allocator are apart from those of kernel events.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "user/model/internal.h"

#define STEPS_MAX (STACK_FRAMES + 1)
#define HEAP_KEY 0x6865617000000000ULL /* tells a stack's two places apart in process.places */

/* A place as it is looked for. */
struct place_key {
	struct step steps[STEPS_MAX];
	uint32_t n;
	bool has_leaf, heap, checked, cut;
};

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
			     struct step *steps, bool *has_leaf, bool *checked, bool *cut)
{
	uint32_t n = 0, i, frames = st ? st->h.aux : 1;

	*has_leaf = false;
	*checked = st && st->h.flags & STACK_CHECKED;
	*cut = !st || st->h.flags & STACK_INCOMPLETE;
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

static uint64_t place__hash(const struct place_key *k)
{
	uint64_t h = k->n * 16UL + k->heap * 8 + k->has_leaf * 4 + k->checked * 2 + k->cut;
	uint32_t i;

	for (i = 0; i < k->n; i++)
		h = hmap__mix(h ^ k->steps[i].file, k->steps[i].at);
	return h;
}

static bool place__is(const struct place *p, const struct place_key *k)
{
	uint32_t i;

	if (p->nsteps != k->n || p->has_leaf != k->has_leaf || !p->heap == k->heap ||
	    p->checked != k->checked || p->cut != k->cut)
		return false;
	for (i = 0; i < k->n; i++)
		if (p->steps[i].file != k->steps[i].file || p->steps[i].at != k->steps[i].at)
			return false;
	return true;
}

/* The number of the place with these steps, made if new; SIZE_MAX: no memory. */
static size_t model__intern(struct model *m, const struct place_key *k)
{
	uint64_t h = place__hash(k), *found;
	struct place *p;

	while ((found = hmap__find(&m->by_steps, h))) {
		if (place__is(&m->places[*found], k))
			return *found;
		h++;
	}
	if (array__grow(&m->places, &m->places_room, m->nplaces, sizeof(*m->places)))
		return SIZE_MAX;
	p = &m->places[m->nplaces];
	*p = (struct place){
		.nsteps = k->n, .has_leaf = k->has_leaf, .checked = k->checked, .cut = k->cut};
	p->steps = malloc((k->n + 1) * sizeof(*k->steps));
	p->heap = k->heap ? calloc(1, sizeof(*p->heap)) : NULL;
	if (!p->steps || (k->heap && !p->heap) || hmap__set(&m->by_steps, h, m->nplaces)) {
		free(p->steps);
		free(p->heap);
		return SIZE_MAX;
	}
	memcpy(p->steps, k->steps, k->n * sizeof(*k->steps));
	return m->nplaces++;
}

void process__forget_places(struct model *m, struct process *p)
{
	hmap__clear(&p->places);
	/* Seldom: not worth a look at whose they are. */
	memset(m->recent_places, 0, sizeof(m->recent_places));
}

static struct place *model__place_of(struct model *m, struct process *p, uint64_t stack_id,
				     uint64_t ip, bool heap)
{
	uint64_t key = (stack_id ? stack_id : ip) ^ (heap ? HEAP_KEY : 0), *cached;
	const struct rec_stack *st;
	struct place_key k;
	size_t i;

	if (p->places_at != p->space.code_changes) {
		process__forget_places(m, p);
		p->places_at = p->space.code_changes;
	}
	cached = hmap__find(&p->places, key);
	if (cached)
		return &m->places[*cached];
	st = stack_id ? model__stack(m, stack_id) : NULL;
	k.heap = heap;
	k.n = 0;
	k.has_leaf = k.checked = false;
	k.cut = true;
	if (st || ip || !heap) /* an allocator call without its stack has no place at all */
		k.n = stack__steps(p, st, ip, k.steps, &k.has_leaf, &k.checked, &k.cut);
	i = model__intern(m, &k);
	if (i == SIZE_MAX)
		return NULL;
	/* A stack that has not come (yet) is not remembered as missing. */
	if ((st || !stack_id) && hmap__set(&p->places, key, i))
		return NULL;
	return &m->places[i];
}

/* An event had this place: with a stack, or within execve, where there is none to be had. */
static struct place *place__counted(struct model *m, struct place *place, uint64_t stack_id,
				    uint64_t ip)
{
	if (!place || (!stack_id && !ip))
		return place;
	m->taken += stack_id != 0;
	m->taken_cut += stack_id && place->cut;
	m->not_taken += !stack_id;
	return place;
}

struct place *model__place(struct model *m, struct process *p, uint64_t stack_id, uint64_t ip)
{
	return place__counted(m, model__place_of(m, p, stack_id, ip, false), stack_id, ip);
}

struct place *model__heap_place(struct model *m, struct process *p, uint64_t stack_id)
{
	struct recent_place *r = &m->recent_places[stack_id & (RECENT_PLACES - 1)];
	struct place *place;

	if (r->process == p && r->stack_id == stack_id && p->places_at == p->space.code_changes) {
		place = &m->places[r->place];
	} else {
		place = model__place_of(m, p, stack_id, 0, true);
		if (place && hmap__find(&p->places, stack_id ^ HEAP_KEY))
			*r = (struct recent_place){p, stack_id, place - m->places};
	}
	return place__counted(m, place, stack_id, 0);
}
