/* SPDX-License-Identifier: MIT */
/*
 * Probes on hooks, for one process each: nobody else who uses the same library pays.
 * By one link for all hooks of a file where the kernel has that (uprobe_multi, with a
 * filter for processes that works: 6.10 and later), else by a perf event for each.
 */
#ifndef MEMTRACE_ATTACH_H
#define MEMTRACE_ATTACH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "user/source/uprobe/choose.h"

struct bpf_program;

struct hook {
	struct module *module;
	const struct entry_point *entry;
	uint32_t number;
	bool no_end; /* it has no return probe: the kernel side has been told its code */
};

/* Everything that hangs on one process. All zero is empty. */
struct attachment {
	struct bpf_link **links; /* of perf events */
	size_t nlinks;
	int *fds; /* of uprobe_multi */
	size_t nfds;
};

struct attach_programs {
	struct bpf_program *enter; /* at entry points */
	struct bpf_program *leave; /* as return probe */
	struct bpf_program *exit; /* at the exits of what must have none */
	struct bpf_program *contract; /* at probes of the target's own */
	struct bpf_program *escape; /* at longjmp and its like */
	bool multi; /* they are for uprobe_multi links */
};

/* Whether the kernel has uprobe_multi as we need it. */
bool attach__has_multi(void);

/* Place the probes of these hooks, which are all of one module, in process pid; 0: in all. 0 or -errno;
 * what was placed before a failure is in `a`. */
int attach__hooks(struct attachment *a, const struct attach_programs *p, pid_t pid,
		  const struct hook *const *hooks, size_t n);

/* Take them away, in no order: calls that begin meanwhile must not count (kernel__close_heap), or
 * nobody be there to make them. */
void attach__drop(struct attachment *a);

#endif /* MEMTRACE_ATTACH_H */
