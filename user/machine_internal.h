/* SPDX-License-Identifier: MIT */
/* The state of a run of -a, shared by machine.c and machine_heap.c. */
#ifndef MEMTRACE_MACHINE_INTERNAL_H
#define MEMTRACE_MACHINE_INTERNAL_H

#include "user/model/tally.h"
#include "user/options.h"
#include "user/output.h"
#include "user/source/kernel.h"
#include "user/util/hmap.h"
#include "user/view/view.h"
#include "user/wait.h"

struct plane;

struct row {
	pid_t pid;
	char comm[17];
	bool ended;
	bool counted; /* the kernel has a row of it */
	bool gone; /* and that has been read for the last time */
	bool exited; /* a record told that it has ended */
	struct machine_row now, before; /* before: at the last table */
	uint64_t rss_start, rss; /* bytes; UNKNOWN possible */
	struct tally *heap; /* NULL: no sample yet */
	uint64_t requested_before;
	const struct allocator *allocator; /* set as it ends; until then it is looked up */
};

struct machine {
	const struct options *o;
	struct kernel *kernel;
	struct waiter wait;
	struct output json;
	struct row *rows;
	size_t nrows, room;
	struct hmap by_pid; /* living ones -> row */
	struct hmap rss_start; /* of the processes that were there at the start */
	struct row others; /* ended processes beyond ENDED_MAX */
	size_t nended;
	uint64_t start_ns, shown_ns;
	/* The heap plane; NULL: none. */
	struct plane *plane;
	struct hmap served; /* living ones -> their struct allocator, also without a row */
	struct allocator **allocators; /* each once */
	size_t nallocators, allocators_room;
	struct rec_hook *hooks;
	size_t nhooks, hooks_room;
	uint64_t look_again_ns;
	int err;
};

/* The row of a living process, made if it is new. NULL: no memory. */
struct row *machine__row(struct machine *m, pid_t pid);

/* machine_heap.c */

/* What takes the records. */
void machine_heap__sink(void *ctx, const struct rec *r, size_t len);
/* Find all allocators there are and place probes. 0 or -errno. */
int machine_heap__begin(struct machine *m);
/* Take what has come; find new allocators. 0 or -errno. */
int machine_heap__work(struct machine *m);
int machine_heap__end(struct machine *m);
void machine_heap__free(struct machine *m);
/* Fill in a row's part of the table, a process's part of the report. */
void machine_heap__show(struct machine *m, struct row *r, struct table_row *t, double seconds,
			bool final);
void machine_heap__report(struct machine *m, const struct row *r, struct process_report *p);
/* The sum of all rows. */
void machine_heap__total(struct machine *m, struct heap_stats *out);
const struct allocator *machine_heap__allocator(struct machine *m, const struct row *r);

#endif /* MEMTRACE_MACHINE_INTERNAL_H */
