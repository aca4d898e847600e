/* SPDX-License-Identifier: MIT */
/* What the parts of the text report share. */
#ifndef MEMTRACE_VIEW_TEXT_H
#define MEMTRACE_VIEW_TEXT_H

#include "user/view/sink.h"
#include "user/view/view.h"

#define TEXT_BAD "1;31"
#define TEXT_HEADING "1"
#define TEXT_FAINT "2"

/* A section's title, at the beginning of a line, after an empty one. */
void text__heading(struct sink *s, const char *title);
/* Untrusted words from the current column on, broken at `width` (0: never) and
 * continued at column `indent`; ends the line. */
void text__wrap(struct sink *s, const char *words, unsigned indent, unsigned width);
/* An indented line of words, wrapped. */
void text__item(struct sink *s, const char *words, unsigned width);
/* "n more THINGS; --top N shows them". */
void text__cut(struct sink *s, size_t n, const char *one, const char *many);
/* a + b, UNKNOWN when either is. */
uint64_t text__add(uint64_t a, uint64_t b);

void text__mapped(struct sink *s, const struct report *r, const struct view_opts *o);
void text__faults(struct sink *s, const struct report *r, const struct view_opts *o);
void text__places(struct sink *s, const struct report *r, const struct view_opts *o);
void text__regions(struct sink *s, const struct report *r);
/* What the allocator was asked for, and the places by what they hold and cost; nothing without a
 * heap plane. */
void text__heap(struct sink *s, const struct report *r, const struct view_opts *o);
/* What the figures suggest to do. */
void text__advice(struct sink *s, const struct report *r, const struct view_opts *o);
/* "  1.  45.2%  ", and a place's frames. */
void text__rank(struct sink *s, size_t rank, uint64_t part, uint64_t whole);
void text__stack(struct sink *s, const struct site *site, const struct view_opts *o);
/* Returns 0 or -ENOMEM. */
int text__processes(struct sink *s, const struct report *r, const struct view_opts *o);
/* How a process ended: "running", "exit 3", "SIGSEGV", "ended"; `full` in words. */
void text__end(struct sink *s, const struct process_report *p, bool full);

#endif /* MEMTRACE_VIEW_TEXT_H */
