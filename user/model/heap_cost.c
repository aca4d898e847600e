// SPDX-License-Identifier: MIT
/*
 * The join: what the kernel did inside an allocator call goes to the call's site.
 *
 * A kernel event names the call it is part of by that call's start (rec.owner). The record of
 * an allocation comes after what happened in it, so until then a thread's costs wait here; that
 * of a free comes before, and its site is that of the block it frees: a block's munmap is on
 * the account of who asked for the block.
 */
#include <errno.h>
#include <stdlib.h>

#include "user/model/heap.h"
#include "user/model/internal.h"

static __attribute__((noinline)) struct thread_call *model__find_thread(struct model *m, uint32_t tid)
{
	uint64_t *found = hmap__find(&m->threads, tid);
	struct thread_call *t;

	if (found)
		return (struct thread_call *)(uintptr_t)*found;
	t = calloc(1, sizeof(*t));
	if (!t)
		return NULL;
	t->tid = tid;
	t->site = NO_SITE;
	if (hmap__set(&m->threads, tid, (uintptr_t)t)) {
		free(t);
		return NULL;
	}
	return t;
}

static struct thread_call **model__recent_thread(struct model *m, uint32_t tid)
{
	return &m->recent_threads[tid & (RECENT_THREADS - 1)];
}

static struct thread_call *model__thread(struct model *m, uint32_t tid)
{
	struct thread_call **t = model__recent_thread(m, tid);

	if (!*t || (*t)->tid != tid)
		*t = model__find_thread(m, tid);
	return *t;
}

/* Costs find their place, or are known to have none. */
static void model__charge(struct model *m, struct process *p, uint32_t site, const struct cost *c)
{
	struct site_heap *s = site < m->nplaces ? m->places[site].heap : NULL;
	struct heap_stats *r = &p->r.heap;
	unsigned i;

	if (!s) {
		for (i = 0; i < VMCALLS; i++)
			r->unplaced_syscalls += c->calls[i];
		r->unplaced_faults += c->minor + c->major;
		r->unplaced_ns += c->call_ns + c->fault_ns;
		return;
	}
	for (i = 0; i < VMCALLS; i++)
		s->syscalls[i] += c->calls[i];
	s->syscall_ns += c->call_ns;
	s->inside_minor += c->minor;
	s->inside_major += c->major;
	s->fault_ns += c->fault_ns;
}

/* The thread is in another call now: what waits has missed its own. */
static void thread_call__settle(struct model *m, struct thread_call *t, uint32_t site)
{
	if (t->has_cost)
		model__charge(m, t->process, site, &t->cost);
	t->has_cost = false;
	t->cost = (struct cost){0};
}

int model__heap_told(struct model *m, struct process *p, const struct rec_heap *r, uint32_t site)
{
	struct thread_call *t = model__thread(m, r->h.tid);

	if (!t)
		return -ENOMEM;
	if (t->has_cost)
		thread_call__settle(m, t, t->owner == r->start_ns ? site : NO_SITE);
	t->owner = r->start_ns;
	t->site = site;
	t->told = true;
	t->process = p;
	return 0;
}

static int model__owned(struct model *m, struct process *p, uint32_t tid, uint64_t owner,
			const struct cost *c)
{
	struct thread_call *t = model__thread(m, tid);
	unsigned i;

	if (!t)
		return -ENOMEM;
	p->has_heap_plane = true;
	if (t->owner != owner) {
		thread_call__settle(m, t, NO_SITE);
		t->owner = owner;
		t->told = false;
	}
	if (t->told) {
		model__charge(m, p, t->site, c);
		return 0;
	}
	for (i = 0; i < VMCALLS; i++)
		t->cost.calls[i] += c->calls[i];
	t->cost.minor += c->minor;
	t->cost.major += c->major;
	t->cost.call_ns += c->call_ns;
	t->cost.fault_ns += c->fault_ns;
	t->has_cost = true;
	t->process = p;
	return 0;
}

int model__heap_call(struct model *m, struct process *p, const struct rec_call *c, uint64_t ns)
{
	unsigned which = c->h.kind - REC_BRK;
	struct cost cost = {.call_ns = ns};

	if (!c->owner)
		return 0;
	p->r.heap.syscalls[which]++;
	p->r.heap.syscall_ns += ns;
	cost.calls[which] = 1;
	return model__owned(m, p, c->h.tid, c->owner, &cost);
}

/* A fault outside of any call: who asked for the block that it touched? */
static int model__touch(struct model *m, struct process *p, uint64_t addr, const struct cost *c)
{
	struct site_heap *s;
	struct block b;
	int found = p->heap ? nursery__around(&p->heap->blocks, addr, &b) : 0;

	if (found <= 0)
		return found;
	m->last.in_block = true;
	p->r.heap.touch_minor += c->minor;
	p->r.heap.touch_major += c->major;
	p->r.heap.touch_ns += c->fault_ns;
	s = b.site < m->nplaces ? m->places[b.site].heap : NULL;
	if (!s)
		return 0;
	s->touch_minor += c->minor;
	s->touch_major += c->major;
	s->fault_ns += c->fault_ns;
	return 0;
}

int model__heap_fault(struct model *m, struct process *p, const struct rec_fault *f)
{
	bool major = f->h.flags & FAULT_MAJOR;
	struct cost cost = {.minor = !major,
			    .major = major,
			    .fault_ns = f->h.flags & FAULT_NO_ENTRY ? 0 : f->h.aux};

	if (!f->owner) {
		/* Without one execve was setting up a new image. */
		return f->ip ? model__touch(m, p, f->addr, &cost) : 0;
	}
	p->r.heap.inside_minor += cost.minor;
	p->r.heap.inside_major += cost.major;
	p->r.heap.inside_ns += cost.fault_ns;
	return model__owned(m, p, f->h.tid, f->owner, &cost);
}

void model__heap_thread_end(struct model *m, uint32_t tid)
{
	uint64_t *found = hmap__find(&m->threads, tid);
	struct thread_call *t;

	if (!found)
		return;
	t = (struct thread_call *)(uintptr_t)*found;
	thread_call__settle(m, t, NO_SITE);
	hmap__remove(&m->threads, tid);
	if (*model__recent_thread(m, tid) == t)
		*model__recent_thread(m, tid) = NULL;
	free(t);
}

void model__heap_settle(struct model *m)
{
	uint64_t tid, t;
	size_t pos = 0;

	while (hmap__next(&m->threads, &pos, &tid, &t))
		thread_call__settle(m, (struct thread_call *)(uintptr_t)t, NO_SITE);
}

void model__heap_free(struct model *m)
{
	uint64_t tid, t;
	size_t pos = 0, i;

	while (hmap__next(&m->threads, &pos, &tid, &t))
		free((void *)(uintptr_t)t);
	hmap__clear(&m->threads);
	for (i = 0; i < m->nhooks; i++) {
		free((char *)m->hooks[i].symbol);
		free((char *)m->hooks[i].path);
	}
	free(m->hooks);
}
