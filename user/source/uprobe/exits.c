// SPDX-License-Identifier: MIT
#include "user/source/uprobe/exits.h"

#include <stdlib.h>
#include <string.h>

#include "user/source/uprobe/effect.h"
#include "user/source/uprobe/insn.h"

#define INSNS_MAX 8192
#define TABLE (2U * INSNS_MAX) /* a power of two */
#define WAYS_MAX INSNS_MAX
#define TAIL_MAX 64 /* instructions from a site to the ret */
#define LONGEST 15
#define PADDING_MAX 16

struct node {
	uint64_t at; /* 0: free */
	struct insn_step step;
	bool slow; /* a ret that is reached without a site before it */
};

struct search {
	const struct code *code;
	struct node *table;
	uint64_t *ways; /* addresses still to be followed */
	size_t nnodes, nways;
	bool open; /* it leads where we cannot follow */
};

static struct node *search__node(const struct search *s, uint64_t at)
{
	size_t i = at * 0x9e3779b97f4a7c15ULL >> 40;

	for (;; i++) {
		struct node *n = &s->table[i & (TABLE - 1)];

		if (!n->at || n->at == at)
			return n;
	}
}

static void search__way(struct search *s, uint64_t at)
{
	if (s->nways == WAYS_MAX)
		s->open = true;
	else if (!search__node(s, at)->at)
		s->ways[s->nways++] = at;
}

/* The address after n, 0: another function begins there, so what stands before it does not get
 * there: a call that does not return. */
static uint64_t search__after(const struct search *s, const struct node *n)
{
	uint64_t at = n->at + n->step.length;

	return s->code->begins(s->code->ctx, at) ? 0 : at;
}

static uint64_t search__slot(const struct search *s, const struct node *n)
{
	return s->code->pointer(s->code->ctx, n->at + n->step.target);
}

/* Follow one way to where it has been before, or ends. */
static void search__follow(struct search *s, uint64_t at)
{
	while (at && !s->open) {
		struct node *n = search__node(s, at);
		uint8_t bytes[LONGEST];

		if (n->at)
			return;
		if (s->nnodes++ == INSNS_MAX) {
			s->open = true;
			return;
		}
		n->at = at;
		n->step = insn__step(bytes, s->code->read(s->code->ctx, at, bytes, sizeof(bytes)));
		switch (n->step.flow) {
		case FLOW_NEXT:
		case FLOW_CALL:
			at = search__after(s, n);
			break;
		case FLOW_BRANCH:
			search__way(s, at + n->step.target);
			at = search__after(s, n);
			break;
		case FLOW_JUMP:
			at += n->step.target;
			break;
		case FLOW_SLOT:
			at = search__slot(s, n);
			s->open |= !at;
			break;
		case FLOW_RETURN:
		case FLOW_STOP:
			return;
		case FLOW_UNKNOWN:
			s->open = true;
			return;
		}
	}
}

/* Instructions that move the stack pointer up, as the end of a function has them: bytes, or 0. */
static unsigned stack__given_back(const uint8_t *b, unsigned length, uint8_t holds[NREGS])
{
	if (length <= 2 && (b[length - 1] & 0xf8) == 0x58 && (length == 1 || b[0] == 0x41)) {
		holds[(b[length - 1] & 7) + (length == 2 ? 8 : 0)] = NOTHING;
		return b[length - 1] == 0x5c && length == 1 ? 0 : 8;
	}
	if (length == 4 && b[0] == 0x48 && b[1] == 0x83 && b[2] == 0xc4 && b[3] < 0x80)
		return b[3];
	if (length == 7 && b[0] == 0x48 && b[1] == 0x81 && b[2] == 0xc4 && !b[5] && !b[6])
		return b[3] | b[4] << 8;
	return 0;
}

/* Whether from `at` the way leads straight to a ret, with its rax already in a register. */
static struct node *search__tail(const struct search *s, uint64_t at, struct exit_site *site)
{
	uint8_t holds[NREGS];
	unsigned given_back = 0;

	for (unsigned i = 0; i < NREGS; i++)
		holds[i] = i;
	for (unsigned i = 0; i < TAIL_MAX; i++) {
		struct node *n = search__node(s, at);
		uint8_t b[LONGEST];
		enum effect effect;
		struct insn insn;
		unsigned up;
		size_t got;

		if (!n->at)
			return NULL;
		if (n->step.flow == FLOW_RETURN) {
			if (holds[AX] == NOTHING || given_back % 8)
				return NULL;
			site->reg = holds[AX];
			site->words = given_back / 8;
			return n;
		}
		if (n->step.flow != FLOW_NEXT || n->step.emulated)
			return NULL;
		got = s->code->read(s->code->ctx, at, b, sizeof(b));
		up = stack__given_back(b, n->step.length, holds);
		effect = insn__effect(b, got, &insn);
		if (!up && (insn.length != n->step.length || !insn__apply(&insn, effect, holds)))
			return NULL;
		given_back += up;
		at += n->step.length;
	}
	return NULL;
}

/* The ret that is reached from `at` with nothing on the way that could have a site. */
static struct node *search__bare_ret(const struct search *s, uint64_t at)
{
	for (unsigned i = 0; i < INSNS_MAX; i++) {
		struct node *n = search__node(s, at);

		if (!n->at)
			return NULL;
		if (n->step.flow == FLOW_RETURN)
			return n;
		if (n->step.flow == FLOW_SLOT)
			at = search__slot(s, n);
		else if (n->step.flow == FLOW_JUMP && !n->step.emulated)
			at += n->step.target;
		else if (n->step.flow == FLOW_NEXT && !n->step.emulated)
			at += n->step.length;
		else
			return NULL;
	}
	return NULL;
}

struct exit_list {
	struct exit_site *sites;
	struct node *ret[EXITS_MAX]; /* that a site's way leads to */
	size_t n;
	bool full;
};

static void list__add(struct exit_list *l, const struct exit_site *site, struct node *ret)
{
	if (l->n == EXITS_MAX) {
		l->full = true;
		return;
	}
	l->sites[l->n] = *site;
	l->ret[l->n++] = ret;
}

static bool search__is_nop(const struct search *s, const struct node *n)
{
	uint8_t b = 0;

	return s->code->read(s->code->ctx, n->at, &b, 1) && b == 0x90;
}

/* One of the ways on from node n. */
static void search__edge(const struct search *s, struct exit_list *l, const struct node *n,
			 uint64_t to, unsigned edge)
{
	struct exit_site site = {.at = n->at, .edges = edge};
	struct node *ret;

	site.condition = n->step.condition >= 0 ? n->step.condition : 0;
	ret = n->step.emulated && n->step.flow != FLOW_CALL ? search__tail(s, to, &site) : NULL;
	if (ret && n->step.flow == FLOW_NEXT && !search__is_nop(s, n)) {
		/* push: its word is there only afterwards. */
		if (site.words)
			site.words--;
		else
			ret = NULL;
	}
	if (ret)
		list__add(l, &site, ret);
	else if ((ret = search__bare_ret(s, to)))
		ret->slow = true;
}

static void search__edges(const struct search *s, struct exit_list *l, const struct node *n)
{
	uint64_t after = n->at + n->step.length;

	switch (n->step.flow) {
	case FLOW_BRANCH:
		search__edge(s, l, n, n->at + n->step.target, EXIT_TAKEN);
		search__edge(s, l, n, after, EXIT_NOT_TAKEN);
		break;
	case FLOW_JUMP:
		search__edge(s, l, n, n->at + n->step.target, EXIT_TAKEN | EXIT_NOT_TAKEN);
		break;
	case FLOW_CALL:
		search__edge(s, l, n, after, 0);
		break;
	case FLOW_NEXT:
		if (n->step.emulated)
			search__edge(s, l, n, after, EXIT_TAKEN | EXIT_NOT_TAKEN);
		break;
	default:
		break;
	}
}

/* Both ways of a branch that say the same are one site; what a slow ret sees too is none. */
static size_t list__finish(struct exit_list *l)
{
	size_t n = 0;

	for (size_t i = 0; i < l->n; i++) {
		struct exit_site *site = &l->sites[i], *last = n ? &l->sites[n - 1] : NULL;

		if (l->ret[i] && l->ret[i]->slow && !site->slow)
			continue;
		if (last && last->at == site->at && last->reg == site->reg &&
		    last->words == site->words)
			last->edges |= site->edges;
		else
			l->sites[n++] = *site;
	}
	return n;
}

static size_t search__exits(const struct search *s, uint64_t entry, struct exit_site *sites)
{
	struct exit_list l = {.sites = sites};
	struct node *ret = search__bare_ret(s, entry);

	if (ret)
		ret->slow = true;
	for (size_t i = 0; i < TABLE; i++)
		if (s->table[i].at)
			search__edges(s, &l, &s->table[i]);
	for (size_t i = 0; i < TABLE; i++)
		if (s->table[i].at && s->table[i].slow)
			list__add(&l,
				  &(struct exit_site){.at = s->table[i].at,
						      .reg = AX,
						      .edges = EXIT_TAKEN | EXIT_NOT_TAKEN,
						      .slow = true},
				  &s->table[i]);
	return l.full ? 0 : list__finish(&l);
}

/* Follow all ways. search__end() even if it fails. */
static bool search__begin(struct search *s, const struct code *code, uint64_t entry)
{
	*s = (struct search){.code = code};
	s->table = calloc(TABLE, sizeof(*s->table));
	s->ways = calloc(WAYS_MAX, sizeof(*s->ways));
	if (!s->table || !s->ways)
		return false;
	search__follow(s, entry);
	while (s->nways && !s->open)
		search__follow(s, s->ways[--s->nways]);
	return !s->open;
}

static void search__end(struct search *s)
{
	free(s->table);
	free(s->ways);
}

size_t exits__find(const struct code *code, uint64_t entry, struct exit_site sites[EXITS_MAX])
{
	struct search s;
	size_t n = search__begin(&s, code, entry) ? search__exits(&s, entry, sites) : 0;

	search__end(&s);
	return n;
}

static int compare_ranges(const void *a, const void *b)
{
	const struct code_range *x = a, *y = b;

	return x->from < y->from ? -1 : x->from > y->from;
}

/* Whether from here to there are a few bytes between two pieces of one function. */
static bool is_padding(const struct code *code, uint64_t from, uint64_t to)
{
	if (to >= from + PADDING_MAX)
		return false;
	while (from < to)
		if (code->begins(code->ctx, from++))
			return false;
	return true;
}

size_t exits__ranges(const struct code *code, uint64_t entry, struct code_range *ranges, size_t most)
{
	struct code_range *all = NULL;
	struct search s;
	size_t n = 0, k = 0;

	if (search__begin(&s, code, entry))
		all = calloc(s.nnodes + 1, sizeof(*all));
	for (size_t i = 0; all && i < TABLE; i++)
		if (s.table[i].at)
			all[n++] = (struct code_range){s.table[i].at,
						       s.table[i].at + s.table[i].step.length};
	search__end(&s);
	if (n)
		qsort(all, n, sizeof(*all), compare_ranges);
	for (size_t i = 0; i < n; i++) {
		/* What is before the entry is another function's: it is not part of what begins there. */
		if (k && all[i].from != entry && is_padding(code, ranges[k - 1].to, all[i].from)) {
			ranges[k - 1].to = all[i].to;
		} else if (k == most) {
			k = 0;
			break;
		} else {
			ranges[k++] = all[i];
		}
	}
	free(all);
	return k;
}
