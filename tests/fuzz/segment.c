// SPDX-License-Identifier: MIT
/*
 * libFuzzer: a process that writes whatever it likes into its segment. The collector, and the model
 * that takes what it makes of it, come through that: no crash, no more records than a ring holds,
 * nothing in them that the rest does not expect. `make fuzz`
 *
 * The input is a list of acts of 16 bytes: what, where, a value.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/trace/stack_table.h"
#include "user/model/model.h"
#include "user/order/order.h"
#include "user/source/ring/segment.h"

#define PID 4711
#define RING_RECORDS 16
#define SLOTS 4 /* that are written to: what is done for one more is the same */

struct act {
	uint8_t what, slot;
	uint16_t at;
	uint32_t how;
	uint64_t value;
};

enum {
	WRITE_RECORD,
	WRITE_HEAD,
	WRITE_SLOT,
	WRITE_HEADER,
	WRITE_STACKS,
	LOOK,
	END_THREAD,
	COUNT,
	ACTS
};

static struct ring_clock *ticks;
static struct model *model;
static uint64_t taken;

static void check(int holds)
{
	if (!holds)
		abort();
}

static void take(void *ctx, const struct rec *r, size_t len)
{
	const struct rec_stack *stack = (const struct rec_stack *)r;

	(void)ctx;
	check(r->kind == REC_HEAP || r->kind == REC_STACK);
	check(r->tgid == PID);
	if (r->kind == REC_STACK) {
		check(r->aux > 0 && r->aux <= STACK_FRAMES);
		check(len == sizeof(*stack) - sizeof(stack->ip) + r->aux * sizeof(stack->ip[0]));
	} else {
		check(len == sizeof(struct rec_heap));
		taken++;
	}
	model__apply(model, r, len);
}

static void look(struct segment *s, struct order *o, uint64_t until)
{
	taken = 0;
	check(!segment__look(s, o));
	check(!order__release(o, until));
	/* No more at a time than there is room for in the rings. */
	check(taken <= SLOTS * RING_RECORDS);
}

static void act(struct segment *s, struct order *o, const struct ring_header *layout,
		const struct act *a)
{
	struct ring_header *h = (struct ring_header *)(uintptr_t)segment__header(s);
	char *base = (char *)h;
	struct ring_slot *slot = (struct ring_slot *)(base + layout->slots_at) + a->slot % SLOTS;
	size_t ring =
		ring__first(a->slot % SLOTS, layout->wide, layout->records, layout->few_records);
	struct ring_record *r = (struct ring_record *)(base + layout->rings_at) + ring;
	struct segment_counts c;

	switch (a->what % ACTS) {
	case WRITE_RECORD:
		r += a->at % RING_RECORDS;
		((uint64_t *)r)[a->how % 4] = a->value;
		/* Of a kind that is read on, more often than chance has it. */
		if (a->how & 0x10)
			r->when = RING_WHEN(a->value, a->how >> 8 & 1 ? RING_MORE : a->how >> 9 & 31);
		break;
	case WRITE_HEAD:
		slot->used = 1;
		slot->head = a->how & 1 ? a->value : slot->head + a->value % (RING_RECORDS + 1);
		break;
	case WRITE_SLOT:
		((uint64_t *)slot)[a->at % (sizeof(*slot) / 8)] = a->value;
		break;
	case WRITE_HEADER:
		((uint64_t *)h)[a->at % (sizeof(*h) / 8)] = a->value;
		break;
	case WRITE_STACKS:
		((uint64_t *)(base + layout->stacks_at))[a->at % 512] = a->value;
		break;
	case LOOK:
		look(s, o, a->how & 1 ? UINT64_MAX - 2 : a->value);
		break;
	case END_THREAD:
		segment__end_thread(s, (pid_t)a->value);
		break;
	default:
		segment__count(s, &c);
		check(segment__fill(s) >= 0 && segment__fill(s) <= 1);
		segment__is_drained(s);
		break;
	}
}

/* Its size stays what it was, and nobody makes another one in it. */
static void expect_sealed(int fd, const struct segment_opts *o)
{
	check(ftruncate(fd, 4096) < 0 && ftruncate(fd, 1L << 40) < 0);
	check(!segment__adopt(o, ticks, fd));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct segment_opts opts = {.ring_bytes = RING_RECORDS * sizeof(struct ring_record),
				    .drop = true,
				    .stack_frames = STACK_FRAMES};
	struct ring_header layout;
	struct segment *s;
	struct order *o;
	struct act a;
	int fd;

	if (!ticks) {
		ticks = ring_clock__new();
		ring_clock__adjust(ticks);
	}
	s = segment__new(&opts, ticks, &fd);
	o = order__new(1, take, NULL);
	model = model__new(0);
	check(s && o && model);
	check(!model__add_root(model, PID, 1, "target", NULL, false));
	segment__set_owner(s, PID);
	segment__publish(s);
	layout = *segment__header(s);
	expect_sealed(fd, &opts);
	close(fd);
	for (size_t i = 0; i + sizeof(a) <= size; i += sizeof(a)) {
		memcpy(&a, data + i, sizeof(a));
		act(s, o, &layout, &a);
	}
	look(s, o, UINT64_MAX - 2);
	segment__close(s);
	segment__leave(s, o);
	order__free(o);
	segment__free(s);
	model__free(model);
	return 0;
}
