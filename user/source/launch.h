/* SPDX-License-Identifier: MIT */
/* Starting a command so that the probes are in place before its first instruction. */
#ifndef MEMTRACE_LAUNCH_H
#define MEMTRACE_LAUNCH_H

#include <sys/types.h>

struct launch {
	pid_t pid;
	int go; /* write end: the child waits for a byte */
	long own_peak_kb; /* our own peak when it was forked, which the kernel adds to its */
	int error; /* read end: the child's errno when its exec failed, else end of file */
};

/* Fork the child, which waits. user: run as, or NULL. preload: a library for it, or NULL, which finds
 * in its environment RING_ENV=ring_address. 0 or -errno, after a message. */
int launch__prepare(struct launch *l, char **argv, const char *user, const char *preload,
		    const char *ring_address);

/* Let it exec. 0, or the exit status to end with (126, 127), after a message. */
int launch__go(struct launch *l, const char *command);

/* Take a child back that was never let go. */
void launch__cancel(struct launch *l);

#endif /* MEMTRACE_LAUNCH_H */
