/* SPDX-License-Identifier: MIT */
/*
 * Reading BPF ring buffers.
 *
 * Not libbpf's ring_buffer: that maps each buffer's data twice (which counts
 * twice in our resident memory) and hands out records one at a time, freeing each at
 * once, where the merge by time wants to look at a whole batch in place.
 */
#ifndef MEMTRACE_RINGS_H
#define MEMTRACE_RINGS_H

#include <stddef.h>
#include <stdint.h>

#include "user/order/order.h"

struct ring_reader;

/* map_fd: a BPF_MAP_TYPE_RINGBUF of `size` bytes. NULL with errno set on failure. */
struct ring_reader *ring__open(int map_fd, size_t size);
void ring__close(struct ring_reader *r);

/*
 * Add all finished records to lane `lane` of o. Nothing is given back to the ring
 * before ring__consume. Returns 1 when everything reserved so far was read, 0 when it
 * ended at a record that is still being written, -ENOMEM.
 */
int ring__read(struct ring_reader *r, struct order *o, unsigned lane, uint64_t *delivered);

/* Give back to the ring what ring__read has added, after order__release. */
void ring__consume(struct ring_reader *r);

/* Bytes waiting. */
size_t ring__waiting(const struct ring_reader *r);

#endif /* MEMTRACE_RINGS_H */
