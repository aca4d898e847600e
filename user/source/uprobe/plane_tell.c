// SPDX-License-Identifier: MIT
/* What the plane finds, as records and messages. */
#include "user/source/uprobe/plane_internal.h"

#include <errno.h>
#include <string.h>

#include "user/util/log.h"
#include "user/wait.h"

static struct rec own_record(unsigned kind, pid_t pid, uint32_t aux)
{
	return (struct rec){.kind = kind, .tgid = pid, .tid = pid, .aux = aux, .ts_ns = clock__now()};
}

/* A name into a record, whose bytes are zero: cut if it is too long. */
static void text__copy(char *to, size_t room, const char *from)
{
	memcpy(to, from, strnlen(from, room - 1));
}

void plane__tell_hook(struct plane *p, const struct hook *h, const struct heap_hook_counts *counts)
{
	const struct entry_point *e = h->entry;
	struct rec_hook r = {
		.h = own_record(REC_HOOK, 0, h->number),
		.ino = h->module->ino,
		.dev = h->module->dev,
		.op = e->family->op,
		.entry = e->offset,
		.offset = e->offset + e->site.offset,
		.place = e->site.place,
	};

	if (counts) {
		r.done = 1;
		r.hits = counts->hits;
		r.nested = counts->nested;
		r.ignored = counts->ignored;
		r.lost = counts->lost;
	}
	text__copy(r.symbol, sizeof(r.symbol), e->name);
	text__copy(r.path, sizeof(r.path), h->module->path);
	p->o.sink(p->o.sink_ctx, &r.h, sizeof(r));
}

static void plane__say_exits(const struct entry_point *e)
{
	size_t slow = 0;

	for (size_t i = 0; i < e->nexits; i++)
		slow += e->exits[i].slow;
	log__debug("%s may throw: no return probe, but one at each of its %zu exits, %zu of them slow",
		   e->name, e->nexits, slow);
}

struct hook *plane__hook(struct plane *p, const struct choice *c)
{
	static const char *const places[] = {
		[PLACE_ENTRY] = "at its entry",
		[PLACE_INSIDE] = "inside",
		[PLACE_SLOW] = "at its entry, slow: every instruction near it must be single-stepped",
		[PLACE_USDT] = "a probe of its own",
	};
	struct hook *h;

	for (size_t i = 0; i < p->nhooks; i++)
		if (p->hooks[i].module == c->module && p->hooks[i].entry->offset == c->entry->offset)
			return &p->hooks[i];
	if (p->nhooks == HEAP_HOOKS_MAX) {
		if (!p->full)
			log__warn("heap plane: more than %d entry points: the others are left out",
				  HEAP_HOOKS_MAX);
		p->full = true;
		return NULL;
	}
	h = &p->hooks[p->nhooks];
	*h = (struct hook){.module = c->module, .entry = c->entry, .number = p->nhooks++};
	/* Else it has a return probe, as others. */
	h->no_end = h->entry->no_end && !kernel__set_code(p->kernel, h->number, &h->entry->code);
	log__debug("%s: %s at 0x%lx: probe at +%u, %s (%s)", h->module->path, h->entry->name,
		   (unsigned long)h->entry->offset, h->entry->site.offset, h->entry->site.what,
		   places[h->entry->site.place]);
	if (entry__is_contract(h->entry) &&
	    kernel__set_contract(p->kernel, h->number, &h->entry->args))
		log__warn("%s: its arguments cannot be told to the kernel side", h->entry->name);
	if (h->no_end)
		log__debug("%s: no return probe: it is seen by the stack", h->entry->name);
	if (entry__by_exits(h->entry))
		plane__say_exits(h->entry);
	if (entry__is_of_allocator(h->entry))
		plane__tell_hook(p, h, NULL);
	return h;
}

static void allocator__name(struct rec_allocator *r, const struct module *m)
{
	const char *slash = strrchr(m->path, '/');

	text__copy(r->name, sizeof(r->name),
		   m->binary.allocator[0] ? m->binary.allocator :
		   slash		  ? slash + 1 :
					    m->path);
	text__copy(r->text, sizeof(r->text), m->path);
}

void plane__tell_allocator(struct plane *p, const struct traced *t, const struct module *m,
			   uint32_t hooks)
{
	struct rec_allocator r = {
		.h = own_record(REC_ALLOCATOR, t->pid, hooks),
		.ino = m->ino,
		.dev = m->dev,
		.incomplete = t->late || !t->launched,
	};

	allocator__name(&r, m);
	p->o.sink(p->o.sink_ctx, &r.h, sizeof(r));
	log__debug("process %d: %s (%s) serves malloc, %u entry points hooked", t->pid, r.name,
		   r.text, hooks);
}

void plane__tell_silence(struct plane *p, const struct traced *t)
{
	struct rec_allocator r = {.h = own_record(REC_ALLOCATOR, t->pid, 0), .incomplete = 1};

	r.h.flags = ALLOCATOR_RING;
	allocator__name(&r, t->asked);
	p->o.sink(p->o.sink_ctx, &r.h, sizeof(r));
}

bool traced__may_have_missed(const struct traced *t)
{
	return t->asked_for && t->image_is_new && (!t->has_hooked || t->has_other);
}

void plane__tell_nothing(struct plane *p, struct traced *t, const char *why)
{
	struct rec_allocator r = {
		.h = own_record(REC_ALLOCATOR, t->pid, 0),
		/* Nothing is known of a child that has not been looked at. */
		.incomplete = traced__may_have_missed(t) || (!t->asked_for && !t->why[0]),
	};

	if (t->nothing_told)
		return;
	t->nothing_told = true;
	text__copy(r.text, sizeof(r.text), why);
	p->o.sink(p->o.sink_ctx, &r.h, sizeof(r));
	if (p->o.required && t->asked_for)
		log__warn("process %d: no allocator found: %s; the kernel's events are traced all the same",
			  t->pid, why);
	else
		log__debug("process %d: no allocator found: %s", t->pid, why);
}

void plane__say_failure(struct traced *t, const struct module *m, int err)
{
	if (t->failed || err == -ESRCH)
		return;
	t->failed = true;
	if (err == -EPERM || err == -EACCES)
		log__warn("process %d: not permitted to place probes in %s: CAP_PERFMON and CAP_BPF, or root, "
			  "are needed",
			  t->pid, m->path);
	else
		log__warn("process %d: probes cannot be placed in %s: %s", t->pid, m->path,
			  strerrorname_np(-err));
}
