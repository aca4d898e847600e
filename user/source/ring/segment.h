/* SPDX-License-Identifier: MIT */
/*
 * One process image's segment (lib/trace/ring.h), from the collector's side: made, read, and
 * what it says turned into REC_HEAP records. The target can write all of it at any time.
 */
#ifndef MEMTRACE_SEGMENT_H
#define MEMTRACE_SEGMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/trace/ring.h"
#include "user/order/order.h"
#include "user/source/ring/clock.h"

struct segment_opts {
	size_t ring_bytes; /* of a busy thread's ring; a power of two */
	uint64_t sample_bytes;
	bool drop; /* RING_ON_FULL_DROP */
	unsigned stack_frames;
	bool follow; /* children of forks, too */
};

struct segment;

/* Counted over the life of a segment. */
struct segment_counts {
	uint64_t delivered, lost;
	uint64_t lost_ops[HEAP_OPS];
	uint64_t malformed;
	uint64_t gave_up_ns; /* when the target stopped handing over; 0: it did not */
	uint64_t late_ms; /* so long before the first the target had asked in vain */
};

/* A new segment, sealed, in a descriptor to be sent and closed. NULL with errno set. */
struct segment *segment__new(const struct segment_opts *o, const struct ring_clock *clock, int *fd);
/* The same in memory that a process has made, empty: fd stays the caller's. What it wrote there meanwhile is
 * gone. EEXIST: one was made in it before. */
struct segment *segment__adopt(const struct segment_opts *o, const struct ring_clock *clock, int fd);
void segment__free(struct segment *s);
/* Until then nothing is written to it. */
void segment__publish(struct segment *s);

size_t segment__bytes(const struct segment *s);
size_t segment__least_bytes(const struct segment *s);
const struct ring_header *segment__header(const struct segment *s);

/* Whose it is, by the initial pid namespace. */
void segment__set_owner(struct segment *s, pid_t pid);

/* See what has been written up to now, for the next release of o, which the rings join as they
 * come into use. 0 or -ENOMEM. */
int segment__look(struct segment *s, struct order *o);
/* All that was seen has been handed on. */
bool segment__is_drained(const struct segment *s);
/* Its rings leave o. */
void segment__leave(struct segment *s, struct order *o);

/* Nothing more is wanted. */
void segment__close(struct segment *s);
/* A thread has ended: what it had is free. */
void segment__end_thread(struct segment *s, pid_t tid);

/* The target has stopped handing over, since nobody read. */
bool segment__gave_up(const struct segment *s);

/* The fullest ring, 0 to 1. */
double segment__fill(const struct segment *s);
void segment__count(const struct segment *s, struct segment_counts *c);

#endif /* MEMTRACE_SEGMENT_H */
