/* SPDX-License-Identifier: MIT */
/*
 * Reading a ring buffer, with a memory file in place of the BPF map: a page with the consumer's
 * position, one with the producer's, then the data.
 */
#include <errno.h>
#include <linux/bpf.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "user/source/rings.h"

#define PAGE 4096
#define SIZE PAGE
#define PIECE (1UL << 20) /* what is mapped at a time */
#define LARGE (4 * PIECE)

static struct {
	int fd;
	size_t size;
	unsigned long *consumer, *producer;
	char *data;
	struct ring_reader *reader;
	struct order *order;
	uint64_t delivered[REC_KINDS], time;
	unsigned written, read; /* records, each with its number in aux */
} bed;

static size_t length_of(unsigned number)
{
	return sizeof(struct rec) + number * 8 % 80 + number % 3;
}

static void take(void *ctx, const struct rec *r, size_t len)
{
	const unsigned char *body = (const unsigned char *)(r + 1);
	size_t i;

	(void)ctx;
	assert_int_equal(r->aux, bed.read);
	assert_int_equal(len, length_of(r->aux));
	for (i = 0; i < len - sizeof(*r); i++)
		assert_int_equal(body[i], (unsigned char)(r->aux + i));
	bed.read++;
}

/* Start with both positions at `begin`. */
static void bed__begin_sized(unsigned long begin, size_t size)
{
	memset(&bed, 0, sizeof(bed));
	bed.size = size;
	bed.fd = memfd_create("ring", MFD_CLOEXEC);
	assert_true(bed.fd >= 0);
	assert_int_equal(ftruncate(bed.fd, 2 * PAGE + size), 0);
	bed.consumer = mmap(NULL, 2 * PAGE + size, PROT_READ | PROT_WRITE, MAP_SHARED, bed.fd, 0);
	assert_true(bed.consumer != MAP_FAILED);
	bed.producer = (unsigned long *)((char *)bed.consumer + PAGE);
	bed.data = (char *)bed.consumer + 2 * PAGE;
	*bed.consumer = *bed.producer = begin;
	bed.reader = ring__open(bed.fd, size);
	assert_non_null(bed.reader);
	bed.order = order__new(1, take, NULL);
	assert_non_null(bed.order);
}

static void bed__begin(unsigned long begin)
{
	bed__begin_sized(begin, SIZE);
}

static void bed__end(void)
{
	ring__close(bed.reader);
	order__free(bed.order);
	munmap(bed.consumer, 2 * PAGE + bed.size);
	close(bed.fd);
}

static void put_bytes(unsigned long pos, const void *from, size_t len)
{
	const char *c = from;

	while (len--)
		bed.data[pos++ % bed.size] = *c++;
}

/* Reserve and fill a place as the kernel does; returns where its header is. */
static unsigned long put(const void *body, uint32_t len, uint32_t bits)
{
	unsigned long pos = *bed.producer;
	uint32_t header[2] = {len | bits, 0};

	put_bytes(pos, header, sizeof(header));
	put_bytes(pos + sizeof(header), body, len);
	*bed.producer = pos + ((len + sizeof(header) + 7) & ~7UL);
	assert_true(*bed.producer - *bed.consumer <= bed.size);
	return pos;
}

static unsigned long put_record(uint32_t bits)
{
	union {
		struct rec h;
		unsigned char bytes[256];
	} r = {.h = {.kind = REC_FAULT, .aux = bed.written, .ts_ns = ++bed.time}};
	size_t len = length_of(bed.written), i;

	for (i = sizeof(r.h); i < len; i++)
		r.bytes[i] = bed.written + (i - sizeof(r.h));
	if (!(bits & BPF_RINGBUF_DISCARD_BIT))
		bed.written++;
	return put(&r, len, bits);
}

/* Read all there is, and let the ring have its memory back, overwritten. */
static int drain(void)
{
	int clean = ring__read(bed.reader, bed.order, 0, bed.delivered);
	unsigned long from = *bed.consumer, to;

	assert_int_equal(order__release(bed.order, UINT64_MAX), 0);
	ring__consume(bed.reader);
	for (to = *bed.consumer; from < to; from++)
		bed.data[from % bed.size] = 0x5a;
	return clean;
}

static void records_wrap_around(void **state)
{
	unsigned i, batch;

	(void)state;
	bed__begin(0);
	for (i = 0; i < 3000; i++) {
		for (batch = i % 17; batch; batch--)
			put_record(0);
		assert_int_equal(drain(), 1);
		assert_int_equal(bed.read, bed.written);
		assert_int_equal(*bed.consumer, *bed.producer);
		assert_int_equal(ring__waiting(bed.reader), 0);
	}
	assert_int_equal(bed.delivered[REC_FAULT], bed.written);
	bed__end();
}

/* Every place where a record can begin, so also with its header as the last bytes of the data. */
static void a_record_may_begin_anywhere(void **state)
{
	unsigned long begin;

	(void)state;
	for (begin = 0; begin < SIZE; begin += 8) {
		bed__begin(SIZE * 3 + begin);
		put_record(0);
		put_record(0);
		assert_int_equal(drain(), 1);
		assert_int_equal(bed.read, 2);
		bed__end();
	}
}

static void one_that_is_being_written_holds_up_the_rest(void **state)
{
	unsigned long busy;
	uint32_t len;

	(void)state;
	bed__begin(SIZE - 64);
	put_record(0);
	busy = put_record(BPF_RINGBUF_BUSY_BIT);
	put_record(0);
	assert_int_equal(drain(), 0);
	assert_int_equal(bed.read, 1);
	assert_int_equal(*bed.consumer, busy);
	assert_int_equal(ring__waiting(bed.reader), *bed.producer - busy);
	assert_int_equal(drain(), 0);
	assert_int_equal(bed.read, 1);
	len = length_of(1);
	put_bytes(busy, &len, sizeof(len));
	assert_int_equal(drain(), 1);
	assert_int_equal(bed.read, 3);
	bed__end();
}

static void discarded_ones_are_passed_over(void **state)
{
	unsigned i;

	(void)state;
	bed__begin(SIZE - 8);
	for (i = 0; i < 100; i++) {
		put_record(BPF_RINGBUF_DISCARD_BIT);
		put_record(0);
		put_record(BPF_RINGBUF_DISCARD_BIT);
		assert_int_equal(drain(), 1);
	}
	assert_int_equal(bed.read, 100);
	assert_int_equal(bed.delivered[REC_FAULT], 100);
	assert_int_equal(*bed.consumer, *bed.producer);
	bed__end();
}

/* What has been read stays where it is until it is given back, over several reads. */
static void nothing_is_given_back_early(void **state)
{
	unsigned long begin = SIZE - 40;
	unsigned i;

	(void)state;
	bed__begin(begin);
	for (i = 0; i < 8; i++) {
		put_record(0);
		assert_int_equal(ring__read(bed.reader, bed.order, 0, bed.delivered), 1);
		assert_int_equal(*bed.consumer, begin);
	}
	assert_int_equal(bed.read, 0);
	assert_int_equal(ring__waiting(bed.reader), 0);
	assert_int_equal(drain(), 1);
	assert_int_equal(bed.read, 8);
	assert_int_equal(*bed.consumer, *bed.producer);
	bed__end();
}

static void a_full_ring_is_read_whole(void **state)
{
	(void)state;
	bed__begin(8 * 77);
	while (*bed.producer - *bed.consumer + length_of(bed.written) + 16 <= SIZE)
		put_record(0);
	assert_int_equal(drain(), 1);
	assert_int_equal(bed.read, bed.written);
	bed__end();
}

/* Bytes of the ring's data that the reader has mapped. */
static size_t mapped(void)
{
	FILE *f = fopen("/proc/self/maps", "re");
	unsigned long start, end, offset;
	size_t bytes = 0;
	char line[512];

	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		if (strstr(line, "memfd:ring") &&
		    sscanf(line, "%lx-%lx %*s %lx", &start, &end, &offset) == 3 && offset > PAGE)
			bytes += end - start;
	fclose(f);
	return bytes;
}

/* Of a large ring no more is mapped than there are records in. */
static void a_large_ring_is_mapped_by_pieces(void **state)
{
	static const size_t fills[] = {LARGE, 1000, 3 * PIECE, PIECE, LARGE, LARGE, 2 * PIECE + 99};
	unsigned round, before;
	size_t fill;

	(void)state;
	bed__begin_sized(7 * LARGE + PIECE / 2, LARGE);
	assert_int_equal(mapped(), 0);
	for (round = 0; round < 21; round++) {
		fill = fills[round % (sizeof(fills) / sizeof(fills[0]))];
		before = bed.written;
		while (*bed.producer - *bed.consumer + length_of(bed.written) + 16 <= fill)
			put_record(0);
		assert_int_equal(ring__read(bed.reader, bed.order, 0, bed.delivered), 1);
		assert_in_range(mapped(), fill & ~(PIECE - 1), fill + 2 * PIECE - 1);
		assert_int_equal(bed.read, before);
		assert_int_equal(drain(), 1);
		assert_int_equal(bed.read, bed.written);
		assert_in_range(mapped(), 0, PIECE);
	}
	bed__end();
}

/* A ring closed with records that were read but not given back. */
static void closing_frees_what_was_copied(void **state)
{
	(void)state;
	bed__begin(SIZE - 16);
	put_record(0);
	assert_int_equal(ring__read(bed.reader, bed.order, 0, bed.delivered), 1);
	bed__end();
	ring__close(NULL);
}

static void a_map_that_is_none_is_refused(void **state)
{
	(void)state;
	errno = 0;
	assert_null(ring__open(-1, SIZE));
	assert_int_equal(errno, EBADF);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(records_wrap_around),
		cmocka_unit_test(a_record_may_begin_anywhere),
		cmocka_unit_test(one_that_is_being_written_holds_up_the_rest),
		cmocka_unit_test(discarded_ones_are_passed_over),
		cmocka_unit_test(nothing_is_given_back_early),
		cmocka_unit_test(a_full_ring_is_read_whole),
		cmocka_unit_test(a_large_ring_is_mapped_by_pieces),
		cmocka_unit_test(closing_frees_what_was_copied),
		cmocka_unit_test(a_map_that_is_none_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
