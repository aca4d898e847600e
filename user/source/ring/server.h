/* SPDX-License-Identifier: MIT */
/*
 * Where the processes that are launched under trace say hello, and are given a segment. A thread
 * of its own answers them: each waits in its exec for that.
 */
#ifndef MEMTRACE_RING_SERVER_H
#define MEMTRACE_RING_SERVER_H

#include <sys/types.h>

#include "user/source/ring/segment.h"

struct ring_server;

struct ring_server_opts {
	struct segment_opts segment;
	const struct ring_clock *clock;
	/* Called by the server's thread, before process pid goes on: its threads have a struct ring_call
	 * at this offset from their %fs base. Not 0: it is not to be traced. */
	int (*announce)(void *ctx, pid_t pid, int64_t call_at);
	void *ctx;
};

/* NULL with errno set. */
struct ring_server *ring_server__new(const struct ring_server_opts *o);
void ring_server__free(struct ring_server *s);

/* What RING_ENV is to be for those who shall find it. */
const char *ring_server__address(const struct ring_server *s);

/* Process pid offers memory by a descriptor of its own: it becomes a guest. 0 or -errno. From any thread. */
int ring_server__adopt(struct ring_server *s, pid_t pid, int fd, int64_t call_at,
		       const char *allocator, bool from_start);

/* A process that has said hello. */
struct ring_guest {
	struct ring_guest *next;
	struct segment *segment; /* NULL: it cannot hand anything over, .why says why */
	pid_t pid;
	int pidfd; /* -1: it had ended */
	uint64_t since_ns;
	bool from_start; /* it has made no call of its own before */
	/* As it said hello; with ring_server__look_closely(), else empty. */
	pid_t ppid;
	char comm[17];
	char *exe, *maps; /* malloc'ed; NULL: not known */
	struct ring_hello hello;
};

/* There is no kernel plane to tell of processes: from here on look at each while it waits for its answer. */
void ring_server__look_closely(struct ring_server *s);
void ring_guest__free(struct ring_guest *g);

/* Those who came since the last call, in that order; the caller's to free. */
struct ring_guest *ring_server__guests(struct ring_server *s);

#endif /* MEMTRACE_RING_SERVER_H */
