// SPDX-License-Identifier: MIT
#include "user/live.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* What the last table showed of a process, for its rates. */
struct live_row {
	pid_t pid;
	uint64_t faults, major, calls, mapped, unmapped, requested;
	uint64_t rss_start;
};

static const char *fd_path(struct session *s, const struct rec_call *c)
{
	const struct vma *v;

	/* The mapping's file is known once the call is applied: REC_VMA came just before. */
	if (c->h.kind != REC_MMAP || (uint64_t)c->ret >= (uint64_t)-4095)
		return NULL;
	v = model__find(s->model, c->h.tgid, c->ret);
	return v && v->kind == VMA_FILE && v->file != NO_FILE ? model__file_path(s->model, v->file) :
								NULL;
}

/* Where the line of a kernel event goes, and how it is written there. */
static FILE *event_file(struct session *s, const struct rec *r, uint64_t owner, struct stream_opts *o)
{
	*o = s->stream;
	o->inside = owner != 0;
	return hold__file(s->hold, r->tid, owner);
}

int live__stream_before(struct session *s, const struct rec *r)
{
	const struct rec_fault *f = (const struct rec_fault *)r;
	struct rec_fault shared;
	struct stream_opts o;
	const struct vma *v;
	FILE *out;
	int err;

	switch (r->kind) {
	case REC_FAULT:
		out = event_file(s, r, f->owner, &o);
		if (!out)
			return -ENOMEM;
		v = model__reach(s->model, r->tgid, f->addr);
		if (v && v->prot & VMA_SHARED) {
			/* Nothing is copied there. */
			shared = *f;
			shared.h.flags &= ~FAULT_PRESENT;
			f = &shared;
		}
		return view__stream_fault(out, f, model__comm(s->model, r->tgid),
					  f->ip ? names__where(s->names, r->tgid, f->addr) : "execve",
					  names__place(s->names, r->tgid, f->stack_id, f->ip), &o);
	case REC_EXIT:
		err = hold__end_thread(s->hold, r->tid);
		return err || r->flags & EXIT_UNTOLD ?
			       err :
			       view__stream_exit(s->text, (const struct rec_exit *)r,
						 model__comm(s->model, r->tgid), &s->stream);
	case REC_FORK:
		return view__stream_fork(s->text, (const struct rec_fork *)r,
					 model__comm(s->model, r->tgid), &s->stream);
	default:
		return 0;
	}
}

static int live__stream_heap(struct session *s, const struct rec_heap *r)
{
	int err = hold__before_call(s->hold, r->h.tid, r->start_ns);

	/* Who called: the function itself is named by the line. */
	if (!err)
		err = view__stream_heap(
			s->text, r, model__comm(s->model, r->h.tgid),
			r->stack_id ? names__place(s->names, r->h.tgid, r->stack_id, 0) : NULL,
			&s->stream);
	return err ? err : hold__after_call(s->hold, r->h.tid, r->start_ns);
}

int live__stream_after(struct session *s, const struct rec *r)
{
	const struct rec_call *c = (const struct rec_call *)r;
	struct stream_opts o;
	FILE *out;

	if (r->kind == REC_HEAP)
		return live__stream_heap(s, (const struct rec_heap *)r);
	if (r->kind == REC_EXEC)
		return view__stream_exec(s->text, (const struct rec_exec *)r,
					 model__exe(s->model, r->tgid), &s->stream);
	if (r->kind < REC_BRK || r->kind > REC_MPROTECT)
		return 0;
	out = event_file(s, r, c->owner, &o);
	if (!out)
		return -ENOMEM;
	return view__stream_call(out, c, model__comm(s->model, r->tgid), fd_path(s, c),
				 names__place(s->names, r->tgid, c->stack_id, c->ip), &o);
}

void live__terminal(FILE *f, unsigned *width, unsigned *height)
{
	struct winsize w;

	*width = *height = 0;
	if (isatty(fileno(f)) && !ioctl(fileno(f), TIOCGWINSZ, &w)) {
		*width = w.ws_col;
		*height = w.ws_row;
	}
}

void live__note_gaps(struct session *s, const struct event_counts *counts)
{
	/* HEAP_NONE: calls of whatever kind, of threads that had no ring. */
	uint64_t lost = counts->lost_ops[HEAP_NONE] + counts->lost_ops[HEAP_REALLOC] +
			counts->lost_ops[HEAP_REALLOCARRAY] + counts->lost_ops[HEAP_RALLOCX];
	unsigned op;

	for (op = HEAP_FREE; op < HEAP_OPS; op++)
		lost += counts->lost_ops[op];
	if (lost > s->heap_lost)
		model__heap_gap(s->model, 0);
	s->heap_lost = lost;
}

static int by_faults(const void *a, const void *b)
{
	const struct table_row *x = a, *y = b;

	if (x->faults_per_s != y->faults_per_s)
		return x->faults_per_s < y->faults_per_s ? 1 : -1;
	if (x->mapped_per_s != y->mapped_per_s)
		return x->mapped_per_s < y->mapped_per_s ? 1 : -1;
	if (x->faults != y->faults)
		return x->faults < y->faults ? 1 : -1;
	return x->pid < y->pid ? -1 : 1;
}

void live__sort(struct table_row *rows, size_t n, struct table_row *total)
{
	size_t i;

	qsort(rows, n, sizeof(*rows), by_faults);
	*total = (struct table_row){.rss_change = INT64_MIN,
				    .rss_bytes = UNKNOWN,
				    .live_bytes = UNKNOWN,
				    .alloc_per_s = -1};
	for (i = 0; i < n; i++) {
		total->faults_per_s += rows[i].faults_per_s;
		total->major_per_s += rows[i].major_per_s;
		total->calls_per_s += rows[i].calls_per_s;
		total->mapped_per_s += rows[i].mapped_per_s;
		total->unmapped_per_s += rows[i].unmapped_per_s;
		total->break_change += rows[i].break_change;
		total->faults += rows[i].faults;
		total->calls += rows[i].calls;
		if (rows[i].live_bytes != UNKNOWN)
			total->live_bytes = rows[i].live_bytes +
					    (total->live_bytes == UNKNOWN ? 0 : total->live_bytes);
		if (rows[i].alloc_per_s >= 0)
			total->alloc_per_s = rows[i].alloc_per_s +
					     (total->alloc_per_s < 0 ? 0 : total->alloc_per_s);
		if (rows[i].rss_bytes != UNKNOWN)
			total->rss_bytes = rows[i].rss_bytes +
					   (total->rss_bytes == UNKNOWN ? 0 : total->rss_bytes);
		if (rows[i].rss_change != INT64_MIN)
			total->rss_change = rows[i].rss_change +
					    (total->rss_change == INT64_MIN ? 0 : total->rss_change);
	}
}

static struct live_row live__measure(const struct process_report *p)
{
	struct live_row now = {.pid = p->pid,
			       .faults = p->faults.minor + p->faults.major,
			       .major = p->faults.major,
			       .requested = p->heap.bytes_requested,
			       .rss_start = UNKNOWN};
	unsigned i;

	for (i = 0; i < VMCALLS; i++)
		now.calls += p->call[i].calls;
	now.mapped = p->call[CALL_MMAP].bytes + p->call[CALL_BRK].grown_bytes +
		     p->call[CALL_MREMAP].grown_bytes;
	now.unmapped = p->call[CALL_MUNMAP].bytes + p->call[CALL_BRK].shrunk_bytes +
		       p->call[CALL_MREMAP].shrunk_bytes;
	return now;
}

static void live__row(struct table_row *row, const struct process_report *p, struct live_row *last,
		      const struct live_row *now, uint64_t live, double seconds)
{
	*row = (struct table_row){
		.pid = p->pid,
		.faults_per_s = (now->faults - last->faults) / seconds,
		.major_per_s = (now->major - last->major) / seconds,
		.calls_per_s = (now->calls - last->calls) / seconds,
		.mapped_per_s = (now->mapped - last->mapped) / seconds,
		.unmapped_per_s = (now->unmapped - last->unmapped) / seconds,
		.break_change = p->call[CALL_BRK].grown_bytes - p->call[CALL_BRK].shrunk_bytes,
		.rss_change = INT64_MIN,
		.rss_bytes = p->ended ? UNKNOWN : process__rss(p->pid),
		.faults = now->faults,
		.calls = now->calls,
		.live_bytes = live,
		.alloc_per_s = live == UNKNOWN ? -1 : (now->requested - last->requested) / seconds,
	};
	snprintf(row->comm, sizeof(row->comm), "%s", p->comm);
	if (last->rss_start == UNKNOWN)
		last->rss_start = row->rss_bytes;
	if (row->rss_bytes != UNKNOWN)
		row->rss_change = row->rss_bytes - last->rss_start;
}

/* What only a kernel plane tells. */
static void live__forget_kernel(struct table_row *row)
{
	row->faults_per_s = row->major_per_s = row->calls_per_s = -1;
	row->mapped_per_s = row->unmapped_per_s = -1;
	row->break_change = INT64_MIN;
	row->faults = row->calls = UNKNOWN;
}

/* Room for a row of memory for each process; new ones have seen nothing. */
static int live__remember(struct session *s, size_t n)
{
	struct live_row *live;

	if (n <= s->nlive)
		return 0;
	live = reallocarray(s->live, n, sizeof(*live));
	if (!live)
		return -ENOMEM;
	s->live = live;
	for (; s->nlive < n; s->nlive++)
		s->live[s->nlive] = (struct live_row){.rss_start = UNKNOWN};
	return 0;
}

int live__table(struct session *s)
{
	size_t n = model__processes(s->model, NULL, 0), i, shown = 0;
	const struct process_report **p = calloc(n + 1, sizeof(*p));
	struct table_row *rows = calloc(n + 1, sizeof(*rows));
	struct view_opts v = {.top = s->o->top, .color = s->stream.color, .verbose = s->o->verbose};
	struct event_counts counts = {0};
	uint64_t delivered[REC_KINDS], now = clock__now();
	struct table t = {.elapsed_s = (now - s->start_ns) / 1e9,
			  .sample_bytes = s->o->sample_bytes,
			  .heap.requested_error = UNKNOWN};
	unsigned height;
	int err = p && rows ? live__remember(s, n) : -ENOMEM;

	t.interval_s = (now - (s->live_ns ? s->live_ns : s->start_ns)) / 1e9;
	s->live_ns = now;
	if (!err)
		err = session__counts(s, &counts, delivered);
	if (!err) {
		model__processes(s->model, p, n);
		for (i = 0; i < n; i++) {
			struct live_row measured = live__measure(p[i]);

			/* An ended process is shown once more, with what it did last. */
			if (!p[i]->ended || measured.faults != s->live[i].faults ||
			    measured.calls != s->live[i].calls)
				live__row(&rows[shown++], p[i], &s->live[i], &measured,
					  model__live_bytes(s->model, p[i]), t.interval_s);
			measured.rss_start = s->live[i].rss_start;
			s->live[i] = measured;
		}
		live__sort(rows, shown, &t.total);
		for (i = 0; i <= shown && s->alone; i++)
			live__forget_kernel(i < shown ? &rows[i] : &t.total);
		for (i = 0; i < REC_KINDS; i++)
			t.lost += counts.lost[i];
		t.rows = rows;
		t.nrows = shown;
		live__terminal(s->text, &v.width, &height);
		err = view__table(s->text, &t, &v, v.color);
	}
	free(p);
	free(rows);
	return err;
}

void live__free(struct session *s)
{
	free(s->live);
	s->live = NULL;
	s->nlive = 0;
}
