/* SPDX-License-Identifier: MIT */
/*
 * Unwind tables for the BPF programs: made of the files whose code they meet, and loaded
 * into their maps. Before a process is traced, those of what it has mapped; before a
 * command is run, those of what it is linked with; all others when they are asked for, by a thread
 * that waits for that: a stack that is taken before its table is there is a guess.
 */
#ifndef MEMTRACE_SOURCE_UNWIND_H
#define MEMTRACE_SOURCE_UNWIND_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "bpf/unwind_maps.h"

struct unwind;

struct unwind_maps {
	int files, wanted, tables, wake; /* descriptors */
	uint64_t *generation; /* code_generation, shared with the programs */
	/* Which file process pid has mapped at addr, in the kernel's terms. 0 or -errno. */
	int (*identify)(void *ctx, pid_t pid, uint64_t addr, struct vnode_key *key);
	void *ctx;
};

/* NULL with errno set. What a file or a map refuses later leaves its code to frame pointers. */
struct unwind *unwind__new(const struct unwind_maps *maps);
void unwind__free(struct unwind *u);

/* Make ready for process pid, or for a command that is to be run as execvp(3) would. */
void unwind__add_process(struct unwind *u, pid_t pid);
void unwind__add_command(struct unwind *u, const char *command);

#endif /* MEMTRACE_SOURCE_UNWIND_H */
