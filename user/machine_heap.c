// SPDX-License-Identifier: MIT
/*
 * The heap plane of the whole machine: probes by file, for all processes at once, and samples,
 * which are tallied by process. Files are found as for one process, by what each that
 * runs has loaded; what a new program brings with it a moment after it begins.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "user/machine_internal.h"
#include "user/source/process.h"
#include "user/source/uprobe/plane.h"
#include "user/util/log.h"

#define LOOK_AGAIN_NS 30000000000ULL /* for what a process has loaded by dlopen(3) */

static void machine__fail(struct machine *m, int err)
{
	if (err && !m->err)
		m->err = err;
}

static int grow(void *array, size_t *room, size_t n, size_t size)
{
	void **a = array, *grown;

	if (n < *room)
		return 0;
	grown = reallocarray(*a, *room ? *room * 2 : 16, size);
	if (!grown)
		return -ENOMEM;
	*a = grown;
	*room = *room ? *room * 2 : 16;
	return 0;
}

/* The one struct allocator of what a record tells. NULL: no memory. */
static struct allocator *machine__allocator(struct machine *m, const struct rec_allocator *r)
{
	struct allocator *a;

	for (size_t i = 0; i < m->nallocators; i++)
		if (!strncmp(m->allocators[i]->text, r->text, sizeof(r->text)))
			return m->allocators[i];
	if (grow(&m->allocators, &m->allocators_room, m->nallocators, sizeof(*m->allocators)))
		return NULL;
	a = calloc(1, sizeof(*a));
	if (!a)
		return NULL;
	a->name = r->name[0] ? strndup(r->name, sizeof(r->name)) : NULL;
	a->text = strndup(r->text, sizeof(r->text));
	a->hooks = r->h.aux;
	a->incomplete = true;
	a->plane = r->ino ? PLANE_UPROBE : PLANE_NONE;
	if (!a->text || (r->name[0] && !a->name)) {
		free((char *)a->name);
		free((char *)a->text);
		free(a);
		return NULL;
	}
	m->allocators[m->nallocators++] = a;
	return a;
}

static int machine__serve(struct machine *m, const struct rec_allocator *r)
{
	struct allocator *a;

	/* The first is malloc's; and of those that have none nothing can be told. */
	if (!r->ino || hmap__find(&m->served, r->h.tgid))
		return 0;
	a = machine__allocator(m, r);
	return a ? hmap__set(&m->served, r->h.tgid, (uintptr_t)a) : -ENOMEM;
}

static int machine__hook(struct machine *m, const struct rec_hook *r)
{
	for (size_t i = 0; i < m->nhooks; i++)
		if (m->hooks[i].h.aux == r->h.aux) {
			m->hooks[i] = *r;
			return 0;
		}
	if (grow(&m->hooks, &m->hooks_room, m->nhooks, sizeof(*m->hooks)))
		return -ENOMEM;
	m->hooks[m->nhooks++] = *r;
	return 0;
}

static int machine__sample(struct machine *m, const struct rec_heap *r)
{
	struct row *row = machine__row(m, r->h.tgid);
	char exe[256];
	pid_t ppid;

	if (!row)
		return -ENOMEM;
	if (!row->comm[0] && process__identify(row->pid, row->comm, &ppid, exe, sizeof(exe)))
		strcpy(row->comm, "?");
	if (!row->heap) {
		row->heap = calloc(1, sizeof(*row->heap));
		if (!row->heap)
			return -ENOMEM;
		row->heap->mean = m->o->sample_bytes;
	}
	return tally__take(row->heap, r);
}

struct forget {
	struct machine *m;
	pid_t pid;
};

static void forget(void *ctx, uint64_t addr)
{
	const struct forget *f = ctx;

	kernel__forget_block(f->m->kernel, f->pid, addr);
}

/* A process's blocks are gone: with its image or with itself. */
static void machine__drop(struct machine *m, pid_t pid, bool ended)
{
	uint64_t *found = hmap__find(&m->by_pid, pid);
	struct row *row = found ? &m->rows[*found] : NULL;
	struct forget f = {m, pid};

	if (row && row->heap)
		tally__drop(row->heap, forget, &f);
	if (row && ended) {
		row->exited = true;
		row->allocator = machine_heap__allocator(m, row);
	}
	hmap__remove(&m->served, pid);
}

void machine_heap__sink(void *ctx, const struct rec *r, size_t len)
{
	struct machine *m = ctx;

	(void)len; /* they are our own */
	switch (r->kind) {
	case REC_HEAP:
		machine__fail(m, machine__sample(m, (const struct rec_heap *)r));
		break;
	case REC_HOOK:
		machine__fail(m, machine__hook(m, (const struct rec_hook *)r));
		break;
	case REC_ALLOCATOR:
		machine__fail(m, machine__serve(m, (const struct rec_allocator *)r));
		break;
	case REC_EXEC:
	case REC_EXIT:
		machine__drop(m, r->tgid, r->kind == REC_EXIT);
		if (m->plane && r->tgid != (uint32_t)getpid())
			plane__note(m->plane, r);
		break;
	}
}

static void look_into(void *ctx, pid_t pid)
{
	struct machine *m = ctx;
	char comm[17], exe[256];
	pid_t ppid;

	/* A kernel thread has no program. Our own calls would be about what is told here. */
	if (pid == getpid() || process__identify(pid, comm, &ppid, exe, sizeof(exe)) || !exe[0])
		return;
	machine__fail(m, plane__add(m->plane, pid, NULL));
}

int machine_heap__begin(struct machine *m)
{
	struct plane_opts p = {
		.allocator = m->o->allocator,
		.symbols = m->o->symbols,
		.nsymbols = m->o->nsymbols,
		.machine = true,
		.sink = machine_heap__sink,
		.sink_ctx = m,
	};

	m->plane = plane__new(m->kernel, &p);
	if (!m->plane)
		return -ENOMEM;
	process__each(look_into, m);
	m->look_again_ns = clock__now() + LOOK_AGAIN_NS;
	if (!m->err && !m->nallocators)
		log__warn("no allocator was found in any process that may be looked into");
	return m->err;
}

int machine_heap__work(struct machine *m)
{
	int err;

	if (!m->plane)
		return 0;
	err = kernel__poll(m->kernel, false);
	if (!err && clock__now() > m->look_again_ns) {
		m->look_again_ns = clock__now() + LOOK_AGAIN_NS;
		plane__look_again(m->plane);
	}
	if (!err)
		err = plane__work(m->plane);
	return err ? err : m->err;
}

int machine_heap__end(struct machine *m)
{
	int err;

	if (!m->plane)
		return 0;
	err = plane__detach(m->plane);
	return err ? err : kernel__poll(m->kernel, true);
}

void machine_heap__free(struct machine *m)
{
	plane__free(m->plane);
	for (size_t i = 0; i < m->nrows; i++)
		if (m->rows[i].heap) {
			tally__drop(m->rows[i].heap, NULL, NULL);
			free(m->rows[i].heap);
		}
	free(m->others.heap);
	for (size_t i = 0; i < m->nallocators; i++) {
		free((char *)m->allocators[i]->name);
		free((char *)m->allocators[i]->text);
		free(m->allocators[i]);
	}
	free(m->allocators);
	free(m->hooks);
	hmap__clear(&m->served);
}

const struct allocator *machine_heap__allocator(struct machine *m, const struct row *r)
{
	uint64_t *found = r->ended ? NULL : hmap__find(&m->served, r->pid);

	return found ? (const struct allocator *)(uintptr_t)*found : r->allocator;
}

void machine_heap__show(struct machine *m, struct row *r, struct table_row *t, double seconds,
			bool final)
{
	uint64_t requested = r->heap ? r->heap->stats.bytes_requested : 0;

	/* One without an allocator that has probes: not known, not nothing. */
	if (!m->plane || (!r->heap && !machine_heap__allocator(m, r)))
		return;
	t->live_bytes = r->heap ? r->heap->stats.live_bytes : 0;
	t->alloc_per_s = (double)(requested - (final ? 0 : r->requested_before)) / seconds;
	r->requested_before = requested;
}

void machine_heap__report(struct machine *m, const struct row *r, struct process_report *p)
{
	const struct tally none = {.mean = m->o->sample_bytes};

	memset(&p->heap, 0xff, sizeof(p->heap));
	memset(&p->parts, 0xff, sizeof(p->parts));
	if (!m->plane)
		return;
	p->allocators = machine_heap__allocator(m, r);
	p->nallocators = p->allocators != NULL;
	if (r->heap || p->allocators)
		tally__figures(r->heap ? r->heap : &none, &p->heap);
}

void machine_heap__total(struct machine *m, struct heap_stats *out)
{
	struct tally sum = {.mean = m->o->sample_bytes};

	memset(out, 0xff, sizeof(*out));
	if (!m->plane)
		return;
	for (size_t i = 0; i < m->nrows; i++)
		if (m->rows[i].heap)
			tally__add(&sum, m->rows[i].heap);
	if (m->others.heap)
		tally__add(&sum, m->others.heap);
	tally__figures(&sum, out);
	/* Peaks do not add up: they were at different times. */
	out->peak_live_bytes = UNKNOWN;
}
