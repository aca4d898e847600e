/* SPDX-License-Identifier: MIT */
/* Whether this process may use the kernel plane at all. */
#ifndef MEMTRACE_PRIVILEGE_H
#define MEMTRACE_PRIVILEGE_H

#include <stdbool.h>

/* Whether capability `number` (linux/capability.h) is effective. */
bool privilege__has(int number);

/* Whether our process numbers are those the kernel's tracepoints use: the initial pid namespace. */
bool privilege__sees_host_pids(void);

/* 0, or -EPERM after saying which capability is missing and how to get it. */
int privilege__check(void);

#endif /* MEMTRACE_PRIVILEGE_H */
