/* SPDX-License-Identifier: MIT */
/*
 * The ring plane: allocator calls as code inside the processes hands them over
 * (lib/trace/ring.h), in order with the kernel plane's events.
 */
#ifndef MEMTRACE_RING_PLANE_H
#define MEMTRACE_RING_PLANE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "user/order/order.h"
#include "user/source/kernel.h"

struct ring_plane;

struct ring_plane_opts {
	bool attach; /* for processes that run and are asked, not for a command */
	size_t ring_bytes; /* 0: default */
	uint64_t sample_bytes;
	bool drop; /* count what finds no room as lost, rather than let the program wait */
	bool only_root; /* --no-follow: no process but this one, */
	pid_t root; /* which is told by ring_plane__set_root() */
	/* A process has stopped handing over, and all it did is told. */
	void (*gap)(void *ctx, pid_t pid);
	order_sink *sink; /* for REC_ALLOCATOR, REC_STACK and, without a kernel plane, REC_EXIT */
	void *ctx;
};

/* NULL after a message. It takes part from ring_plane__join() on, before anybody says hello. */
struct ring_plane *ring_plane__new(const struct ring_plane_opts *o);
int ring_plane__join(struct ring_plane *p, struct kernel *k); /* 0 or -ENOMEM */
void ring_plane__free(struct ring_plane *p);

/* The variable's value, and the library to preload, for the command. */
const char *ring_plane__address(const struct ring_plane *p);
const char *ring_plane__library(const struct ring_plane *p);
void ring_plane__set_root(struct ring_plane *p, pid_t pid);

/*
 * There is no kernel plane, nobody else tells of processes: meet is called as one hands over its first
 * call, and the sink is given a REC_EXIT when one has ended. Before the command runs.
 */
struct ring_guest;
void ring_plane__go_alone(struct ring_plane *p, void (*meet)(void *ctx, const struct ring_guest *g));

/* Whether a process has said hello, and not all that it handed over has been told. */
bool ring_plane__has(const struct ring_plane *p, pid_t pid);

/* Why a command cannot have the library preloaded; NULL: it can. */
const char *ring_plane__unfit(const char *command);

/* A record with an owner by the ring plane's count, with it as the model has it, in *copy; any other
 * is returned as it is. */
union ring_owned {
	struct rec_call call;
	struct rec_fault fault;
};
const struct rec *ring_plane__own(const struct ring_plane *p, const struct rec *r,
				  union ring_owned *copy);

/* Where a module has such a probe; file: its descriptor, name: its path in the process. */
struct ring_probe {
	int file;
	const char *name;
	uint64_t offset, semaphore; /* in the file */
	uint64_t wake, wake_semaphore; /* the same of one that has to be there as well; 0: none */
};

/* With .attach: ask a process whose allocator has such a probe. child: its beginning was seen. 0, or -errno:
 * it has to be traced in another way. */
int ring_plane__ask(struct ring_plane *p, pid_t pid, const struct ring_probe *probe, bool child);

/* Before kernel__poll(): what has come. 0 or -ENOMEM. */
int ring_plane__look(struct ring_plane *p);
/* After it: segments that are done with. */
void ring_plane__tidy(struct ring_plane *p);

/* A record has been applied: threads that end. */
void ring_plane__note(struct ring_plane *p, const struct rec *r);

/* Whether any process hands its calls over. */
bool ring_plane__serves(const struct ring_plane *p);

/*
 * Who cannot hand its calls over, or does not, is left to probes (uprobe/plane.h), which claim it:
 * from there on it is not served. since_ns: when its image began.
 */
enum ring_word { RING_SAYS_NOTHING, RING_SAYS_YES, RING_SAYS_NO };
enum ring_word ring_plane__says(const struct ring_plane *p, pid_t pid, uint64_t since_ns);
int ring_plane__claim(struct ring_plane *p, pid_t pid,
		      uint64_t since_ns); /* 0; -EEXIST: it is served; -ENOMEM */
/* It has another image, or has ended. */
void ring_plane__release(struct ring_plane *p, pid_t pid, bool ended);

double ring_plane__fill(const struct ring_plane *p);

/* Add what it has counted. */
void ring_plane__counts(const struct ring_plane *p, struct event_counts *sum,
			uint64_t delivered[REC_KINDS]);
struct ring_plane_notes {
	uint64_t malformed;
	unsigned gave_up; /* processes that stopped handing over, */
	pid_t gave_up_pid; /* one of them, and */
	uint64_t gave_up_ns; /* when */
	unsigned late; /* that had gone on for a while before they were answered, */
	pid_t late_pid; /* one of them, and */
	uint64_t late_ms; /* how long */
};
void ring_plane__notes(const struct ring_plane *p, struct ring_plane_notes *n);

/* Call .gap for a process (0: for each) that has stopped handing over, before its end is told. */
void ring_plane__tell_gaps(const struct ring_plane *p, pid_t pid);

/* Nothing more is to be handed over. */
void ring_plane__close(struct ring_plane *p);

#endif /* MEMTRACE_RING_PLANE_H */
