// SPDX-License-Identifier: MIT
/* Who serves malloc in a process and where the probes are, as the source tells. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "user/model/heap.h"
#include "user/model/internal.h"

const char *const plane_kind_name[] = {"none", "uprobe", "contract", "ring"};

const char *const heap_op_name[HEAP_OPS] = {
	"none",
	"malloc",
	"calloc",
	"realloc",
	"reallocarray",
	"aligned_alloc",
	"posix_memalign",
	"memalign",
	"valloc",
	"pvalloc",
	"new",
	"new_array",
	"mallocx",
	"rallocx",
	"xallocx",
	"sampled",
	"free",
	"free_sized",
	"free_aligned_sized",
	"delete",
	"delete_array",
	"dallocx",
	"sdallocx",
	"sampled_free",
};

int model__take_hook(struct model *m, const struct rec_hook *r)
{
	struct heap_hook *h;
	size_t i;

	if (r->op >= HEAP_OPS)
		return -EBADMSG;
	for (i = 0; i < m->nhooks && m->hooks[i].number != r->h.aux; i++)
		;
	if (i == m->nhooks) {
		if (array__grow(&m->hooks, &m->hooks_room, m->nhooks, sizeof(*m->hooks)))
			return -ENOMEM;
		m->hooks[m->nhooks++] =
			(struct heap_hook){.number = r->h.aux,
					   .symbol = strndup(r->symbol, sizeof(r->symbol)),
					   .path = strndup(r->path, sizeof(r->path))};
	}
	h = &m->hooks[i];
	h->ino = r->ino;
	h->dev = r->dev;
	h->entry = r->entry;
	h->offset = r->offset;
	h->op = r->op;
	h->place = r->place;
	h->done = r->done;
	h->hits = r->hits;
	h->nested = r->nested;
	h->ignored = r->ignored;
	h->lost = r->lost;
	return h->symbol && h->path ? 0 : -ENOMEM;
}

/* Whether the hooks of a file are probes of the target's own. */
static enum plane_kind model__plane(const struct model *m, const struct rec_allocator *r)
{
	size_t i;

	if (!r->ino)
		return PLANE_NONE;
	if (r->h.flags & ALLOCATOR_RING)
		return PLANE_RING;
	for (i = 0; i < m->nhooks; i++)
		if (m->hooks[i].ino == r->ino && m->hooks[i].dev == r->dev &&
		    m->hooks[i].place == PLACE_USDT)
			return PLANE_CONTRACT;
	return PLANE_UPROBE;
}

static int process__add_allocator(struct process *p, struct allocator a, size_t max)
{
	size_t i;

	/* After an exec, or of a child: what is known already, but that it was late. */
	for (i = 0; i < p->nallocators; i++) {
		struct allocator *known = &p->allocators[i];

		if (known->plane != a.plane || strncmp(known->text, a.text, HOOK_PATH_BYTES))
			continue;
		known->incomplete |= a.incomplete;
		return 0;
	}
	a.name = a.name && a.name[0] ? strndup(a.name, max) : NULL;
	a.text = strndup(a.text, HOOK_PATH_BYTES);
	if (!a.text || array__grow(&p->allocators, &p->allocators_room, p->nallocators, sizeof(a))) {
		free((char *)a.name);
		free((char *)a.text);
		return -ENOMEM;
	}
	p->allocators[p->nallocators++] = a;
	return 0;
}

int model__take_allocator(struct model *m, struct process *p, const struct rec_allocator *r)
{
	struct allocator a = {.name = r->name,
			      .text = r->text,
			      .hooks = r->h.aux,
			      .incomplete = r->incomplete,
			      .plane = model__plane(m, r)};

	p->has_heap_plane |= r->ino != 0;
	if (a.plane == PLANE_RING)
		process__is_heard(p);
	return process__add_allocator(p, a, sizeof(r->name));
}

void process__is_heard(struct process *p)
{
	size_t i;

	for (i = 0; i < p->nallocators; i++)
		p->allocators[i].unheard = false;
}

int process__copy_allocators(struct process *to, const struct process *from, bool shares_mm)
{
	size_t i;
	int err = 0;

	for (i = 0; i < from->nallocators && !err; i++) {
		struct allocator a = from->allocators[i];

		/* The calls of a vfork's child are told as its parent's thread's. */
		a.unheard = a.plane == PLANE_RING && !shares_mm;
		err = process__add_allocator(to, a, HOOK_NAME_BYTES);
	}
	return err;
}

void process__free_allocators(struct process *p)
{
	size_t i;

	for (i = 0; i < p->nallocators; i++) {
		free((char *)p->allocators[i].name);
		free((char *)p->allocators[i].text);
	}
	free(p->allocators);
}
