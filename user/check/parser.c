// SPDX-License-Identifier: MIT
/* Statements of a contract: files, parameters, phases, rules. */
#include "user/check/parser.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_BYTES_MOST (1 << 20)
#define FILES_MOST 64
#define LINE_SHOWN 120 /* of the line that an error is in, characters */

const char *const bound_name[] = {"exactly", "at most", "at least"};

static int read_file(void *ctx, const char *path, char **text, size_t *length)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK), err = 0;
	struct stat st;
	ssize_t got;

	(void)ctx;
	*text = NULL;
	*length = 0;
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st))
		err = -errno;
	else if (S_ISDIR(st.st_mode))
		err = -EISDIR;
	*text = err ? NULL : malloc(FILE_BYTES_MOST + 1);
	if (!err && !*text)
		err = -ENOMEM;
	while (!err && *length <= FILE_BYTES_MOST) {
		got = read(fd, *text + *length, FILE_BYTES_MOST + 1 - *length);
		if (got < 0)
			err = -errno;
		if (got <= 0)
			break;
		*length += (size_t)got;
	}
	close(fd);
	if (!err && *length > FILE_BYTES_MOST)
		err = -EFBIG;
	if (err) {
		free(*text);
		*text = NULL;
	}
	return err;
}

const struct contract_reader contract_files = {read_file, NULL};

int parser__grow(void *array, size_t *room, size_t count, size_t size)
{
	void **a = array, *grown;
	size_t want = *room ? 2 * *room : 8;

	if (count < *room)
		return 0;
	grown = reallocarray(*a, want, size);
	if (!grown)
		return -ENOMEM;
	*a = grown;
	*room = want;
	return 0;
}

/* ---- errors ---- */

/* The line of a token, and a caret under the token. Tabs stay, so that the caret stands right. */
static void parser__show_line(struct parser *p, const struct token *at, char *out, size_t room)
{
	const char *begin = at->text, *end = at->text, *c;
	char *o = out, *last = out + room - 1;

	while (begin > p->text && begin[-1] != '\n')
		begin--;
	while (end < p->text + p->length && *end != '\n')
		end++;
	if (end - begin > LINE_SHOWN) {
		*out = 0;
		return;
	}
	for (c = begin; c < end && o < last; c++)
		*o++ = (unsigned char)*c < ' ' && *c != '\t' ? '?' : *c;
	if (o < last)
		*o++ = '\n';
	for (c = begin; c < at->text && o < last; c++)
		if (((unsigned char)*c & 0xc0) != 0x80)
			*o++ = *c == '\t' ? '\t' : ' ';
	if (o < last)
		*o++ = '^';
	*o = 0;
}

int parser__fail(struct parser *p, const struct token *at, const char *format, ...)
{
	struct contract_error *e = p->error;
	char line[LINE_SHOWN * 3];
	va_list args;
	size_t n;

	if (p->failed)
		return -EINVAL;
	p->failed = true;
	e->line = at->line;
	e->column = at->column;
	n = (size_t)snprintf(e->text, sizeof(e->text), "%.300s:%u:%u: ", p->path, at->line,
			     at->column);
	va_start(args, format);
	vsnprintf(e->text + n, sizeof(e->text) - n, format, args);
	va_end(args);
	n = strlen(e->text);
	parser__show_line(p, at, line, sizeof(line));
	if (*line)
		snprintf(e->text + n, sizeof(e->text) - n, "\n%s", line);
	return -EINVAL;
}

int parser__expected(struct parser *p, const char *format, ...)
{
	const struct token *t = &p->token;
	char what[300];
	va_list args;

	va_start(args, format);
	vsnprintf(what, sizeof(what), format, args);
	va_end(args);
	if (t->kind == TOKEN_END)
		return parser__fail(p, t, "expected %s, got the end", what);
	return parser__fail(p, t, "expected %s, got \"%.*s\"", what,
			    (int)(t->length < 60 ? t->length : 60), t->text);
}

int parser__check(struct parser *p, int err)
{
	if (!err)
		return 0;
	return parser__fail(p, &p->token, "%s",
			    err == -E2BIG ? "the expression is too large" : "out of memory");
}

int parser__next(struct parser *p)
{
	p->behind = p->lexer.at;
	p->token = lexer__next(&p->lexer);
	return p->token.kind == TOKEN_BAD ? parser__fail(p, &p->token, "%s", p->token.message) : 0;
}

int parser__expect(struct parser *p, const char *text, const char *where)
{
	if (!token__is(&p->token, text))
		return parser__expected(p, "\"%s\" %s", text, where);
	return parser__next(p);
}

/* ---- names ---- */

struct param *parser__param(struct parser *p, const char *name, size_t length)
{
	struct contract *c = p->contract;
	size_t i;

	for (i = 0; i < c->nparams; i++)
		if (strlen(c->params[i].name) == length && !memcmp(c->params[i].name, name, length))
			return &c->params[i];
	return NULL;
}

static struct param *parser__new_param(struct parser *p, const char *name, size_t length)
{
	struct contract *c = p->contract;
	struct param *param;

	if (parser__grow(&c->params, &c->params_room, c->nparams, sizeof(*c->params)))
		return NULL;
	param = &c->params[c->nparams];
	*param = (struct param){.name = strndup(name, length)};
	if (!param->name)
		return NULL;
	c->nparams++;
	return param;
}

int parser__phase(struct parser *p, const struct token *t)
{
	struct contract *c = p->contract;
	size_t i;

	if (t->kind != TOKEN_NAME)
		return parser__expected(p, "the name of a phase");
	if (t->length >= PHASE_NAME_BYTES)
		return parser__fail(p, t, "the name of a phase has %d characters at most",
				    PHASE_NAME_BYTES - 1);
	for (i = 0; i < c->nphases; i++)
		if (strlen(c->phases[i].name) == t->length &&
		    !memcmp(c->phases[i].name, t->text, t->length))
			return (int)i;
	if (parser__grow(&c->phases, &c->phases_room, c->nphases, sizeof(*c->phases)))
		return parser__check(p, -ENOMEM);
	c->phases[c->nphases] = (struct phase){0};
	memcpy(c->phases[c->nphases].name, t->text, t->length);
	return (int)c->nphases++;
}

static void rule__free(struct rule *r)
{
	size_t i;

	for (i = 0; i < r->nneeds; i++) {
		program__free(&r->needs[i].is_met);
		free(r->needs[i].text);
	}
	free(r->needs);
	program__free(&r->condition);
	program__free(&r->limit);
	free(r->name);
	free(r->text);
}

/* ---- the other statements ---- */

static int parser__constant(struct parser *p, double *value, enum value_type *type)
{
	struct program code = {0};
	struct token at = p->token;
	int err;

	p->scopes = 0;
	err = parser__sum(p, &code, type);
	if (!err && !program__is_constant(&code, value))
		err = parser__fail(p, &at, "expected a number");
	program__free(&code);
	return err;
}

static int parser__declare(struct parser *p)
{
	struct token name;
	enum value_type type = VALUE_NUMBER;
	struct param *param;
	double value = 0;
	int err = parser__next(p);

	name = p->token;
	if (err)
		return err;
	if (name.kind != TOKEN_NAME)
		return parser__expected(p, "the name of a parameter");
	param = parser__param(p, name.text, name.length);
	if (param && param->declared)
		return parser__fail(p, &name, "a second parameter \"%s\"", param->name);
	err = parser__next(p);
	if (!err)
		err = parser__expect(p, "=", "behind the name of the parameter");
	if (!err)
		err = parser__constant(p, &value, &type);
	if (err)
		return err;
	param = parser__param(p, name.text, name.length);
	if (!param)
		param = parser__new_param(p, name.text, name.length);
	if (!param)
		return parser__check(p, -ENOMEM);
	param->declared = true;
	if (param->defined)
		return 0;
	param->value = value;
	param->type = type;
	return 0;
}

/* Behind "at": probe "provider:name" */
static int parser__probe(struct parser *p, struct phase *out)
{
	struct token at;
	int err = parser__next(p);

	if (!err)
		err = parser__expect(p, "probe", "behind \"at\"");
	at = p->token;
	if (err)
		return err;
	if (at.kind != TOKEN_STRING || !memchr(at.text, ':', at.length) ||
	    memchr(at.text, 0, at.length))
		return parser__expected(p, "a probe of the program's own, \"provider:name\"");
	out->probe = strndup(at.text, at.length);
	err = out->probe ? 0 : parser__check(p, -ENOMEM);
	return err ? err : parser__next(p);
}

/* Behind "after": 10000 malloc */
static int parser__after(struct parser *p, struct phase *out)
{
	enum value_type type = VALUE_NUMBER;
	struct token at;
	double count = 0;
	int err = parser__expect(p, "after", "or \"at\" behind the name of the phase");

	at = p->token;
	p->no_counts = true;
	if (!err)
		err = parser__constant(p, &count, &type);
	p->no_counts = false;
	if (!err && (type != VALUE_NUMBER || !(count >= 1 && count <= 1e15)))
		err = parser__fail(p, &at, "expected a plain number, 1 or more");
	at = p->token;
	if (!err)
		err = parser__subject(p, &out->after);
	if (!err && out->after.scope != SCOPE_CALL)
		err = parser__fail(p, &at, "expected calls to count (call, malloc, release, ...)");
	out->count = (uint64_t)count;
	return err;
}

static int parser__trigger(struct parser *p)
{
	struct phase trigger = {.has_trigger = true};
	int err = parser__next(p), which;
	struct token name = p->token;

	if (err)
		return err;
	which = parser__phase(p, &name);
	if (which < 0)
		return which;
	if (p->contract->phases[which].has_trigger)
		return parser__fail(p, &name, "a second beginning of phase \"%.*s\"",
				    (int)name.length, name.text);
	err = parser__next(p);
	if (!err)
		err = token__is(&p->token, "at") ? parser__probe(p, &trigger) :
						   parser__after(p, &trigger);
	if (err) {
		free(trigger.probe);
		return err;
	}
	memcpy(trigger.name, p->contract->phases[which].name, sizeof(trigger.name));
	p->contract->phases[which] = trigger;
	return 0;
}

static int parser__file(struct parser *p, const char *path);

/* The path of an included file, malloc'ed. */
static char *beside(const char *path, const char *name, size_t length)
{
	const char *slash = strrchr(path, '/');
	size_t directory = slash && *name != '/' ? (size_t)(slash + 1 - path) : 0;
	char *out = malloc(directory + length + 1);

	if (!out)
		return NULL;
	memcpy(out, path, directory);
	memcpy(out + directory, name, length);
	out[directory + length] = 0;
	return out;
}

static int parser__include(struct parser *p)
{
	struct parser inner;
	struct token at;
	char *path;
	int err = parser__next(p);

	at = p->token;
	if (err)
		return err;
	if (at.kind != TOKEN_STRING)
		return parser__expected(p, "the path of a file in quotes");
	if (!at.length || memchr(at.text, 0, at.length))
		return parser__fail(p, &at, "not the path of a file");
	path = beside(p->path, at.text, at.length);
	if (!path)
		return parser__check(p, -ENOMEM);
	inner = *p;
	if (p->contract->nfiles >= FILES_MOST)
		err = parser__fail(p, &at, "more than %d files: does one include itself?",
				   FILES_MOST);
	else
		err = parser__file(&inner, path);
	p->failed |= inner.failed;
	if (err && !p->failed)
		err = parser__fail(p, &at, "cannot read \"%s\": %s", path, strerror(-err));
	free(path);
	return err ? err : parser__next(p);
}

static int parser__statement(struct parser *p)
{
	if (token__is(&p->token, "rule"))
		return parser__rule(p);
	if (token__is(&p->token, "param"))
		return parser__declare(p);
	if (token__is(&p->token, "phase"))
		return parser__trigger(p);
	if (token__is(&p->token, "include"))
		return parser__include(p);
	return parser__expected(p, "\"rule\", \"param\", \"phase\" or \"include\"");
}

static int parser__text(struct parser *p, const char *text, size_t length)
{
	int err;

	p->text = text;
	p->length = length;
	lexer__init(&p->lexer, text, length);
	err = parser__next(p);
	while (!err && p->token.kind != TOKEN_END)
		err = parser__statement(p);
	return err;
}

/* 0, -EINVAL with the error noted, or what reading it failed with. */
static int parser__file(struct parser *p, const char *path)
{
	struct contract *c = p->contract;
	size_t length;
	char *text;
	int err = parser__grow(&c->files, &c->files_room, c->nfiles, sizeof(*c->files));

	if (err)
		return err;
	c->files[c->nfiles] = strdup(path);
	if (!c->files[c->nfiles])
		return -ENOMEM;
	p->path = c->files[c->nfiles++];
	err = p->reader->read(p->reader->ctx, path, &text, &length);
	if (err)
		return err;
	err = parser__text(p, text, length);
	free(text);
	return err;
}

/* "threshold=128K" */
static int parser__define(struct parser *p, const char *define)
{
	const char *equals = strchr(define, '=');
	enum value_type type = VALUE_NUMBER;
	struct param *param;
	double value = 0;
	int err;

	p->path = "-D";
	p->text = equals ? equals + 1 : define;
	p->length = strlen(p->text);
	lexer__init(&p->lexer, p->text, p->length);
	err = parser__next(p);
	if (!err && (!equals || equals == define))
		err = parser__fail(p, &p->token, "\"%s\": expected NAME=VALUE", define);
	if (!err)
		err = parser__constant(p, &value, &type);
	if (!err && p->token.kind != TOKEN_END)
		err = parser__expected(p, "the end of the value");
	if (err)
		return err;
	param = parser__param(p, define, (size_t)(equals - define));
	if (!param)
		param = parser__new_param(p, define, (size_t)(equals - define));
	if (!param)
		return parser__check(p, -ENOMEM);
	*param = (struct param){.name = param->name, .value = value, .type = type, .defined = true};
	return 0;
}

static int parser__defines_used(struct parser *p)
{
	const struct contract *c = p->contract;
	size_t i;

	for (i = 0; i < c->nparams; i++)
		if (!c->params[i].declared) {
			snprintf(p->error->text, sizeof(p->error->text),
				 "-D %s: %.300s has no parameter of that name", c->params[i].name,
				 c->files[0]);
			return -EINVAL;
		}
	if (!c->nrules) {
		snprintf(p->error->text, sizeof(p->error->text), "%.300s: it has no rule",
			 c->files[0]);
		return -EINVAL;
	}
	return 0;
}

struct contract *contract__parse(const char *path, const char *const *defines, size_t ndefines,
				 const struct contract_reader *reader, struct contract_error *e)
{
	struct contract *c = calloc(1, sizeof(*c));
	struct parser p = {.contract = c, .reader = reader, .error = e};
	size_t i;
	int err = c ? 0 : -ENOMEM;

	*e = (struct contract_error){0};
	for (i = 0; !err && i < ndefines; i++)
		err = parser__define(&p, defines[i]);
	if (!err)
		err = parser__file(&p, path);
	if (!err)
		err = parser__defines_used(&p);
	if (!err)
		return c;
	if (!*e->text)
		snprintf(e->text, sizeof(e->text), "%.300s: %s", path, strerror(-err));
	contract__free(c);
	return NULL;
}

void contract__free(struct contract *c)
{
	size_t i;

	if (!c)
		return;
	for (i = 0; i < c->nrules; i++)
		rule__free(&c->rules[i]);
	for (i = 0; i < c->nparams; i++)
		free(c->params[i].name);
	for (i = 0; i < c->nfiles; i++)
		free(c->files[i]);
	free(c->rules);
	for (i = 0; i < c->nphases; i++)
		free(c->phases[i].probe);
	free(c->phases);
	free(c->params);
	free(c->files);
	free(c);
}
