/* SPDX-License-Identifier: MIT */
/* One run in the exact mode: from the target to the report. */
#ifndef MEMTRACE_SESSION_H
#define MEMTRACE_SESSION_H

#include "user/options.h"

/* -p, -- CMD, and -a with --comm or --cgroup. Returns the exit status. */
int session__run(const struct options *o);

/* -a: the table of processes, counted in the kernel. Returns the exit status. */
int machine__run(const struct options *o);

#endif /* MEMTRACE_SESSION_H */
