/* SPDX-License-Identifier: MIT */
/*
 * The programs and libraries that a process consists of, in the order in which its loader
 * looks for a symbol.
 */
#ifndef MEMTRACE_MODULES_H
#define MEMTRACE_MODULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "user/source/uprobe/binary.h"

/* A file with what it defines; the same in all processes. */
struct module {
	uint64_t ino;
	uint32_t dev; /* as in struct rec_vma */
	int fd; /* keeps the file, even when it is deleted */
	int err; /* why it could not be read; 0: it could */
	char path[256]; /* as the process has it, cut at the front if it is too long */
	struct binary binary;
};

/* All modules that were ever met. */
struct module_cache;

/* What wanted refers to has to outlive it. */
struct module_cache *module_cache__new(const struct binary_wanted *wanted);
void module_cache__free(struct module_cache *c);

/*
 * The modules of process pid, the main program first. A list to be freed (the modules
 * stay the cache's), NULL-terminated; NULL with *err set: -ESRCH, -EACCES, -ENOMEM, ...
 * *in_order: false when the loader's list could not be had and the order is a guess.
 */
struct module **modules__of_process(struct module_cache *c, pid_t pid, bool *in_order, int *err);

/* The same for a command that is yet to be run, found as execvp(3) and ld.so(8) would. An empty
 * list when it is not to be found or not ELF. */
struct module **modules__of_command(struct module_cache *c, const char *command);

#endif /* MEMTRACE_MODULES_H */
