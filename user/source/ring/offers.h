/* SPDX-License-Identifier: MIT */
/*
 * Processes whose allocator hands its calls over itself when it is asked (lib/mtalloc/attach.c): a probe
 * raises the semaphore that it looks at, and fires with the memory's descriptor.
 */
#ifndef MEMTRACE_RING_OFFERS_H
#define MEMTRACE_RING_OFFERS_H

#include <stdint.h>
#include <sys/types.h>

#include "user/source/kernel.h"
#include "user/source/ring/ring.h"
#include "user/source/ring/server.h"

struct ring_offers;

/* Offers go to the server as guests. NULL with errno set. */
struct ring_offers *ring_offers__new(struct kernel *k, struct ring_server *s);
void ring_offers__free(struct ring_offers *o);

/* Ask process pid. 0, or -errno: it is to be traced in another way. child: of one that is asked, by a fork
 * that was seen; it may have offered by itself, and its probes come soon. probe->file is to stay open. */
int ring_offers__ask(struct ring_offers *o, pid_t pid, const struct ring_probe *probe, bool child);

/* From time to time: of those that have not answered, one may just then have mapped what a memtrace that was
 * killed had answered it, and waits for nobody. */
void ring_offers__again(struct ring_offers *o);

/* It has ended. */
void ring_offers__forget(struct ring_offers *o, pid_t pid);

/* No process is asked any more. What they have handed over must have been declared closed. */
void ring_offers__drop(struct ring_offers *o);

#endif /* MEMTRACE_RING_OFFERS_H */
