/* SPDX-License-Identifier: MIT */
/*
 * Who traces a process that the agent is preloaded into: the ring plane, or the other one by probes.
 * Never both, or each call would be counted twice. Whoever comes first has it: a process by saying
 * hello (heard by the server's thread), the probes by a claim.
 */
#ifndef MEMTRACE_CLAIMS_H
#define MEMTRACE_CLAIMS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct claims;

struct claims *claims__new(void);
void claims__free(struct claims *c);

/* A process says hello. False: it is claimed; it is not to be served. */
bool claims__hello(struct claims *c, pid_t pid);

/* Whether its image, which began at since_ns, has said hello and was not refused. */
bool claims__heard(struct claims *c, pid_t pid, uint64_t since_ns);

/* From here on it is the probes', until the release: 0. -EEXIST: it was heard; -ENOMEM. */
int claims__claim(struct claims *c, pid_t pid, uint64_t since_ns);

/* It was heard, but is not served. */
void claims__unhear(struct claims *c, pid_t pid);

/* It has another image, which may say hello; or, with `ended`, none any more. */
void claims__release(struct claims *c, pid_t pid, bool ended);

#endif /* MEMTRACE_CLAIMS_H */
