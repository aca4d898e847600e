/* SPDX-License-Identifier: MIT */
/* The state of a run in the exact mode, shared by session.c, live.c and finish.c. */
#ifndef MEMTRACE_SESSION_INTERNAL_H
#define MEMTRACE_SESSION_INTERNAL_H

#include "user/hold.h"
#include "user/model/model.h"
#include "user/names.h"
#include "user/options.h"
#include "user/output.h"
#include "user/source/kernel.h"
#include "user/source/launch.h"
#include "user/source/process.h"
#include "user/source/ring/ring.h"
#include "user/source/uprobe/plane.h"
#include "user/view/view.h"
#include "user/wait.h"

struct checking;

struct session {
	const struct options *o;
	struct model *model;
	struct names *names;
	struct kernel *kernel;
	struct plane *plane; /* the heap plane by uprobes; NULL: none */
	struct ring_plane *ring; /* the one by rings; NULL: none */
	struct launch launch; /* pid 0: no command */
	struct waiter wait;
	FILE *text; /* where text goes */
	struct output json;
	struct checking *checking; /* memtrace check; else NULL */
	struct stream_opts stream;
	struct hold *hold; /* lines of the stream that wait for their call */
	uint64_t heap_lost; /* records of calls that freed, when last looked */
	uint64_t start_ns;
	bool alone; /* there is no kernel plane, and why: */
	char without_kernel[512];
	bool child_ended;
	bool matching; /* -a --comm, --cgroup */
	bool command_ended;
	int command_status; /* of wait(2) */
	uint64_t exits, exits_seen; /* REC_EXITs taken; when all were last looked for */
	uint64_t stop_ns; /* a signal came: report at this time at the latest */
	uint64_t next_check_ns, next_look_up_ns;
	uint64_t lost_told[REC_KINDS]; /* in the stream */
	uint64_t malformed, secure_execs;
	struct live_row *live; /* the last state of the live table */
	size_t nlive;
	uint64_t live_ns;
	int err; /* the first failure: ends the run */
};

/* Hand on what has come; last: all of it. 0 or -errno. */
int session__poll(struct session *s, bool last);

/* What all planes have counted. 0 or -errno. */
int session__counts(const struct session *s, struct event_counts *counts,
		    uint64_t delivered[REC_KINDS]);

/* The run ends, if it does not already, for this failure: 0 or -errno. */
void session__fail(struct session *s, int err);

/* A process, which lives, has this code mapped: for process__snapshot(), ctx is the session. */
void session__add_code(void *ctx, pid_t pid, const struct vma *v);

#endif /* MEMTRACE_SESSION_INTERNAL_H */
