// SPDX-License-Identifier: MIT
#include "user/checking.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "user/check/check.h"
#include "user/check/learn.h"
#include "user/check/output.h"
#include "user/finish.h"
#include "user/session_internal.h"
#include "user/util/log.h"
#include "user/view/sink.h"

struct checking {
	struct contract *contract; /* NULL: to learn one */
	const char **probes; /* of its phases */
	struct check *check;
	struct check_printer printer;
	struct output files[CHECK_FORMATS], learn;
	int status;
	char incomplete[200]; /* why there is no verdict */
};

/* ---- how counter-examples are written ---- */

static struct stream_opts plain(const struct session *s, bool inside)
{
	return (struct stream_opts){.start_ns = s->start_ns, .inside = inside};
}

static int print_heap(void *ctx, FILE *out, const struct rec_heap *r)
{
	struct session *s = ctx;
	struct stream_opts o = plain(s, false);

	return view__stream_heap(out, r, model__comm(s->model, (pid_t)r->h.tgid), NULL, &o);
}

static int print_event(void *ctx, FILE *out, const struct rec *r, bool inside)
{
	struct session *s = ctx;
	struct stream_opts o = plain(s, inside);
	pid_t pid = (pid_t)r->tgid;
	const struct rec_fault *f = (const struct rec_fault *)r;
	const struct rec_call *c = (const struct rec_call *)r;

	if (r->kind == REC_FAULT)
		return view__stream_fault(out, f, model__comm(s->model, pid),
					  f->ip ? names__where(s->names, pid, f->addr) : "execve",
					  names__place(s->names, pid, f->stack_id, f->ip), &o);
	return view__stream_call(out, c, model__comm(s->model, pid), NULL,
				 names__place(s->names, pid, c->stack_id, c->ip), &o);
}

static void put_frame(void *ctx, const char *place)
{
	struct sink s;

	sink__init(&s, ctx, false);
	sink__safe(&s, place, NULL);
	sink__char(&s, '\n');
	sink__finish(&s);
}

static int print_stack(void *ctx, FILE *out, pid_t pid, uint64_t stack_id)
{
	struct session *s = ctx;

	names__each_frame(s->names, pid, stack_id, put_frame, out);
	return 0;
}

static const char *print_comm(void *ctx, pid_t pid)
{
	struct session *s = ctx;

	return model__comm(s->model, pid);
}

/* ---- begin ---- */

static int checking__open_outputs(struct checking *c, const struct check_options *o)
{
	unsigned i;

	for (i = 0; i < CHECK_FORMATS; i++)
		if (o->file[i].on && output__open(&c->files[i], o->file[i].path))
			return EXIT_UNABLE;
	if (o->learn_path && output__open(&c->learn, o->learn_path))
		return EXIT_UNABLE;
	return 0;
}

/* The probes at which phases begin. 0 or the exit status to end with. */
static int checking__note_probes(struct checking *c, const struct options *o)
{
	bool can = o->heap != HEAP_CHOICE_NONE && o->heap != HEAP_CHOICE_RING;
	size_t i;

	c->probes = calloc(c->contract->nphases + 1, sizeof(*c->probes));
	if (!c->probes)
		return EXIT_UNABLE;
	for (i = 0; i < c->contract->nphases; i++) {
		c->probes[i] = c->contract->phases[i].probe;
		if (c->probes[i] && !can) {
			log__error("phase \"%s\" begins at a probe: that needs --heap=uprobe",
				   c->contract->phases[i].name);
			return EXIT_USAGE;
		}
	}
	return 0;
}

struct usdt_phases checking__phases(const struct checking *c)
{
	return (struct usdt_phases){c->probes, c->contract ? c->contract->nphases : 0};
}

int checking__open(struct session *s)
{
	const struct check_options *o = &s->o->check;
	struct checking *c = calloc(1, sizeof(*c));
	struct contract_error e;
	int status;

	if (!c)
		return EXIT_UNABLE;
	s->checking = c;
	c->status = EXIT_UNABLE;
	c->printer = (struct check_printer){s, print_heap, print_event, print_stack, print_comm};
	if (o->contract) {
		c->contract = contract__parse(o->contract, (const char *const *)o->defines,
					      o->ndefines, &contract_files, &e);
		if (!c->contract) {
			log__error("%s", e.text);
			return EXIT_USAGE;
		}
	}
	status = c->contract ? checking__note_probes(c, s->o) : 0;
	return status ? status : checking__open_outputs(c, o);
}

void checking__free(struct checking *c)
{
	unsigned i;

	if (!c)
		return;
	for (i = 0; i < CHECK_FORMATS; i++)
		output__close(&c->files[i]);
	output__close(&c->learn);
	check__free(c->check);
	contract__free(c->contract);
	free(c->probes);
	free(c);
}

/* ---- the run ---- */

int checking__take(struct session *s, const struct rec *r)
{
	struct checking *c = s->checking;
	const struct model_last *last = model__last(s->model);
	struct check_known known = {
		.old_size = last->old_size,
		.in_break = last->has_vma && last->vma_kind == VMA_HEAP,
		.in_mmap = last->has_vma && last->vma_kind == VMA_ANON,
		.in_file = last->has_vma && last->vma_kind == VMA_FILE,
		.in_block = last->in_block,
		.by_allocator = last->has_vma && last->vma_flags & VMA_BY_ALLOCATOR,
	};

	if (!c->check) {
		c->check = check__new(c->contract, &c->printer, s->start_ns, s->o->check.learn);
		if (!c->check)
			return -ENOMEM;
	}
	return check__take(c->check, r, &known);
}

/* ---- the end ---- */

__attribute__((format(printf, 3, 4))) static void because(struct checking *c, bool true_of,
							  const char *format, ...)
{
	va_list args;

	if (!true_of || *c->incomplete)
		return;
	va_start(args, format);
	vsnprintf(c->incomplete, sizeof(c->incomplete), format, args);
	va_end(args);
}

static void checking__weigh(struct session *s, const struct event_counts *counts,
			    const struct check_result *r, bool unbalanced)
{
	struct checking *c = s->checking;
	unsigned long late = r->summary.late;
	struct ring_plane_notes rings = {0};

	if (s->ring)
		ring_plane__notes(s->ring, &rings);
	because(c, s->err != 0, "tracing ended early: %s", strerror(-s->err));
	because(c, rings.malformed != 0, "%lu records in rings were malformed",
		(unsigned long)rings.malformed);
	because(c, rings.gave_up != 0, "%u process%s stopped handing over %s allocator's calls",
		rings.gave_up, rings.gave_up == 1 ? "" : "es", rings.gave_up == 1 ? "its" : "their");
	because(c, rings.late != 0, "%u process%s allocated before memtrace, held up, answered",
		rings.late, rings.late == 1 ? "" : "es");
	because(c, r->lost != 0, "%lu events were lost; a larger --buffer avoids that",
		(unsigned long)r->lost);
	because(c, unbalanced, "events seen are not events delivered plus events lost");
	because(c, counts->missed_tasks != 0, "%lu threads could not be followed",
		(unsigned long)counts->missed_tasks);
	because(c, s->malformed != 0, "%lu records were malformed", s->malformed);
	because(c, late != 0, "%lu events came too late to be told of their call", late);
	because(c, r->summary.missed != 0,
		"the first allocator calls after an exec were over before the probes were there; an "
		"allocator that is preloaded is best put into memtrace's own environment");
	because(c, s->secure_execs != 0,
		"%lu set-id programs were executed: the kernel hides their faults", s->secure_execs);
}

static int write_result(FILE *out, enum check_format format, const struct check_result *r, bool color)
{
	switch (format) {
	case CHECK_JSON:
		return check_result__json(out, r);
	case CHECK_TAP:
		return check_result__tap(out, r);
	case CHECK_JUNIT:
		return check_result__junit(out, r);
	default:
		return check_result__text(out, r, color);
	}
}

static int checking__write_verdicts(struct session *s, const struct check_result *r)
{
	const struct check_options *o = &s->o->check;
	struct checking *c = s->checking;
	bool to_stdout = false;
	int err = 0, failed;
	unsigned i;

	for (i = 0; i < CHECK_FORMATS; i++) {
		if (!o->file[i].on)
			continue;
		to_stdout |= !o->file[i].path;
		failed = write_result(c->files[i].file, i, r, false);
		if (failed && (failed != -EPIPE || o->file[i].path))
			log__error("%s: cannot write it: %s",
				   o->file[i].path ? o->file[i].path : "standard output",
				   strerror(-failed));
		if (!failed)
			failed = output__commit(&c->files[i]);
		err = err ? err : failed;
	}
	if (!to_stdout && !s->o->quiet) {
		failed = write_result(s->text, o->format, r, s->stream.color);
		err = err ? err : failed;
	}
	return err;
}

static int checking__write_proposal(struct session *s, const char *how)
{
	struct checking *c = s->checking;
	FILE *out = c->learn.file ? c->learn.file : s->text;
	int err = learned__write(check__learned(c->check), out, how);

	if (err)
		log__error("the proposal cannot be written: %s", strerror(-err));
	else if (c->learn.file)
		err = output__commit(&c->learn);
	return err;
}

int checking__finish(struct session *s, const struct event_counts *counts,
		     const uint64_t *delivered, uint64_t end_ns, bool unbalanced)
{
	struct checking *c = s->checking;
	struct check_result r = {
		.contract = s->o->check.contract,
		.version = model__version(),
		.strict = s->o->check.strict,
		.duration_ns = end_ns - s->start_ns,
	};
	char *how = finish__headline(s);
	unsigned i;
	int err = how ? 0 : -ENOMEM;

	if (!err && !c->check) /* nothing was told at all */
		c->check = check__new(c->contract, &c->printer, s->start_ns, s->o->check.learn);
	if (!err)
		err = c->check ? check__finish(c->check, end_ns) : -ENOMEM;
	if (err) {
		log__error("no verdict: %s", strerror(-err));
		free(how);
		return err;
	}
	for (i = 0; i < REC_KINDS; i++) {
		r.seen += counts->seen[i];
		r.delivered += delivered[i];
		r.lost += counts->lost[i];
	}
	r.how = how;
	r.verdicts = check__verdicts(c->check, &r.nverdicts);
	r.summary = check__summary(c->check);
	checking__weigh(s, counts, &r, unbalanced);
	r.incomplete = *c->incomplete ? c->incomplete : NULL;
	if (s->o->check.learn && r.incomplete)
		log__error("no contract is proposed: %s", r.incomplete);
	else if (s->o->check.learn)
		err = checking__write_proposal(s, how);
	else
		err = checking__write_verdicts(s, &r);
	c->status = r.incomplete ? EXIT_UNABLE : check_result__held(&r) ? EXIT_OK : EXIT_FAIL;
	free(how);
	return err == -EPIPE ? 0 : err;
}

int checking__status(const struct checking *c)
{
	return c->status;
}
