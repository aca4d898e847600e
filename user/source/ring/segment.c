// SPDX-License-Identifier: MIT
#include "user/source/ring/segment.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/trace/stack_table.h"

#define PAGE 4096UL
#define SLOTS 2048 /* threads that live at the same time */
#define WIDE 32 /* of these, so many with a ring of full length */
#define FEW_BYTES (256UL << 10) /* the others' */
#define STACKS_BYTES (16UL << 20)
#define FRAMES_MAX (16UL << 20) /* of all stacks of a segment: 128 MiB of addresses */
#define GIVE_BACK 4096 /* records read, before the target is told */

struct layout {
	uint32_t slots, wide, records, few_records;
	uint64_t slots_at, stacks_at, stacks_bytes, rings_at, least, bytes;
};

/* A ring as it is read. */
struct lane {
	struct order_feed feed;
	struct segment *segment;
	uint32_t index, tid;
	uint64_t mask;
	uint64_t head; /* when last looked */
	uint64_t tail; /* read up to here */
	uint64_t told; /* and so far the target knows */
	struct rec_heap next;
	uint64_t start, over; /* of it, in ticks */
	const struct ring_record *records;
};

struct segment {
	struct layout l;
	char *at;
	pid_t pid;
	uint64_t sample_bytes;
	uint32_t serial;
	const struct ring_clock *clock;
	struct lane *lanes[SLOTS]; /* of the slots in use */
	uint32_t nlanes;
	uint64_t delivered, malformed;
	struct stack_table stacks;
	uint64_t *told; /* a bit for each stack that has been handed on */
	uint64_t frames_left; /* that may still be */
	struct rec_stack stack; /* to be handed on */
};

static uint64_t power_of_two_below(uint64_t n)
{
	uint64_t p = 1;

	while (p * 2 <= n)
		p *= 2;
	return p;
}

static uint64_t page_up(uint64_t n)
{
	return (n + PAGE - 1) & ~(PAGE - 1);
}

static uint64_t layout__rings(const struct layout *l, uint32_t n)
{
	return ring__first(n, l->wide, l->records, l->few_records) * sizeof(struct ring_record);
}

static void layout__make(struct layout *l, const struct segment_opts *o)
{
	l->slots = SLOTS;
	l->wide = WIDE;
	l->records = power_of_two_below(o->ring_bytes / sizeof(struct ring_record));
	l->few_records = FEW_BYTES / sizeof(struct ring_record);
	if (l->few_records > l->records)
		l->few_records = l->records;
	l->slots_at = PAGE;
	l->stacks_at = page_up(l->slots_at + SLOTS * sizeof(struct ring_slot));
	l->stacks_bytes = o->stack_frames ? STACKS_BYTES : 0;
	l->rings_at = l->stacks_at + l->stacks_bytes;
	l->least = l->rings_at + page_up(layout__rings(l, 1));
	l->bytes = l->rings_at + page_up(layout__rings(l, l->slots));
}

static struct ring_header *segment__own_header(const struct segment *s)
{
	return (struct ring_header *)s->at;
}

const struct ring_header *segment__header(const struct segment *s)
{
	return segment__own_header(s);
}

static struct ring_slot *segment__slot(const struct segment *s, uint32_t i)
{
	return (struct ring_slot *)(s->at + s->l.slots_at) + i;
}

static void segment__write_header(struct segment *s, const struct segment_opts *o)
{
	struct ring_header *h = segment__own_header(s);

	*h = (struct ring_header){
		.version = RING_VERSION,
		.header_bytes = sizeof(struct ring_header),
		.bytes = s->l.bytes,
		.base_ticks = ring_clock__base(s->clock),
		.slots = s->l.slots,
		.records = s->l.records,
		.wide = s->l.wide,
		.few_records = s->l.few_records,
		.slots_at = s->l.slots_at,
		.stacks_at = s->l.stacks_at,
		.stacks_bytes = s->l.stacks_bytes,
		.rings_at = s->l.rings_at,
		.sample_bytes = o->sample_bytes,
		.clock = ring_clock__is_ns(s->clock) ? RING_CLOCK_NS : RING_CLOCK_TICKS,
		.on_full = o->drop ? RING_ON_FULL_DROP : RING_ON_FULL_BLOCK,
		.stack_frames = o->stack_frames,
		.follow = o->follow,
	};
}

void segment__publish(struct segment *s)
{
	__atomic_store_n(&segment__own_header(s)->magic, RING_MAGIC, __ATOMIC_RELEASE);
}

static int segment__open_stacks(struct segment *s)
{
	uint32_t nodes = STACK_TABLE_FIRST;

	if (!s->l.stacks_bytes)
		return 0;
	while (stack_table__bytes(nodes * 2) <= s->l.stacks_bytes)
		nodes *= 2;
	s->told = calloc(nodes / 64 + 1, sizeof(*s->told));
	if (!s->told)
		return -ENOMEM;
	s->stacks.node = (struct stack_node *)(s->at + s->l.stacks_at);
	s->stacks.nodes = nodes;
	s->frames_left = FRAMES_MAX;
	return 0;
}

/* Lay out the memory of fd, which is empty. */
static struct segment *segment__make(const struct segment_opts *o, const struct ring_clock *clock,
				     int fd)
{
	static uint32_t serial;
	struct segment *s = calloc(1, sizeof(*s));
	int err;

	if (!s)
		return NULL;
	layout__make(&s->l, o);
	s->clock = clock;
	s->sample_bytes = o->sample_bytes;
	s->serial = __atomic_add_fetch(&serial, 1, __ATOMIC_RELAXED);
	s->at = MAP_FAILED;
	if (ftruncate(fd, (off_t)s->l.bytes) ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		goto fail;
	s->at = mmap(NULL, s->l.bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
	if (s->at == MAP_FAILED)
		goto fail;
	err = segment__open_stacks(s);
	errno = -err;
	if (err)
		goto fail;
	segment__write_header(s, o);
	return s;
fail:
	err = errno;
	if (s->at != MAP_FAILED)
		munmap(s->at, s->l.bytes);
	free(s);
	errno = err;
	return NULL;
}

struct segment *segment__new(const struct segment_opts *o, const struct ring_clock *clock, int *fd)
{
	struct segment *s = NULL;
	int err;

	*fd = memfd_create("memtrace_ring", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (*fd >= 0)
		s = segment__make(o, clock, *fd);
	if (s)
		return s;
	err = errno;
	if (*fd >= 0)
		close(*fd);
	errno = err;
	return NULL;
}

struct segment *segment__adopt(const struct segment_opts *o, const struct ring_clock *clock, int fd)
{
	int seals = fcntl(fd, F_GET_SEALS);

	/* Shared memory that can be sealed, of which nobody has sealed that it grows: nothing else. */
	if (seals) {
		errno = seals < 0 ? EINVAL : EEXIST;
		return NULL;
	}
	return segment__make(o, clock, fd);
}

void segment__free(struct segment *s)
{
	if (!s)
		return;
	for (uint32_t i = 0; i < s->nlanes; i++)
		free(s->lanes[i]);
	/* Who wrote it may keep it mapped for long. */
	madvise(s->at + PAGE, s->l.bytes - PAGE, MADV_REMOVE);
	munmap(s->at, s->l.bytes);
	free(s->told);
	free(s);
}

size_t segment__bytes(const struct segment *s)
{
	return s->l.bytes;
}

size_t segment__least_bytes(const struct segment *s)
{
	return s->l.least;
}

void segment__set_owner(struct segment *s, pid_t pid)
{
	s->pid = pid;
}

/* Reading */

static uint64_t ticks__sum(uint64_t start, uint64_t took)
{
	uint64_t over;

	return __builtin_add_overflow(start, took, &over) ? UINT64_MAX : over;
}

/* Of a stack in the table, for the model: no two of different segments are the same. */
static uint64_t segment__stack_id(const struct segment *s, uint32_t stack)
{
	return stack && s->stacks.nodes ? (uint64_t)s->serial << 32 | stack : 0;
}

/* When the next call was, by the clock as it is now. */
static void lane__time(struct lane *l)
{
	struct rec_heap *h = &l->next;

	h->start_ns = h->h.ts_ns = ring_clock__ns(l->segment->clock, l->start);
	if (l->over != l->start)
		h->h.ts_ns = ring_clock__ns(l->segment->clock, l->over);
	if (h->h.ts_ns >= UINT64_MAX - 1)
		h->h.ts_ns = UINT64_MAX - 1;
	l->feed.next_ns = h->h.ts_ns;
}

/* What a call's record says. more: its second part, or NULL. */
static void lane__decode(struct lane *l, const struct ring_record *r, const struct ring_more *more)
{
	const struct segment *s = l->segment;
	unsigned op = RING_KIND(r->when), low = r->size & 0xff;
	uint64_t start = RING_TICKS(r->when), over = ticks__sum(start, r->took);
	struct rec_heap *h = &l->next;

	*h = (struct rec_heap){
		.h = {.kind = REC_HEAP,
		      .flags = low & RING_FAILED ? HEAP_FAILED : 0,
		      .tgid = s->pid,
		      .tid = l->tid,
		      .aux = op | (low & RING_ALIGN) << 8},
		.size = r->size >> 8,
		.weight = s->sample_bytes,
		.stack_id = segment__stack_id(s, r->stack),
	};
	if (more) {
		over = ticks__sum(start, RING_TICKS(more->when));
		h->size = more->size;
		h->arg = more->old;
		h->h.flags |= more->flags &
			      (HEAP_OVERFLOW | HEAP_ABANDONED | HEAP_NESTED | HEAP_UNTRACKED);
		if (more->flags & RING_LEFT_OUT)
			h->weight = 0;
	}
	if (op >= HEAP_FREE) {
		h->arg = r->addr;
		h->h.flags &= HEAP_NESTED;
		over = start;
	} else if (!(h->h.flags & (HEAP_FAILED | HEAP_ABANDONED))) {
		h->result = r->addr;
	}
	l->start = start;
	l->over = over;
	lane__time(l);
}

/* Take the next call out of the ring. What makes no sense is skipped, and counted. */
static void lane__fetch(struct lane *l)
{
	while (l->tail < l->head) {
		/* Copied first: the target may change it while we look. */
		const volatile struct ring_record *from = &l->records[l->tail & l->mask];
		struct ring_record r = *from;
		struct ring_more more;
		unsigned kind = RING_KIND(r.when);

		if (kind == RING_THREAD) {
			l->tid = (uint32_t)r.addr;
			l->tail++;
			continue;
		}
		if (kind == HEAP_NONE || kind >= HEAP_OPS) {
			l->segment->malformed++;
			l->tail++;
			continue;
		}
		if (!(r.size & RING_HAS_MORE)) {
			lane__decode(l, &r, NULL);
			l->tail++;
			return;
		}
		if (l->head - l->tail < 2) {
			l->segment->malformed++;
			l->tail++;
			continue;
		}
		more = *(const volatile struct ring_more *)&l->records[(l->tail + 1) & l->mask];
		if (RING_KIND(more.when) != RING_MORE) {
			l->segment->malformed++;
			l->tail++;
			continue;
		}
		lane__decode(l, &r, &more);
		l->tail += 2;
		return;
	}
	l->feed.next_ns = UINT64_MAX;
}

/* Who waits for room sees that there is work. */
static void segment__beat(struct segment *s)
{
	struct ring_header *h = segment__own_header(s);

	__atomic_store_n(&h->beat, h->beat + 1, __ATOMIC_RELAXED);
}

static void lane__give_back(struct lane *l)
{
	if (l->told == l->tail)
		return;
	l->told = l->tail;
	__atomic_store_n(&segment__slot(l->segment, l->index)->tail, l->tail, __ATOMIC_RELEASE);
	segment__beat(l->segment);
}

/* Whether the stack of a call has been told. What is cut is told each time: the model knows it by its number. */
static inline bool segment__has_told(const struct segment *s, uint64_t stack_id)
{
	uint32_t node = (uint32_t)stack_id;

	return !stack_id || (node < s->stacks.nodes && s->told[node / 64] >> node % 64 & 1);
}

/* Before the first record with it, a stack itself. */
static __attribute__((noinline)) void segment__tell_stack(struct segment *s, struct order *o,
							  struct rec_heap *h)
{
	uint32_t id = (uint32_t)h->stack_id, node = id & ~STACK_TABLE_CUT, flags;
	struct rec_stack *r = &s->stack;
	uint64_t ip[STACK_FRAMES];
	unsigned n;

	n = s->frames_left < STACK_FRAMES ?
		    0 :
		    stack_table__read(&s->stacks, id, ip, STACK_FRAMES, &flags);
	if (!n) {
		s->malformed++;
		h->stack_id = 0;
		return;
	}
	s->frames_left -= n;
	s->told[node / 64] |= 1ULL << node % 64;
	r->h = (struct rec){.kind = REC_STACK,
			    .flags = (uint16_t)flags,
			    .tgid = h->h.tgid,
			    .tid = h->h.tid,
			    .aux = n,
			    .ts_ns = h->h.ts_ns};
	r->stack_id = h->stack_id;
	for (unsigned i = 0; i < n; i++)
		r->ip[i] = ip[i];
	order__deliver(o, &r->h, sizeof(*r) - sizeof(r->ip) + n * sizeof(r->ip[0]));
}

static void lane__hand_on(struct order_feed *f, struct order *o, uint64_t until_ns)
{
	struct lane *l = (struct lane *)f; /* .feed is its first */

	while (f->next_ns <= until_ns && f->next_ns != UINT64_MAX) {
		l->segment->delivered++;
		if (!segment__has_told(l->segment, l->next.stack_id))
			segment__tell_stack(l->segment, o, &l->next);
		order__deliver(o, &l->next.h, sizeof(l->next));
		lane__fetch(l);
		if (l->tail - l->told >= GIVE_BACK)
			lane__give_back(l);
	}
	lane__give_back(l);
}

/* A slot has come into use. */
static int segment__open_lane(struct segment *s, struct order *o)
{
	uint32_t i = s->nlanes;
	struct lane *l = calloc(1, sizeof(*l));

	if (!l)
		return -ENOMEM;
	l->feed = (struct order_feed){.next_ns = UINT64_MAX, .hand_on = lane__hand_on};
	l->segment = s;
	l->index = i;
	l->mask = (i < s->l.wide ? s->l.records : s->l.few_records) - 1;
	l->records = (const struct ring_record *)(s->at + s->l.rings_at) +
		     ring__first(i, s->l.wide, s->l.records, s->l.few_records);
	if (order__add_feed(o, &l->feed)) {
		free(l);
		return -ENOMEM;
	}
	s->lanes[s->nlanes++] = l;
	return 0;
}

int segment__look(struct segment *s, struct order *o)
{
	segment__beat(s);
	while (s->nlanes < s->l.slots &&
	       __atomic_load_n(&segment__slot(s, s->nlanes)->used, __ATOMIC_ACQUIRE))
		if (segment__open_lane(s, o))
			return -ENOMEM;
	for (uint32_t i = 0; i < s->nlanes; i++) {
		struct lane *l = s->lanes[i];
		uint64_t head = __atomic_load_n(&segment__slot(s, i)->head, __ATOMIC_ACQUIRE);

		/* No ring holds more than that, and none goes back. */
		if (head - l->told > l->mask + 1)
			head = l->head;
		l->head = head;
		/* The clock has been adjusted since: two lanes' calls are compared by one clock only. */
		if (l->feed.next_ns == UINT64_MAX)
			lane__fetch(l);
		else
			lane__time(l);
	}
	return 0;
}

bool segment__is_drained(const struct segment *s)
{
	for (uint32_t i = 0; i < s->nlanes; i++)
		if (s->lanes[i]->feed.next_ns != UINT64_MAX)
			return false;
	return true;
}

void segment__leave(struct segment *s, struct order *o)
{
	for (uint32_t i = 0; i < s->nlanes; i++)
		order__remove_feed(o, &s->lanes[i]->feed);
}

void segment__close(struct segment *s)
{
	__atomic_store_n(&segment__own_header(s)->closed, 1, __ATOMIC_RELEASE);
}

void segment__end_thread(struct segment *s, pid_t tid)
{
	for (uint32_t i = 0; i < s->nlanes; i++) {
		uint32_t owner = (uint32_t)tid;

		/* Only what the thread could not free itself. */
		if (__atomic_load_n(&segment__slot(s, i)->owner, __ATOMIC_RELAXED) == owner)
			__atomic_compare_exchange_n(&segment__slot(s, i)->owner, &owner, 0, false,
						    __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
	}
}

bool segment__gave_up(const struct segment *s)
{
	return __atomic_load_n(&segment__header(s)->gave_up_ticks, __ATOMIC_RELAXED) != 0;
}

double segment__fill(const struct segment *s)
{
	double most = 0, fill;

	for (uint32_t i = 0; i < s->nlanes; i++) {
		const struct lane *l = s->lanes[i];
		uint64_t head = __atomic_load_n(&segment__slot(s, i)->head, __ATOMIC_RELAXED);

		if (head - l->told > l->mask + 1)
			continue;
		fill = (double)(head - l->told) / (double)(l->mask + 1);
		if (fill > most)
			most = fill;
	}
	return most;
}

void segment__count(const struct segment *s, struct segment_counts *c)
{
	const struct ring_header *h = segment__header(s);
	uint64_t gave_up = __atomic_load_n(&h->gave_up_ticks, __ATOMIC_RELAXED);

	*c = (struct segment_counts){.delivered = s->delivered,
				     .malformed = s->malformed,
				     .late_ms = __atomic_load_n(&h->late_ms, __ATOMIC_RELAXED)};
	for (uint32_t i = 0; i < s->nlanes; i++)
		for (unsigned op = 0; op < HEAP_OPS; op++)
			c->lost_ops[op] +=
				__atomic_load_n(&segment__slot(s, i)->lost[op], __ATOMIC_RELAXED);
	c->lost_ops[HEAP_NONE] += __atomic_load_n(&h->unslotted, __ATOMIC_RELAXED);
	for (unsigned op = 0; op < HEAP_OPS; op++)
		c->lost += c->lost_ops[op];
	if (gave_up)
		c->gave_up_ns = ring_clock__ns(s->clock, gave_up);
}
