/* SPDX-License-Identifier: MIT */
/*
 * A file that comes to be whole or not at all: written under no name, linked into place when it is
 * complete. An existing file stays until then, and a tracer that is killed leaves nothing. The new
 * file has the old one's mode and, where we may, owner. A symbolic link to a file stays: what it
 * leads to is replaced. What is our standard output or error already (/dev/stdout), or is no
 * regular file, is written to directly.
 */
#ifndef MEMTRACE_OUTPUT_H
#define MEMTRACE_OUTPUT_H

#include <stdbool.h>
#include <stdio.h>
#include <sys/stat.h>

struct output {
	FILE *file;
	const char *path; /* as the user gave it; NULL: standard output */
	char *target; /* the file itself, when it is to be replaced */
	struct stat old; /* what is there now; st_mode 0: nothing */
	char *linked; /* temporary name that has to go, or NULL */
	bool in_place;
};

/* path NULL: standard output. 0 or -errno, after a message. */
int output__open(struct output *o, const char *path);

/* Put it in place. 0 or -errno, after a message; then there is nothing new. */
int output__commit(struct output *o);

/* Forget it (also after a commit: does nothing). */
void output__close(struct output *o);

#endif /* MEMTRACE_OUTPUT_H */
