/* SPDX-License-Identifier: MIT */
/* What /proc tells of a process. Paths are read through the process's own root. */
#ifndef MEMTRACE_PROCESS_H
#define MEMTRACE_PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "user/model/model.h"

/*
 * Whether pid can be traced: it exists, is a process and not a kernel thread or a
 * thread, has not ended, is not this process, and is ours to look into. 0, or a
 * negative errno after saying what is wrong.
 */
int process__check(pid_t pid);

/* Name, parent and program; 0 or -errno. exe is empty when it cannot be read. */
int process__identify(pid_t pid, char comm[17], pid_t *ppid, char *exe, size_t exe_size);

/* How many threads it has now; 0 when that cannot be told. */
unsigned process__threads(pid_t pid);

/* Put its mappings into the model. code is called for each executable file mapping. 0 or -errno. */
int process__snapshot(struct model *m, pid_t pid,
		      void (*code)(void *ctx, pid_t pid, const struct vma *v), void *ctx);

/* Its mappings as text, to be freed; NULL: they cannot be read. And to put such text, which was
 * taken at ts_ns, into the model. */
char *process__maps(pid_t pid);
int process__snapshot_text(struct model *m, pid_t pid, const char *maps, uint64_t ts_ns,
			   void (*code)(void *ctx, pid_t pid, const struct vma *v), void *ctx);

/* Put the one mapping that holds addr into the model, if there is one. 0, -ENOENT or -errno. */
int process__find_mapping(struct model *m, pid_t pid, uint64_t addr);

/* Fill in the resident side of its report from smaps: regions, rss. 0 or -errno. */
int process__residency(struct model *m, pid_t pid, struct process_report *p);

/* Resident bytes now; UNKNOWN when it cannot be read. */
uint64_t process__rss(pid_t pid);

/* Call fn for every process there is. */
int process__each(void (*fn)(void *ctx, pid_t pid), void *ctx);

#endif /* MEMTRACE_PROCESS_H */
