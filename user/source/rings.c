// SPDX-License-Identifier: MIT
#include "user/source/rings.h"

#include <errno.h>
#include <linux/bpf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/*
 * A ring's data are mapped by pieces, as far as there are records in them: the kernel counts all
 * that is mapped of a ring as ours, touched or not, and rings are large for the sake of rare moments.
 */
#define PIECE (1UL << 20)

/* A record that wraps around the end of the data is read from a copy. */
struct wrapped {
	struct wrapped *next;
	uint64_t bytes[];
};

struct ring_reader {
	unsigned long *consumer; /* page 0, ours to write */
	const unsigned long *producer; /* page 1 */
	char *data; /* from page 2 on; reserved, and mapped as far as the next line says */
	unsigned long from, to; /* mapped: positions, at whole pieces */
	size_t size, page, piece;
	unsigned long seen; /* read up to here, not yet given back */
	int fd;
	struct wrapped *copies;
};

struct ring_reader *ring__open(int map_fd, size_t size)
{
	struct ring_reader *r = calloc(1, sizeof(*r));
	void *p;

	if (!r)
		return NULL;
	r->size = size;
	r->piece = size < PIECE ? size : PIECE;
	r->page = sysconf(_SC_PAGESIZE);
	r->fd = map_fd;
	p = mmap(NULL, r->page, PROT_READ | PROT_WRITE, MAP_SHARED, map_fd, 0);
	if (p == MAP_FAILED)
		goto fail;
	r->consumer = p;
	p = mmap(NULL, r->page, PROT_READ, MAP_SHARED, map_fd, r->page);
	if (p == MAP_FAILED)
		goto fail_consumer;
	r->producer = p;
	p = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		goto fail_producer;
	r->data = p;
	r->seen = *r->consumer;
	r->from = r->to = r->seen & ~(r->piece - 1);
	return r;
fail_producer:
	munmap((void *)r->producer, r->page);
fail_consumer:
	munmap(r->consumer, r->page);
fail:
	free(r);
	return NULL;
}

/* Map what lies before position `end`. */
static int ring__map(struct ring_reader *r, unsigned long end)
{
	size_t off;

	/* When all pieces are mapped, what wraps around is there already. */
	while (r->to < end && r->to - r->from < r->size) {
		off = r->to & (r->size - 1);
		if (mmap(r->data + off, r->piece, PROT_READ, MAP_SHARED | MAP_FIXED, r->fd,
			 (off_t)(2 * r->page + off)) == MAP_FAILED)
			return -ENOMEM;
		r->to += r->piece;
	}
	return 0;
}

/* Give up the pieces that lie before position `end`. */
static void ring__unmap(struct ring_reader *r, unsigned long end)
{
	void *p;

	while (r->to - r->from && end - r->from >= r->piece) {
		p = mmap(r->data + (r->from & (r->size - 1)), r->piece, PROT_NONE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
		if (p == MAP_FAILED)
			return; /* it stays, and counts */
		r->from += r->piece;
	}
}

static void ring__drop_copies(struct ring_reader *r)
{
	struct wrapped *w;

	while ((w = r->copies)) {
		r->copies = w->next;
		free(w);
	}
}

void ring__close(struct ring_reader *r)
{
	if (!r)
		return;
	ring__drop_copies(r);
	munmap(r->consumer, r->page);
	munmap((void *)r->producer, r->page);
	munmap(r->data, r->size);
	free(r);
}

/* The record at pos, in one piece; NULL: no memory. */
static const struct rec *ring__record(struct ring_reader *r, unsigned long pos, size_t len)
{
	size_t off = pos & (r->size - 1), first = r->size - off;
	struct wrapped *w;

	if (len <= first)
		return (const struct rec *)(r->data + off);
	w = malloc(sizeof(*w) + len);
	if (!w)
		return NULL;
	memcpy(w->bytes, r->data + off, first);
	memcpy((char *)w->bytes + first, r->data, len - first);
	w->next = r->copies;
	r->copies = w;
	return (const struct rec *)w->bytes;
}

int ring__read(struct ring_reader *r, struct order *o, unsigned lane, uint64_t *delivered)
{
	unsigned long end = __atomic_load_n(r->producer, __ATOMIC_ACQUIRE);

	if (ring__map(r, end))
		return -ENOMEM;
	while (r->seen < end) {
		const uint32_t *head = (const uint32_t *)(r->data + (r->seen & (r->size - 1)));
		uint32_t len = __atomic_load_n(head, __ATOMIC_ACQUIRE);
		const struct rec *rec;

		if (len & BPF_RINGBUF_BUSY_BIT)
			return 0;
		if (!(len & BPF_RINGBUF_DISCARD_BIT)) {
			/* The 8-byte header never wraps; what follows it may begin at the start. */
			rec = ring__record(r, r->seen + BPF_RINGBUF_HDR_SZ, len);
			if (!rec || order__add(o, lane, rec, len))
				return -ENOMEM;
			if (rec->kind < REC_KINDS)
				delivered[rec->kind]++;
		}
		len &= ~BPF_RINGBUF_DISCARD_BIT;
		r->seen += (len + BPF_RINGBUF_HDR_SZ + 7) & ~7UL;
	}
	return 1;
}

void ring__consume(struct ring_reader *r)
{
	__atomic_store_n(r->consumer, r->seen, __ATOMIC_RELEASE);
	ring__drop_copies(r);
	ring__unmap(r, r->seen);
}

size_t ring__waiting(const struct ring_reader *r)
{
	return __atomic_load_n(r->producer, __ATOMIC_ACQUIRE) - r->seen;
}
