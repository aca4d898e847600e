// SPDX-License-Identifier: MIT
#include "user/source/rings.h"

#include <errno.h>
#include <linux/bpf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* A record that wraps around the end of the data is read from a copy. */
struct wrapped {
	struct wrapped *next;
	uint64_t bytes[];
};

struct ring_reader {
	unsigned long *consumer; /* page 0, ours to write */
	const unsigned long *producer; /* page 1 */
	const char *data; /* from page 2 on */
	size_t size, page;
	unsigned long seen; /* read up to here, not yet given back */
	struct wrapped *copies;
};

struct ring_reader *ring__open(int map_fd, size_t size)
{
	struct ring_reader *r = calloc(1, sizeof(*r));
	void *p;

	if (!r)
		return NULL;
	r->size = size;
	r->page = sysconf(_SC_PAGESIZE);
	p = mmap(NULL, r->page, PROT_READ | PROT_WRITE, MAP_SHARED, map_fd, 0);
	if (p == MAP_FAILED)
		goto fail;
	r->consumer = p;
	p = mmap(NULL, r->page + size, PROT_READ, MAP_SHARED, map_fd, r->page);
	if (p == MAP_FAILED) {
		munmap(r->consumer, r->page);
		goto fail;
	}
	r->producer = p;
	r->data = (const char *)p + r->page;
	r->seen = *r->consumer;
	return r;
fail:
	free(r);
	return NULL;
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
	munmap((void *)r->producer, r->page + r->size);
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
}

size_t ring__waiting(const struct ring_reader *r)
{
	return __atomic_load_n(r->producer, __ATOMIC_ACQUIRE) - r->seen;
}
