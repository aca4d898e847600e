/* SPDX-License-Identifier: MIT */
/* The writer of JSON: commas, line breaks, and strings that are valid UTF-8 whatever they were. */
#include <inttypes.h>
#include <string.h>

#include "user/view/json.h"

static void json__break(struct json *j)
{
	unsigned i;

	sink__char(&j->s, '\n');
	for (i = 0; i < j->depth; i++)
		sink__put(&j->s, "  ", 2);
}

/* Begin a member (key) or an element (NULL). */
static void json__item(struct json *j, const char *key)
{
	if (!j->first)
		sink__char(&j->s, ',');
	if (!j->flat)
		json__break(j);
	else if (!j->first)
		sink__char(&j->s, ' ');
	j->first = false;
	if (key) {
		sink__char(&j->s, '"');
		sink__str(&j->s, key);
		sink__str(&j->s, "\": ");
	}
}

void json__open(struct json *j, const char *key, char bracket)
{
	json__item(j, key);
	sink__char(&j->s, bracket);
	j->depth++;
	j->first = true;
	if (j->flat)
		j->flat++;
}

void json__open_flat(struct json *j, const char *key, char bracket)
{
	json__open(j, key, bracket);
	if (!j->flat)
		j->flat = 1;
}

void json__close(struct json *j, char bracket)
{
	j->depth--;
	if (!j->first && !j->flat)
		json__break(j);
	sink__char(&j->s, bracket);
	j->first = false;
	if (j->flat)
		j->flat--;
}

void json__null(struct json *j, const char *key)
{
	json__item(j, key);
	sink__str(&j->s, "null");
}

void json__u64(struct json *j, const char *key, uint64_t n)
{
	json__item(j, key);
	if (n == UNKNOWN)
		sink__str(&j->s, "null");
	else
		sink__dec(&j->s, n);
}

void json__numbers(struct json *j, const char *key, const struct json_number *numbers, size_t count)
{
	json__open_flat(j, key, '{');
	for (; count; count--, numbers++)
		json__u64(j, numbers->key, numbers->n);
	json__close(j, '}');
}

void json__bool(struct json *j, const char *key, bool value)
{
	json__item(j, key);
	sink__str(&j->s, value ? "true" : "false");
}

static void json__unicode(struct sink *s, uint32_t code)
{
	char text[16];
	int n;

	if (code >= 0x10000) {
		code -= 0x10000;
		n = snprintf(text, sizeof(text), "\\u%04" PRIx32 "\\u%04" PRIx32,
			     0xd800 + (code >> 10), 0xdc00 + (code & 0x3ff));
	} else {
		n = snprintf(text, sizeof(text), "\\u%04" PRIx32, code);
	}
	sink__put(s, text, (size_t)n);
}

/* Control characters are escaped also where JSON would let them pass: reports
 * are read on terminals. */
static void json__text(struct sink *s, const char *text)
{
	uint32_t code;
	unsigned n;

	for (; *text; text += n) {
		n = utf8__decode(text, &code);
		if (n == 0) {
			sink__raw(s, "\xef\xbf\xbd", 3, 1);
			n = 1;
		} else if (code == '"' || code == '\\') {
			sink__char(s, '\\');
			sink__char(s, (char)code);
		} else if (utf8__is_control(code)) {
			json__unicode(s, code);
		} else {
			sink__raw(s, text, n, 1);
		}
	}
}

void json__string(struct json *j, const char *key, const char *text)
{
	if (!text) {
		json__null(j, key);
		return;
	}
	json__item(j, key);
	sink__char(&j->s, '"');
	json__text(&j->s, text);
	sink__char(&j->s, '"');
}
