/* SPDX-License-Identifier: MIT */
/* The parser's insides: statements (parser.c), rules (rules.c) and expressions (expression.c). */
#ifndef MEMTRACE_CHECK_PARSER_H
#define MEMTRACE_CHECK_PARSER_H

#include "user/check/contract.h"
#include "user/check/lexer.h"

struct param {
	char *name;
	double value;
	enum value_type type;
	bool defined; /* by the command line: a default does not count */
	bool declared;
};

struct parser {
	struct contract *contract;
	const struct contract_reader *reader;
	struct contract_error *error;
	const char *path, *text;
	size_t length;
	struct lexer lexer;
	struct token token; /* the one to be looked at */
	const char *behind; /* the end of the one before */
	unsigned scopes; /* of facts in the expression at hand; 0: only constants */
	unsigned nesting; /* of parentheses and the like */
	bool no_counts; /* "10 mmap" is a number and a subject here, not a condition */
	bool failed; /* the first error stands */
};

/* All return 0, or -EINVAL when the error has been noted. */
int parser__next(struct parser *p);
int parser__expect(struct parser *p, const char *text, const char *where);
__attribute__((format(printf, 3, 4))) int parser__fail(struct parser *p, const struct token *at,
						       const char *format, ...);
/* The same, with what was got at the end. */
__attribute__((format(printf, 2, 3))) int parser__expected(struct parser *p, const char *format, ...);
int parser__check(struct parser *p, int err); /* of memory, or of an expression too large */
struct param *parser__param(struct parser *p, const char *name, size_t length);

/* Room for one more element in an array that doubles. 0 or -ENOMEM. */
int parser__grow(void *array, size_t *room, size_t count, size_t size);

int parser__rule(struct parser *p);
int parser__subject(struct parser *p, struct subject *out);
int parser__phase(struct parser *p, const struct token *t); /* its number, made if new; or -EINVAL */

int parser__add_counter(struct parser *p, struct program *out, unsigned counter, unsigned less);

/* An expression goes to the end of a program; its type in *type. */
int parser__condition(struct parser *p, struct program *out);
int parser__sum(struct parser *p, struct program *out, enum value_type *type);
int parser__bound(struct parser *p, enum bound *bound); /* 1: there is none */

#endif /* MEMTRACE_CHECK_PARSER_H */
