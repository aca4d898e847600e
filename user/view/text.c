/* SPDX-License-Identifier: MIT */
/*
 * The report for people: the headline and what was lost first, then the calls,
 * the mapped total, the faults, and the places they come from; tables of
 * regions and processes and the remarks last.
 */
#include "user/view/text.h"

#include <string.h>

#include "user/view/format.h"

#define COMM_COLUMNS 32 /* more than a comm has, unless it is all escapes */

void text__heading(struct sink *s, const char *title)
{
	sink__char(s, '\n');
	sink__sgr(s, TEXT_HEADING);
	sink__str(s, title);
	sink__sgr(s, "");
}

void text__wrap(struct sink *s, const char *words, unsigned indent, unsigned width)
{
	char word[256];
	bool first = true;
	unsigned cols;
	size_t n;

	if (width == 0) {
		sink__safe(s, words, NULL);
		sink__char(s, '\n');
		return;
	}
	for (words += strspn(words, " "); *words; words += strspn(words, " ")) {
		n = strcspn(words, " ");
		if (n >= sizeof(word))
			n = sizeof(word) - 1;
		memcpy(word, words, n);
		word[n] = '\0';
		words += n;
		cols = safe__columns(word);
		if (!first && s->col + 1 + cols > width) {
			sink__char(s, '\n');
			sink__pad(s, indent);
		} else if (!first) {
			sink__char(s, ' ');
		}
		sink__safe(s, word, NULL);
		first = false;
	}
	sink__char(s, '\n');
}

void text__item(struct sink *s, const char *words, unsigned width)
{
	sink__str(s, "  ");
	text__wrap(s, words, 4, width);
}

void text__cut(struct sink *s, size_t n, const char *one, const char *many)
{
	sink__str(s, "  ");
	sink__str(s, fmt__count(n).s);
	sink__str(s, " more ");
	sink__str(s, n == 1 ? one : many);
	sink__str(s, n == 1 ? "; --top N shows it\n" : "; --top N shows them\n");
}

uint64_t text__add(uint64_t a, uint64_t b)
{
	return a == UNKNOWN || b == UNKNOWN ? UNKNOWN : a + b;
}

static uint64_t total_calls(const struct report *r)
{
	uint64_t calls = 0;
	unsigned i;

	for (i = 0; i < VMCALLS; i++)
		calls = text__add(calls, r->call[i].calls);
	return calls;
}

static bool is_empty(const struct report *r)
{
	return total_calls(r) == 0 && text__add(r->faults.minor, r->faults.major) == 0;
}

static void put_what(struct sink *s, const struct report *r, const struct view_opts *o)
{
	sink__sgr(s, TEXT_HEADING);
	sink__str(s, "memtrace ");
	sink__safe(s, r->version ? r->version : "", NULL);
	sink__sgr(s, "");
	sink__str(s, "  ");
	if (o->width > s->col)
		sink__clip(s, r->how ? r->how : "", o->width - s->col);
	else
		sink__safe(s, r->how ? r->how : "", NULL);
	sink__char(s, '\n');
	sink__str(s, fmt__duration(r->duration_ns).s);
	sink__str(s, ", ");
	sink__str(s, fmt__count(r->nprocesses).s);
	sink__str(s, r->nprocesses == 1 ? " process" : " processes");
	if (r->nprocesses == 1) {
		const struct process_report *p = &r->processes[0];

		sink__str(s, ": ");
		sink__clip(s, p->comm ? p->comm : "?", COMM_COLUMNS);
		sink__printf(s, " (%d), ", (int)p->pid);
		text__end(s, p, true);
	}
	sink__char(s, '\n');
}

/* Which kinds were lost, and how many of each. */
static void describe_loss(const struct report *r, char *text, size_t size)
{
	const char *separator = " (";
	size_t at = strlen(text);
	unsigned i;

	for (i = 0; i < REC_KINDS && at < size; i++) {
		if (!r->events[i].lost || r->events[i].lost == UNKNOWN)
			continue;
		at += (size_t)snprintf(text + at, size - at, "%s%s %s", separator,
				       rec_kind_name[i] ? rec_kind_name[i] : "?",
				       fmt__count(r->events[i].lost).s);
		separator = ", ";
	}
	if (separator[0] == ',' && at < size)
		snprintf(text + at, size - at, ")");
}

static void put_events(struct sink *s, const struct report *r, const struct view_opts *o)
{
	char text[1024];

	if (r->lost == 0) {
		sink__str(s, fmt__count(r->seen).s);
		sink__str(s, r->seen == 1 ? " event seen, delivered\n" :
					    " events seen, all delivered\n");
		return;
	}
	snprintf(text, sizeof(text), "LOST %s of %s events", fmt__count(r->lost).s,
		 fmt__count(r->seen).s);
	describe_loss(r, text, sizeof(text));
	strncat(text, ": every figure below leaves them out", sizeof(text) - strlen(text) - 1);
	sink__sgr(s, TEXT_BAD);
	text__wrap(s, text, 0, o->width);
	sink__sgr(s, "");
}

enum {
	CALLS_NAME = 10,
	CALLS_CALLS = 13,
	CALLS_FAILED = 10,
	CALLS_BYTES = 12,
	CALLS_TIME = 13,
	CALLS_MEAN = 12,
	CALLS_POPULATED = 10
};

static void put_call_row(struct sink *s, const char *name, const struct call_stats *c, bool populated)
{
	sink__str(s, "  ");
	sink__str(s, name);
	sink__pad(s, CALLS_NAME);
	sink__right(s, fmt__count_fit(c->calls, CALLS_CALLS - 1).s, CALLS_CALLS);
	if (c->failed)
		sink__sgr(s, TEXT_BAD);
	sink__right(s, fmt__count_fit(c->failed, CALLS_FAILED - 1).s, CALLS_FAILED);
	if (c->failed)
		sink__sgr(s, "");
	sink__right(s, fmt__bytes(c->bytes).s, CALLS_BYTES);
	sink__right(s, fmt__duration(c->time_ns).s, CALLS_TIME);
	sink__right(s, fmt__mean(c->time_ns, c->calls).s, CALLS_MEAN);
	if (populated)
		sink__right(s, fmt__count_fit(c->populated, CALLS_POPULATED - 1).s, CALLS_POPULATED);
	sink__char(s, '\n');
}

/* "  the break grew by 1.5 MiB and shrank by 0 B" */
static void put_growth(struct sink *s, const char *what, const struct call_stats *c)
{
	sink__str(s, "  ");
	sink__str(s, what);
	sink__str(s, " grew by ");
	sink__str(s, fmt__bytes(c->grown_bytes).s);
	sink__str(s, " and shrank by ");
	sink__str(s, fmt__bytes(c->shrunk_bytes).s);
	sink__char(s, '\n');
}

static void put_calls(struct sink *s, const struct report *r)
{
	struct call_stats sum = {.bytes = UNKNOWN};
	bool populated = false;
	unsigned i;

	for (i = 0; i < VMCALLS; i++) {
		sum.calls = text__add(sum.calls, r->call[i].calls);
		sum.failed = text__add(sum.failed, r->call[i].failed);
		sum.time_ns = text__add(sum.time_ns, r->call[i].time_ns);
		sum.populated = text__add(sum.populated, r->call[i].populated);
		populated |= r->call[i].populated != 0;
	}
	text__heading(s, "Calls");
	sink__pad(s, CALLS_NAME);
	sink__right(s, "calls", CALLS_CALLS);
	sink__right(s, "failed", CALLS_FAILED);
	sink__right(s, "bytes", CALLS_BYTES);
	sink__right(s, "time", CALLS_TIME);
	sink__right(s, "mean", CALLS_MEAN);
	if (populated)
		sink__right(s, "populated", CALLS_POPULATED);
	sink__char(s, '\n');
	for (i = 0; i < VMCALLS; i++)
		put_call_row(s, vmcall_name[i], &r->call[i], populated);
	put_call_row(s, "all", &sum, populated);
	put_growth(s, "the break", &r->call[CALL_BRK]);
	if (r->call[CALL_MREMAP].calls)
		put_growth(s, "remapped blocks", &r->call[CALL_MREMAP]);
}

/* What memtrace did itself, in one line: the figures above and below are the program's. */
static void put_agent(struct sink *s, const struct report *r, const struct view_opts *o)
{
	const struct agent_stats *a = &r->agent;
	uint64_t calls = 0;
	char text[256];
	unsigned i;

	if (!r->has_agent)
		return;
	for (i = 0; i < VMCALLS; i++)
		calls += a->call[i].calls;
	snprintf(text, sizeof(text),
		 "beside that, memtrace's agent: %s calls, %s mapped, %s faults, %s resident",
		 fmt__count(calls).s, fmt__bytes(a->mapped_bytes).s,
		 fmt__count(a->faults.minor + a->faults.major).s, fmt__bytes(a->resident_bytes).s);
	text__item(s, text, o->width);
}

static void put_notes(struct sink *s, const struct report *r, const struct view_opts *o)
{
	size_t i;

	if (r->nnotes == 0)
		return;
	text__heading(s, "Notes");
	sink__char(s, '\n');
	for (i = 0; i < r->nnotes; i++) {
		sink__str(s, "  - ");
		text__wrap(s, r->notes[i], 4, o->width);
	}
}

static void put_nothing(struct sink *s, const struct report *r)
{
	sink__sgr(s, TEXT_BAD);
	sink__str(s, r->lost ? "no system call and no page fault was delivered" :
			       "no system call and no page fault was seen");
	sink__sgr(s, "");
	sink__char(s, '\n');
}

static void put_without_kernel(struct sink *s, const struct report *r, const struct view_opts *o)
{
	char text[1024];

	snprintf(text, sizeof(text), "system calls and page faults: not known: %s",
		 r->without_kernel);
	sink__sgr(s, TEXT_BAD);
	text__wrap(s, text, 0, o->width);
	sink__sgr(s, "");
}

int view__text(FILE *out, const struct report *r, const struct view_opts *o)
{
	bool empty = is_empty(r);
	struct sink s;
	int failure, err = 0;

	sink__init(&s, out, o->color);
	put_what(&s, r, o);
	put_events(&s, r, o);
	if (r->without_kernel) {
		put_without_kernel(&s, r, o);
	} else if (empty) {
		put_nothing(&s, r);
		put_notes(&s, r, o);
	} else {
		put_calls(&s, r);
	}
	put_agent(&s, r, o);
	text__heap(&s, r, o);
	text__mapped(&s, r, o);
	if (!r->without_kernel)
		text__faults(&s, r, o);
	text__places(&s, r, o);
	text__regions(&s, r);
	if (r->nprocesses > 1)
		err = text__processes(&s, r, o);
	text__advice(&s, r, o);
	if (!empty)
		put_notes(&s, r, o);
	failure = sink__finish_flush(&s);
	return failure ? failure : err;
}
