/* SPDX-License-Identifier: MIT */
/* memtrace check: a run in the exact mode that ends in verdicts instead of a report. */
#ifndef MEMTRACE_CHECKING_H
#define MEMTRACE_CHECKING_H

#include <stdbool.h>
#include <stdint.h>

#include "bpf/event.h"
#include "user/source/uprobe/family.h"

struct session;
struct checking;

/* Read the contract and open the outputs. 0, or the exit status to end with, after a message. */
int checking__open(struct session *s);
void checking__free(struct checking *c);

/* Where phases begin at probes of the program's own. */
struct usdt_phases checking__phases(const struct checking *c);

/* A record; the model has taken it, unless it ends an image, which is looked at before. 0 or -errno. */
int checking__take(struct session *s, const struct rec *r);

/* Judge, and write what came of it. 0 or -errno. */
int checking__finish(struct session *s, const struct event_counts *counts,
		     const uint64_t *delivered, uint64_t end_ns, bool unbalanced);

/* The exit status. */
int checking__status(const struct checking *c);

#endif /* MEMTRACE_CHECKING_H */
