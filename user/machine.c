// SPDX-License-Identifier: MIT
/*
 * -a: every process of the machine, counted in the kernel and read once an
 * interval, so that the cost follows the number of active processes and not the
 * rate of events.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "user/live.h"
#include "user/machine_internal.h"
#include "user/model/model.h"
#include "user/session.h"
#include "user/source/process.h"
#include "user/source/uprobe/plane.h"
#include "user/util/log.h"
#include "user/view/format.h"

#define INTERVAL_NS 1000000000ULL
#define POLL_MS 100 /* for samples, and for programs that have begun */
#define ENDED_MAX 4096 /* processes that ended are kept one by one up to here, then as one */

static void remember_rss(void *ctx, pid_t pid)
{
	struct machine *m = ctx;

	hmap__set(&m->rss_start, pid, process__rss(pid));
}

struct row *machine__row(struct machine *m, pid_t pid)
{
	uint64_t *found = hmap__find(&m->by_pid, pid), *start;
	struct row *r;

	if (found)
		return &m->rows[*found];
	if (m->nrows == m->room) {
		size_t room = m->room ? m->room * 2 : 64;
		struct row *rows = reallocarray(m->rows, room, sizeof(*rows));

		if (!rows)
			return NULL;
		m->rows = rows;
		m->room = room;
	}
	if (hmap__set(&m->by_pid, pid, m->nrows))
		return NULL;
	start = hmap__find(&m->rss_start, pid);
	r = &m->rows[m->nrows++];
	*r = (struct row){.pid = pid, .rss = UNKNOWN, .rss_start = start ? *start : UNKNOWN};
	return r;
}

/* What the kernel counted of a process. */
static void machine__take(void *ctx, pid_t pid, const struct machine_row *now, bool ended)
{
	struct machine *m = ctx;
	struct row *r = machine__row(m, pid);

	if (!r) {
		m->err = -ENOMEM;
		return;
	}
	r->now = *now;
	snprintf(r->comm, sizeof(r->comm), "%.16s", now->comm[0] ? now->comm : "?");
	r->counted = true;
	if (ended) {
		r->gone = true;
		return;
	}
	r->rss = process__rss(pid);
	if (r->rss_start == UNKNOWN)
		r->rss_start = r->rss;
}

static void machine_row__add(struct machine_row *to, const struct machine_row *from)
{
	const size_t words = offsetof(struct machine_row, comm_ns) / sizeof(__u64);
	size_t i;

	for (i = 0; i < words; i++)
		((__u64 *)to)[i] += ((const __u64 *)from)[i];
}

/* Those that have ended: all that was counted of them has been read. */
static void machine__retire(struct machine *m)
{
	size_t i;

	for (i = 0; i < m->nrows; i++) {
		struct row *r = &m->rows[i];

		if (r->ended || !(r->gone || (r->exited && !r->counted)))
			continue;
		r->ended = true;
		r->rss = UNKNOWN;
		hmap__remove(&m->by_pid, r->pid);
		hmap__remove(&m->rss_start, r->pid);
		m->nended++;
	}
}

static void machine__fold_heap(struct machine *m, struct row *r)
{
	if (!r->heap)
		return;
	if (!m->others.heap) {
		m->others.heap = r->heap;
		r->heap = NULL;
		return;
	}
	tally__add(m->others.heap, r->heap);
	free(r->heap);
	r->heap = NULL;
}

/* Fold ended processes into one row when there are too many of them. */
static void machine__fold(struct machine *m)
{
	size_t i, kept = 0;

	if (m->nended <= ENDED_MAX)
		return;
	for (i = 0; i < m->nrows; i++) {
		if (m->rows[i].ended) {
			machine_row__add(&m->others.now, &m->rows[i].now);
			machine__fold_heap(m, &m->rows[i]);
			continue;
		}
		hmap__set(&m->by_pid, m->rows[i].pid, kept);
		m->rows[kept++] = m->rows[i];
	}
	m->nrows = kept;
	m->nended = 0;
	m->others.ended = true;
	m->others.before = m->others.now;
	m->others.rss = m->others.rss_start = UNKNOWN;
	snprintf(m->others.comm, sizeof(m->others.comm), "(ended)");
}

static uint64_t sum_calls(const struct machine_row *r)
{
	uint64_t n = 0;
	unsigned i;

	for (i = 0; i < VMCALLS; i++)
		n += r->calls[i];
	return n;
}

static uint64_t sum_mapped(const struct machine_row *r)
{
	return r->bytes[CALL_MMAP] + r->grown_bytes + r->remap_grown_bytes;
}

static uint64_t sum_unmapped(const struct machine_row *r)
{
	return r->bytes[CALL_MUNMAP] + r->shrunk_bytes + r->remap_shrunk_bytes;
}

/* A table row: rates since `before` over `seconds`. */
static struct table_row row__show(const struct row *r, const struct machine_row *before,
				  double seconds)
{
	struct table_row t = {
		.pid = r->pid,
		.faults = r->now.minor + r->now.major,
		.calls = sum_calls(&r->now),
		.break_change = r->now.grown_bytes - r->now.shrunk_bytes,
		.rss_bytes = r->rss,
		.live_bytes = UNKNOWN,
		.alloc_per_s = -1,
		.rss_change = r->rss == UNKNOWN ? INT64_MIN : (int64_t)(r->rss - r->rss_start),
	};

	snprintf(t.comm, sizeof(t.comm), "%s", r->comm);
	t.faults_per_s = (t.faults - before->minor - before->major) / seconds;
	t.major_per_s = (r->now.major - before->major) / seconds;
	t.calls_per_s = (t.calls - sum_calls(before)) / seconds;
	t.mapped_per_s = (sum_mapped(&r->now) - sum_mapped(before)) / seconds;
	t.unmapped_per_s = (sum_unmapped(&r->now) - sum_unmapped(before)) / seconds;
	return t;
}

static uint64_t machine__lost(struct machine *m)
{
	struct event_counts counts;
	uint64_t delivered[REC_KINDS], lost = 0;
	unsigned i;

	if (kernel__counts(m->kernel, &counts, delivered))
		return UNKNOWN;
	for (i = 0; i < REC_KINDS; i++)
		lost += counts.lost[i];
	return lost;
}

/* Show the table of the last interval, or (final) of the whole run. */
static int machine__show(struct machine *m, bool final)
{
	static const struct machine_row nothing;
	struct table_row *rows = calloc(m->nrows + 2, sizeof(*rows));
	uint64_t now = clock__now(), since = final ? m->start_ns : m->shown_ns;
	struct table t = {.elapsed_s = (now - m->start_ns) / 1e9,
			  .interval_s = (now - since) / 1e9,
			  .sample_bytes = m->plane ? m->o->sample_bytes : 0};
	struct view_opts v = {
		.top = m->o->top, .color = isatty(STDOUT_FILENO), .verbose = m->o->verbose};
	unsigned height;
	size_t i;
	int err;

	if (!rows)
		return -ENOMEM;
	for (i = 0; i < m->nrows; i++) {
		struct row *r = &m->rows[i];

		if (!final && r->ended &&
		    !memcmp(&r->now, &r->before, offsetof(struct machine_row, comm_ns)))
			continue;
		rows[t.nrows] = row__show(r, final ? &nothing : &r->before, t.interval_s);
		machine_heap__show(m, r, &rows[t.nrows++], t.interval_s, final);
		r->before = r->now;
	}
	if (m->others.ended) {
		rows[t.nrows] =
			row__show(&m->others, final ? &nothing : &m->others.before, t.interval_s);
		machine_heap__show(m, &m->others, &rows[t.nrows++], t.interval_s, final);
	}
	machine_heap__total(m, &t.heap);
	m->shown_ns = now;
	live__sort(rows, t.nrows, &t.total);
	t.rows = rows;
	t.lost = machine__lost(m);
	live__terminal(stdout, &v.width, &height);
	if (height > 8 && v.top > height - 8)
		v.top = height - 8;
	err = view__table(stdout, &t, &v, v.color && !final);
	free(rows);
	return err;
}

static void row__report(struct machine *m, struct process_report *p, const struct row *r,
			uint64_t duration_ns)
{
	size_t i;

	*p = (struct process_report){.pid = r->pid,
				     .comm = r->comm,
				     .root = true,
				     .ended = r->ended,
				     .end_ns = duration_ns,
				     .rss_bytes = r->rss};
	for (i = 0; i < VMCALLS; i++) {
		p->call[i] = (struct call_stats){.calls = r->now.calls[i],
						 .failed = r->now.failed[i],
						 .bytes = r->now.bytes[i],
						 .time_ns = UNKNOWN,
						 .grown_bytes = UNKNOWN,
						 .shrunk_bytes = UNKNOWN,
						 .populated = UNKNOWN};
	}
	p->call[CALL_BRK].bytes = r->now.grown_bytes + r->now.shrunk_bytes;
	p->call[CALL_MREMAP].grown_bytes = r->now.remap_grown_bytes;
	p->call[CALL_MREMAP].shrunk_bytes = r->now.remap_shrunk_bytes;
	p->call[CALL_BRK].grown_bytes = r->now.grown_bytes;
	p->call[CALL_BRK].shrunk_bytes = r->now.shrunk_bytes;
	memset(&p->faults, 0xff, sizeof(p->faults));
	p->faults.minor = r->now.minor;
	p->faults.major = r->now.major;
	p->rss_peak_bytes = p->kernel_minflt = p->kernel_majflt = p->mapped_bytes = UNKNOWN;
	p->execs = p->forks = p->threads = UNKNOWN;
	memset(p->regions, 0xff, sizeof(p->regions));
	machine_heap__report(m, r, p);
}

static void add_known(uint64_t *to, uint64_t n)
{
	if (n != UNKNOWN)
		*to = *to == UNKNOWN ? n : *to + n;
}

static void report__total(struct report *r)
{
	size_t i, j, n = sizeof(r->call) / (sizeof(uint64_t));

	memset(&r->call, 0xff, sizeof(r->call));
	memset(&r->faults, 0xff, sizeof(r->faults));
	memset(&r->regions, 0xff, sizeof(r->regions));
	r->rss_bytes = UNKNOWN;
	for (i = 0; i < r->nprocesses; i++) {
		const struct process_report *p = &r->processes[i];

		for (j = 0; j < n; j++)
			add_known((uint64_t *)r->call + j, ((const uint64_t *)p->call)[j]);
		add_known(&r->faults.minor, p->faults.minor);
		add_known(&r->faults.major, p->faults.major);
	}
}

static int machine__hooks(struct machine *m, struct report *r)
{
	struct heap_hook *hooks = calloc(m->nhooks + 1, sizeof(*hooks));
	size_t i;

	if (!hooks)
		return -ENOMEM;
	for (i = 0; i < m->nhooks; i++) {
		const struct rec_hook *h = &m->hooks[i];

		hooks[i] = (struct heap_hook){
			.number = h->h.aux,
			.symbol = h->symbol,
			.path = h->path,
			.ino = h->ino,
			.dev = h->dev,
			.entry = h->entry,
			.offset = h->offset,
			.op = h->op,
			.place = h->place,
			.done = h->done,
			.hits = h->hits,
			.nested = h->nested,
			.ignored = h->ignored,
			.lost = h->lost,
		};
	}
	r->hooks = hooks;
	r->nhooks = m->nhooks;
	return 0;
}

static int machine__json(struct machine *m)
{
	struct report r = {.how = "the whole machine", .duration_ns = clock__now() - m->start_ns};
	struct event_counts counts;
	uint64_t delivered[REC_KINDS];
	size_t i;
	int err;

	err = kernel__counts(m->kernel, &counts, delivered);
	if (err)
		return err;
	r.version = model__version();
	r.processes = calloc(m->nrows + 1, sizeof(*r.processes));
	if (!r.processes)
		return -ENOMEM;
	for (i = 0; i < m->nrows; i++)
		row__report(m, &r.processes[r.nprocesses++], &m->rows[i], r.duration_ns);
	if (m->others.ended)
		row__report(m, &r.processes[r.nprocesses++], &m->others, r.duration_ns);
	report__total(&r);
	machine_heap__total(m, &r.heap);
	memset(&r.parts, 0xff, sizeof(r.parts));
	r.sample_bytes = m->plane ? m->o->sample_bytes : 0;
	if (machine__hooks(m, &r)) {
		free(r.processes);
		return -ENOMEM;
	}
	for (i = 0; i < REC_KINDS; i++) {
		r.events[i] = (struct loss){counts.seen[i], counts.lost[i]};
		r.seen += counts.seen[i];
		r.lost += counts.lost[i];
	}
	r.delivered = r.seen - r.lost;
	r.rss_parts_direct_mmap = r.rss_parts_heap = r.rss_parts_file = UNKNOWN;
	r.rss_parts_stack = r.rss_parts_other = r.rss_parts_unknown = UNKNOWN;
	err = view__json(m->json.file, &r, &(struct view_opts){.json_sites = 0}); /* it has none */
	free(r.processes);
	free((void *)r.hooks);
	if (err && (err != -EPIPE || m->o->json_path))
		log__error("%s: cannot write it: %s",
			   m->o->json_path ? m->o->json_path : "standard output", strerror(-err));
	return err ? err : output__commit(&m->json);
}

static int machine__begin(struct machine *m)
{
	struct kernel_opts k = {.mode = KERNEL_MACHINE,
				.heap = m->o->sample_bytes != 0,
				.sample_bytes = m->o->sample_bytes,
				.sink = machine_heap__sink,
				.sink_ctx = m};
	uint64_t tick = m->o->interval_ns ? m->o->interval_ns : INTERVAL_NS;
	int status;

	if (m->o->stream) {
		log__error("--stream of the whole machine would be about itself; give --comm NAME or --cgroup "
			   "PATH");
		return EXIT_USAGE;
	}
	if (m->o->json && output__open(&m->json, m->o->json_path))
		return EXIT_FAIL;
	m->kernel = kernel__new(&k, &status);
	if (!m->kernel)
		return status;
	m->start_ns = m->shown_ns = clock__now();
	process__each(remember_rss, m);
	if (m->o->sample_bytes && machine_heap__begin(m))
		return EXIT_FAIL;
	if (waiter__init(&m->wait, 0, m->o->duration_ns, tick))
		return EXIT_FAIL;
	if (m->plane)
		log__info("tracing the whole machine, its allocators too, by samples of one in %s%s",
			  fmt__bytes(m->o->sample_bytes).s,
			  m->o->duration_ns ? "" : "; Ctrl-C ends it");
	else
		log__info("tracing the whole machine%s", m->o->duration_ns ? "" : "; Ctrl-C ends it");
	return 0;
}

/* Read the kernel's counts, and show them when that is asked for. */
static int machine__tick(struct machine *m, bool show)
{
	int err;

	m->err = 0;
	err = machine_heap__work(m);
	if (!err)
		err = kernel__machine(m->kernel, machine__take, m);
	/* Samples of those that were found to have ended. */
	if (!err && m->plane)
		err = kernel__poll(m->kernel, true);
	if (!err)
		err = m->err;
	machine__retire(m);
	if (!err && show)
		err = machine__show(m, false);
	machine__fold(m);
	return err;
}

/* The counts are read every second also when no table is shown: rows of ended processes must go. */
static int machine__loop(struct machine *m)
{
	bool shown = m->o->interval_ns || isatty(STDOUT_FILENO);
	bool silent = m->o->json && (!m->o->json_path || m->o->quiet);
	int err = 0, failed;

	while (!err) {
		enum wait_result why = waiter__wait(&m->wait, m->plane ? POLL_MS : 3600000);

		if (why == WAIT_SIGNAL || why == WAIT_END)
			break;
		if (why == WAIT_TICK)
			err = machine__tick(m, shown && !silent);
		else
			err = machine_heap__work(m);
	}
	failed = machine_heap__end(m);
	err = err ? err : failed;
	kernel__detach(m->kernel);
	if (!err) {
		err = machine__tick(m, false);
		if (!err && !silent)
			err = machine__show(m, true);
	}
	/* The file is not to suffer from a pipe that was closed. */
	failed = m->o->json ? machine__json(m) : 0;
	return err ? err : failed;
}

int machine__run(const struct options *o)
{
	struct machine m = {.o = o, .wait = {-1, -1, 0, 0, 0, 0, false}};
	int status = machine__begin(&m), err;

	if (!status) {
		err = machine__loop(&m);
		if (err && err != -EPIPE)
			log__error("the table ended: %s", strerror(-err));
		status = err ? EXIT_FAIL : EXIT_OK;
	}
	machine_heap__free(&m);
	kernel__free(m.kernel);
	waiter__free(&m.wait);
	output__close(&m.json);
	hmap__clear(&m.by_pid);
	hmap__clear(&m.rss_start);
	free(m.rows);
	return status;
}
