// SPDX-License-Identifier: MIT
/* Rules held against what has happened: which ones apply, whether they are met, the examples. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "user/check/state.h"
#include "user/view/format.h"

/* ---- which rules are about what ---- */

static int list__add(struct rule_list *list, const struct ready_rule *r)
{
	const struct ready_rule **grown =
		reallocarray(list->rules, list->n + 1, sizeof(const struct ready_rule *));

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

/* ---- rules made ready ---- */

static void ready__free(struct ready_rule *r)
{
	size_t i;

	program__free(&r->condition);
	for (i = 0; i < r->nneeds; i++)
		program__free(&r->needs[i]);
	free(r->needs);
}

static bool is_always(const struct program *p, double value)
{
	double constant;

	return program__is_constant(p, &constant) && constant == value;
}

/* In a call without events nothing was counted, and its block is in no memory that it got. */
static bool is_zero_if_quiet(const struct insn *load)
{
	return load->source == SOURCE_CALL ||
	       (load->source == SOURCE_FACT && load->index == FACT_FRESH);
}

static int ready__make(struct ready_rule *ready, const struct rule *r, fact_known_fn *is_zero)
{
	struct program *need;
	size_t i;
	int err;

	ready->rule = r;
	ready->needs = calloc(r->nneeds + 1, sizeof(*ready->needs));
	if (!ready->needs)
		return -ENOMEM;
	err = program__shorten(&r->condition, is_zero, &ready->condition);
	for (i = 0; !err && i < r->nneeds; i++) {
		need = &ready->needs[ready->nneeds];
		err = program__shorten(&r->needs[i].is_met, is_zero, need);
		if (!err && is_always(need, 1))
			program__free(need);
		else
			ready->nneeds++;
	}
	return err;
}

/* Whether a rule can come to say anything, even that it was looked at. */
static bool ready__matters(const struct ready_rule *ready)
{
	return ready->rule->clause == CLAUSE_NEVER || ready->rule->clause == CLAUSE_COUNT ||
	       !is_always(&ready->condition, 0);
}

static int judge__sort_call(struct check *k, unsigned op, bool has_block,
			    const struct ready_rule *loud, const struct ready_rule *quiet)
{
	struct rule_list *lists = k->by_op[op][has_block];
	int err = 0;

	if (!rule__is_about(loud->rule, op, has_block))
		return 0;
	if (ready__matters(loud))
		err = list__add(&lists[LOUD], loud);
	if (!err && ready__matters(quiet))
		err = list__add(&lists[QUIET], quiet);
	return err;
}

static int judge__sort(struct check *k, size_t number)
{
	struct ready_rule *loud = &k->ready[LOUD][number], *quiet = &k->ready[QUIET][number];
	const struct rule *r = &k->contract->rules[number];
	unsigned i;
	int err = ready__make(loud, r, NULL), has;

	if (!err)
		err = ready__make(quiet, r, is_zero_if_quiet);
	for (i = HEAP_MALLOC; !err && i < HEAP_OPS; i++)
		for (has = 0; !err && has < 2; has++)
			err = judge__sort_call(k, i, has, loud, quiet);
	for (i = 0; !err && i <= VMCALLS; i++)
		if (r->subject.kinds & 1U << i)
			err = list__add(&k->by_kind[i], loud);
	if (!err && r->clause == CLAUSE_ALWAYS)
		err = list__add(&k->always, loud);
	if (!err && (r->subject.scope == SCOPE_PROCESS || r->clause == CLAUSE_COUNT))
		err = list__add(&k->by_end, loud);
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
	for (i = 0; i < LOUDNESSES; i++)
		k->ready[i] = calloc(c->nrules, sizeof(*k->ready[i]));
	if (!k->verdicts || !k->ready[LOUD] || !k->ready[QUIET])
		return -ENOMEM;
	for (i = 0; !err && i < c->nrules; i++) {
		k->verdicts[i].rule = &c->rules[i];
		err = judge__sort(k, i);
	}
	return err;
}

static void verdict__free(struct verdict *v)
{
	unsigned i;

	for (i = 0; i < v->nexamples; i++) {
		free(v->examples[i].comm);
		free(v->examples[i].why);
		free(v->examples[i].events);
		free(v->examples[i].stack);
	}
}

void judge__free(struct check *k)
{
	size_t n = k->contract ? k->contract->nrules : 0, i;
	unsigned j, loud;

	for (i = 0; k->verdicts && i < n; i++)
		verdict__free(&k->verdicts[i]);
	free(k->verdicts);
	for (loud = 0; loud < LOUDNESSES; loud++) {
		for (i = 0; k->ready[loud] && i < n; i++)
			ready__free(&k->ready[loud][i]);
		free(k->ready[loud]);
		for (j = 0; j < HEAP_OPS; j++) {
			free(k->by_op[j][0][loud].rules);
			free(k->by_op[j][1][loud].rules);
		}
	}
	for (j = 0; j <= VMCALLS; j++)
		free(k->by_kind[j].rules);
	free(k->by_end.rules);
	free(k->always.rules);
}

static size_t rule__number(const struct check *k, const struct rule *r)
{
	return (size_t)(r - k->contract->rules);
}

static bool rule__is_in(const struct rule *r, int phase)
{
	return r->phase == PHASE_ANY || r->phase == phase;
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
static void judge__needs(struct check *k, const struct ready_rule *ready, struct verdict *v,
			 const struct sight *s)
{
	bool unknown = false;
	double met;
	size_t i;

	for (i = 0; i < ready->nneeds; i++) {
		met = eval(&ready->needs[i], s);
		if (met == 0) {
			judge__broken(k, ready->rule, s, NULL);
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
static void judge__subject(struct check *k, struct life *l, const struct ready_rule *ready,
			   struct sight *s)
{
	const struct rule *r = ready->rule;
	size_t number = rule__number(k, r);
	struct verdict *v = &k->verdicts[number];
	double applies;

	s->of_phase = r->phase != PHASE_ANY;
	if (r->clause == CLAUSE_FIRST && (l->had_first[number] || !life__first_known(l, r)))
		return;
	applies = ready->condition.count ? eval(&ready->condition, s) : 1;
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
		judge__needs(k, ready, v, s);
}

void judge__call(struct check *k, struct thread *t)
{
	struct call *c = &t->call;
	struct life *l = t->life;
	enum loudness loudness = c->nevents ? LOUD : QUIET;
	const struct rule_list *list = &k->by_op[HEAP_AUX_OP(c->r.h.aux)][c->r.arg != 0][loudness];
	struct sight s = {.life = l, .thread = t, .call = c, .now_ns = k->now_ns};
	size_t i;

	if (c->r.h.flags & HEAP_ABANDONED)
		return;
	for (i = 0; i < list->n; i++)
		if (rule__is_in(list->rules[i]->rule, c->phase))
			judge__subject(k, l, list->rules[i], &s);
	for (i = 0; i < k->always.n && !l->unseen; i++)
		if (rule__is_in(k->always.rules[i]->rule, l->phase))
			judge__subject(k, l, k->always.rules[i], &s);
}

void judge__event(struct check *k, struct life *l, const struct thread *t, const struct event *e)
{
	unsigned kind = e->r->kind == REC_FAULT ? VMCALLS : e->r->kind - REC_BRK;
	const struct rule_list *list = &k->by_kind[kind];
	struct sight s = {.life = l, .thread = t, .event = e, .now_ns = k->now_ns};
	size_t i;

	for (i = 0; i < list->n; i++) {
		const struct rule *r = list->rules[i]->rule;

		if (r->where & (e->inside ? WHERE_INSIDE : WHERE_OUTSIDE) && rule__is_in(r, l->phase))
			judge__subject(k, l, list->rules[i], &s);
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
static void judge__process(struct check *k, struct life *l, const struct ready_rule *ready)
{
	const struct rule *r = ready->rule;
	struct sight s = {.life = l, .now_ns = k->now_ns, .of_phase = r->phase != PHASE_ANY};
	uint64_t calls = 0;
	unsigned i;

	for (i = 0; i < GROUPS; i++)
		calls += l->now.group_calls[i];
	/* What has not allocated, as far as one could see, does not put a rule on allocation to the test. */
	if (r->needs_heap && l->unseen)
		k->verdicts[rule__number(k, r)].undecided++;
	else if (r->needs_heap && !calls)
		return;
	else if (r->clause == CLAUSE_COUNT)
		judge__count(k, l, r, &s);
	else
		judge__subject(k, l, ready, &s);
}

void judge__end(struct check *k, struct life *l, bool of_phase)
{
	size_t i;

	if (l->shares_mm || !l->is_used)
		return;
	for (i = 0; i < k->by_end.n; i++) {
		const struct rule *r = k->by_end.rules[i]->rule;

		if (of_phase ? r->phase == l->phase : r->phase == PHASE_ANY)
			judge__process(k, l, k->by_end.rules[i]);
	}
}
