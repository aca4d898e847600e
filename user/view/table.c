/* SPDX-License-Identifier: MIT */
/*
 * The live table: a row a process, refreshed in place as top does. The name
 * comes last and takes what is left of the width. Bytes are binary (1.5M is
 * 1.5 MiB), ALLOC/S what was asked of the allocator, LIVE its live blocks; BREAK and +/-RSS are changes since the start.
 */
#include <string.h>

#include "user/view/format.h"
#include "user/view/sink.h"
#include "user/view/view.h"

#define COMM_LEAST 8 /* columns of a name, however narrow the terminal */

enum {
	WIDTH_PID = 7,
	WIDTH_FAULTS = 8,
	WIDTH_MAJOR = 6,
	WIDTH_CALLS = 7,
	WIDTH_MAPPED = 6,
	WIDTH_UNMAPPED = 8,
	WIDTH_BREAK = 7,
	WIDTH_RSS = 6,
	WIDTH_RSS_CHANGE = 7,
	WIDTH_ALLOC = 8,
	WIDTH_LIVE = 7
};

/* A line that was longer in the last round leaves nothing behind this one. */
static void line__end(struct sink *s, bool refresh)
{
	if (refresh)
		sink__raw(s, "\033[K", 3, 0);
	sink__char(s, '\n');
}

static void put_header(struct sink *s, bool heap, bool sampled, bool refresh)
{
	sink__sgr(s, "7");
	sink__right(s, "PID", WIDTH_PID);
	sink__right(s, "FAULT/S", WIDTH_FAULTS);
	sink__right(s, "MAJ/S", WIDTH_MAJOR);
	sink__right(s, "CALL/S", WIDTH_CALLS);
	sink__right(s, "MAP/S", WIDTH_MAPPED);
	sink__right(s, "UNMAP/S", WIDTH_UNMAPPED);
	sink__right(s, "BREAK", WIDTH_BREAK);
	sink__right(s, "RSS", WIDTH_RSS);
	sink__right(s, "+/-RSS", WIDTH_RSS_CHANGE);
	if (heap) {
		sink__right(s, sampled ? "~ALLOC/S" : "ALLOC/S", WIDTH_ALLOC + sampled);
		sink__right(s, sampled ? "~LIVE" : "LIVE", WIDTH_LIVE);
	}
	sink__str(s, " COMMAND");
	sink__sgr(s, "");
	line__end(s, refresh);
}

static void put_rate(struct sink *s, double per_s, bool bytes, unsigned width)
{
	struct fmt text = bytes ? fmt__bytes_short(per_s) : fmt__rate(per_s);

	sink__right(s, per_s < 0 ? "-" : text.s, width);
}

static void put_row(struct sink *s, const struct table_row *row, const char *pid, const char *comm,
		    const struct view_opts *o, bool heap, bool sampled, bool refresh)
{
	uint64_t rss = row->rss_bytes, live = row->live_bytes;
	unsigned room = COMM_LEAST;

	sink__right(s, pid, WIDTH_PID);
	put_rate(s, row->faults_per_s, false, WIDTH_FAULTS);
	put_rate(s, row->major_per_s, false, WIDTH_MAJOR);
	put_rate(s, row->calls_per_s, false, WIDTH_CALLS);
	put_rate(s, row->mapped_per_s, true, WIDTH_MAPPED);
	put_rate(s, row->unmapped_per_s, true, WIDTH_UNMAPPED);
	sink__right(s, fmt__bytes_change(row->break_change).s, WIDTH_BREAK);
	sink__right(s, rss == UNKNOWN ? "-" : fmt__bytes_short((double)rss).s, WIDTH_RSS);
	sink__right(s, fmt__bytes_change(row->rss_change).s, WIDTH_RSS_CHANGE);
	if (heap) {
		sink__right(s, row->alloc_per_s < 0 ? "-" : fmt__bytes_short(row->alloc_per_s).s,
			    WIDTH_ALLOC + sampled);
		sink__right(s, live == UNKNOWN ? "-" : fmt__bytes_short((double)live).s, WIDTH_LIVE);
	}
	sink__char(s, ' ');
	if (o->width == 0) {
		sink__safe(s, comm, NULL);
	} else {
		if (o->width > s->col + room)
			room = o->width - s->col;
		sink__clip(s, comm, room);
	}
	line__end(s, refresh);
}

static void put_process(struct sink *s, const struct table_row *row, const struct view_opts *o,
			bool heap, bool sampled, bool refresh)
{
	char comm[sizeof(row->comm) + 1] = "";
	char pid[16];

	memcpy(comm, row->comm, strnlen(row->comm, sizeof(row->comm)));
	snprintf(pid, sizeof(pid), "%d", (int)row->pid);
	put_row(s, row, pid, comm, o, heap, sampled, refresh);
}

static void put_lost(struct sink *s, uint64_t lost, bool refresh)
{
	sink__sgr(s, "1;31");
	sink__str(s, "LOST ");
	sink__str(s, fmt__count(lost).s);
	sink__str(s, lost == 1 ? " event" : " events");
	sink__str(s, " so far: the figures are too low by them");
	sink__sgr(s, "");
	line__end(s, refresh);
}

static void put_head(struct sink *s, const struct table *t, bool refresh)
{
	sink__printf(s, "memtrace  %.1f s, last %.1f s, ", t->elapsed_s, t->interval_s);
	sink__str(s, fmt__count(t->nrows).s);
	sink__str(s, t->nrows == 1 ? " process" : " processes");
	sink__str(s, "; since the start ");
	sink__str(s, fmt__count(t->total.faults).s);
	sink__str(s, " faults, ");
	sink__str(s, fmt__count(t->total.calls).s);
	sink__str(s, " calls");
	line__end(s, refresh);
}

/* The error is of the sums: of a process it is larger in proportion. */
static void put_sampled(struct sink *s, const struct table *t, bool refresh)
{
	const struct heap_stats *h = &t->heap;

	sink__printf(s, "allocators, by one sample in %s: ", fmt__bytes(t->sample_bytes).s);
	sink__printf(s, "requested about %s ", fmt__bytes(h->bytes_requested).s);
	sink__printf(s, "+/- %s, live of it ", fmt__bytes(h->requested_error).s);
	sink__printf(s, "about %s ", fmt__bytes(h->live_bytes).s);
	sink__printf(s, "+/- %s", fmt__bytes(h->live_bytes_error).s);
	line__end(s, refresh);
}

int view__table(FILE *out, const struct table *t, const struct view_opts *o, bool refresh)
{
	/* A column that no process can fill is left out. */
	bool heap = t->total.live_bytes != UNKNOWN;
	struct sink s;
	size_t i;

	sink__init(&s, out, o->color);
	if (refresh)
		sink__raw(&s, "\033[H", 3, 0);
	put_head(&s, t, refresh);
	if (t->sample_bytes && t->heap.requested_error != UNKNOWN)
		put_sampled(&s, t, refresh);
	if (t->lost)
		put_lost(&s, t->lost, refresh);
	put_header(&s, heap, t->sample_bytes, refresh);
	for (i = 0; i < t->nrows && i < o->top; i++)
		put_process(&s, &t->rows[i], o, heap, t->sample_bytes, refresh);
	put_row(&s, &t->total, "all", "(total)", o, heap, t->sample_bytes, refresh);
	if (i < t->nrows) {
		sink__str(&s, fmt__count(t->nrows - i).s);
		sink__str(&s, " more; --top N shows them");
		line__end(&s, refresh);
	}
	if (refresh)
		sink__raw(&s, "\033[J", 3, 0);
	else
		sink__char(&s, '\n');
	return sink__finish_flush(&s);
}
