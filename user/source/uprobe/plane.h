/* SPDX-License-Identifier: MIT */
/*
 * The heap plane by uprobes: for each process that is traced, finds who serves malloc there and
 * places the probes; again when it maps code or execs; for its children too.
 *
 * Beside rings (ring/ring.h) it takes only what they leave to it: images without the preloaded library
 * (static, set-id, without the environment), those whose own malloc the library does not get to see,
 * and those that have it and cannot be heard of.
 *
 * What it finds goes to the sink as REC_HOOK and REC_ALLOCATOR; the calls themselves come
 * with the kernel plane's records, as REC_HEAP.
 */
#ifndef MEMTRACE_PLANE_H
#define MEMTRACE_PLANE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "user/source/kernel.h"
#include "user/source/uprobe/family.h"

struct plane;
struct ring_plane;
struct ring_probe;

struct plane_opts {
	const char *allocator; /* --allocator */
	char *const *symbols; /* --allocator-symbol */
	size_t nsymbols;
	struct usdt_phases phases;
	enum contract_use contract;
	bool machine; /* probes for all processes, also those that are never added */
	bool required; /* --heap=uprobe: say aloud when there is nothing to hook */
	/* Ask a process to hand its calls over itself, as its allocator offers; 0: it is asked. NULL: not. */
	int (*ask)(void *ctx, pid_t pid, const struct ring_probe *probe, bool child);
	bool (*has_answered)(void *ctx, pid_t pid); /* with .ask: it hands them over */
	struct ring_plane *rings; /* whose library is preloaded into what is launched; NULL: none is */
	/* The path of a file that a process has mapped; NULL: not known. May be NULL. */
	const char *(*path)(void *ctx, uint64_t ino, uint32_t dev);
	order_sink *sink;
	void *sink_ctx; /* of all of these */
};

/* k must have been made with .heap. NULL: no memory. */
struct plane *plane__new(struct kernel *k, const struct plane_opts *o);
void plane__free(struct plane *p);

/* Trace process pid. command: what it will exec, for a launched one that waits; else NULL. 0 or
 * -errno; a process without an allocator that can be hooked is not an error. */
int plane__add(struct plane *p, pid_t pid, const char *command);

/* Look at a record that has been applied: forks, execs, ends, new code. */
void plane__note(struct plane *p, const struct rec *r);

/* Do what those made necessary. 0 or -errno. */
int plane__work(struct plane *p);

/* Look at every process anew with the next plane__work(). */
void plane__look_again(struct plane *p);

/* Take all probes away, and tell the sink what each counted. */
int plane__detach(struct plane *p);

#endif /* MEMTRACE_PLANE_H */
