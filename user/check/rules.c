// SPDX-License-Identifier: MIT
/* Rules: the clause, which subjects it selects, what it needs of them. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "user/check/parser.h"

#define RULES_MOST 1000

/* Text of the contract on one line: spaces and comments become one space. */
static char *one_line(const char *from, const char *to)
{
	char *text = malloc((size_t)(to - from) + 1), *o = text;

	if (!text)
		return NULL;
	while (from < to) {
		if (*from == '#') {
			while (from < to && *from != '\n')
				from++;
		} else if (isspace((unsigned char)*from)) {
			if (o > text && o[-1] != ' ')
				*o++ = ' ';
			from++;
		} else {
			*o++ = *from++;
		}
	}
	if (o > text && o[-1] == ' ')
		o--;
	*o = 0;
	return text;
}

int parser__subject(struct parser *p, struct subject *out)
{
	struct token t = p->token;
	const char *near;

	if (t.kind != TOKEN_NAME)
		return parser__expected(p, "a subject (malloc, call, mmap, fault, process, ...)");
	if (subject__find(t.text, t.length, out))
		return parser__next(p);
	near = subject__nearest(t.text, t.length);
	if (near)
		return parser__fail(p, &t, "\"%.*s\" is not a subject; did you mean \"%s\"?",
				    (int)t.length, t.text, near);
	return parser__expected(p, "a subject (malloc, call, mmap, fault, process, ...)");
}

static int parser__subjects(struct parser *p, struct subject *all)
{
	struct subject one;
	struct token at = p->token;
	int err = parser__subject(p, all);

	while (!err && token__is(&p->token, ",")) {
		err = parser__next(p);
		at = p->token;
		if (!err)
			err = parser__subject(p, &one);
		if (err)
			return err;
		if ((one.scope & SCOPE_EVENT) != 0 ? !(all->scope & SCOPE_EVENT) :
						     one.scope != all->scope)
			return parser__fail(
				p, &at, "calls, events and processes cannot be subjects together");
		all->scope |= one.scope;
		all->ops |= one.ops;
		all->groups |= one.groups;
		all->kinds |= one.kinds;
	}
	return err;
}

/* "in phase P where CONDITION", both may be missing */
static int parser__restrictions(struct parser *p, struct rule *r)
{
	int err = 0;

	if (token__is(&p->token, "in")) {
		err = parser__next(p);
		if (!err)
			err = parser__expect(p, "phase", "behind \"in\"");
		if (err)
			return err;
		r->phase = parser__phase(p, &p->token);
		if (r->phase < 0)
			return r->phase;
		err = parser__next(p);
	}
	if (err || !token__is(&p->token, "where"))
		return err;
	err = parser__next(p);
	return err ? err : parser__condition(p, &r->condition);
}

static int parser__selection(struct parser *p, struct rule *r)
{
	struct token at;
	int err = parser__subjects(p, &r->subject);

	r->where = WHERE_INSIDE;
	at = p->token;
	if (token__is(&at, "outside"))
		r->where = WHERE_OUTSIDE;
	else if (token__is(&at, "anywhere"))
		r->where = WHERE_INSIDE | WHERE_OUTSIDE;
	if (!err && (r->where != WHERE_INSIDE || token__is(&at, "inside"))) {
		if (!(r->subject.scope & SCOPE_EVENT))
			return parser__fail(p, &at, "\"%.*s\" is said of events (mmap, fault, ...)",
					    (int)at.length, at.text);
		err = parser__next(p);
	}
	p->scopes = r->subject.scope;
	return err ? err : parser__restrictions(p, r);
}

static struct need *rule__new_need(struct rule *r)
{
	struct need *needs = reallocarray(r->needs, r->nneeds + 1, sizeof(*needs));

	if (!needs)
		return NULL;
	r->needs = needs;
	needs[r->nneeds] = (struct need){0};
	return &needs[r->nneeds++];
}

/* Which kinds of events a program speaks of. */
static unsigned program__kinds(const struct program *code)
{
	unsigned kinds = 0;
	size_t i;
	int kind;

	for (i = 0; i < code->count; i++) {
		kind = code->code[i].op == OP_LOAD && (code->code[i].source == SOURCE_CALL ||
						       code->code[i].source == SOURCE_INSIDE) ?
			       counter__kind(code->code[i].index) :
			       -1;
		if (kind >= 0)
			kinds |= 1U << kind;
	}
	return kinds;
}

/* The sum of all kinds that the other needs do not name must be 0. */
static int parser__nothing_else(struct parser *p, struct rule *r, struct need *need)
{
	unsigned kinds = 0, kind;
	size_t i;
	int err;

	for (i = 0; i < r->nneeds; i++)
		kinds |= program__kinds(&r->needs[i].is_met);
	err = parser__check(p, program__constant(&need->is_met, 0));
	for (kind = 0; !err && kind < VMCALLS; kind++)
		if (!(kinds & 1U << kind))
			err = parser__add_counter(p, &need->is_met, C_CALLS + kind, COUNTERS);
	if (!err && !(kinds & FAULT_BIT))
		err = parser__add_counter(p, &need->is_met, C_FAULTS, C_FAULTS_IN_FILE);
	if (!err)
		err = parser__check(p, program__constant(&need->is_met, 0));
	if (!err)
		err = parser__check(p, program__operate(&need->is_met, OP_EQUAL));
	return err;
}

static int parser__need(struct parser *p, struct rule *r, bool *rest)
{
	const char *from = p->token.text;
	struct need *need = rule__new_need(r);
	struct lexer ahead = p->lexer;
	struct token behind;
	int err;

	if (!need)
		return parser__check(p, -ENOMEM);
	*rest = false;
	behind = lexer__next(&ahead);
	if (token__is(&p->token, "nothing") && token__is(&behind, "else")) {
		if (r->subject.scope != SCOPE_CALL && r->subject.scope != SCOPE_PROCESS)
			return parser__fail(p, &p->token,
					    "\"nothing else\" is said of calls and processes");
		*rest = true;
		err = parser__next(p);
		if (!err)
			err = parser__next(p);
	} else {
		err = parser__condition(p, &need->is_met);
	}
	if (err)
		return err;
	need->text = one_line(from, p->behind);
	return need->text ? 0 : parser__check(p, -ENOMEM);
}

static int parser__needs(struct parser *p, struct rule *r)
{
	size_t rest_at = 0;
	bool has_rest = false, rest = false;
	int err = parser__expect(p, ":", "before what is needed");

	while (!err) {
		err = parser__need(p, r, &rest);
		if (!err && rest) {
			has_rest = true;
			rest_at = r->nneeds - 1;
		}
		if (err || !token__is(&p->token, ","))
			break;
		err = parser__next(p);
	}
	if (!err && has_rest)
		err = parser__nothing_else(p, r, &r->needs[rest_at]);
	return err;
}

static int parser__clause(struct parser *p, struct rule *r)
{
	enum value_type type = VALUE_NUMBER;
	struct token at = p->token;
	int bare, err;

	if (token__is(&at, "each") || token__is(&at, "first") || token__is(&at, "never")) {
		r->clause = token__is(&at, "each")  ? CLAUSE_EACH :
			    token__is(&at, "first") ? CLAUSE_FIRST :
						      CLAUSE_NEVER;
		err = parser__next(p);
		if (!err)
			err = parser__selection(p, r);
		if (!err && r->clause == CLAUSE_FIRST && r->subject.scope == SCOPE_PROCESS)
			err = parser__fail(p, &at, "\"first\" is said of calls and events");
		return err || r->clause == CLAUSE_NEVER ? err : parser__needs(p, r);
	}
	if (token__is(&at, "always")) {
		r->clause = CLAUSE_ALWAYS;
		r->subject.scope = p->scopes = SCOPE_PROCESS;
		err = parser__next(p);
		if (!err)
			err = parser__restrictions(p, r);
		return err ? err : parser__needs(p, r);
	}
	bare = parser__bound(p, &r->bound);
	if (bare > 0)
		return parser__expected(
			p, "\"each\", \"first\", \"never\", \"always\", \"exactly\" or \"at\"");
	if (bare)
		return bare;
	r->clause = CLAUSE_COUNT;
	p->scopes = SCOPE_PROCESS;
	p->no_counts = true;
	at = p->token;
	err = parser__sum(p, &r->limit, &type);
	p->no_counts = false;
	if (!err && type != VALUE_NUMBER)
		err = parser__fail(p, &at, "expected a plain number");
	if (!err)
		at = p->token;
	if (!err)
		err = parser__selection(p, r);
	if (!err && r->subject.scope == SCOPE_PROCESS)
		err = parser__fail(p, &at, "processes are not counted; expected calls or events");
	return err;
}

/* What has to be known of a process for this. */
static void rule__note_needs(struct rule *r, const struct program *code)
{
	size_t i;

	for (i = 0; i < code->count; i++) {
		const struct insn *in = &code->code[i];

		if (in->op != OP_LOAD)
			continue;
		if (in->source == SOURCE_FACT && in->index >= FACT_LIVE &&
		    in->index <= FACT_RESIDENT_PEAK && in->index != FACT_REQUESTED)
			r->needs_all = true;
		if (in->source != SOURCE_ALL && in->source != SOURCE_CALL &&
		    !(in->source == SOURCE_FACT &&
		      (in->index == FACT_PROCESS_TIME || in->index == FACT_THREADS)))
			r->needs_heap = true;
	}
}

static void rule__finish(struct rule *r)
{
	size_t i;

	rule__note_needs(r, &r->condition);
	rule__note_needs(r, &r->limit);
	for (i = 0; i < r->nneeds; i++)
		rule__note_needs(r, &r->needs[i].is_met);
	if (r->subject.scope == SCOPE_CALL)
		r->needs_heap = true;
	if (r->subject.scope & SCOPE_EVENT)
		r->needs_heap = r->where != (WHERE_INSIDE | WHERE_OUTSIDE);
}

int parser__rule(struct parser *p)
{
	struct contract *c = p->contract;
	const char *from;
	struct token name;
	struct rule *r;
	size_t i;
	int err;

	p->token = name = lexer__next_rule_name(&p->lexer);
	if (name.kind != TOKEN_NAME)
		return parser__expected(p, "the name of a rule");
	for (i = 0; i < c->nrules; i++)
		if (strlen(c->rules[i].name) == name.length &&
		    !memcmp(c->rules[i].name, name.text, name.length))
			return parser__fail(p, &name, "a second rule \"%s\"; the first is at %s:%u",
					    c->rules[i].name, c->rules[i].file, c->rules[i].line);
	if (c->nrules == RULES_MOST)
		return parser__fail(p, &name, "more than %d rules", RULES_MOST);
	if (parser__grow(&c->rules, &c->rules_room, c->nrules, sizeof(*c->rules)))
		return parser__check(p, -ENOMEM);
	r = &c->rules[c->nrules++];
	*r = (struct rule){.file = p->path, .line = name.line, .phase = PHASE_ANY};
	r->name = strndup(name.text, name.length);
	if (!r->name)
		return parser__check(p, -ENOMEM);
	err = parser__next(p);
	if (!err)
		err = parser__expect(p, ":", "behind the name of the rule");
	from = p->token.text;
	if (!err)
		err = parser__clause(p, r);
	if (err)
		return err;
	r->text = one_line(from, p->behind);
	rule__finish(r);
	return r->text ? 0 : parser__check(p, -ENOMEM);
}
