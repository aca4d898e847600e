/* SPDX-License-Identifier: MIT */
/* The end of a run: the last records, what only the kernel knows, and the report. */
#ifndef MEMTRACE_FINISH_H
#define MEMTRACE_FINISH_H

#include "user/session_internal.h"

/* Stop tracing and report. 0, or a negative errno after a message. */
int finish__report(struct session *s);

/* What is traced, in a few words; malloc'ed. */
char *finish__headline(const struct session *s);

#endif /* MEMTRACE_FINISH_H */
