// SPDX-License-Identifier: MIT
/* Rules held against what has happened: which ones apply, whether they are met, the examples. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "user/check/state.h"
#include "user/view/format.h"

/* ---- which rules are about what ---- */

static int list__add(struct rule_list *list, const struct rule *r)
{
	const struct rule **grown =
		reallocarray(list->rules, list->n + 1, sizeof(const struct rule *));

	if (!grown)
		return -ENOMEM;
	list->rules = grown;
	grown[list->n++] = r;
	return 0;
}

static bool rule__is_about(const struct rule *r, unsigned op, bool has_block)
{
	return r->subject.scope == SCOPE_CALL &&
	       (r->subject.ops & 1U << op || r->subject.groups & 1U << group__of(op, has_block));
}

static bool program__speaks_of(const struct program *p, unsigned fact)
{
	size_t i;

	for (i = 0; i < p->count; i++)
		if (p->code[i].op == OP_LOAD && p->code[i].source == SOURCE_FACT &&
		    p->code[i].index == fact)
			return true;
	return false;
}

static bool rule__speaks_of(const struct rule *r, unsigned fact)
{
	bool does = program__speaks_of(&r->condition, fact) || program__speaks_of(&r->limit, fact);
	size_t i;

	for (i = 0; i < r->nneeds && !does; i++)
		does = program__speaks_of(&r->needs[i].is_met, fact);
	return does;
}

static int judge__sort(struct check *k, const struct rule *r)
{
	unsigned i;
	int err = 0, has;

	for (i = HEAP_MALLOC; !err && i < HEAP_OPS; i++)
		for (has = 0; !err && has < 2; has++)
			if (rule__is_about(r, i, has))
				err = list__add(&k->by_op[i][has], r);
	for (i = 0; !err && i <= VMCALLS; i++)
		if (r->subject.kinds & 1U << i)
			err = list__add(&k->by_kind[i], r);
	if (!err && r->clause == CLAUSE_ALWAYS)
		err = list__add(&k->always, r);
	if (!err && (r->subject.scope == SCOPE_PROCESS || r->clause == CLAUSE_COUNT))
		err = list__add(&k->by_end, r);
	k->tracks_pages |= rule__speaks_of(r, FACT_RESIDENT) ||
			   rule__speaks_of(r, FACT_RESIDENT_PEAK);
	return err;
}

int judge__prepare(struct check *k)
{
	const struct contract *c = k->contract;
	size_t i;
	int err = 0;

	if (!c)
		return 0;
	k->verdicts = calloc(c->nrules, sizeof(*k->verdicts));
	if (!k->verdicts)
		return -ENOMEM;
	for (i = 0; !err && i < c->nrules; i++) {
		k->verdicts[i].rule = &c->rules[i];
		err = judge__sort(k, &c->rules[i]);
	}
	return err;
}

void judge__free(struct check *k)
{
	size_t n = k->verdicts ? k->contract->nrules : 0, i;
	unsigned j;

	for (i = 0; i < n; i++)
		for (j = 0; j < k->verdicts[i].nexamples; j++) {
			struct example *e = &k->verdicts[i].examples[j];

			free(e->comm);
			free(e->why);
			free(e->events);
			free(e->stack);
		}
	free(k->verdicts);
	for (i = 0; i < HEAP_OPS; i++) {
		free(k->by_op[i][0].rules);
		free(k->by_op[i][1].rules);
	}
	for (i = 0; i <= VMCALLS; i++)
		free(k->by_kind[i].rules);
	free(k->by_end.rules);
	free(k->always.rules);
}

static size_t rule__number(const struct check *k, const struct rule *r)
{
	return (size_t)(r - k->contract->rules);
}

/* ---- examples ---- */

static void put_value(FILE *out, double v, enum value_type type)
{
	if (isnan(v))
		fputs("not known", out);
	else if (type == VALUE_CONDITION)
		fputs(v != 0 ? "yes" : "no", out);
	else if (type == VALUE_ADDRESS)
		fprintf(out, "0x%llx", (unsigned long long)v);
	else if (type == VALUE_TIME)
		fputs(fmt__duration((uint64_t)v).s, out);
	else if (type == VALUE_BYTES && v >= 10240)
		fprintf(out, "%.0f (%s)", v, fmt__bytes((uint64_t)v).s);
	else
		fprintf(out, "%.15g", v);
}

static bool is_of_process(const struct insn *in)
{
	return in->source >= SOURCE_INSIDE ||
	       (in->source == SOURCE_FACT && in->index >= FACT_PROCESS_TIME);
}

/* The values of the facts that an expression speaks of, each once; some: only those that are not 0. */
static void put_facts(FILE *out, const struct program *p, const struct sight *s, bool in_call,
		      bool some)
{
	const char *before = ": ";
	char name[64];
	size_t i, j;

	for (i = 0; i < p->count; i++) {
		const struct insn *in = &p->code[i];
		struct fact_ref ref = {.source = in->source, .index = in->index};

		if (in->op != OP_LOAD)
			continue;
		for (j = 0; j < i; j++)
			if (p->code[j].op == OP_LOAD && p->code[j].source == in->source &&
			    p->code[j].index == in->index)
				break;
		if (j < i || (some && fact__value(in, s) == 0))
			continue;
		fact__name(&ref, name, sizeof(name));
		fprintf(out, "%s%s%s = ", before, in_call && is_of_process(in) ? "run." : "", name);
		put_value(out, fact__value(in, s), in->type);
		before = ", ";
	}
}

static void put_why(FILE *out, const struct rule *r, const struct sight *s)
{
	bool any = false, in_call = r->subject.scope == SCOPE_CALL;
	size_t i;

	if (r->clause == CLAUSE_NEVER) {
		fputs("it was there", out);
		put_facts(out, &r->condition, s, in_call, false);
		return;
	}
	for (i = 0; i < r->nneeds; i++) {
		if (eval(&r->needs[i].is_met, s) != 0)
			continue;
		fprintf(out, "%s%s", any ? "\n" : "", r->needs[i].text);
		put_facts(out, &r->needs[i].is_met, s, in_call,
			  !strncmp(r->needs[i].text, "nothing", strlen("nothing")));
		any = true;
	}
}

static void put_call(const struct check *k, FILE *out, const struct call *c)
{
	const struct check_printer *p = k->printer;
	unsigned i, kept = c->nevents < EVENTS_KEPT ? c->nevents : EVENTS_KEPT;

	p->heap(p->ctx, out, &c->r);
	for (i = 0; i < kept; i++)
		p->event(p->ctx, out, &c->events[i].h, true);
	if (c->nevents > kept)
		fprintf(out, "  ... and %u more events\n", c->nevents - kept);
}

static uint64_t event__stack(const struct rec *r)
{
	return r->kind == REC_FAULT ? ((const struct rec_fault *)r)->stack_id :
				      ((const struct rec_call *)r)->stack_id;
}

static void put_stack(const struct check *k, FILE *out, const struct sight *s)
{
	const struct check_printer *p = k->printer;
	const struct call *c = s->call;
	uint64_t stack = 0;

	/* A free has no stack of its own; that of what happened in it leads through it. */
	if (c)
		stack = c->r.stack_id ?: c->nevents ? event__stack(&c->events[0].h) : 0;
	else if (s->event)
		stack = event__stack(s->event->r);
	if (stack)
		p->stack(p->ctx, out, s->life->pid, stack);
}

static char *text__of(const struct check *k, const struct rule *r, const struct sight *s,
		      const char *why, unsigned part)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	if (!out)
		return NULL;
	if (part == 0 && why)
		fputs(why, out);
	else if (part == 0)
		put_why(out, r, s);
	else if (part == 1 && s->call)
		put_call(k, out, s->call);
	else if (part == 1 && s->event)
		k->printer->event(k->printer->ctx, out, s->event->r, false);
	else if (part == 2)
		put_stack(k, out, s);
	if (fclose(out)) {
		free(text);
		return NULL;
	}
	return text;
}

static void judge__example(struct check *k, const struct rule *r, const struct sight *s,
			   const char *why)
{
	struct verdict *v = &k->verdicts[rule__number(k, r)];
	struct example *e = &v->examples[v->nexamples];

	if (v->nexamples == EXAMPLES)
		return;
	*e = (struct example){.pid = s->life->pid};
	e->comm = strdup(k->printer->comm(k->printer->ctx, s->life->pid));
	e->why = text__of(k, r, s, why, 0);
	e->events = text__of(k, r, s, NULL, 1);
	e->stack = text__of(k, r, s, NULL, 2);
	v->nexamples++;
	if ((!e->comm || !e->why || !e->events || !e->stack) && !k->err)
		k->err = -ENOMEM;
}

/* ---- verdicts ---- */

static void judge__broken(struct check *k, const struct rule *r, const struct sight *s,
			  const char *why)
{
	struct verdict *v = &k->verdicts[rule__number(k, r)];

	v->exercised++;
	v->broken++;
	judge__example(k, r, s, why);
}

/* All needs, once the condition holds. */
static void judge__needs(struct check *k, const struct rule *r, const struct sight *s)
{
	struct verdict *v = &k->verdicts[rule__number(k, r)];
	bool unknown = false;
	double met;
	size_t i;

	for (i = 0; i < r->nneeds; i++) {
		met = eval(&r->needs[i].is_met, s);
		if (met == 0) {
			judge__broken(k, r, s, NULL);
			return;
		}
		unknown |= isnan(met);
	}
	v->undecided += unknown;
	v->exercised += !unknown;
}

/* Whether the first one of this life is known to be the first. */
static bool life__first_known(const struct life *l, const struct rule *r)
{
	return r->phase != PHASE_ANY || (l->whole && !l->unseen);
}

/* One subject, in the right phase. */
static void judge__subject(struct check *k, struct life *l, const struct rule *r, struct sight *s)
{
	size_t number = rule__number(k, r);
	struct verdict *v = &k->verdicts[number];
	double applies;

	s->of_phase = r->phase != PHASE_ANY;
	if (r->clause == CLAUSE_FIRST && (l->had_first[number] || !life__first_known(l, r)))
		return;
	applies = r->condition.count ? eval(&r->condition, s) : 1;
	if (isnan(applies)) {
		v->undecided++;
		return;
	}
	switch (r->clause) {
	case CLAUSE_NEVER:
		if (applies != 0)
			judge__broken(k, r, s, NULL);
		else
			v->exercised++;
		return;
	case CLAUSE_COUNT:
		l->looked[number]++;
		l->counts[number] += applies != 0;
		return;
	case CLAUSE_FIRST:
		l->had_first[number] = applies != 0;
		break;
	case CLAUSE_EACH:
	case CLAUSE_ALWAYS:
		break;
	}
	if (applies != 0)
		judge__needs(k, r, s);
}

void judge__call(struct check *k, struct thread *t)
{
	struct call *c = &t->call;
	struct life *l = t->life;
	const struct rule_list *list = &k->by_op[HEAP_AUX_OP(c->r.h.aux)][c->r.arg != 0];
	struct sight s = {.life = l, .thread = t, .call = c, .now_ns = k->now_ns};
	size_t i;

	if (c->r.h.flags & HEAP_ABANDONED)
		return;
	for (i = 0; i < list->n; i++)
		if (list->rules[i]->phase == PHASE_ANY || list->rules[i]->phase == c->phase)
			judge__subject(k, l, list->rules[i], &s);
	for (i = 0; i < k->always.n; i++) {
		const struct rule *r = k->always.rules[i];

		if ((r->phase == PHASE_ANY || r->phase == l->phase) && !l->unseen)
			judge__subject(k, l, r, &s);
	}
}

void judge__event(struct check *k, struct life *l, const struct thread *t, const struct event *e)
{
	unsigned kind = e->r->kind == REC_FAULT ? VMCALLS : e->r->kind - REC_BRK;
	const struct rule_list *list = &k->by_kind[kind];
	struct sight s = {.life = l, .thread = t, .event = e, .now_ns = k->now_ns};
	size_t i;

	for (i = 0; i < list->n; i++) {
		const struct rule *r = list->rules[i];

		if (r->where & (e->inside ? WHERE_INSIDE : WHERE_OUTSIDE) &&
		    (r->phase == PHASE_ANY || r->phase == l->phase))
			judge__subject(k, l, r, &s);
	}
}

void judge__forget(struct check *k, struct life *l, int phase)
{
	size_t i;

	for (i = 0; k->contract && i < k->contract->nrules; i++)
		if (k->contract->rules[i].phase == phase) {
			l->counts[i] = l->looked[i] = 0;
			l->had_first[i] = false;
		}
}

static bool bound__holds(enum bound bound, double count, double limit)
{
	return bound == BOUND_EXACTLY ? count == limit :
	       bound == BOUND_AT_MOST ? count <= limit :
					count >= limit;
}

static void judge__count(struct check *k, struct life *l, const struct rule *r, const struct sight *s)
{
	size_t number = rule__number(k, r);
	struct verdict *v = &k->verdicts[number];
	double count = (double)l->counts[number], limit = eval(&r->limit, s);
	char why[200];

	if (isnan(limit)) {
		v->undecided++;
	} else if (!bound__holds(r->bound, count, limit)) {
		snprintf(why, sizeof(why), "there were %.0f, %s %.15g are right", count,
			 bound_name[r->bound], limit);
		judge__broken(k, r, s, why);
	} else if (l->looked[number]) {
		v->exercised++;
	}
}

/* A rule on a whole process, or on its phase that ends. */
static void judge__process(struct check *k, struct life *l, const struct rule *r)
{
	struct sight s = {.life = l, .now_ns = k->now_ns, .of_phase = r->phase != PHASE_ANY};
	uint64_t calls = 0;
	unsigned i;

	for (i = 0; i < GROUPS; i++)
		calls += l->now.group_calls[i];
	/* What has not allocated does not put a rule on allocation to the test. */
	if (r->needs_heap && !calls)
		return;
	if (r->needs_heap && l->unseen)
		k->verdicts[rule__number(k, r)].undecided++;
	else if (r->clause == CLAUSE_COUNT)
		judge__count(k, l, r, &s);
	else
		judge__subject(k, l, r, &s);
}

void judge__end(struct check *k, struct life *l, bool of_phase)
{
	size_t i;

	if (l->shares_mm || !l->is_used)
		return;
	for (i = 0; i < k->by_end.n; i++) {
		const struct rule *r = k->by_end.rules[i];

		if (of_phase ? r->phase == l->phase : r->phase == PHASE_ANY)
			judge__process(k, l, r);
	}
}
