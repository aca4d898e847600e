/* SPDX-License-Identifier: MIT */
/*
 * The model under random records: well-formed ones in any order, and ones whose bytes, lengths,
 * kinds and counts lie, as those of a damaged file may. Each is read from memory of exactly its
 * length, so that a sanitizer sees a step beyond it. Nothing may crash, what is kept must stay in
 * proportion to what was given, and every figure must still be split up without a rest.
 *
 * Each round has a seed of its own, printed every so often; SEED=N makes N the first.
 */
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "tests/unit/dice.h"
#include "tests/unit/model_lib.h"

#define ROUNDS 1000
#define RECORDS 600
#define LIMIT_NS 1500000000ULL /* for all rounds, on a slow machine */
#define PIDS 6
#define LARGEST sizeof(union any_rec)

/* With room for more than any record has. */
union any_rec {
	unsigned char bytes[sizeof(struct rec_file) + 512];
	struct rec h;
	struct rec_call call;
	struct rec_fault fault;
	struct rec_fork fork;
	struct rec_exec exec;
	struct rec_exit exit;
	struct rec_stack stack;
	struct rec_vma vma;
	struct rec_file file;
	struct rec_rename rename;
	struct rec_heap heap;
	struct rec_hook hook;
	struct rec_allocator allocator;
};

static uint64_t first_seed;

/* An address near others, so that mappings meet, now and then any. */
static uint64_t random_addr(void)
{
	static const uint64_t bases[] = {TEXT, DATA, HEAP, MMAP, STACK, STACK_TOP, VDSO, 0};

	if (!dice(50))
		return dice64();
	return bases[dice(8)] + dice(40) * PAGE + (dice(4) ? 0 : dice(PAGE));
}

static size_t fill_call(struct rec_call *c)
{
	unsigned i;

	for (i = 0; i < 6; i++)
		c->arg[i] = dice(4) ? random_addr() : dice(64) * PAGE;
	c->arg[1] = dice(20) ? dice(30) * PAGE + dice(2) : dice64();
	if (c->h.kind == REC_MMAP || c->h.kind == REC_MPROTECT)
		c->arg[2] = dice(8);
	c->arg[3] = c->h.kind == REC_MREMAP ? dice(8) : dice64() & 0x1ffff;
	c->ret = dice(6) ? (int64_t)random_addr() : -(int64_t)dice(200);
	if (c->h.kind == REC_BRK && dice(3))
		c->ret = c->arg[0];
	c->old_brk = random_addr();
	c->start_ns = c->h.ts_ns - dice(5000);
	c->h.aux = dice(4) ? 0 : dice(10000);
	c->stack_id = dice(40);
	c->ip = TEXT + dice(1000);
	return sizeof(*c);
}

static size_t fill_stack(struct rec_stack *s)
{
	unsigned n = dice(5) ? 1 + dice(8) : STACK_FRAMES, i;

	s->h.aux = n;
	s->h.flags = dice(4) ? 0 : dice(8);
	s->stack_id = 1 + dice(40);
	s->leaf_word = dice(2) ? random_addr() : 0;
	for (i = 0; i < n; i++)
		s->ip[i] = dice(8) ? TEXT + dice(5 * PAGE) : random_addr();
	return offsetof(struct rec_stack, ip) + n * sizeof(s->ip[0]);
}

static size_t fill_file(struct rec_file *f)
{
	unsigned n = dice(10) ? dice(40) : FILE_PATH_BYTES, i;

	for (i = 0; i < n; i++)
		f->path[i] = i + 1 == n || !dice(6) ? '\0' : 'a' + dice(26);
	f->h.aux = n;
	f->h.flags = dice(2);
	f->ino = dice(6);
	f->dev = dice(2);
	return offsetof(struct rec_file, path) + n;
}

static size_t fill_heap(struct rec_heap *h)
{
	h->h.aux = (1 + dice(HEAP_OPS - 1)) | dice(13) << 8 | dice(4) << 16;
	h->h.flags = dice(16);
	h->start_ns = h->h.ts_ns - dice(100);
	h->size = dice(5) ? dice(10000) : dice64();
	h->arg = dice(3) ? HEAP + dice(100) * 16 : 0;
	h->result = dice(3) ? HEAP + dice(100) * 16 : 0;
	h->stack_id = dice(40);
	h->weight = dice(3) ? 0 : dice(1 << 20);
	return sizeof(*h);
}

/* A record of some kind, that could have come from the kernel side. */
static size_t fill(union any_rec *r)
{
	unsigned kind = dice(3) ? REC_BRK + dice(VMCALLS + 1) : 1 + dice(REC_ALL_KINDS - 1);

	r->h = head(kind, PID + dice(PIDS));
	r->h.tid = r->h.tgid + dice(3);
	switch (kind) {
	case REC_FAULT:
		r->h.flags = dice(64);
		r->h.aux = dice64() >> (32 + dice(32));
		r->fault.addr = random_addr();
		r->fault.ip = dice(10) ? TEXT + dice(100) : 0;
		r->fault.stack_id = dice(40);
		r->fault.owner = dice(3) ? 0 : r->h.ts_ns - dice(100);
		return sizeof(r->fault);
	case REC_FORK:
		r->h.flags = dice(2);
		r->fork.child_tgid = PID + dice(PIDS);
		r->fork.child_tid = dice(1000);
		memset(r->fork.comm, 'c', sizeof(r->fork.comm));
		return sizeof(r->fork);
	case REC_EXEC:
		r->exec.start_stack = random_addr();
		r->exec.exe_ino = dice(6);
		r->exec.exe_dev = dice(2);
		memset(r->exec.comm, 'x', sizeof(r->exec.comm));
		return sizeof(r->exec);
	case REC_EXIT:
		r->h.aux = dice(2);
		r->exit.exit_code = dice(70000);
		r->exit.min_flt = dice(100);
		r->exit.maj_flt = dice(100);
		return sizeof(r->exit);
	case REC_STACK:
		return fill_stack(&r->stack);
	case REC_VMA:
		r->h.aux = dice(2);
		r->vma.start = random_addr();
		r->vma.end = r->vma.start + dice(20) * PAGE;
		r->vma.pgoff = dice(20) * PAGE;
		r->vma.ino = dice(6);
		r->vma.dev = dice(2);
		r->vma.prot = dice(32);
		return sizeof(r->vma);
	case REC_FILE:
		return fill_file(&r->file);
	case REC_RENAME:
		memset(r->rename.comm, 'y', dice(sizeof(r->rename.comm) + 1));
		return sizeof(r->rename);
	case REC_HEAP:
		return fill_heap(&r->heap);
	case REC_HOOK:
		r->h.aux = dice(8);
		r->hook.op = dice(HEAP_OPS);
		r->hook.ino = dice(6);
		r->hook.hits = dice(1000);
		return sizeof(r->hook);
	case REC_ALLOCATOR:
		r->allocator.ino = dice(6);
		return sizeof(r->allocator);
	default:
		return fill_call(&r->call);
	}
}

/* Make it lie: a shorter or longer one, another kind, another count, any bytes, too much of all. */
static size_t damage(struct rec *r, size_t len)
{
	unsigned i;

	switch (dice(6)) {
	case 0:
		return dice(len + 1);
	case 4:
		r->aux = (dice(2) ? FILE_PATH_BYTES : STACK_FRAMES) + dice(200);
		return LARGEST;
	case 1:
		r->kind = dice(4) ? dice(REC_ALL_KINDS + 2) : dice64();
		return len;
	case 2:
		r->aux = dice(3) ? dice(2000) : dice64();
		return len;
	case 3:
		for (i = 1 + dice(8); i; i--)
			((unsigned char *)r)[dice(len)] = dice64();
		return len;
	default:
		return dice(LARGEST + 1);
	}
}

/* Read from memory of exactly its length. */
static int apply_exactly(const void *r, size_t len)
{
	void *copy = malloc(len ? len : 1);
	int err;

	assert_non_null(copy);
	memcpy(copy, r, len);
	err = apply(copy, len);
	free(copy);
	return err;
}

static void assert_space(const struct space *s)
{
	uint64_t mapped = 0, heap = 0;
	size_t i;

	for (i = 0; i < s->count; i++) {
		const struct vma *v = space__vma(s, i);

		assert_true(v->start < v->end);
		assert_true(!i || space__vma(s, i - 1)->end <= v->start);
		mapped += v->end - v->start;
		heap += v->kind == VMA_HEAP ? v->end - v->start : 0;
	}
	assert_true(s->mapped_bytes == mapped);
	assert_true(s->heap_bytes == heap);
	assert_true(s->room <= 4 * RECORDS + 64);
}

/* What the heaps say they hold is what is in them. */
static void assert_heaps(void)
{
	uint64_t live = 0;
	size_t i;

	for (i = 0; i < m->nprocesses; i++) {
		const struct process *p = m->processes[i];
		uint64_t own = 0, inherited = 0;
		struct nursery_iter it;
		struct block b;

		if (!p->heap || p->heap->process != p)
			continue;
		for (nursery__begin(&p->heap->blocks, &it); nursery__next(&it, &b);) {
			uint64_t *weight = hmap__find(&p->heap->weights, b.addr);
			uint64_t bytes = amount__of(b.size, weight ? *weight : 0).bytes;

			if (b.owner == p->heap->owner)
				own += bytes;
			else
				inherited += bytes;
		}
		assert_true(p->heap->live_bytes == own);
		assert_true(p->heap->inherited_bytes == inherited);
		live += own;
	}
	assert_true(m->live_bytes == live);
}

/* What must hold of a model that was given n records. */
static void assert_sound(size_t n)
{
	uint64_t mapped = 0, heap = 0;
	struct report *r;
	size_t alive = 0, i;

	assert_true(m->nprocesses <= n + 1);
	assert_true(m->nfiles <= 2 * n + 1);
	assert_true(m->nplaces <= n);
	assert_true(m->nstacks <= n);
	for (i = 0; i < m->nprocesses; i++) {
		struct process *p = m->processes[i];

		assert_space(&p->space);
		assert_true(!p->r.ended || !p->space.count);
		alive += !p->r.ended;
		assert_true(p->npending <= n);
		assert_true(p->nearly <= EARLY_FAULTS);
		if (p->borrows_space)
			continue;
		mapped += p->space.mapped_bytes;
		heap += p->space.heap_bytes;
	}
	assert_true(m->mapped_bytes == mapped);
	assert_true(m->heap_bytes == heap);
	assert_int_equal(model__alive(m, NULL, 0), alive);
	assert_heaps();
	r = report_now();
	assert_balanced(r);
	report__free(r);
}

static void round_of(unsigned lies_in_ten)
{
	union any_rec r;
	size_t i, len;
	int err;

	for (i = 0; i < RECORDS; i++) {
		bool lies = dice(10) < lies_in_ten;

		memset(&r, 0, sizeof(r));
		len = fill(&r);
		if (lies)
			len = damage(&r.h, len);
		err = apply_exactly(&r, len);
		if (err && (err != -EBADMSG || !lies))
			fail_msg("record %zu: error %d", i, err);
		if (i % 200 == 199)
			assert_sound(i + 1);
	}
}

static uint64_t clock_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

static void rounds(unsigned lies_in_ten)
{
	uint64_t begin = clock_ns();
	uint64_t i;

	for (i = 0; i < ROUNDS && clock_ns() - begin < LIMIT_NS / 2; i++) {
		seed = first_seed + i ? first_seed + i : ROUNDS;
		/* A crash must not take it along. */
		if (i % 50 == 0) {
			printf("SEED=%" PRIu64 " ..\n", first_seed + i);
			fflush(stdout);
		}
		assert_int_equal(bed__set_up_image(NULL), 0);
		round_of(lies_in_ten);
		bed__tear_down(NULL);
	}
}

static void well_formed_records_in_any_order(void **state)
{
	(void)state;
	rounds(0);
}

static void records_that_lie(void **state)
{
	(void)state;
	rounds(5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(well_formed_records_in_any_order, bed__tear_down),
		cmocka_unit_test_teardown(records_that_lie, bed__tear_down),
	};
	const char *wanted = getenv("SEED");

	first_seed = wanted ? strtoull(wanted, NULL, 0) : 20240229;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
