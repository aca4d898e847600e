// SPDX-License-Identifier: MIT
/* What a system call or a page fault changes. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "user/model/internal.h"

#define PAGE 4096UL

static uint64_t page_up(uint64_t n)
{
	return (n + PAGE - 1) & ~(PAGE - 1);
}

#define HUGE_PAGE (2UL << 20) /* unless the flags say otherwise: what x86 has by default */

/* What an mmap maps: whole pages of the size that it has. */
static uint64_t mmap__length(const struct rec_call *c)
{
	unsigned shift = c->arg[3] >> MAP_HUGE_SHIFT & MAP_HUGE_MASK;
	uint64_t page = shift ? 1UL << shift : HUGE_PAGE;

	if (!(c->arg[3] & MAP_HUGETLB))
		return page_up(c->arg[1]);
	return (c->arg[1] + page - 1) & ~(page - 1);
}

static bool call__failed(const struct rec_call *c)
{
	/* brk(2) returns the break, the old one when it could not be moved; brk(0) only asks. */
	if (c->h.kind == REC_BRK)
		return c->arg[0] && (uint64_t)c->ret != c->arg[0];
	return (uint64_t)c->ret >= (uint64_t)-4095;
}

/* The file of an mmap; each is told once. */
static uint32_t mmap__take_file(struct process *p, const struct rec_call *c)
{
	uint32_t file = process__mmap_file(p, c);
	unsigned i;

	for (i = 0; i < MMAPS_UNDER_WAY; i++) {
		if (p->mmaps[i].tid != c->h.tid || p->mmaps[i].start != (uint64_t)c->ret)
			continue;
		p->mmaps[i].tid = 0;
		break;
	}
	return file;
}

/* What a new mapping is: said by its flags and, for a module's bss, by what lies before it. */
static struct vma mmap__vma(struct process *p, const struct rec_call *c, bool agents)
{
	struct vma v = {
		.start = c->ret,
		.end = c->ret + mmap__length(c),
		.file = NO_FILE,
		.kind = VMA_ANON,
		.prot = c->arg[2] & 7,
		.flags = (c->owner ? VMA_BY_ALLOCATOR : 0) | (agents ? VMA_AGENT : 0),
	};
	const struct vma *before;

	if ((c->arg[3] & MAP_TYPE) != MAP_PRIVATE)
		v.prot |= VMA_SHARED;
	if (!(c->arg[3] & MAP_ANONYMOUS)) {
		v.kind = VMA_FILE;
		v.offset = c->arg[5];
		v.file = mmap__take_file(p, c);
		return v;
	}
	if (c->arg[3] & (MAP_STACK | MAP_GROWSDOWN))
		v.kind = VMA_STACK;
	if ((c->arg[3] & (MAP_STACK | MAP_GROWSDOWN)) == MAP_STACK)
		v.flags |= VMA_FIXED_SIZE;
	before = c->arg[3] & MAP_FIXED ? space__find(&p->space, v.start - 1) : NULL;
	if (before && before->kind == VMA_FILE && before->flags & VMA_WAS_WRITABLE)
		v.kind = VMA_BSS;
	return v;
}

static int call__brk(struct process *p, const struct rec_call *c, struct call_stats *s,
		     struct place *place)
{
	uint64_t old = page_up(c->old_brk), now = page_up(c->ret);
	struct vma v = {.start = old,
			.end = now,
			.file = NO_FILE,
			.kind = VMA_HEAP,
			.prot = PROT_READ | PROT_WRITE,
			.flags = c->owner ? VMA_BY_ALLOCATOR : 0};

	if ((uint64_t)c->ret >= c->old_brk) {
		s->grown_bytes += c->ret - c->old_brk;
		s->bytes += c->ret - c->old_brk;
		place->mapped_bytes += c->ret - c->old_brk;
		return space__map(&p->space, &v, c->h.ts_ns);
	}
	s->shrunk_bytes += c->old_brk - c->ret;
	s->bytes += c->old_brk - c->ret;
	place->unmapped_bytes += c->old_brk - c->ret;
	return space__unmap(&p->space, now, old, c->start_ns);
}

static int call__mremap(struct process *p, const struct rec_call *c, struct call_stats *s,
			struct place *place)
{
	uint64_t from = c->arg[0], old = page_up(c->arg[1]), now = page_up(c->arg[2]);
	const struct vma *source = space__find(&p->space, from);
	struct vma v;

	if (now > old) {
		s->grown_bytes += now - old;
		place->mapped_bytes += now - old;
	} else {
		s->shrunk_bytes += old - now;
		place->unmapped_bytes += old - now;
	}
	s->bytes += now;
	if ((uint64_t)c->ret == from) {
		/* In place: only what is beyond the smaller size changes. */
		if (now <= old)
			return space__unmap(&p->space, from + now, from + old, c->start_ns);
		v = source ? *source :
			     (struct vma){.file = NO_FILE,
					  .kind = VMA_ANON,
					  .prot = PROT_READ | PROT_WRITE};
		v.offset += source ? from + old - source->start : 0;
		v.start = from + old;
		v.end = from + now;
		return space__map(&p->space, &v, c->h.ts_ns);
	}
	return space__move(&p->space, &(struct space_move){.from = from,
							   .old_bytes = old,
							   .to = c->ret,
							   .new_bytes = now,
							   .keeps = c->arg[3] & MREMAP_DONTUNMAP,
							   .began_ns = c->start_ns,
							   .ended_ns = c->h.ts_ns});
}

/*
 * A call that failed half way: mprotect(2) goes from mapping to mapping, and what it has changed
 * stays when it comes to a gap. An mremap(2) may have cleared the place that it was to move to.
 */
static int call__partial(struct process *p, const struct rec_call *c)
{
	uint64_t end = c->arg[0] + page_up(c->arg[1]), gap;

	if (c->h.kind == REC_MREMAP && c->h.flags & CALL_CLEARED) {
		end = c->arg[4] + page_up(c->arg[2]);
		/* It tells of the first page: where none was, nothing is known of the others. */
		if (end <= c->arg[4] || space__gap(&p->space, c->arg[4], end) == c->arg[4])
			return 0;
		return space__unmap(&p->space, c->arg[4], end, c->start_ns);
	}
	if (c->h.kind != REC_MPROTECT || c->ret != -ENOMEM)
		return 0;
	gap = space__gap(&p->space, c->arg[0], end);
	return gap < end ? space__protect(&p->space, c->arg[0], gap, c->arg[2]) : 0;
}

/* A call that succeeded. agents: memtrace's own. */
static int call__effect(struct process *p, const struct rec_call *c, struct call_stats *s,
			struct place *place, bool agents)
{
	uint64_t len = page_up(c->arg[1]);
	struct vma v;

	switch (c->h.kind) {
	case REC_BRK:
		return call__brk(p, c, s, place);
	case REC_MMAP:
		len = mmap__length(c);
		s->bytes += len;
		place->mapped_bytes += len;
		v = mmap__vma(p, c, agents);
		if (agents && v.prot & PROT_EXEC) {
			p->agent_code = v.start;
			p->agent_code_end = v.end;
		}
		return space__map(&p->space, &v, c->h.ts_ns);
	case REC_MUNMAP:
		s->bytes += len;
		place->unmapped_bytes += len;
		return space__unmap(&p->space, c->arg[0], c->arg[0] + len, c->start_ns);
	case REC_MREMAP:
		return call__mremap(p, c, s, place);
	case REC_MPROTECT:
		s->bytes += len;
		return space__protect(&p->space, c->arg[0], c->arg[0] + len, c->arg[2]);
	default: /* madvise */
		s->bytes += len;
		if (c->arg[2] != MADV_DONTFORK && c->arg[2] != MADV_DOFORK)
			return 0;
		return space__flag(&p->space, c->arg[0], c->arg[0] + len, VMA_DONT_FORK,
				   c->arg[2] == MADV_DONTFORK);
	}
}

/* A child of vfork has its parent's memory until it executes or ends: that changes, too. */
static int model__change_lenders(struct model *m, const struct process *p, const struct rec_call *c,
				 bool agents)
{
	struct call_stats counted = {0};
	struct place place = {0};
	struct process *lender = process__lender(p);
	int err = 0;

	for (; lender && !err; lender = process__lender(lender)) {
		err = call__failed(c) ? call__partial(lender, c) :
					call__effect(lender, c, &counted, &place, agents);
		model__account(m, lender);
	}
	return err;
}

int model__call(struct model *m, struct process *p, const struct rec_call *c)
{
	unsigned which = c->h.kind - REC_BRK;
	bool agents = process__is_agents_call(m, p, c);
	struct call_stats *s = agents ? &p->r.agent.call[which] : &p->r.call[which];
	struct place *place = agents ? &m->agents : model__place(m, p, c->stack_id, c->ip);
	uint64_t took = c->h.ts_ns > c->start_ns ? c->h.ts_ns - c->start_ns : 0;
	int err = 0;

	if (!place)
		return -ENOMEM;
	s->calls++;
	s->time_ns += took;
	s->populated += c->h.aux;
	place->calls[which]++;
	place->call_ns += took;
	if (call__failed(c)) {
		s->failed++;
		err = call__partial(p, c);
	} else {
		err = call__effect(p, c, s, place, agents);
	}
	model__account(m, p);
	err = err ?: model__change_lenders(m, p, c, agents);
	if (!call__failed(c))
		model__sample_mapped(m, c->h.ts_ns);
	p->r.has_agent |= agents;
	return err || agents ? err : model__heap_call(m, p, c, took);
}

static void region__fault(struct process *p, enum region_class class, bool major)
{
	if (major)
		p->r.regions[class].faults_major++;
	else
		p->r.regions[class].faults_minor++;
}

void process__classify_early(struct model *m, struct process *p)
{
	unsigned i;

	for (i = 0; i < p->nearly; i++) {
		const struct vma *v = space__touch(&p->space, p->early[i].addr);

		if (v && v->flags & VMA_AGENT)
			continue; /* only a record that lies makes one so late */
		region__fault(p, v ? model__class(m, v) : REGION_UNKNOWN, p->early[i].major);
	}
	p->nearly = 0;
	model__account(m, p);
}

/* Which bucket of the histogram a service time belongs to. */
static unsigned histogram__bucket(uint64_t ns)
{
	unsigned b = ns ? 63 - __builtin_clzll(ns) : 0;

	return b < HIST_BUCKETS ? b : HIST_BUCKETS - 1;
}

static void fault__count_access(struct fault_stats *s, const struct rec_fault *f,
				const struct vma *v, struct place *place)
{
	if (f->h.flags & FAULT_NO_ENTRY) {
		s->access_unknown++;
		return;
	}
	s->time_ns += f->h.aux;
	s->time_known++;
	s->histogram[histogram__bucket(f->h.aux)]++;
	place->fault_ns += f->h.aux;
	if (f->h.flags & FAULT_EXEC)
		s->exec++;
	else if (f->h.flags & FAULT_WRITE)
		s->write++;
	else
		s->read++;
	/* On shared memory such a write is only noticed (the page becomes dirty), nothing is copied. */
	if ((f->h.flags & (FAULT_WRITE | FAULT_PRESENT)) != (FAULT_WRITE | FAULT_PRESENT) ||
	    (v && v->prot & VMA_SHARED))
		return;
	place->cow++;
	if (v && v->flags & VMA_PRE_FORK)
		s->cow_after_fork++;
	else
		s->cow_other++;
}

int model__fault(struct model *m, struct process *p, const struct rec_fault *f)
{
	bool major = f->h.flags & FAULT_MAJOR, agents;
	struct fault_stats *s;
	struct place *place;
	const struct vma *v;

	/* execve at work: it is in the new image, we are still in the old one. */
	v = f->ip ? space__touch(&p->space, f->addr) : NULL;
	agents = process__is_agents_fault(p, f, v);
	s = agents ? &p->r.agent.faults : &p->r.faults;
	place = agents ? &m->agents : model__place(m, p, f->stack_id, f->ip);
	if (!place)
		return -ENOMEM;
	p->r.has_agent |= agents;
	m->last.has_vma = v != NULL;
	if (v) {
		m->last.vma_kind = v->kind;
		m->last.vma_flags = v->flags;
	}
	if (p->space.mapped_bytes != p->counted_mapped) { /* a stack grew */
		model__account(m, p);
		model__sample_mapped(m, f->h.ts_ns);
	}
	if (major) {
		s->major++;
		place->major++;
	} else {
		s->minor++;
		place->minor++;
	}
	if (f->h.flags & FAULT_KERNEL)
		s->kernel++;
	else
		s->user++;
	fault__count_access(s, f, v, place);
	if (agents)
		return 0;
	if (!v && p->nearly < EARLY_FAULTS)
		p->early[p->nearly++] = (struct early_fault){f->addr, major};
	else
		region__fault(p, v ? model__class(m, v) : REGION_UNKNOWN, major);
	return model__heap_fault(m, p, f);
}
