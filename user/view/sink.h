/* SPDX-License-Identifier: MIT */
/*
 * Where views write: a buffer in front of a FILE, so that a line costs one
 * stdio call, with the column kept for layout and the first error for the end.
 *
 * Names from targets (comm, paths, symbols) are untrusted: they go out through
 * sink__safe or sink__clip only, which let no control character, no invalid
 * UTF-8 and nothing that reorders text reach a terminal; such bytes become
 * backslash escapes as strace writes them.
 */
#ifndef MEMTRACE_VIEW_SINK_H
#define MEMTRACE_VIEW_SINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define SINK_BYTES 8192

struct sink {
	FILE *out;
	int err; /* the first failure, -errno */
	bool color;
	unsigned col; /* display columns since the line's beginning */
	size_t len;
	char buf[SINK_BYTES];
};

void sink__init(struct sink *s, FILE *out, bool color);
/* Hand everything to the FILE. Returns 0 or the first error (-errno). */
int sink__finish(struct sink *s);
/* The same, and fflush. */
int sink__finish_flush(struct sink *s);

/* Trusted printable ASCII; a '\n' may be its last character only. */
void sink__put(struct sink *s, const char *text, size_t n);
void sink__str(struct sink *s, const char *text);
void sink__char(struct sink *s, char c);
void sink__dec(struct sink *s, uint64_t n);
void sink__hex(struct sink *s, uint64_t n); /* 0x1f; 0 is "0x0" */
void sink__pad(struct sink *s, unsigned col); /* spaces up to column col */
void sink__right(struct sink *s, const char *text, unsigned width); /* right-aligned ASCII */
void sink__printf(struct sink *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Bytes that take `cols` columns: a glyph, or an escape sequence of 0 columns. */
void sink__raw(struct sink *s, const char *bytes, size_t n, unsigned cols);
/* A terminal attribute such as "1;31", or "" to end it; nothing when colour is off. */
void sink__sgr(struct sink *s, const char *attribute);

/* Untrusted text; `also` lists further ASCII characters to escape, or NULL. */
void sink__safe(struct sink *s, const char *text, const char *also);
/* At most `max` bytes of text, which need not end with a NUL. */
void sink__safe_n(struct sink *s, const char *text, size_t max, const char *also);
/* Untrusted text in at most `cols` columns, its end cut off with an ellipsis. */
void sink__clip(struct sink *s, const char *text, unsigned cols);
/* Columns that sink__safe(text, NULL) takes. */
unsigned safe__columns(const char *text);

/* Length of the valid UTF-8 character at p (NUL-terminated), its code in *code;
 * 0 when the byte at p begins none. */
unsigned utf8__decode(const char *p, uint32_t *code);
/* Whether a character acts on a terminal or on the order of text instead of being seen. */
bool utf8__is_control(uint32_t code);

#endif /* MEMTRACE_VIEW_SINK_H */
