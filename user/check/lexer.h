/* SPDX-License-Identifier: MIT */
/*
 * A contract's text as tokens. The text need not end with a NUL and may hold any bytes. Columns
 * count characters, from 1; a tab is one.
 */
#ifndef MEMTRACE_CHECK_LEXER_H
#define MEMTRACE_CHECK_LEXER_H

#include <stdbool.h>
#include <stddef.h>

#include "user/check/value.h"

enum token_kind {
	TOKEN_END,
	TOKEN_NAME, /* a word: keyword, fact, subject */
	TOKEN_NUMBER, /* with its unit, if that follows at once */
	TOKEN_STRING, /* text and length are those between the quotes */
	TOKEN_PARAM, /* $name; text and length are the name's */
	TOKEN_PUNCT, /* one of : , = != < <= > >= + - * / % ( ) */
	TOKEN_BAD, /* message says why */
};

struct token {
	enum token_kind kind;
	const char *text;
	size_t length;
	unsigned line, column;
	double value; /* TOKEN_NUMBER */
	enum value_type type;
	const char *message;
};

struct lexer {
	const char *text, *at, *end, *line_start;
	unsigned line;
};

void lexer__init(struct lexer *l, const char *text, size_t length);
struct token lexer__next(struct lexer *l);

/* The same, where the name of a rule is expected: letters, digits and - _ . form one word. */
struct token lexer__next_rule_name(struct lexer *l);

bool token__is(const struct token *t, const char *text); /* a word or punctuation */

/* What a unit multiplies by, 0 when it is none; its type in *type. */
double unit__scale(const char *text, size_t length, enum value_type *type);

#endif /* MEMTRACE_CHECK_LEXER_H */
