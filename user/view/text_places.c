/* SPDX-License-Identifier: MIT */
/* The text report's places: the stacks that cost most, by page faults and by bytes mapped. */
#include <string.h>

#include "user/view/format.h"
#include "user/view/text.h"

#define FRAMES_SHOWN 8 /* of a stack, unless verbose */
#define FRAME_INDENT 9
#define NAME_LEAST 20 /* columns of a function's name before its location is cut instead */
#define NOTE_INLINED " [inlined]"

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash && slash[1] ? slash + 1 : path;
}

static void describe_offset(const struct frame *f, bool verbose, char *text, size_t size)
{
	unsigned long long offset = f->offset;

	if (f->module)
		snprintf(text, size, "%s+0x%llx", verbose ? f->module : base_name(f->module), offset);
	else
		snprintf(text, size, "0x%llx", offset);
}

/* Where in the source, else where in the module; "" when nothing beyond the name is known. */
static void describe_location(const struct frame *f, bool verbose, char *text, size_t size)
{
	const char *file = f->file && !verbose ? base_name(f->file) : f->file;

	text[0] = '\0';
	if (file && f->line)
		snprintf(text, size, "%s:%u", file, f->line);
	else if (file)
		snprintf(text, size, "%s", file);
	else if (f->symbol && f->module)
		describe_offset(f, verbose, text, size);
}

/* function (file:line), at most `room` columns (0: not limited); the name gives way first. */
static void put_frame(struct sink *s, const struct frame *f, unsigned room, bool verbose)
{
	unsigned extra = f->inlined ? strlen(NOTE_INLINED) : 0, cols;
	char location[512], offset[512];
	const char *name = f->symbol;

	if (!name) {
		describe_offset(f, verbose, offset, sizeof(offset));
		name = offset;
	}
	describe_location(f, verbose, location, sizeof(location));
	cols = safe__columns(location);
	if (location[0])
		extra += 3;
	if (room && safe__columns(name) + cols + extra > room) {
		unsigned least = safe__columns(name) < NAME_LEAST ? safe__columns(name) : NAME_LEAST;

		if (cols + extra + least > room)
			cols = room > extra + least + 1 ? room - extra - least : 1;
		sink__clip(s, name, room > cols + extra ? room - cols - extra : 1);
	} else {
		sink__safe(s, name, NULL);
	}
	if (location[0]) {
		sink__sgr(s, TEXT_FAINT);
		sink__str(s, " (");
		sink__clip(s, location, cols);
		sink__char(s, ')');
		sink__sgr(s, "");
	}
	if (f->inlined)
		sink__str(s, NOTE_INLINED);
	sink__char(s, '\n');
}

void text__stack(struct sink *s, const struct site *site, const struct view_opts *o)
{
	size_t shown = site->nframes, i;
	unsigned room = 0;

	/* One frame more costs no more than the line that would announce it. */
	if (!o->verbose && shown > FRAMES_SHOWN + 1)
		shown = FRAMES_SHOWN;
	if (o->width)
		room = o->width > FRAME_INDENT ? o->width - FRAME_INDENT : 1;
	for (i = 0; i < shown; i++) {
		sink__pad(s, FRAME_INDENT);
		put_frame(s, &site->frames[i], room, o->verbose);
	}
	if (site->nframes == 0) {
		sink__pad(s, FRAME_INDENT);
		sink__str(s, "(no stack could be had)\n");
	} else if (shown < site->nframes) {
		sink__pad(s, FRAME_INDENT);
		sink__str(s, "... ");
		sink__str(s, fmt__count(site->nframes - shown).s);
		sink__str(s, " more frames; -v shows them\n");
	} else if (site->truncated) {
		sink__pad(s, FRAME_INDENT);
		sink__str(s, "(goes on, but could not be followed)\n");
	}
}

void text__rank(struct sink *s, size_t rank, uint64_t part, uint64_t whole)
{
	sink__sgr(s, TEXT_HEADING);
	sink__printf(s, "%4zu. ", rank);
	sink__right(s, fmt__percent(part, whole).s, 6);
	sink__sgr(s, "");
	sink__str(s, "  ");
}

static void put_fault_site(struct sink *s, const struct site *site, const struct view_opts *o)
{
	char text[200], cow[64] = "";

	if (site->faults.cow)
		snprintf(cow, sizeof(cow), " %s copy-on-write,", fmt__count(site->faults.cow).s);
	snprintf(text, sizeof(text), "%s minor, %s major,%s %s", fmt__count(site->faults.minor).s,
		 fmt__count(site->faults.major).s, cow, fmt__duration(site->faults.time_ns).s);
	text__wrap(s, text, s->col, o->width);
}

static void put_byte_site(struct sink *s, const struct site *site, const struct view_opts *o)
{
	char text[400];
	size_t at;
	unsigned i;

	at = (size_t)snprintf(text, sizeof(text),
			      "%s mapped, %s unmapped:", fmt__bytes(site->mapped_bytes).s,
			      fmt__bytes(site->unmapped_bytes).s);
	for (i = 0; i < VMCALLS; i++)
		if (site->calls[i])
			at += (size_t)snprintf(text + at, sizeof(text) - at, " %s %s,",
					       vmcall_name[i], fmt__count(site->calls[i]).s);
	snprintf(text + at, sizeof(text) - at, " %s", fmt__duration(site->call_ns).s);
	text__wrap(s, text, s->col, o->width);
}

static void put_stack_quality(struct sink *s, const struct report *r, const struct view_opts *o)
{
	char text[256];

	int n;

	if (!r->stacks_failed && !r->stacks_taken)
		return;
	n = snprintf(text, sizeof(text),
		     "of %s stacks taken %s (%s) could not be followed to their end, of %s "
		     "distinct ones %s",
		     fmt__count(r->stacks_taken).s, fmt__count(r->stacks_taken_truncated).s,
		     fmt__percent(r->stacks_taken_truncated, r->stacks_taken).s,
		     fmt__count(r->stacks).s, fmt__count(r->stacks_truncated).s);
	if (r->stacks_failed)
		snprintf(text + n, sizeof(text) - n, "; %s times no stack could be had",
			 fmt__count(r->stacks_failed).s);
	text__item(s, text, o->width);
}

static void put_by_faults(struct sink *s, const struct report *r, const struct view_opts *o)
{
	uint64_t whole = text__add(r->faults.minor, r->faults.major);
	size_t i;

	if (r->nby_faults == 0)
		return;
	text__heading(s, "Top places by page faults");
	sink__char(s, '\n');
	for (i = 0; i < r->nby_faults && i < o->top; i++) {
		const struct site *site = r->by_faults[i];

		text__rank(s, i + 1, text__add(site->faults.minor, site->faults.major), whole);
		put_fault_site(s, site, o);
		text__stack(s, site, o);
	}
	if (i < r->nby_faults)
		text__cut(s, r->nby_faults - i, "place", "places");
}

static void put_by_bytes(struct sink *s, const struct report *r, const struct view_opts *o)
{
	uint64_t whole = 0;
	size_t i;

	if (r->nby_bytes == 0)
		return;
	for (i = 0; i < r->nby_bytes; i++)
		whole = text__add(whole, r->by_bytes[i]->mapped_bytes);
	text__heading(s, "Top places by bytes mapped");
	sink__char(s, '\n');
	for (i = 0; i < r->nby_bytes && i < o->top; i++) {
		text__rank(s, i + 1, r->by_bytes[i]->mapped_bytes, whole);
		put_byte_site(s, r->by_bytes[i], o);
		text__stack(s, r->by_bytes[i], o);
	}
	if (i < r->nby_bytes)
		text__cut(s, r->nby_bytes - i, "place", "places");
}

void text__places(struct sink *s, const struct report *r, const struct view_opts *o)
{
	put_by_faults(s, r, o);
	put_by_bytes(s, r, o);
	if (r->nby_faults || r->nby_bytes || r->nby_requested)
		put_stack_quality(s, r, o);
}
