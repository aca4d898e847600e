/* SPDX-License-Identifier: MIT */
/*
 * `memtrace doctor`: what this machine can do, each thing found out by trying
 * it, never by a version number.
 *
 * A check is one line of the answer. A probe tries the thing and fills the
 * check in; the table of probes is in user/doctor.c.
 */
#ifndef MEMTRACE_DOCTOR_H
#define MEMTRACE_DOCTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <bpf/bpf.h>

enum check_status {
	CHECK_OK,
	CHECK_PART, /* works, with a limit that `follows` names */
	CHECK_NO,
	CHECK_UNKNOWN, /* could not be tried */
};

struct check {
	const char *id; /* of JSON: scripts rely on it */
	const char *name;
	bool required; /* by the kernel plane */
	enum check_status status;
	char value[200]; /* what was found */
	const char *follows; /* what that means for memtrace; NULL: nothing */
	const char *mend; /* NULL: nothing to mend, or no way */
};

/* What the probes share. */
struct exam {
	struct btf *btf; /* the kernel's types, NULL when there are none */
	uint64_t capabilities; /* effective; 0 when the initial user namespace is not ours */
	bool may_bpf; /* permitted to load programs: a refusal has another reason */
};

void exam__begin(struct exam *e);
void exam__end(struct exam *e);
bool exam__has(const struct exam *e, int capability);

/*
 * Fill c in. c->follows and c->mend hold the table's words for what is missing;
 * CHECK_UNKNOWN clears them, and a probe changes them when it knows better.
 */
typedef void probe_fn(struct exam *e, struct check *c);

void check__set(struct check *c, enum check_status status, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* `what` failed with -errno err: CHECK_NO, or CHECK_UNKNOWN when it was for want of permission. */
void check__fail(const struct exam *e, struct check *c, const char *what, int err);

/* machine.c: the machine, its kernel's settings, our rights */
probe_fn probe__arch, probe__release, probe__permissions, probe__pid_namespace, probe__lockdown,
	probe__unprivileged_bpf, probe__perf_paranoid, probe__memlock, probe__cgroup2,
	probe__pagemap_scan, probe__tracefs;

/* bpf.c: maps and programs that need no perf event */
probe_fn probe__btf, probe__ringbuf, probe__task_storage, probe__tp_btf, probe__page_fault,
	probe__task_iter, probe__bpf_loop, probe__find_vma, probe__fentry, probe__programs,
	probe__direct_reads, probe__heap_programs, probe__machine_programs,
	probe__machine_heap_programs;

/* perf.c: perf events with a program attached */
probe_fn probe__perf_faults, probe__inherit_thread, probe__kprobe;

/* uprobe.c */
probe_fn probe__uprobe, probe__uretprobe, probe__uprobe_multi, probe__uprobe_session,
	probe__uprobe_optimised, probe__usdt_semaphore;

/*
 * A counter: a map of one number, and programs of any type that add one to it
 * and do nothing else. All return a descriptor or -errno.
 */
int counter__new(void);
int counter__program(int counter, enum bpf_prog_type type, enum bpf_attach_type attach,
		     uint32_t btf_id);
uint64_t counter__read(int counter);

/* Touch a page that was never touched, `pages` times: that many faults or fewer. */
void touch_fresh_pages(size_t pages);

/*
 * Run fn in a child process, so that what it changes or leaves goes with it. Returns
 * what fn returned (0 .. 127, an errno) or -errno; the first line it wrote to standard
 * error is put in said.
 */
int run_in_child(int (*fn)(void), char *said, size_t size);

/* report.c */
bool checks__kernel_plane(const struct check *checks, size_t n);
int checks__text(FILE *out, bool color, const struct check *checks, size_t n); /* 0 or -errno */
int checks__json(FILE *out, const struct check *checks, size_t n);

#endif /* MEMTRACE_DOCTOR_H */
