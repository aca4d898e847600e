/* SPDX-License-Identifier: MIT */
/*
 * The software events PAGE_FAULTS_MIN and PAGE_FAULTS_MAJ, each with a BPF
 * program that runs when it fires: for the threads of a process (inherited by what
 * they create), or for every CPU.
 */
#ifndef MEMTRACE_SOURCE_FAULTS_H
#define MEMTRACE_SOURCE_FAULTS_H

#include <stdbool.h>
#include <sys/types.h>

struct fault_events;

struct fault_events *faults__new(void);
void faults__close(struct fault_events *f); /* no event fires from here on */
void faults__free(struct fault_events *f);

/*
 * All threads of pid. on_exec: the events begin with its next exec. Failures
 * are printed; 0 or -errno.
 */
int faults__open_process(struct fault_events *f, pid_t pid, bool on_exec, bool follow,
			 int minor_prog_fd, int major_prog_fd);
int faults__open_cpus(struct fault_events *f, int minor_prog_fd, int major_prog_fd);

#endif /* MEMTRACE_SOURCE_FAULTS_H */
