/* SPDX-License-Identifier: MIT */
/*
 * Views: they print what the model knows and change nothing.
 *
 * Every function returns 0, or a negative errno when writing failed (checked
 * also by fflush); -EPIPE is an ordinary end. No view writes to anything but
 * the FILE it is given. The stream's functions do not flush, a line being too
 * little: who calls them does, when nothing is waiting.
 */
#ifndef MEMTRACE_VIEW_H
#define MEMTRACE_VIEW_H

#include <stdio.h>

#include "user/model/report.h"

struct view_opts {
	size_t top; /* rows in a table of places */
	size_t json_sites; /* of JSON, the first of each order of places; 0: all */
	bool color; /* the output is a terminal */
	unsigned width; /* columns; 0: not limited */
	bool verbose;
};

int view__text(FILE *out, const struct report *r, const struct view_opts *o);
int view__json(FILE *out, const struct report *r, const struct view_opts *o);

/* One row of the live tables (-i and -a): rates over the last interval. */
struct table_row {
	pid_t pid;
	char comm[17];
	double faults_per_s, major_per_s, calls_per_s; /* below 0: not known */
	double mapped_per_s, unmapped_per_s; /* bytes; below 0: not known */
	int64_t break_change; /* bytes since the start; INT64_MIN: not known */
	int64_t rss_change; /* bytes since the start; INT64_MIN: not known */
	uint64_t rss_bytes; /* UNKNOWN possible */
	uint64_t faults, calls; /* since the start; UNKNOWN possible */
	uint64_t live_bytes; /* of the heap; UNKNOWN: no heap plane */
	double alloc_per_s; /* bytes; below 0: not known */
};
struct table {
	double elapsed_s, interval_s;
	const struct table_row *rows; /* sorted, most faults per second first */
	size_t nrows;
	struct table_row total;
	uint64_t lost;
	uint64_t sample_bytes; /* the heap's figures are estimates; 0: they are exact */
	struct heap_stats heap; /* of all, where it is sampled */
};
/* refresh: clear the terminal's screen first, as top does. */
int view__table(FILE *out, const struct table *t, const struct view_opts *o, bool refresh);

/*
 * The stream (-s): one line an event, as strace would print it. `where` is the
 * mapping's description for a fault ("[heap]", "[stack]", "/usr/lib/x.so+0x1000",
 * "anonymous", "unmapped"), `place` the innermost named place or NULL.
 */
struct stream_opts {
	uint64_t start_ns; /* times are printed relative to this */
	bool color;
	bool inside; /* the event is part of the allocator call above it: indented */
};
int view__stream_call(FILE *out, const struct rec_call *c, const char *comm, const char *fd_path,
		      const char *place, const struct stream_opts *o);
int view__stream_fault(FILE *out, const struct rec_fault *f, const char *comm, const char *where,
		       const char *place, const struct stream_opts *o);
/* An allocator call. Its kernel events follow it, indented, though they came before. */
int view__stream_heap(FILE *out, const struct rec_heap *r, const char *comm, const char *place,
		      const struct stream_opts *o);
int view__stream_fork(FILE *out, const struct rec_fork *f, const char *comm,
		      const struct stream_opts *o);
int view__stream_exec(FILE *out, const struct rec_exec *e, const char *exe,
		      const struct stream_opts *o);
int view__stream_exit(FILE *out, const struct rec_exit *e, const char *comm,
		      const struct stream_opts *o);
/* `count` records of a kind were lost before this line. */
int view__stream_lost(FILE *out, const char *kind, uint64_t count, const struct stream_opts *o);

#endif /* MEMTRACE_VIEW_H */
