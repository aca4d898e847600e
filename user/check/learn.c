// SPDX-License-Identifier: MIT
/*
 * What is learned: for each function and size class (powers of two) the least and the most events of
 * each kind that one call had; for all processes the most of each kind.
 *
 * What is proposed: calls of large sizes that all did the same in the kernel are held to just that;
 * the others to the most that any of them did and a half more, at least one more, since which
 * of them has to grow the heap is chance. What none of them did, none may do.
 */
#include "user/check/learn.h"

#include <inttypes.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "user/check/state.h"
#include "user/view/format.h"
#include "user/view/sink.h"

#define CLASSES 65 /* class c: sizes of c bits */
#define KINDS (VMCALLS + 1) /* the last are faults */

struct cell {
	uint64_t calls;
	uint64_t least[KINDS], most[KINDS];
};

struct learned {
	struct cell *cells[HEAP_OPS]; /* CLASSES each; NULL: not called */
	uint64_t lives;
	uint64_t most[KINDS], touch_faults, peak, mapped;
};

static const char *const kind_name[KINDS] = {"brk",	"mmap",	    "munmap", "mremap",
					     "madvise", "mprotect", "faults"};

struct learned *learned__new(void)
{
	return calloc(1, sizeof(struct learned));
}

void learned__free(struct learned *l)
{
	unsigned i;

	for (i = 0; l && i < HEAP_OPS; i++)
		free(l->cells[i]);
	free(l);
}

static uint64_t of_kind(const struct tally *t, unsigned kind)
{
	return t->n[kind < VMCALLS ? C_CALLS + kind : (unsigned)C_FAULTS];
}

int learned__call(struct learned *l, const struct call *c)
{
	unsigned op = HEAP_AUX_OP(c->r.h.aux), class, kind;
	struct cell *cell;

	if (!l->cells[op])
		l->cells[op] = calloc(CLASSES, sizeof(struct cell));
	if (!l->cells[op])
		return -ENOMEM;
	/* A release's size is not always known. */
	class = op >= HEAP_FREE || !c->r.size ? 0 : 64 - (unsigned)__builtin_clzll(c->r.size);
	cell = &l->cells[op][class];
	for (kind = 0; kind < KINDS; kind++) {
		uint64_t n = of_kind(&c->tally, kind);

		if (!cell->calls || n < cell->least[kind])
			cell->least[kind] = n;
		if (n > cell->most[kind])
			cell->most[kind] = n;
	}
	cell->calls++;
	return 0;
}

static void raise_to(uint64_t *most, uint64_t n)
{
	if (n > *most)
		*most = n;
}

void learned__life(struct learned *l, const struct life *life)
{
	unsigned kind;

	if (!life->has_history || !life->has_allocator)
		return;
	l->lives++;
	for (kind = 0; kind < KINDS; kind++)
		raise_to(&l->most[kind], of_kind(&life->now.in, kind));
	raise_to(&l->touch_faults, life->now.touch_faults);
	raise_to(&l->peak, life->peak);
	raise_to(&l->mapped, life->mapped_peak);
}

/* Whether all calls of a class did the same, and something, in the kernel. */
static bool cell__is_exact(const struct cell *c)
{
	bool some = false;
	unsigned kind;

	for (kind = 0; kind < VMCALLS; kind++) {
		if (c->least[kind] != c->most[kind])
			return false;
		some |= c->most[kind] != 0;
	}
	return some;
}

static bool cell__is_like(const struct cell *a, const struct cell *b)
{
	return !memcmp(a->most, b->most, sizeof(uint64_t) * VMCALLS);
}

static void cell__add(struct cell *to, const struct cell *from)
{
	unsigned kind;

	if (!from->calls)
		return;
	for (kind = 0; kind < KINDS; kind++) {
		if (!to->calls || from->least[kind] < to->least[kind])
			to->least[kind] = from->least[kind];
		raise_to(&to->most[kind], from->most[kind]);
	}
	to->calls += from->calls;
}

/* The first class of those at the upper end that did the same each time; CLASSES: there is none. */
static unsigned first_exact(const struct cell *cells, struct cell *all)
{
	unsigned class, first = CLASSES;

	for (class = CLASSES; class --;) {
		if (!cells[class].calls)
			continue;
		if (!cell__is_exact(&cells[class]) ||
		    (all->calls && !cell__is_like(all, &cells[class])))
			break;
		cell__add(all, &cells[class]);
		first = class;
	}
	return first;
}

static uint64_t with_tolerance(uint64_t n)
{
	return n + (n + 1) / 2;
}

static void put_needs(FILE *out, const struct cell *c, bool exact)
{
	const char *before = "        ";
	unsigned kind;

	for (kind = 0; kind < KINDS; kind++) {
		if (!c->most[kind])
			continue;
		if (exact && kind < VMCALLS)
			fprintf(out, "%sexactly %llu %s", before, (unsigned long long)c->most[kind],
				kind_name[kind]);
		else
			fprintf(out, "%sat most %llu %s", before,
				(unsigned long long)with_tolerance(c->most[kind]), kind_name[kind]);
		before = ", ";
	}
	fprintf(out, "%snothing%s\n\n", before, *before == ',' ? " else" : "");
}

static void put_observed(FILE *out, const char *op, const char *sizes, const struct cell *c)
{
	const char *before = ": ";
	unsigned kind;

	fprintf(out, "# %s%s: %llu calls", op, sizes, (unsigned long long)c->calls);
	for (kind = 0; kind < KINDS; kind++) {
		if (!c->most[kind])
			continue;
		if (c->least[kind] == c->most[kind])
			fprintf(out, "%s%llu %s", before, (unsigned long long)c->most[kind],
				kind_name[kind]);
		else
			fprintf(out, "%s%llu to %llu %s", before, (unsigned long long)c->least[kind],
				(unsigned long long)c->most[kind], kind_name[kind]);
		before = ", ";
	}
	fprintf(out, "%s\n", *before == ':' ? ": nothing in the kernel" : " each");
}

static struct fmt short_size(unsigned class)
{
	static const char units[] = "BKMGTPE";
	unsigned shift = class ? class - 1 : 0;
	struct fmt f;

	/* Beyond G there is no unit. */
	if (shift >= 40)
		snprintf(f.s, sizeof(f.s), "%lluG", 1ULL << (shift - 30));
	else
		snprintf(f.s, sizeof(f.s), "%u%c", 1U << shift % 10, units[shift / 10]);
	return f;
}

static void learned__put_op(const struct learned *l, FILE *out, unsigned op)
{
	const struct cell *cells = l->cells[op];
	struct cell large = {0}, small = {0};
	unsigned first = first_exact(cells, &large), class;
	const char *name = heap_op_name[op];
	struct fmt edge = short_size(first);
	char sizes[64];

	if (op >= HEAP_FREE) {
		first = CLASSES;
		large.calls = 0;
	}
	for (class = 0; class < CLASSES && class < first; class ++)
		cell__add(&small, &cells[class]);
	if (small.calls) {
		*sizes = 0;
		if (large.calls)
			snprintf(sizes, sizeof(sizes), " of less than %s", edge.s);
		put_observed(out, name, sizes, &small);
		fprintf(out, "rule %s%s%s:\n    each %s%s%s:\n", name, large.calls ? "-below-" : "",
			large.calls ? edge.s : "", name, large.calls ? " where size < " : "",
			large.calls ? edge.s : "");
		put_needs(out, &small, false);
	}
	if (!large.calls)
		return;
	snprintf(sizes, sizeof(sizes), " of %s and more", edge.s);
	put_observed(out, name, sizes, &large);
	fprintf(out, "rule %s-from-%s:\n    each %s where size >= %s:\n", name, edge.s, name, edge.s);
	put_needs(out, &large, true);
}

static void put_limit(FILE *out, const char *rule, const char *fact, uint64_t most, uint64_t more)
{
	fprintf(out, "# observed: %" PRIu64 "\nrule %s:\n    each process: %s <= %" PRIu64 "\n\n",
		most, rule, fact, most + most / 4 + more);
}

int learned__write(const struct learned *l, FILE *out, const char *how)
{
	char rule[64];
	struct sink s;
	unsigned i;

	sink__init(&s, out, false);
	sink__str(&s, "# Proposed by memtrace check --learn from one run of: ");
	sink__safe(&s, how, NULL);
	sink__char(&s, '\n');
	sink__finish(&s);
	fputs("#\n"
	      "# Tolerances. Of one call: what no call did, no call may do; else a half more than\n"
	      "# the most that was seen, at least one more, but for large sizes that all did the same.\n"
	      "# Of a process: a quarter more than the most that was seen, and a little.\n\n",
	      out);
	for (i = HEAP_MALLOC; i < HEAP_OPS; i++)
		if (l->cells[i])
			learned__put_op(l, out, i);
	if (!l->lives)
		fputs("# No process was seen from its beginning: there are no rules on processes.\n",
		      out);
	for (i = 0; l->lives && i < KINDS; i++) {
		snprintf(rule, sizeof(rule), "process-%s", kind_name[i]);
		put_limit(out, rule, kind_name[i], l->most[i], i < VMCALLS ? 2 : 16);
	}
	if (l->lives) {
		put_limit(out, "process-touches", "touch.faults", l->touch_faults, 16);
		put_limit(out, "process-peak", "peak", l->peak, 65536);
		put_limit(out, "process-mapped", "mapped.peak", l->mapped, 1 << 20);
	}
	return fflush(out) ? -errno : 0;
}
