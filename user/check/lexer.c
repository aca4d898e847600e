// SPDX-License-Identifier: MIT
#include "user/check/lexer.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define NUMBER_DIGITS 40 /* no number in a contract is longer */

void lexer__init(struct lexer *l, const char *text, size_t length)
{
	*l = (struct lexer){
		.text = text, .at = text, .end = text + length, .line_start = text, .line = 1};
}

static unsigned lexer__column(const struct lexer *l, const char *at)
{
	const char *p;
	unsigned column = 1;

	for (p = l->line_start; p < at; p++)
		column += ((unsigned char)*p & 0xc0) != 0x80;
	return column;
}

static void lexer__skip_space(struct lexer *l)
{
	for (; l->at < l->end; l->at++) {
		if (*l->at == '#')
			while (l->at < l->end && *l->at != '\n')
				l->at++;
		if (l->at == l->end || !isspace((unsigned char)*l->at))
			return;
		if (*l->at == '\n') {
			l->line++;
			l->line_start = l->at + 1;
		}
	}
}

static bool is_word(char c)
{
	return isalnum((unsigned char)c) || c == '_' || c == '.';
}

static size_t word__length(const char *at, const char *end)
{
	const char *p = at;

	while (p < end && is_word(*p))
		p++;
	return p - at;
}

static struct token lexer__token(struct lexer *l, enum token_kind kind, size_t length)
{
	struct token t = {.kind = kind,
			  .text = l->at,
			  .length = length,
			  .line = l->line,
			  .column = lexer__column(l, l->at)};

	l->at += length;
	return t;
}

static struct token lexer__bad(struct lexer *l, size_t length, const char *message)
{
	struct token t = lexer__token(l, TOKEN_BAD, length);

	t.message = message;
	return t;
}

double unit__scale(const char *text, size_t length, enum value_type *type)
{
	static const struct {
		const char *name;
		double scale;
		enum value_type type;
	} units[] = {
		{"B", 1, VALUE_BYTES},	     {"K", 1024, VALUE_BYTES},
		{"M", 1 << 20, VALUE_BYTES}, {"G", 1 << 30, VALUE_BYTES},
		{"page", 4096, VALUE_BYTES}, {"pages", 4096, VALUE_BYTES},
		{"ns", 1, VALUE_TIME},	     {"us", 1e3, VALUE_TIME},
		{"ms", 1e6, VALUE_TIME},     {"s", 1e9, VALUE_TIME},
	};
	size_t i;

	for (i = 0; i < sizeof(units) / sizeof(units[0]); i++)
		if (strlen(units[i].name) == length && !memcmp(units[i].name, text, length)) {
			*type = units[i].type;
			return units[i].scale;
		}
	return 0;
}

static struct token lexer__number(struct lexer *l)
{
	char digits[NUMBER_DIGITS + 1];
	const char *p = l->at;
	enum value_type type = VALUE_NUMBER;
	double scale = 1;
	size_t n, unit;
	struct token t;

	while (p < l->end && isdigit((unsigned char)*p))
		p++;
	if (p < l->end && *p == '.') {
		p++;
		if (p == l->end || !isdigit((unsigned char)*p))
			return lexer__bad(l, p - l->at, "expected digits behind the point");
		while (p < l->end && isdigit((unsigned char)*p))
			p++;
	}
	n = p - l->at;
	if (n > NUMBER_DIGITS)
		return lexer__bad(l, n, "a number of more than 40 digits");
	unit = word__length(p, l->end);
	if (unit) {
		scale = unit__scale(p, unit, &type);
		if (!scale) {
			l->at = p;
			return lexer__bad(
				l, unit,
				"not a unit; expected B, K, M, G, page, pages, ns, us, ms or s");
		}
	}
	memcpy(digits, l->at, n);
	digits[n] = 0;
	t = lexer__token(l, TOKEN_NUMBER, n + unit);
	t.value = strtod(digits, NULL) * scale;
	t.type = type;
	return t;
}

static struct token lexer__string(struct lexer *l)
{
	const char *p = l->at + 1;
	struct token t;

	while (p < l->end && *p != '"' && *p != '\n')
		p++;
	if (p == l->end || *p != '"')
		return lexer__bad(l, p - l->at, "the string does not end on its line; expected \"");
	t = lexer__token(l, TOKEN_STRING, p + 1 - l->at);
	t.text++;
	t.length -= 2;
	return t;
}

static struct token lexer__param(struct lexer *l)
{
	size_t n = word__length(l->at + 1, l->end);
	struct token t;

	if (!n)
		return lexer__bad(l, 1, "expected the name of a parameter behind \"$\"");
	t = lexer__token(l, TOKEN_PARAM, n + 1);
	t.text++;
	t.length--;
	return t;
}

struct token lexer__next(struct lexer *l)
{
	size_t two;

	lexer__skip_space(l);
	if (l->at == l->end)
		return lexer__token(l, TOKEN_END, 0);
	if (isdigit((unsigned char)*l->at))
		return lexer__number(l);
	if (isalpha((unsigned char)*l->at) || *l->at == '_')
		return lexer__token(l, TOKEN_NAME, word__length(l->at, l->end));
	if (*l->at == '"')
		return lexer__string(l);
	if (*l->at == '$')
		return lexer__param(l);
	two = l->at + 1 < l->end && l->at[1] == '=';
	if (*l->at == '!' && !two)
		return lexer__bad(l, 1, "expected \"!=\"; a condition is denied by \"not\"");
	if (*l->at == '=' && two)
		return lexer__bad(l, 2, "expected \"=\", which compares");
	if (strchr("<>!", *l->at) && *l->at)
		return lexer__token(l, TOKEN_PUNCT, 1 + two);
	if (*l->at && strchr(":,=+-*/%()", *l->at))
		return lexer__token(l, TOKEN_PUNCT, 1);
	return lexer__bad(l, 1, "a character that has no meaning here");
}

struct token lexer__next_rule_name(struct lexer *l)
{
	const char *p;

	lexer__skip_space(l);
	for (p = l->at; p < l->end && (is_word(*p) || *p == '-'); p++)
		continue;
	return p > l->at ? lexer__token(l, TOKEN_NAME, p - l->at) : lexer__next(l);
}

bool token__is(const struct token *t, const char *text)
{
	return (t->kind == TOKEN_NAME || t->kind == TOKEN_PUNCT) && strlen(text) == t->length &&
	       !memcmp(t->text, text, t->length);
}
