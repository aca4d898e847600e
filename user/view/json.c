/* SPDX-License-Identifier: MIT */
/*
 * The JSON report, schema "memtrace.report/1". Scripts rely on its names: add
 * keys, do not rename. Numbers are exact integers up to 2^64-2; a figure that is not
 * known is null. Strings are valid UTF-8 whatever the target's bytes were.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "user/view/json.h"

#define SCHEMA "memtrace.report/1"

static void put_calls(struct json *j, const struct call_stats *call)
{
	unsigned i;

	for (i = 0; i < VMCALLS; i++) {
		json__open_flat(j, vmcall_name[i], '{');
		json__u64(j, "calls", call[i].calls);
		json__u64(j, "failed", call[i].failed);
		json__u64(j, "bytes", call[i].bytes);
		json__u64(j, "time_ns", call[i].time_ns);
		if (i == CALL_BRK || i == CALL_MREMAP) {
			json__u64(j, "grown_bytes", call[i].grown_bytes);
			json__u64(j, "shrunk_bytes", call[i].shrunk_bytes);
		}
		json__u64(j, "populated", call[i].populated);
		json__close(j, '}');
	}
}

static void put_histogram(struct json *j, const uint64_t *histogram)
{
	unsigned i;

	json__open(j, "histogram_ns", '[');
	for (i = 0; i < HIST_BUCKETS; i++) {
		JSON_NUMBERS(j, NULL, {"from_ns", i ? 1ull << i : 0},
			     {"to_ns", i + 1 < HIST_BUCKETS ? 2ull << i : UNKNOWN},
			     {"count", histogram[i]});
	}
	json__close(j, ']');
}

static void put_faults(struct json *j, const struct fault_stats *f)
{
	json__open(j, "faults", '{');
	json__u64(j, "minor", f->minor);
	json__u64(j, "major", f->major);
	json__u64(j, "user", f->user);
	json__u64(j, "kernel", f->kernel);
	json__u64(j, "read", f->read);
	json__u64(j, "write", f->write);
	json__u64(j, "exec", f->exec);
	json__u64(j, "access_unknown", f->access_unknown);
	json__u64(j, "cow_after_fork", f->cow_after_fork);
	json__u64(j, "cow_other", f->cow_other);
	json__u64(j, "time_ns", f->time_ns);
	json__u64(j, "time_known", f->time_known);
	put_histogram(j, f->histogram);
	json__close(j, '}');
}

/* What is memtrace's own; null where nothing of it is in a process. */
static void put_agent(struct json *j, bool has, const struct agent_stats *a)
{
	if (!has) {
		json__null(j, "agent");
		return;
	}
	json__open(j, "agent", '{');
	put_calls(j, a->call);
	put_faults(j, &a->faults);
	json__u64(j, "mapped_bytes", a->mapped_bytes);
	json__u64(j, "resident_bytes", a->resident_bytes);
	json__close(j, '}');
}

static void put_kernel(struct json *j, const struct call_stats *call, const struct fault_stats *faults)
{
	json__open(j, "kernel", '{');
	put_calls(j, call);
	put_faults(j, faults);
	json__close(j, '}');
}

static void put_regions(struct json *j, const struct region_stats *regions)
{
	unsigned i;

	json__open(j, "regions", '{');
	for (i = 0; i < REGION_CLASSES; i++) {
		json__open_flat(j, region_name[i], '{');
		json__u64(j, "mappings", regions[i].mappings);
		json__u64(j, "bytes", regions[i].bytes);
		json__u64(j, "resident_bytes", regions[i].resident_bytes);
		JSON_NUMBERS(j, "faults", {"minor", regions[i].faults_minor},
			     {"major", regions[i].faults_major});
		json__close(j, '}');
	}
	json__close(j, '}');
}

static uint64_t exit_status(const struct process_report *p)
{
	if (!p->ended || !p->exit_known)
		return UNKNOWN;
	if (WIFSIGNALED(p->exit_status))
		return 128 + (unsigned)WTERMSIG(p->exit_status);
	return (unsigned)WEXITSTATUS(p->exit_status);
}

static void put_process(struct json *j, const struct process_report *p)
{
	json__open(j, NULL, '{');
	json__u64(j, "pid", (uint64_t)p->pid);
	json__u64(j, "ppid", p->ppid ? (uint64_t)p->ppid : UNKNOWN);
	json__string(j, "comm", p->comm);
	json__string(j, "exe", p->exe);
	json__allocators(j, p);
	json__bool(j, "root", p->root);
	json__bool(j, "ended", p->ended);
	json__u64(j, "exit_status", exit_status(p));
	json__u64(j, "start_ns", p->start_ns);
	json__u64(j, "end_ns", p->end_ns);
	json__u64(j, "execs", p->execs);
	json__u64(j, "forks", p->forks);
	json__u64(j, "threads", p->threads);
	put_kernel(j, p->call, &p->faults);
	json__u64(j, "kernel_minflt", p->kernel_minflt);
	json__u64(j, "kernel_majflt", p->kernel_majflt);
	json__u64(j, "rss_bytes", p->rss_bytes);
	json__u64(j, "rss_peak_bytes", p->rss_peak_bytes);
	json__u64(j, "mapped_bytes", p->mapped_bytes);
	json__heap(j, &p->heap);
	json__open_flat(j, "rss", '{');
	json__u64(j, "kernel_bytes", p->rss_bytes);
	json__parts(j, &p->parts);
	json__close(j, '}');
	put_regions(j, p->regions);
	put_agent(j, p->has_agent, &p->agent);
	json__close(j, '}');
}

static uint64_t less(uint64_t seen, uint64_t lost)
{
	return seen == UNKNOWN || lost == UNKNOWN ? UNKNOWN : seen - lost;
}

static void put_events(struct json *j, const struct report *r)
{
	unsigned i;

	json__open(j, "events", '{');
	json__u64(j, "seen", r->seen);
	json__u64(j, "delivered", r->delivered);
	json__u64(j, "lost", r->lost);
	json__open_flat(j, "lost_by", '{');
	for (i = REC_NONE + 1; i < REC_KINDS; i++)
		if (r->events[i].lost && r->events[i].lost != UNKNOWN)
			json__u64(j, rec_kind_name[i], r->events[i].lost);
	json__close(j, '}');
	json__open(j, "by_kind", '{');
	for (i = REC_NONE + 1; i < REC_KINDS; i++) {
		JSON_NUMBERS(j, rec_kind_name[i], {"seen", r->events[i].seen},
			     {"delivered", less(r->events[i].seen, r->events[i].lost)},
			     {"lost", r->events[i].lost});
	}
	json__close(j, '}');
	json__close(j, '}');
}

static void put_rss(struct json *j, const struct report *r)
{
	json__open(j, "rss", '{');
	json__u64(j, "kernel_bytes", r->rss_bytes);
	if (r->parts.live != UNKNOWN) {
		json__parts(j, &r->parts);
		json__close(j, '}');
		return;
	}
	/* The kernel plane alone knows the break from mappings, not who uses either. */
	JSON_NUMBERS(j, "parts", {"live", UNKNOWN}, {"retained", UNKNOWN}, {"allocator", UNKNOWN},
		     {"heap", r->rss_parts_heap}, {"direct_mmap", r->rss_parts_direct_mmap},
		     {"file", r->rss_parts_file}, {"stack", r->rss_parts_stack},
		     {"other", r->rss_parts_other}, {"unknown", r->rss_parts_unknown});
	json__close(j, '}');
}

static void put_mapped(struct json *j, const struct report *r)
{
	size_t i;

	json__open(j, "mapped", '[');
	for (i = 0; i < r->nmapped; i++) {
		JSON_NUMBERS(j, NULL, {"t_ns", r->mapped[i].t_ns},
			     {"mapped_bytes", r->mapped[i].mapped_bytes},
			     {"heap_bytes", r->mapped[i].heap_bytes});
	}
	json__close(j, ']');
}

static void put_stacks(struct json *j, const struct report *r)
{
	JSON_NUMBERS(j, "stacks", {"distinct", r->stacks}, {"failed", r->stacks_failed},
		     {"truncated", r->stacks_truncated}, {"taken", r->stacks_taken},
		     {"taken_truncated", r->stacks_taken_truncated});
}

static void put_advice(struct json *j, const struct report *r, const struct advice *a,
		       const uint64_t *numbers)
{
	size_t i;

	json__open(j, NULL, '{');
	json__string(j, "id", a->id);
	json__u64(j, "site", a->site ? numbers[a->site - r->sites] : UNKNOWN);
	json__string(j, "text", a->text);
	json__open_flat(j, "evidence", '{');
	for (i = 0; i < a->nevidence; i++)
		json__u64(j, a->evidence[i].key, a->evidence[i].value);
	json__close(j, '}');
	json__close(j, '}');
}

int view__json(FILE *out, const struct report *r, const struct view_opts *o)
{
	struct json j = {.depth = 1, .flat = 0, .first = true};
	uint64_t *numbers = json__number_sites(r, o->json_sites);
	size_t i;

	if (!numbers)
		return -ENOMEM;

	sink__init(&j.s, out, false);
	sink__char(&j.s, '{');
	json__string(&j, "schema", SCHEMA);
	json__string(&j, "version", r->version);
	json__u64(&j, "duration_ns", r->duration_ns);
	json__string(&j, "how", r->how);
	json__bool(&j, "kernel_plane", !r->without_kernel);
	json__open(&j, "processes", '[');
	for (i = 0; i < r->nprocesses; i++)
		put_process(&j, &r->processes[i]);
	json__close(&j, ']');
	put_events(&j, r);
	put_kernel(&j, r->call, &r->faults);
	json__heap(&j, &r->heap);
	json__u64(&j, "sample_bytes", r->sample_bytes ? r->sample_bytes : UNKNOWN);
	json__hooks(&j, r);
	put_rss(&j, r);
	put_regions(&j, r->regions);
	put_agent(&j, r->has_agent, &r->agent);
	put_mapped(&j, r);
	json__sites(&j, r, numbers);
	put_stacks(&j, r);
	json__open(&j, "notes", '[');
	for (i = 0; i < r->nnotes; i++)
		json__string(&j, NULL, r->notes[i]);
	json__close(&j, ']');
	json__open(&j, "advice", '[');
	for (i = 0; i < r->nadvice; i++)
		put_advice(&j, r, &r->advice[i], numbers);
	json__close(&j, ']');
	json__close(&j, '}');
	sink__char(&j.s, '\n');
	free(numbers);
	return sink__finish_flush(&j.s);
}
