// SPDX-License-Identifier: MIT
/* The doctor's answer, in text and in JSON, and the verdict. */
#include <string.h>

#include "user/doctor/doctor.h"
#include "user/view/sink.h"

#define SCHEMA "memtrace.doctor/1"

#define STATUS_COL 18
#define VALUE_COL 24
#define WIDTH 96

static const char *const status_text[] = {"ok", "part", "no", "?"};
static const char *const status_json[] = {"ok", "part", "no", "unknown"};

static bool check__works(const struct check *c)
{
	return c->status == CHECK_OK || c->status == CHECK_PART;
}

bool checks__kernel_plane(const struct check *checks, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (checks[i].required && !check__works(&checks[i]))
			return false;
	return true;
}

/* Text from col on, broken between words. */
static void put_wrapped(struct sink *s, unsigned col, const char *text)
{
	char word[256];
	size_t n;

	sink__pad(s, col);
	while (*text) {
		n = strcspn(text, " ");
		if (n >= sizeof(word))
			n = sizeof(word) - 1;
		memcpy(word, text, n);
		word[n] = 0;
		if (s->col > col && s->col + 1 + safe__columns(word) > WIDTH) {
			sink__char(s, '\n');
			sink__pad(s, col);
		} else if (s->col > col) {
			sink__char(s, ' ');
		}
		sink__safe(s, word, NULL);
		text += n;
		text += *text == ' ';
	}
	sink__char(s, '\n');
}

static void put_check(struct sink *s, const struct check *c)
{
	static const char *const color[] = {"32", "33", "31", "33"};

	sink__str(s, c->name);
	sink__pad(s, STATUS_COL);
	sink__sgr(s, color[c->status]);
	sink__str(s, status_text[c->status]);
	sink__sgr(s, "");
	put_wrapped(s, VALUE_COL, c->value);
	if (c->status == CHECK_OK)
		return;
	if (c->follows)
		put_wrapped(s, VALUE_COL, c->follows);
	if (c->mend) {
		sink__pad(s, VALUE_COL);
		sink__str(s, "mend: ");
		put_wrapped(s, VALUE_COL + strlen("mend: "), c->mend);
	}
}

#define NAMES_MAX 3

static size_t count_required(const struct check *checks, size_t n, enum check_status status)
{
	size_t i, count = 0;

	for (i = 0; i < n; i++)
		count += checks[i].required && checks[i].status == status;
	return count;
}

static void put_required(struct sink *s, const struct check *checks, size_t n,
			 enum check_status status)
{
	const char *comma = "";
	size_t i;

	for (i = 0; i < n; i++) {
		if (!checks[i].required || checks[i].status != status)
			continue;
		sink__str(s, comma);
		sink__str(s, checks[i].name);
		comma = ", ";
	}
}

static void put_verdict(struct sink *s, const struct check *checks, size_t n)
{
	size_t missing = count_required(checks, n, CHECK_NO);
	size_t untried = count_required(checks, n, CHECK_UNKNOWN);

	if (checks__kernel_plane(checks, n)) {
		sink__str(s, "The kernel plane can run on this machine.\n");
		return;
	}
	sink__str(s, "The kernel plane cannot run: ");
	if (missing) {
		sink__str(s, "see ");
		put_required(s, checks, n, CHECK_NO);
	}
	if (untried) {
		sink__printf(s, "%s%zu check%s could not be made", missing ? "; " : "", untried,
			     untried == 1 ? "" : "s");
		if (untried <= NAMES_MAX) {
			sink__str(s, " (");
			put_required(s, checks, n, CHECK_UNKNOWN);
			sink__char(s, ')');
		}
	}
	sink__str(s, ".\n");
}

int checks__text(FILE *out, bool color, const struct check *checks, size_t n)
{
	struct sink s;
	size_t i;

	sink__init(&s, out, color);
	for (i = 0; i < n; i++)
		put_check(&s, &checks[i]);
	sink__char(&s, '\n');
	put_verdict(&s, checks, n);
	return sink__finish_flush(&s);
}

static void put_string(struct sink *s, const char *key, const char *text)
{
	uint32_t code;
	unsigned n;

	sink__printf(s, "\"%s\": ", key);
	if (!text) {
		sink__str(s, "null");
		return;
	}
	sink__char(s, '"');
	for (; *text; text += n) {
		n = utf8__decode(text, &code);
		if (n == 0) {
			sink__str(s, "\\ufffd");
			n = 1;
		} else if (code == '"' || code == '\\') {
			sink__char(s, '\\');
			sink__char(s, (char)code);
		} else if (code < 0x20 || code == 0x7f) {
			sink__printf(s, "\\u%04x", code);
		} else {
			sink__raw(s, text, n, 1);
		}
	}
	sink__char(s, '"');
}

int checks__json(FILE *out, const struct check *checks, size_t n)
{
	struct sink s;
	size_t i;

	sink__init(&s, out, false);
	sink__str(&s, "{\n");
	sink__str(&s, "  \"schema\": \"" SCHEMA "\",\n");
	sink__str(&s, "  \"version\": \"" MEMTRACE_VERSION "\",\n");
	sink__str(&s, "  \"checks\": [");
	for (i = 0; i < n; i++) {
		const struct check *c = &checks[i];
		bool ok = c->status == CHECK_OK;

		sink__str(&s, i ? ",\n" : "\n");
		sink__str(&s, "    {");
		put_string(&s, "id", c->id);
		sink__str(&s, ", ");
		put_string(&s, "status", status_json[c->status]);
		sink__str(&s, ", ");
		put_string(&s, "value", c->value);
		sink__str(&s, ", ");
		put_string(&s, "follows", ok ? NULL : c->follows);
		sink__str(&s, ", ");
		put_string(&s, "mend", ok ? NULL : c->mend);
		sink__printf(&s, ", \"required\": %s}", c->required ? "true" : "false");
	}
	sink__str(&s, "\n  ],\n");
	sink__printf(&s, "  \"kernel_plane\": %s\n",
		     checks__kernel_plane(checks, n) ? "true" : "false");
	sink__str(&s, "}\n");
	return sink__finish_flush(&s);
}
