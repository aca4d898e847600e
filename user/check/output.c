// SPDX-License-Identifier: MIT
#include "user/check/output.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "user/view/format.h"
#include "user/view/json.h"
#include "user/view/sink.h"

static const char *const kind_name[] = {"held", "broken", "not exercised"};

enum verdict_kind verdict__kind(const struct verdict *v)
{
	return v->broken ? VERDICT_BROKEN : v->exercised ? VERDICT_HELD : VERDICT_NOT_EXERCISED;
}

static bool verdict__failed(const struct verdict *v, bool strict)
{
	return v->broken || (strict && !v->exercised);
}

bool check_result__held(const struct check_result *r)
{
	size_t i;

	for (i = 0; i < r->nverdicts; i++)
		if (verdict__failed(&r->verdicts[i], r->strict))
			return false;
	return true;
}

/* Call put for each line of a text. */
static void each_line(const char *text, void (*put)(void *ctx, const char *line, size_t length),
		      void *ctx)
{
	const char *end;

	for (; *text; text = *end ? end + 1 : end) {
		end = strchrnul(text, '\n');
		put(ctx, text, (size_t)(end - text));
	}
}

struct indented {
	struct sink *sink;
	const char *indent;
};

/* Lines were made safe when they were printed: to do it again would escape the escapes. */
static void put_indented(void *ctx, const char *line, size_t length)
{
	struct indented *in = ctx;

	sink__str(in->sink, in->indent);
	sink__raw(in->sink, line, length, 0);
	sink__char(in->sink, '\n');
}

static void put_lines(struct sink *s, const char *text, const char *indent)
{
	struct indented in = {s, indent};

	each_line(text, put_indented, &in);
}

/* ---- text ---- */

static void put_example(struct sink *s, const struct example *e, unsigned number)
{
	sink__printf(s, "  %u. process %d (", number, e->pid);
	sink__safe(s, e->comm, NULL);
	sink__str(s, ")\n");
	put_lines(s, e->why, "       ");
	put_lines(s, e->events, "     | ");
	put_lines(s, e->stack, "         at ");
}

static void put_verdict(struct sink *s, const struct verdict *v)
{
	static const char *const color[] = {"32", "1;31", "33"};
	static const char *const label[] = {"held", "BROKEN", "not exercised"};
	enum verdict_kind kind = verdict__kind(v);
	unsigned i;

	sink__sgr(s, color[kind]);
	sink__str(s, label[kind]);
	sink__sgr(s, "");
	sink__pad(s, 15);
	sink__str(s, v->rule->name);
	if (v->broken) {
		sink__str(s, ", ");
		sink__str(s, fmt__count(v->broken).s);
		sink__str(s, " of ");
		sink__str(s, fmt__count(v->exercised).s);
	} else if (v->exercised) {
		sink__str(s, ", ");
		sink__str(s, fmt__count(v->exercised).s);
		sink__str(s, v->exercised == 1 ? " time" : " times");
	}
	if (v->undecided) {
		sink__str(s, ", ");
		sink__str(s, fmt__count(v->undecided).s);
		sink__str(s, " undecided");
	}
	sink__char(s, '\n');
	if (!v->broken)
		return;
	sink__str(s, "  ");
	sink__safe(s, v->rule->file, NULL);
	sink__printf(s, ":%u: ", v->rule->line);
	sink__str(s, v->rule->text);
	sink__char(s, '\n');
	for (i = 0; i < v->nexamples; i++)
		put_example(s, &v->examples[i], i + 1);
	if (v->broken > v->nexamples && v->nexamples) {
		sink__str(s, "  ... and ");
		sink__str(s, fmt__count(v->broken - v->nexamples).s);
		sink__str(s, " more\n");
	}
}

int check_result__text(FILE *out, const struct check_result *r, bool color)
{
	size_t n[3] = {0}, i;
	struct sink s;

	sink__init(&s, out, color);
	for (i = 0; i < r->nverdicts; i++) {
		n[verdict__kind(&r->verdicts[i])]++;
		put_verdict(&s, &r->verdicts[i]);
	}
	sink__printf(&s, "%zu held, %zu broken, %zu not exercised; ", n[0], n[1], n[2]);
	sink__str(&s, fmt__count(r->summary.calls).s);
	sink__str(&s, " allocator calls, ");
	sink__str(&s, fmt__count(r->summary.events).s);
	sink__str(&s, " kernel events, ");
	sink__str(&s, fmt__count(r->summary.processes).s);
	sink__str(&s, r->summary.processes == 1 ? " process\n" : " processes\n");
	if (r->summary.unseen)
		sink__printf(&s,
			     "of %llu the first calls were not seen: rules on processes do not "
			     "judge them\n",
			     (unsigned long long)r->summary.unseen);
	if (r->incomplete) {
		sink__sgr(&s, "1;31");
		sink__str(&s, "NO VERDICT: ");
		sink__str(&s, r->incomplete);
		sink__sgr(&s, "");
		sink__char(&s, '\n');
	}
	return sink__finish_flush(&s);
}

/* ---- JSON ---- */

static void put_json_line(void *ctx, const char *line, size_t length)
{
	char *copy = strndup(line, length);

	json__string(ctx, NULL, copy);
	free(copy);
}

static void put_json_lines(struct json *j, const char *key, const char *text)
{
	json__open(j, key, '[');
	each_line(text, put_json_line, j);
	json__close(j, ']');
}

static void put_json_verdict(struct json *j, const struct verdict *v)
{
	unsigned i;

	json__open(j, NULL, '{');
	json__string(j, "name", v->rule->name);
	json__string(j, "file", v->rule->file);
	json__u64(j, "line", v->rule->line);
	json__string(j, "text", v->rule->text);
	json__string(j, "verdict", kind_name[verdict__kind(v)]);
	json__u64(j, "exercised", v->exercised);
	json__u64(j, "broken", v->broken);
	json__u64(j, "undecided", v->undecided);
	json__open(j, "examples", '[');
	for (i = 0; i < v->nexamples; i++) {
		const struct example *e = &v->examples[i];

		json__open(j, NULL, '{');
		json__u64(j, "pid", (uint64_t)e->pid);
		json__string(j, "comm", e->comm);
		put_json_lines(j, "why", e->why);
		put_json_lines(j, "events", e->events);
		put_json_lines(j, "stack", e->stack);
		json__close(j, '}');
	}
	json__close(j, ']');
	json__close(j, '}');
}

int check_result__json(FILE *out, const struct check_result *r)
{
	struct json j = {.depth = 1, .first = true};
	size_t i;

	sink__init(&j.s, out, false);
	sink__char(&j.s, '{');
	json__string(&j, "schema", "memtrace.check/1");
	json__string(&j, "version", r->version);
	json__string(&j, "contract", r->contract);
	json__string(&j, "run", r->how);
	json__string(&j, "result",
		     r->incomplete	   ? "no verdict" :
		     check_result__held(r) ? "held" :
					     "broken");
	json__string(&j, "incomplete", r->incomplete);
	json__bool(&j, "strict", r->strict);
	json__u64(&j, "duration_ns", r->duration_ns);
	json__u64(&j, "calls", r->summary.calls);
	json__u64(&j, "processes", r->summary.processes);
	json__u64(&j, "processes_unseen", r->summary.unseen);
	JSON_NUMBERS(&j, "events", {"looked_at", r->summary.events}, {"seen", r->seen},
		     {"delivered", r->delivered}, {"lost", r->lost});
	json__open(&j, "rules", '[');
	for (i = 0; i < r->nverdicts; i++)
		put_json_verdict(&j, &r->verdicts[i]);
	json__close(&j, ']');
	json__close(&j, '}');
	sink__char(&j.s, '\n');
	return sink__finish_flush(&j.s);
}

/* ---- TAP ---- */

int check_result__tap(FILE *out, const struct check_result *r)
{
	struct sink s;
	unsigned k;
	size_t i;

	sink__init(&s, out, false);
	sink__printf(&s, "TAP version 13\n1..%zu\n", r->nverdicts);
	for (i = 0; i < r->nverdicts; i++) {
		const struct verdict *v = &r->verdicts[i];

		sink__printf(&s, "%sok %zu - ", verdict__failed(v, r->strict) ? "not " : "", i + 1);
		sink__str(&s, v->rule->name);
		if (verdict__kind(v) == VERDICT_NOT_EXERCISED)
			sink__str(&s, r->strict ? " (not exercised)" : " # SKIP not exercised");
		sink__char(&s, '\n');
		if (!v->broken)
			continue;
		sink__str(&s, "  # ");
		sink__safe(&s, v->rule->file, NULL);
		sink__printf(&s, ":%u: ", v->rule->line);
		sink__str(&s, v->rule->text);
		sink__char(&s, '\n');
		for (k = 0; k < v->nexamples; k++) {
			const struct example *e = &v->examples[k];

			sink__printf(&s, "  # %u. process %d\n", k + 1, e->pid);
			put_lines(&s, e->why, "  #    ");
			put_lines(&s, e->events, "  #    ");
			put_lines(&s, e->stack, "  #      at ");
		}
	}
	if (r->incomplete) {
		sink__str(&s, "Bail out! ");
		sink__str(&s, r->incomplete);
		sink__char(&s, '\n');
	}
	return sink__finish_flush(&s);
}

/* ---- JUnit ---- */

/* Text that is safe for a terminal already, made safe for XML. */
static void put_xml(FILE *out, const char *text)
{
	char *safe = NULL;
	size_t size, i;
	FILE *f = open_memstream(&safe, &size);
	struct sink s;

	if (!f)
		return;
	sink__init(&s, f, false);
	put_lines(&s, text, "");
	sink__finish(&s);
	fclose(f);
	for (i = 0; safe && i + 1 < size; i++) /* all but the last line's end */
		switch (safe[i]) {
		case '<':
			fputs("&lt;", out);
			break;
		case '>':
			fputs("&gt;", out);
			break;
		case '&':
			fputs("&amp;", out);
			break;
		case '"':
			fputs("&quot;", out);
			break;
		default:
			fputc(safe[i], out);
		}
	free(safe);
}

static void put_xml_part(FILE *out, const char *before, const char *text, const char *after)
{
	fputs(before, out);
	put_xml(out, text);
	fputs(after, out);
}

static void put_junit_verdict(FILE *out, const struct verdict *v, bool strict)
{
	enum verdict_kind kind = verdict__kind(v);
	unsigned i;

	put_xml_part(out, "  <testcase name=\"", v->rule->name, "\" classname=\"");
	put_xml_part(out, "", v->rule->file, "\"");
	if (kind == VERDICT_HELD) {
		fputs("/>\n", out);
		return;
	}
	if (kind == VERDICT_NOT_EXERCISED) {
		fputs(strict ? ">\n    <failure message=\"not exercised\"/>\n  </testcase>\n" :
			       ">\n    <skipped message=\"not exercised\"/>\n  </testcase>\n",
		      out);
		return;
	}
	fprintf(out, ">\n    <failure message=\"%llu of %llu\">", (unsigned long long)v->broken,
		(unsigned long long)v->exercised);
	put_xml_part(out, "", v->rule->text, "\n");
	for (i = 0; i < v->nexamples; i++) {
		fprintf(out, "%u. process %d\n", i + 1, v->examples[i].pid);
		put_xml_part(out, "", v->examples[i].why, "\n");
		put_xml_part(out, "", v->examples[i].events, "\n");
		put_xml_part(out, "", v->examples[i].stack, "\n");
	}
	fputs("</failure>\n  </testcase>\n", out);
}

int check_result__junit(FILE *out, const struct check_result *r)
{
	size_t failures = 0, skipped = 0, i;

	for (i = 0; i < r->nverdicts; i++) {
		failures += verdict__failed(&r->verdicts[i], r->strict);
		skipped += !r->strict && verdict__kind(&r->verdicts[i]) == VERDICT_NOT_EXERCISED;
	}
	fputs("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n", out);
	put_xml_part(out, "<testsuite name=\"", r->contract, "\"");
	fprintf(out,
		" tests=\"%zu\" failures=\"%zu\" skipped=\"%zu\" errors=\"%d\" time=\"%llu.%03llu\">\n",
		r->nverdicts + (r->incomplete != NULL), failures, skipped, r->incomplete != NULL,
		(unsigned long long)(r->duration_ns / 1000000000),
		(unsigned long long)(r->duration_ns / 1000000 % 1000));
	for (i = 0; i < r->nverdicts; i++)
		put_junit_verdict(out, &r->verdicts[i], r->strict);
	if (r->incomplete) {
		put_xml_part(
			out,
			"  <testcase name=\"evidence\" classname=\"memtrace\">\n    <error message=\"",
			r->incomplete, "\"/>\n  </testcase>\n");
	}
	fputs("</testsuite>\n", out);
	return fflush(out) ? -errno : 0;
}
