/* SPDX-License-Identifier: MIT */
/*
 * A file that comes to be whole or not at all: written under no name, linked
 * into place when it is complete. An existing file stays until then, and a
 * tracer that is killed leaves nothing.
 */
#ifndef MEMTRACE_OUTPUT_H
#define MEMTRACE_OUTPUT_H

#include <stdio.h>

struct output {
	FILE *file;
	const char *path;
	char *linked; /* temporary name that has to go, or NULL */
	int in_place; /* a device, a pipe or standard output: written directly */
};

/* path NULL: standard output. 0 or -errno, after a message. */
int output__open(struct output *o, const char *path);

/* Put it in place. 0 or -errno, after a message; then there is nothing new. */
int output__commit(struct output *o);

/* Forget it (also after a commit: does nothing). */
void output__close(struct output *o);

#endif /* MEMTRACE_OUTPUT_H */
