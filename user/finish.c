// SPDX-License-Identifier: MIT
#include "user/finish.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "user/checking.h"
#include "user/live.h"
#include "user/model/advice.h"
#include "user/util/log.h"

#define SETTLE_NS \
	500000000ULL /* programs that were running when they were detached take microseconds */

static uint64_t sum(const uint64_t *n)
{
	uint64_t total = 0;
	unsigned i;

	for (i = 0; i < REC_KINDS; i++)
		total += n[i];
	return total;
}

/* Take records until all that were seen are delivered or counted as lost. 0, or 1 when that never came. */
static int finish__drain(struct session *s, struct event_counts *counts, uint64_t *delivered)
{
	uint64_t give_up = clock__now() + SETTLE_NS;
	struct timespec pause = {.tv_nsec = 200000};
	bool balanced;
	int err;

	do {
		err = session__poll(s, true);
		if (!err)
			err = session__counts(s, counts, delivered);
		if (err)
			return err;
		balanced = sum((uint64_t *)counts->seen) ==
			   sum(delivered) + sum((uint64_t *)counts->lost);
	} while (!balanced && clock__now() < give_up && !nanosleep(&pause, NULL));
	return !balanced;
}

static void add_thread(void *ctx, const struct task_row *row)
{
	model__add_thread_faults(ctx, row);
}

/* Resident pages of those that live. Returns how many processes had ended before they could be asked. */
static size_t finish__residency(struct session *s)
{
	size_t n = model__alive(s->model, NULL, 0), i, gone = 0;
	pid_t *pids = calloc(n + 1, sizeof(*pids));

	if (!pids)
		return n;
	model__alive(s->model, pids, n);
	for (i = 0; i < n; i++) {
		struct process_report *p = model__process(s->model, pids[i]);

		if (p && process__residency(s->model, pids[i], p))
			gone++;
	}
	free(pids);
	return gone;
}

/* The parts of RSS, as far as the kernel plane alone tells them apart. */
static void finish__parts(struct report *r)
{
	const struct region_stats *g = r->regions;
	uint64_t parts;

	if (r->rss_bytes == UNKNOWN || g[REGION_TEXT].resident_bytes == UNKNOWN)
		return;
	r->rss_parts_heap = g[REGION_HEAP].resident_bytes;
	r->rss_parts_direct_mmap = g[REGION_MMAP].resident_bytes;
	r->rss_parts_file = g[REGION_TEXT].resident_bytes + g[REGION_DATA].resident_bytes +
			    g[REGION_FILE].resident_bytes;
	r->rss_parts_stack = g[REGION_STACK].resident_bytes;
	r->rss_parts_other = g[REGION_OTHER].resident_bytes;
	parts = r->rss_parts_heap + r->rss_parts_direct_mmap + r->rss_parts_file +
		r->rss_parts_stack + r->rss_parts_other;
	/* smaps and smaps_rollup are read one after the other: a target that goes on may have freed. */
	r->rss_parts_unknown = r->rss_bytes > parts ? r->rss_bytes - parts : 0;
}

static void finish__heap_notes(struct report *r, const struct event_counts *counts)
{
	size_t i, k, incomplete = 0, glibc = 0;

	if (r->heap.failed == UNKNOWN)
		return;
	if (counts->lost[REC_HEAP])
		report__note(
			r,
			"%llu allocator calls were lost: frees of their blocks count as unmatched, "
			"and blocks that live may have been freed; a larger --buffer avoids that, "
			"and so does --sample",
			counts->lost[REC_HEAP]);
	for (i = 0; i < r->nprocesses; i++)
		for (k = 0; k < r->processes[i].nallocators; k++) {
			const struct allocator *a = &r->processes[i].allocators[k];

			incomplete += a->name && a->incomplete;
			glibc += a->name && !strcmp(a->name, "glibc");
		}
	if (r->heap.unmatched_frees && (incomplete || glibc))
		report__note(r, "frees of unknown blocks: %s%s%s",
			     incomplete ? "of those from before the probes were in place" : "",
			     incomplete && glibc ? "; and " : "",
			     glibc ? "glibc itself frees what a thread's cache holds when the thread ends, "
				     "which the program had freed before" :
				     "");
}

static void finish__ring_notes(const struct session *s, struct report *r)
{
	struct ring_plane_notes n;

	if (!s->ring)
		return;
	ring_plane__notes(s->ring, &n);
	if (n.malformed)
		report__note(r, "%lu records in rings made no sense and were not used", n.malformed);
	if (n.gave_up)
		report__note(
			r,
			"%u processes (%d is one) stopped handing over their allocator's calls, since "
			"memtrace read nothing for 100 ms or they forbade themselves to read the clock (strict "
			"seccomp, PR_SET_TSC): what they did after %.6f s is not known",
			n.gave_up, n.gave_up_pid,
			n.gave_up_ns > s->start_ns ? (double)(n.gave_up_ns - s->start_ns) / 1e9 : 0);
	if (n.late)
		report__note(r,
			     "memtrace was held up and did not answer %u processes in time, which went on "
			     "without it: what process %d allocated in %.3f s then is not known",
			     n.late, n.late_pid, (double)n.late_ms / 1e3);
}

static void finish__notes(struct session *s, struct report *r, const struct event_counts *counts,
			  bool unbalanced)
{
	if (unbalanced)
		report__note(r, "INTERNAL ERROR: events seen are not events delivered plus events lost; "
				"please report this");
	if (counts->missed_tasks)
		report__note(
			r,
			"%llu threads could not be followed: the kernel had no memory for their state",
			counts->missed_tasks);
	if (s->malformed)
		report__note(r, "%lu records were malformed and not used", s->malformed);
	if (kernel__late(s->kernel))
		report__note(r,
			     "%lu records came too late to be put in order; counts are not affected",
			     kernel__late(s->kernel));
	r->has_hidden_faults = s->secure_execs != 0;
	if (s->secure_execs)
		report__note(r,
			     "%lu set-id programs were executed: the kernel drops fault events at that moment; "
			     "their faults before memtrace opened new ones are missing",
			     s->secure_execs);
	finish__ring_notes(s, r);
	finish__heap_notes(r, counts);
	if (!r->seen && !s->alone)
		report__note(r, "the probes were in place: system calls brk, mmap, munmap, mremap, madvise, "
				"mprotect and page faults, of all threads");
	if (counts->lost[REC_EXEC] || counts->lost[REC_VMA] || counts->lost[REC_FILE] ||
	    counts->lost[REC_FORK] || counts->lost[REC_STACK])
		report__note(r, "records of processes, mappings or stacks were lost: regions and places are "
				"incomplete; a larger --buffer avoids that");
}

char *finish__headline(const struct session *s)
{
	const struct options *o = s->o;
	char *text = NULL;
	size_t size, i;
	FILE *f = open_memstream(&text, &size);

	if (!f)
		return NULL;
	if (o->argv)
		for (i = 0; o->argv[i]; i++)
			fprintf(f, "%s%s", i ? " " : "", o->argv[i]);
	else if (o->mode == MODE_ALL)
		fprintf(f, "all processes %s %s", o->comm ? "named" : "of cgroup",
			o->comm ? o->comm : o->cgroup);
	else
		for (i = 0; i < o->npids; i++)
			fprintf(f, "%s%d", i ? "," : "process ", o->pids[i]);
	fclose(f);
	return text;
}

static int finish__write(struct session *s, const struct report *r)
{
	const struct options *o = s->o;
	struct view_opts v = {.top = o->top,
			      .json_sites = o->json_sites,
			      .color = s->stream.color,
			      .verbose = o->verbose};
	bool text = !(o->json && !o->json_path) && !(o->quiet && o->json);
	unsigned height;
	int err = 0;

	live__terminal(s->text, &v.width, &height);
	if (text && s->err != -EPIPE)
		err = view__text(s->text, r, &v);
	if (err && err != -EPIPE)
		log__error("the report cannot be written: %s", strerror(-err));
	if (o->json) {
		int failed = view__json(s->json.file, r, &v);

		if (failed == -EPIPE && !o->json_path)
			err = failed;
		else if (failed)
			log__error("%s: cannot write it: %s",
				   o->json_path ? o->json_path : "standard output",
				   strerror(-failed));
		if (!failed)
			failed = output__commit(&s->json);
		if (failed)
			err = failed;
	}
	return err;
}

/*
 * The launched command, if it has ended: its status, and its peak as wait4(2) has it.
 * That includes what our own image had before the exec, so it is the command's
 * only when it is larger.
 */
static void finish__collect_command(struct session *s)
{
	/* Its last record comes a moment before its status can be had. */
	int block = model__process(s->model, s->launch.pid) ? WNOHANG : 0;
	struct rusage command;
	uint64_t peak = UNKNOWN;

	if (!s->launch.pid ||
	    wait4(s->launch.pid, &s->command_status, block, &command) != s->launch.pid)
		return;
	s->command_ended = true;
	if (command.ru_maxrss > s->launch.own_peak_kb)
		peak = command.ru_maxrss * 1024UL;
	model__set_exit(s->model, s->launch.pid, s->command_status, peak);
}

int finish__report(struct session *s)
{
	uint64_t end_ns = clock__now(), delivered[REC_KINDS] = {0};
	struct event_counts counts = {0};
	struct model_names names = names__callbacks(s->names);
	struct report *r;
	char *how;
	int err, unbalanced;

	err = s->plane ? plane__detach(s->plane) : 0;
	if (err)
		log__warn("what the probes counted cannot be read: %s", strerror(-err));
	if (s->ring)
		ring_plane__close(s->ring);
	kernel__detach(s->kernel);
	unbalanced = finish__drain(s, &counts, delivered);
	err = unbalanced < 0 ? unbalanced : kernel__threads(s->kernel, add_thread, s->model);
	if (err) {
		log__error("the last events cannot be read: %s", strerror(-err));
		return err;
	}
	live__note_gaps(s, &counts);
	if (s->ring)
		ring_plane__tell_gaps(s->ring, 0);
	if (s->checking) {
		finish__collect_command(s);
		return checking__finish(s, &counts, delivered, end_ns, unbalanced);
	}
	finish__residency(s);
	finish__collect_command(s);
	r = model__report(s->model, end_ns, &counts, delivered, &names);
	how = finish__headline(s);
	if (!r || !how) {
		log__error("no memory for the report");
		free(how);
		report__free(r);
		return -ENOMEM;
	}
	r->how = how;
	if (s->alone && report__without_kernel(r, s->without_kernel))
		log__error("no memory for a remark");
	r->sample_bytes = s->o->sample_bytes;
	finish__parts(r);
	finish__notes(s, r, &counts, unbalanced);
	if (report__advise(r))
		log__warn("no memory for the report's advice");
	if (s->err && s->err != -EPIPE)
		log__error("tracing ended early: %s", strerror(-s->err));
	err = finish__write(s, r);
	if (!err)
		err = s->err ? s->err : unbalanced ? -EIO : 0;
	report__free(r);
	free(how);
	return err;
}
