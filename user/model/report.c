// SPDX-License-Identifier: MIT
/* From the model to a report: sums, places with names, sorted. */
#include "user/model/report.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "user/model/internal.h"

#ifndef MEMTRACE_VERSION
#define MEMTRACE_VERSION "0"
#endif

#define INLINE_MAX 16 /* functions inlined into one another at one address */

const char *const vmcall_name[VMCALLS] = {"brk", "mmap", "munmap", "mremap", "madvise", "mprotect"};
const char *const region_name[REGION_CLASSES] = {"text",  "data", "heap",  "mmap",
						 "stack", "file", "other", "unknown"};
const char *const rec_kind_name[REC_KINDS] = {
	"none", "brk",	"mmap", "munmap", "mremap", "madvise", "mprotect", "fault",
	"fork", "exec", "exit", "stack",  "vma",    "file",    "rename",   "heap"};

const char *model__version(void)
{
	return MEMTRACE_VERSION;
}

void sum_words(uint64_t *to, const uint64_t *from, size_t n)
{
	while (n--) {
		if (*from != UNKNOWN)
			*to = *to == UNKNOWN ? *from : *to + *from;
		to++;
		from++;
	}
}

/* Drop steps that cannot be: a leaf word whose function had a frame, and what follows a frame
 * that is not behind a call. */
static uint32_t place__clean(const struct place *p, struct step *out, bool *cut,
			     const struct model_names *names)
{
	uint32_t i, n = 0;

	*cut = p->cut;
	for (i = 0; i < p->nsteps; i++) {
		const struct step *s = &p->steps[i];

		if (i == 1 && p->has_leaf) {
			if (p->steps[0].file == NO_FILE ||
			    names->leaf_is_bare(names->ctx, p->steps[0].file, p->steps[0].at) != 1)
				continue;
		} else if (i && !p->checked && s->file != NO_FILE &&
			   names->follows_call(names->ctx, s->file, s->at) == 0) {
			*cut = true;
			break;
		}
		out[n++] = *s;
	}
	return n;
}

static bool is_start(const char *function)
{
	static const char *const starts[] = {"main",
					     "_start",
					     "start_thread",
					     "clone",
					     "clone3",
					     "__clone",
					     "__clone3",
					     "__libc_start_main",
					     "__libc_start_call_main"};
	size_t i;

	for (i = 0; function && i < sizeof(starts) / sizeof(*starts); i++)
		if (!strcmp(function, starts[i]))
			return true;
	return false;
}

/* Name the steps. The stack is whole when it reaches a function where stacks begin. */
static int site__name(struct site *s, const struct step *steps, uint32_t n,
		      const struct model_names *names)
{
	struct frame frames[INLINE_MAX];
	size_t room = 0;
	uint32_t i;
	int j, got;

	for (i = 0; i < n; i++) {
		memset(frames, 0, sizeof(frames));
		if (steps[i].file == NO_FILE) {
			frames[0].offset = steps[i].at;
			if (!steps[i].at) {
				/* There is no user code yet that it could have come from. */
				frames[0].symbol = "execve, setting up the new image";
				s->truncated = false;
			}
			got = 1;
		} else {
			/* The instruction itself for the first, else where a call returns to. After a
			 * system call the first, too, is the instruction behind it, of the same function. */
			got = names->resolve(names->ctx, steps[i].file, steps[i].at, i > 0, frames,
					     INLINE_MAX);
		}
		for (j = 0; j < got; j++) {
			if (array__grow(&s->frames, &room, s->nframes, sizeof(*s->frames)))
				return -ENOMEM;
			frames[j].inlined = j + 1 < got;
			s->frames[s->nframes++] = frames[j];
		}
		if (got > 0 && is_start(frames[got - 1].symbol)) {
			s->truncated = false;
			break;
		}
	}
	return 0;
}

static void site__add(struct site *s, const struct place *p)
{
	unsigned i;

	if (p->heap) {
		site_heap__add(&s->heap, p->heap);
		return;
	}
	for (i = 0; i < VMCALLS; i++)
		s->calls[i] += p->calls[i];
	s->call_ns += p->call_ns;
	s->mapped_bytes += p->mapped_bytes;
	s->unmapped_bytes += p->unmapped_bytes;
	s->faults.minor += p->minor;
	s->faults.major += p->major;
	s->faults.cow += p->cow;
	s->faults.time_ns += p->fault_ns;
}

static uint64_t site__faults(const struct site *s)
{
	return s->faults.minor + s->faults.major;
}

static int by_faults(const void *a, const void *b)
{
	const struct site *x = *(const struct site *const *)a, *y = *(const struct site *const *)b;

	if (site__faults(x) != site__faults(y))
		return site__faults(x) < site__faults(y) ? 1 : -1;
	return x < y ? -1 : 1;
}

static int by_bytes(const void *a, const void *b)
{
	const struct site *x = *(const struct site *const *)a, *y = *(const struct site *const *)b;

	if (x->mapped_bytes != y->mapped_bytes)
		return x->mapped_bytes < y->mapped_bytes ? 1 : -1;
	return x < y ? -1 : 1;
}

static int report__sort_sites(struct report *r)
{
	size_t i;

	r->by_faults = calloc(r->nsites + 1, sizeof(*r->by_faults));
	r->by_bytes = calloc(r->nsites + 1, sizeof(*r->by_bytes));
	if (!r->by_faults || !r->by_bytes)
		return -ENOMEM;
	for (i = 0; i < r->nsites; i++) {
		if (site__faults(&r->sites[i]))
			r->by_faults[r->nby_faults++] = &r->sites[i];
		if (r->sites[i].mapped_bytes)
			r->by_bytes[r->nby_bytes++] = &r->sites[i];
	}
	qsort(r->by_faults, r->nby_faults, sizeof(*r->by_faults), by_faults);
	qsort(r->by_bytes, r->nby_bytes, sizeof(*r->by_bytes), by_bytes);
	return 0;
}

/* Places that are the same once cleaned become one site. */
static int report__sites(struct report *r, struct model *m, const struct model_names *names)
{
	struct step steps[STACK_FRAMES + 1];
	struct hmap seen = {0};
	size_t i, room = 0;
	int err = 0;

	for (i = 0; i < m->nplaces && !err; i++) {
		const struct place *p = &m->places[i];
		bool cut;
		uint32_t n = place__clean(p, steps, &cut, names), j;
		uint64_t h = hmap__mix(n, cut | !p->heap << 1), *found;

		for (j = 0; j < n; j++)
			h = hmap__mix(h ^ steps[j].file, steps[j].at);
		found = hmap__find(&seen, h);
		if (!found) {
			struct site *s;

			err = array__grow(&r->sites, &room, r->nsites, sizeof(*r->sites));
			if (err)
				break;
			s = &r->sites[r->nsites];
			*s = (struct site){.truncated = cut, .is_heap = p->heap};
			err = site__name(s, steps, n, names);
			if (!err)
				err = hmap__set(&seen, h, r->nsites);
			r->nsites++;
			site__add(s, p);
		} else {
			site__add(&r->sites[*found], p);
		}
	}
	hmap__clear(&seen);
	if (!err)
		err = report__sort_sites(r);
	return err ? err : report__heap_sites(r, m);
}

static int report__processes(struct report *r, struct model *m)
{
	size_t i, c;

	r->processes = calloc(m->nprocesses + 1, sizeof(*r->processes));
	if (!r->processes)
		return -ENOMEM;
	r->nprocesses = m->nprocesses;
	for (c = 0; c < REGION_CLASSES; c++)
		r->regions[c] = (struct region_stats){UNKNOWN, UNKNOWN, UNKNOWN, 0, 0};
	r->rss_bytes = r->agent.resident_bytes = UNKNOWN;
	memset(&r->heap, 0xff, sizeof(r->heap));
	memset(&r->parts, 0xff, sizeof(r->parts));
	for (i = 0; i < m->nprocesses; i++) {
		struct process *p = m->processes[i];

		process__classify_early(m, p);
		if (!p->r.ended)
			p->r.mapped_bytes = p->has_space ? p->space.mapped_bytes : UNKNOWN;
		if (!p->r.ended || !p->r.end_ns)
			p->r.end_ns = r->duration_ns;
		r->processes[i] = p->r;
		report__heap_process(r, p, &r->processes[i]);
		SUM(&r->call, &p->r.call);
		SUM(&r->faults, &p->r.faults);
		SUM(&r->regions, &p->r.regions);
		SUM(&r->agent, &p->r.agent);
		r->has_agent |= p->r.has_agent;
		SUM(&r->rss_bytes, &p->r.rss_bytes);
	}
	report__heap_totals(r, m);
	return 0;
}

static void report__events(struct report *r, const struct event_counts *counts,
			   const uint64_t *delivered)
{
	size_t i;

	/* The kernel's fault counts of threads that ended came with their exits. */
	for (i = 0; counts->lost[REC_EXIT] && i < r->nprocesses; i++)
		r->processes[i].kernel_minflt = r->processes[i].kernel_majflt = UNKNOWN;

	for (i = 0; i < REC_KINDS; i++) {
		r->events[i] = (struct loss){counts->seen[i], counts->lost[i]};
		r->seen += counts->seen[i];
		r->lost += counts->lost[i];
		r->delivered += delivered[i];
	}
	memcpy(r->lost_ops, counts->lost_ops, sizeof(r->lost_ops));
}

struct report *model__report(struct model *m, uint64_t end_ns, const struct event_counts *counts,
			     const uint64_t *delivered, const struct model_names *names)
{
	struct report *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->version = MEMTRACE_VERSION;
	r->duration_ns = model__since_start(m, end_ns);
	r->rss_parts_direct_mmap = r->rss_parts_heap = r->rss_parts_file = UNKNOWN;
	r->rss_parts_stack = r->rss_parts_other = r->rss_parts_unknown = UNKNOWN;
	model__sample_mapped(m, end_ns);
	model__heap_settle(m);
	r->mapped = calloc(MAPPED_POINTS + 1, sizeof(*r->mapped));
	if (!r->mapped || report__processes(r, m) || report__sites(r, m, names)) {
		report__free(r);
		return NULL;
	}
	memcpy(r->mapped, m->mapped, sizeof(m->mapped));
	r->nmapped = m->nmapped;
	/* The last interval's highest is not what there is at the end. */
	if (r->mapped[r->nmapped - 1].mapped_bytes != m->mapped_bytes ||
	    r->mapped[r->nmapped - 1].heap_bytes != m->heap_bytes)
		r->mapped[r->nmapped++] =
			(struct mapped_point){r->duration_ns, m->mapped_bytes, m->heap_bytes};
	r->stacks = m->nstacks;
	r->stacks_truncated = m->stacks_cut;
	r->stacks_failed = m->not_taken;
	r->stacks_taken = m->taken;
	r->stacks_taken_truncated = m->taken_cut;
	if (counts)
		report__events(r, counts, delivered);
	return r;
}

void report__free(struct report *r)
{
	size_t i;

	if (!r)
		return;
	for (i = 0; i < r->nsites; i++)
		free(r->sites[i].frames);
	for (i = 0; i < r->nnotes; i++)
		free(r->notes[i]);
	free(r->sites);
	free(r->by_faults);
	free(r->by_bytes);
	free(r->by_live);
	free(r->by_cost);
	free(r->by_requested);
	free(r->processes);
	free(r->mapped);
	free(r->notes);
	free(r->advice);
	free(r->without_kernel);
	free(r);
}

/* Of a process, or in sum. */
static void without_kernel__events(struct call_stats *call, struct fault_stats *faults,
				   struct region_stats *regions, struct heap_stats *heap)
{
	unsigned i;

	memset(call, 0xff, VMCALLS * sizeof(*call));
	memset(faults, 0xff, sizeof(*faults));
	for (i = 0; i < REGION_CLASSES; i++)
		regions[i].faults_minor = regions[i].faults_major = UNKNOWN;
	memset(heap->syscalls, 0xff, sizeof(heap->syscalls));
	heap->syscall_ns = heap->inside_minor = heap->inside_major = heap->inside_ns = UNKNOWN;
	heap->touch_minor = heap->touch_major = heap->touch_ns = UNKNOWN;
	heap->unplaced_syscalls = heap->unplaced_faults = heap->unplaced_ns = UNKNOWN;
	heap->inherited_blocks = heap->inherited_bytes = UNKNOWN;
}

int report__without_kernel(struct report *r, const char *why)
{
	size_t i;

	r->without_kernel = strdup(why);
	if (!r->without_kernel)
		return -ENOMEM;
	without_kernel__events(r->call, &r->faults, r->regions, &r->heap);
	r->has_agent = false;
	r->nmapped = 0;
	for (i = 0; i < r->nprocesses; i++) {
		struct process_report *p = &r->processes[i];

		without_kernel__events(p->call, &p->faults, p->regions, &p->heap);
		p->kernel_minflt = p->kernel_majflt = p->mapped_bytes = UNKNOWN;
		p->execs = p->forks = p->threads = UNKNOWN;
		p->has_agent = false;
	}
	for (i = 0; i < r->nsites; i++) {
		struct site_heap *h = &r->sites[i].heap;

		memset(h->syscalls, 0xff, sizeof(h->syscalls));
		h->syscall_ns = h->inside_minor = h->inside_major = UNKNOWN;
		h->touch_minor = h->touch_major = h->fault_ns = UNKNOWN;
	}
	for (i = 0; i < REC_KINDS; i++)
		if (i != REC_HEAP)
			r->events[i] = (struct loss){UNKNOWN, UNKNOWN};
	return report__note(r, "no system call, page fault, fork or end of a process was seen: %s",
			    why);
}

int report__note(struct report *r, const char *fmt, ...)
{
	char **notes = reallocarray(r->notes, r->nnotes + 1, sizeof(*notes));
	va_list ap;
	int n;

	if (!notes)
		return -ENOMEM;
	r->notes = notes;
	va_start(ap, fmt);
	n = vasprintf(&notes[r->nnotes], fmt, ap);
	va_end(ap);
	if (n < 0)
		return -ENOMEM;
	r->nnotes++;
	return 0;
}
