/* SPDX-License-Identifier: MIT */
/* Reading the fault lanes: struct fault_lane of bpf/event.h, one a CPU, in one mapping. */
#ifndef MEMTRACE_LANES_H
#define MEMTRACE_LANES_H

#include <stddef.h>
#include <stdint.h>

#include "user/order/order.h"

struct lanes;

/* Bytes of a lane of `records` records (a power of two). */
size_t lanes__value_size(size_t records);

/* map_fd: the map of `count` lanes of `records` records. NULL with errno set on failure. */
struct lanes *lanes__open(int map_fd, unsigned count, size_t records);
void lanes__close(struct lanes *l);

/*
 * Add all records of all lanes to o, lane i to o's lane first + i. Nothing is given back
 * before lanes__consume. 0, or -ENOMEM.
 */
int lanes__read(struct lanes *l, struct order *o, unsigned first, uint64_t *delivered);

/* Give back what lanes__read has added, after order__release. */
void lanes__consume(struct lanes *l);

/* The share of the fullest lane that waits to be read, 0 to 1. */
double lanes__fill(const struct lanes *l);

#endif /* MEMTRACE_LANES_H */
