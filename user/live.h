/* SPDX-License-Identifier: MIT */
/* What is shown while a run goes on: the stream and the live table. */
#ifndef MEMTRACE_LIVE_H
#define MEMTRACE_LIVE_H

#include "user/session_internal.h"

/* A record's line: before it is applied to the model (what it happens to) or after (what it makes). */
int live__stream_before(struct session *s, const struct rec *r);
int live__stream_after(struct session *s, const struct rec *r);

/* Records of calls that freed are lost: what lives may have been freed. */
void live__note_gaps(struct session *s, const struct event_counts *counts);

int live__table(struct session *s);
void live__free(struct session *s);

/* How wide and high the terminal behind f is; 0 when it is none. */
void live__terminal(FILE *f, unsigned *width, unsigned *height);

/* Sort rows, most faults per second first, and sum them up. */
void live__sort(struct table_row *rows, size_t n, struct table_row *total);

#endif /* MEMTRACE_LIVE_H */
