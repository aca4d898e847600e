// SPDX-License-Identifier: MIT
/* The rules. Thresholds stand with each; what they mean is in memtrace(8). */
#include "user/model/advice.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include "user/model/report.h"

#define PAGE 4096ULL
#define RETAINED_LEAST (16ULL << 20)
#define TOUCH_BLOCK (4ULL << 20) /* a block of two huge pages has one in it for certain */
#define TOUCH_FAULTS 2048
#define GROWTH_CALLS 1000
#define GROWTH_BYTES (1ULL << 20)
#define PING_PONG 8 /* times the highest that the break ever was */

static struct advice *report__add_advice(struct report *r, const char *id, const struct site *site,
					 const char *text)
{
	struct advice *more = reallocarray(r->advice, r->nadvice + 1, sizeof(*more));

	if (!more)
		return NULL;
	r->advice = more;
	more[r->nadvice] = (struct advice){.id = id, .site = site, .text = text};
	return &more[r->nadvice++];
}

static void advice__prove(struct advice *a, const char *key, uint64_t value)
{
	if (a->nevidence < ADVICE_EVIDENCE)
		a->evidence[a->nevidence++] = (struct evidence){key, value};
}

/* None where they are not known. */
static uint64_t site__faults(const struct site_heap *h)
{
	if (h->inside_minor == UNKNOWN)
		return 0;
	return h->inside_minor + h->inside_major + h->touch_minor + h->touch_major;
}

static void advice__prove_size(struct advice *a, const struct site_heap *h)
{
	uint64_t given = h->calls - h->failed;

	advice__prove(a, "calls", h->calls);
	advice__prove(a, "mean_bytes", given ? h->bytes / given : 0);
}

/* Each block is a mapping, made for it and gone with it. */
static bool maps_each(const struct site_heap *h)
{
	uint64_t maps = h->syscalls[CALL_MMAP], unmaps = h->syscalls[CALL_MUNMAP];

	return maps != UNKNOWN && maps >= ADVICE_LEAST && unmaps >= ADVICE_LEAST &&
	       maps >= h->calls / 2 && unmaps >= maps / 2 && h->frees >= h->calls / 2;
}

static int advise_mmap_churn(struct report *r, const struct site *s)
{
	const struct site_heap *h = &s->heap;
	struct advice *a;

	if (!maps_each(h))
		return 0;
	a = report__add_advice(
		r, "mmap-churn", s,
		"most calls of this place map memory that the block's free unmaps again: keep a "
		"block and use it again, or raise the allocator's mmap threshold above its size "
		"(glibc: M_MMAP_THRESHOLD in mallopt(3))");
	if (!a)
		return -ENOMEM;
	advice__prove_size(a, h);
	advice__prove(a, "mmap", h->syscalls[CALL_MMAP]);
	advice__prove(a, "munmap", h->syscalls[CALL_MUNMAP]);
	advice__prove(a, "syscall_ns", h->syscall_ns);
	advice__prove(a, "fault_ns", h->fault_ns);
	return 1;
}

/* Blocks that are freed at once, and whose pages come anew each time. */
static int advise_temporary(struct report *r, const struct site *s)
{
	const struct site_heap *h = &s->heap;
	struct advice *a;

	if (h->temporary == UNKNOWN || h->temporary < ADVICE_LEAST || h->temporary < h->calls / 2 ||
	    site__faults(h) < h->temporary || maps_each(h))
		return 0;
	a = report__add_advice(r, "temporary-faults", s,
			       "blocks of this place are freed soon after they are made, and each "
			       "of them brings its pages in anew: keep one and use it again, or let "
			       "the allocator keep what is freed (glibc: M_TRIM_THRESHOLD)");
	if (!a)
		return -ENOMEM;
	advice__prove_size(a, h);
	advice__prove(a, "temporary", h->temporary);
	advice__prove(a, "faults", site__faults(h));
	advice__prove(a, "fault_ns", h->fault_ns);
	return 1;
}

static int advise_moves(struct report *r, const struct site *s)
{
	const struct site_heap *h = &s->heap;
	/* What mremap moves is not copied. */
	uint64_t copied =
		h->moved > h->syscalls[CALL_MREMAP] ? h->moved - h->syscalls[CALL_MREMAP] : 0;
	struct advice *a;

	if (copied < ADVICE_LEAST || copied < h->calls / 2)
		return 0;
	a = report__add_advice(r, "realloc-moves", s,
			       "most calls of this place resize a block by copying it elsewhere: "
			       "ask for its final size at once, or grow it by a factor");
	if (!a)
		return -ENOMEM;
	advice__prove_size(a, h);
	advice__prove(a, "moved", h->moved);
	advice__prove(a, "mremap", h->syscalls[CALL_MREMAP]);
	return 1;
}

static int advise_first_touch(struct report *r, const struct site *s)
{
	const struct site_heap *h = &s->heap;
	uint64_t given = h->calls - h->failed;
	struct advice *a;

	if (r->sample_bytes || !given || h->bytes / given < TOUCH_BLOCK ||
	    site__faults(h) < TOUCH_FAULTS || site__faults(h) * PAGE < h->bytes / 4 * 3)
		return 0;
	a = report__add_advice(
		r, "first-touch", s,
		"large blocks of this place are brought in page by page: huge pages (MADV_HUGEPAGE; "
		"glibc: the tunable glibc.malloc.hugetlb) or MAP_POPULATE take fewer faults");
	if (!a)
		return -ENOMEM;
	advice__prove_size(a, h);
	advice__prove(a, "faults", site__faults(h));
	advice__prove(a, "fault_ns", h->fault_ns);
	return 1;
}

static int advise_growth(struct report *r, const struct site *s)
{
	const struct site_heap *h = &s->heap;
	struct advice *a;

	/* A free that was not told would be one that is missed here. */
	if (r->events[REC_HEAP].lost || h->calls < GROWTH_CALLS || h->frees > h->calls / 100 ||
	    h->live_bytes < GROWTH_BYTES)
		return 0;
	a = report__add_advice(r, "growth", s,
			       "almost nothing that was asked for here while it was traced has been "
			       "freed: if that goes on it is a leak; look again later");
	if (!a)
		return -ENOMEM;
	advice__prove(a, "calls", h->calls);
	advice__prove(a, "frees", h->frees);
	advice__prove(a, "live_bytes", h->live_bytes);
	return 1;
}

/* Put the sites of one order to a rule, until it has named enough. */
static int report__advise_sites(struct report *r, const struct site *const *sites, size_t n,
				int (*rule)(struct report *r, const struct site *s))
{
	unsigned named = 0;
	size_t i;
	int got;

	for (i = 0; i < n && named < ADVICE_SITES; i++) {
		got = rule(r, sites[i]);
		if (got < 0)
			return got;
		named += (unsigned)got;
	}
	return 0;
}

/* The break goes up and down again and again: what it grew by in all is many times its highest. */
static int report__advise_break(struct report *r)
{
	const struct call_stats *brk = &r->call[CALL_BRK];
	const struct site *s = NULL;
	uint64_t most = 0, calls;
	struct advice *a;
	size_t i;

	for (i = 0; i < r->nmapped; i++)
		if (r->mapped[i].heap_bytes > most)
			most = r->mapped[i].heap_bytes;
	if (brk->calls == UNKNOWN || brk->calls < 2 * ADVICE_LEAST || !most ||
	    brk->grown_bytes / PING_PONG < most || brk->shrunk_bytes < brk->grown_bytes / 2)
		return 0;
	for (i = 0; i < r->nsites; i++) {
		calls = r->sites[i].is_heap ? r->sites[i].heap.syscalls[CALL_BRK] : 0;
		if (calls && (!s || calls > s->heap.syscalls[CALL_BRK]))
			s = &r->sites[i];
	}
	a = report__add_advice(
		r, "break-ping-pong", s,
		"the break grows and shrinks again and again: let the allocator keep "
		"more at its top (glibc: M_TRIM_THRESHOLD and M_TOP_PAD in mallopt(3))");
	if (!a)
		return -ENOMEM;
	advice__prove(a, "brk", brk->calls);
	advice__prove(a, "grown_bytes", brk->grown_bytes);
	advice__prove(a, "shrunk_bytes", brk->shrunk_bytes);
	advice__prove(a, "highest_bytes", most);
	advice__prove(a, "syscall_ns", brk->time_ns);
	return 0;
}

static int report__advise_retained(struct report *r)
{
	struct advice *a;

	if (r->parts.retained == UNKNOWN || r->parts.live == UNKNOWN ||
	    r->parts.retained < RETAINED_LEAST || r->parts.retained < r->parts.live)
		return 0;
	a = report__add_advice(r, "retained", NULL,
			       "more resident memory is kept by the allocator than is in live blocks: "
			       "malloc_trim(3) now and then, fewer arenas (glibc: M_ARENA_MAX), or an "
			       "allocator that gives free pages back");
	if (!a)
		return -ENOMEM;
	advice__prove(a, "retained_bytes", r->parts.retained);
	advice__prove(a, "live_bytes", r->parts.live);
	return 0;
}

static bool report__anyone_lives(const struct report *r)
{
	size_t i;

	for (i = 0; i < r->nprocesses; i++)
		if (!r->processes[i].ended)
			return true;
	return false;
}

int report__advise(struct report *r)
{
	int err = report__advise_sites(r, r->by_cost, r->nby_cost, advise_mmap_churn);

	if (!err)
		err = report__advise_sites(r, r->by_cost, r->nby_cost, advise_temporary);
	if (!err)
		err = report__advise_break(r);
	if (!err)
		err = report__advise_sites(r, r->by_requested, r->nby_requested, advise_moves);
	if (!err)
		err = report__advise_sites(r, r->by_cost, r->nby_cost, advise_first_touch);
	if (!err)
		err = report__advise_retained(r);
	/* What a process held to its end was given back by that. */
	if (!err && report__anyone_lives(r))
		err = report__advise_sites(r, r->by_live, r->nby_live, advise_growth);
	return err;
}
