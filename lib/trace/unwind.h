/* SPDX-License-Identifier: MIT */
/*
 * Unwind tables (unwind_row.h) from the .eh_frame of an x86-64 program or library.
 *
 * The input is not trusted: nothing is read beyond it, and the work is bounded by its size.
 * Nothing is allocated, nothing printed and no lock taken, so that a process can make
 * tables of its own modules wherever it stands:
 *
 *	n = unwind__functions(&source, NULL, 0);	how many
 *	unwind__functions(&source, functions, n);	into the caller's memory, sorted
 *	m = unwind__rows(&source, functions, n, NULL, 0);
 *	unwind__rows(&source, functions, n, rows, m);
 */
#ifndef MEMTRACE_UNWIND_H
#define MEMTRACE_UNWIND_H

#include <stddef.h>
#include <stdint.h>

#include "lib/trace/unwind_row.h"

/* A part of the file that is loaded as code: addresses are the file's own. */
struct unwind_segment {
	uint64_t addr, offset, bytes;
};

struct unwind_source {
	const unsigned char *frame; /* .eh_frame; may reach beyond its end, which a zero length marks */
	size_t bytes;
	uint64_t addr; /* of its first byte */
	const struct unwind_segment *segments;
	size_t nsegments;
};

/* A function, or a part of one, as .eh_frame describes it. */
struct unwind_function {
	uint32_t begin, end; /* offsets in the file */
	uint32_t entry; /* of its description in .eh_frame */
};

/*
 * The functions, sorted by `begin`. Returns how many there are, or -EBADMSG for a section that is
 * none, -EFBIG for one that is too large; at most `room` are written.
 */
long unwind__functions(const struct unwind_source *s, struct unwind_function *out, size_t room);

/*
 * The table. A description that makes no sense gives UNWIND_UNKNOWN for its function. Returns how
 * many rows there are, or -EFBIG when the work is out of proportion to the input; at most
 * `room` are written. out NULL: count only.
 */
long unwind__rows(const struct unwind_source *s, const struct unwind_function *functions, size_t n,
		  struct unwind_row *out, size_t room);

/* The rule at an offset in the file; UNWIND_NOTHING when no row is at or before it. */
uint32_t unwind__find(const struct unwind_row *rows, size_t n, uint32_t at);

/*
 * The same rule, straight from the description at offset `entry` of .eh_frame: for who finds that
 * by the table in .eh_frame_hdr and keeps no rows. UNWIND_NOTHING when it does not cover `at`.
 */
uint32_t unwind__rule(const struct unwind_source *s, uint64_t entry, uint32_t at);

#endif /* MEMTRACE_UNWIND_H */
