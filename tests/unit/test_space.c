/* SPDX-License-Identifier: MIT */
/*
 * Address spaces, against a naive one: an array that holds for each page what is mapped there. The
 * seed of the random steps is printed; SEED=N in the environment sets it.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "bpf/event.h"
#include "user/model/space.h"

#define PAGE 4096ULL
#define BASE 0x10000ULL
#define PAGES 64
#define STEPS 5000
#define WALKS 40 /* from empty: some states are rare later on */
#define RW (PROT_READ | PROT_WRITE)

/* One page of the naive space. */
struct page {
	bool there;
	uint8_t kind, prot, flags;
	uint32_t file;
	uint64_t offset; /* of this very page */
};

struct shadow {
	struct page page[PAGES];
	struct {
		unsigned from, to;
		uint64_t ts_ns;
	} maps[RECENT_MAPS]; /* a ring */
	unsigned nmaps;
};

static uint64_t seed;

static unsigned dice(unsigned n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (seed >> 11) % n;
}

static uint64_t at(unsigned page)
{
	return BASE + page * PAGE;
}

static bool page__continues(const struct page *a, const struct page *b)
{
	return a->there && b->there && a->kind == b->kind && a->prot == b->prot &&
	       a->flags == b->flags &&
	       (a->kind != VMA_FILE || (a->file == b->file && a->offset + PAGE == b->offset));
}

static void assert_page(const struct page *p, const struct vma *v, uint64_t addr)
{
	assert_int_equal(v->kind, p->kind);
	assert_int_equal(v->prot, p->prot);
	assert_int_equal(v->flags, p->flags);
	if (p->kind != VMA_FILE)
		return;
	assert_int_equal(v->file, p->file);
	assert_int_equal(v->offset + (addr - v->start), p->offset);
}

static void assert_same(const struct space *s, const struct shadow *w)
{
	uint64_t mapped = 0, heap = 0;
	size_t runs = 0, i;

	for (i = 0; i < PAGES; i++) {
		const struct page *p = &w->page[i];
		const struct vma *v = space__find(s, at(i) + 7);

		assert_int_equal(v != NULL, p->there);
		if (!p->there)
			continue;
		assert_page(p, v, at(i));
		mapped += PAGE;
		heap += p->kind == VMA_HEAP ? PAGE : 0;
		runs += !i || !page__continues(p - 1, p);
	}
	assert_int_equal(s->mapped_bytes, mapped);
	assert_int_equal(s->heap_bytes, heap);
	assert_int_equal(s->count, runs); /* all that are alike are merged */
	for (i = 0; i < s->count; i++) {
		assert_true(space__vma(s, i)->start < space__vma(s, i)->end);
		assert_true(!i || space__vma(s, i - 1)->end <= space__vma(s, i)->start);
	}
}

static void step_map(struct space *s, struct shadow *w, unsigned from, unsigned to, uint64_t ts)
{
	struct vma v = {.start = at(from), .end = at(to), .kind = dice(6), .file = NO_FILE};
	unsigned i;

	v.prot = dice(16);
	if (v.kind == VMA_STACK && dice(2))
		v.flags = VMA_FIXED_SIZE;
	if (v.kind == VMA_FILE) {
		/* Often the part of a file that makes it go on where the one before it ends. */
		v.file = dice(2);
		v.offset = dice(3) ? at(from) : dice(8) * PAGE;
	}
	assert_int_equal(space__map(s, &v, ts), 0);
	for (i = from; i < to; i++)
		w->page[i] = (struct page){
			.there = true,
			.kind = v.kind,
			.prot = v.prot,
			.flags = v.flags | (v.prot & PROT_WRITE ? VMA_WAS_WRITABLE : 0),
			.file = v.file,
			.offset = v.offset + (i - from) * PAGE,
		};
	if (from == to)
		return;
	w->maps[w->nmaps % RECENT_MAPS].from = from;
	w->maps[w->nmaps % RECENT_MAPS].to = to;
	w->maps[w->nmaps % RECENT_MAPS].ts_ns = ts;
	w->nmaps++;
}

static void step_unmap(struct space *s, struct shadow *w, unsigned from, unsigned to, uint64_t began)
{
	unsigned i, j;

	assert_int_equal(space__unmap(s, at(from), at(to), began), 0);
	for (i = from; i < to; i++) {
		bool spared = false;

		for (j = 0; j < w->nmaps && j < RECENT_MAPS; j++)
			spared |= w->maps[j].ts_ns > began && w->maps[j].from <= i &&
				  i < w->maps[j].to;
		if (!spared)
			w->page[i].there = false;
	}
}

static void step_protect(struct space *s, struct shadow *w, unsigned from, unsigned to)
{
	unsigned prot = dice(8), i;

	assert_int_equal(space__protect(s, at(from), at(to), prot), 0);
	for (i = from; i < to; i++) {
		struct page *p = &w->page[i];

		p->prot = (p->prot & VMA_SHARED) | prot;
		p->flags |= prot & PROT_WRITE ? VMA_WAS_WRITABLE : 0;
	}
}

static void step_touch(struct space *s, struct shadow *w, unsigned page)
{
	const struct vma *v;
	unsigned above = page;

	while (above < PAGES && !w->page[above].there)
		above++;
	/* The kernel keeps a gap below a stack that grows. */
	if (above != page && page && w->page[page - 1].there)
		return;
	v = space__touch(s, at(page) + 100);
	if (above == PAGES || (above != page && (w->page[above].kind != VMA_STACK ||
						 w->page[above].flags & VMA_FIXED_SIZE))) {
		assert_null(v);
		return;
	}
	assert_non_null(v);
	while (above > page) {
		w->page[above - 1] = w->page[above];
		above--;
	}
	assert_page(&w->page[page], v, at(page));
}

static void step_copy(struct space *s)
{
	struct space copy = {0};

	assert_int_equal(space__copy(&copy, s), 0);
	assert_true(copy.code_changes == s->code_changes);
	space__clear(s);
	assert_true(s->count == 0 && s->mapped_bytes == 0 && s->heap_bytes == 0);
	*s = copy;
}

static void step_fork(struct space *s, struct shadow *w)
{
	unsigned i;

	space__mark_forked(s);
	for (i = 0; i < PAGES; i++)
		if (w->page[i].there && !(w->page[i].prot & VMA_SHARED))
			w->page[i].flags |= VMA_PRE_FORK;
}

static void walk(void)
{
	struct space s = {0};
	struct shadow w = {0};
	uint64_t now = 1000;
	unsigned i;

	for (i = 0; i < STEPS; i++) {
		unsigned from = dice(PAGES), to = from + dice(dice(8) ? 8 : PAGES), what = dice(100);

		if (to > PAGES)
			to = PAGES;
		now += 10;
		if (what < 35)
			step_map(&s, &w, from, to, now);
		else if (what < 60) /* mostly begun after all others, sometimes long ago */
			step_unmap(&s, &w, from, to, dice(4) ? now : now - dice(200));
		else if (what < 80)
			step_protect(&s, &w, from, to);
		else if (what < 97)
			step_touch(&s, &w, from);
		else if (what < 99)
			step_copy(&s);
		else
			step_fork(&s, &w);
		assert_same(&s, &w);
	}
	space__clear(&s);
}

static void a_space_is_like_an_array_of_pages(void **state)
{
	unsigned i;

	(void)state;
	for (i = 0; i < WALKS; i++)
		walk();
}

static void map(struct space *s, unsigned from, unsigned to, uint64_t ts)
{
	struct vma v = {
		.start = at(from), .end = at(to), .kind = VMA_ANON, .prot = RW, .file = NO_FILE};

	assert_int_equal(space__map(s, &v, ts), 0);
}

/* One thread unmaps [0, 10); before it has returned another is given [4, 6) by mmap. */
static void a_munmap_spares_what_was_mapped_while_it_ran(void **state)
{
	struct space s = {0};

	(void)state;
	map(&s, 0, 10, 100);
	map(&s, 4, 6, 210);
	assert_int_equal(space__unmap(&s, at(0), at(10), 200), 0);
	assert_int_equal(s.count, 1);
	assert_int_equal(space__vma(&s, 0)->start, at(4));
	assert_int_equal(space__vma(&s, 0)->end, at(6));
	/* One that begins later means it. */
	assert_int_equal(space__unmap(&s, at(0), at(10), 211), 0);
	assert_int_equal(s.count, 0);
	space__clear(&s);
}

/* A process that forks again and again while its heap grows has one heap. */
static void forks_do_not_leave_pieces(void **state)
{
	struct space s = {0};
	unsigned i;

	(void)state;
	for (i = 0; i < 100; i++) {
		map(&s, i, i + 1, i);
		space__mark_forked(&s);
	}
	assert_int_equal(s.count, 1);
	assert_int_equal(s.mapped_bytes, 100 * PAGE);
	space__clear(&s);
}

static void places_are_asked_for_anew_when_code_moves(void **state)
{
	struct vma code = {
		.start = at(0), .end = at(2), .kind = VMA_FILE, .prot = PROT_READ | PROT_EXEC};
	struct space s = {0};
	uint32_t before = s.code_changes;

	(void)state;
	map(&s, 4, 8, 1);
	assert_int_equal(space__protect(&s, at(4), at(5), PROT_READ), 0);
	assert_int_equal(space__unmap(&s, at(5), at(6), 2), 0);
	assert_int_equal(s.code_changes, before);
	assert_int_equal(space__map(&s, &code, 3), 0);
	assert_true(s.code_changes != before);
	before = s.code_changes;
	assert_int_equal(space__protect(&s, at(6), at(7), PROT_READ | PROT_EXEC), 0);
	assert_true(s.code_changes != before);
	before = s.code_changes;
	assert_int_equal(space__unmap(&s, at(1), at(2), 4), 0);
	assert_true(s.code_changes != before);
	before = s.code_changes;
	space__clear(&s);
	assert_true(s.code_changes != before);
}

static void the_stack_grows_but_not_without_end(void **state)
{
	struct vma v = {.start = 3UL << 30, .end = (3UL << 30) + PAGE, .kind = VMA_STACK, .prot = RW};
	struct space s = {0};

	(void)state;
	assert_int_equal(space__map(&s, &v, 1), 0);
	assert_null(space__touch(&s, v.start - (1UL << 30) - 1));
	assert_null(space__touch(&s, v.end));
	assert_null(space__reach(&s, v.start - (1UL << 30) - 1));
	assert_null(space__find(&s, v.start - 1));
	assert_non_null(space__reach(&s, v.start - 1));
	assert_int_equal(s.mapped_bytes, PAGE);
	assert_non_null(space__touch(&s, v.start - 1));
	assert_int_equal(s.mapped_bytes, 2 * PAGE);
	assert_non_null(space__touch(&s, v.start - 5 * PAGE + 1));
	assert_int_equal(s.mapped_bytes, 6 * PAGE);
	assert_int_equal(s.count, 1);
	space__clear(&s);
}

static void nothing_comes_of_empty_ranges(void **state)
{
	struct space s = {0};

	(void)state;
	map(&s, 3, 3, 1);
	map(&s, 4, 2, 1);
	assert_int_equal(s.count, 0);
	map(&s, 0, 8, 1);
	assert_int_equal(space__unmap(&s, at(5), at(5), 2), 0);
	assert_int_equal(space__unmap(&s, at(6), at(5), 2), 0);
	assert_int_equal(space__protect(&s, at(5), at(5), 0), 0);
	assert_int_equal(space__protect(&s, at(6), at(5), 0), 0);
	assert_int_equal(space__unmap(&s, at(20), at(30), 2), 0);
	assert_int_equal(space__protect(&s, at(20), at(30), 0), 0);
	assert_int_equal(s.count, 1);
	assert_int_equal(s.mapped_bytes, 8 * PAGE);
	space__clear(&s);
}

#define MANY 5000

/* Mappings that do not meet, added and taken away far from each other and near. */
static void many_mappings_stay_in_order(void **state)
{
	static bool there[MANY];
	struct space s = {0}, copy = {0};
	size_t i = 0, n = 0, turn, seen = 0;

	(void)state;
	seed = 20240229;
	for (turn = 0; turn < 40000; turn++) {
		struct vma v = {.file = NO_FILE, .prot = PROT_READ};

		i = turn % 100 ? (dice(2) ? i + 1 : i) % MANY : dice(MANY);
		v.start = at(2 * i);
		v.end = v.start + PAGE;
		if (there[i])
			assert_int_equal(space__unmap(&s, v.start, v.end, 2 * turn), 0);
		else
			assert_int_equal(space__map(&s, &v, 2 * turn + 1), 0);
		there[i] = !there[i];
		n += there[i] ? 1 : -1;
		assert_int_equal(s.count, n);
		assert_int_equal(space__find(&s, v.start) != NULL, there[i]);
	}
	assert_int_equal(space__copy(&copy, &s), 0);
	assert_int_equal(copy.count, n);
	for (i = 0; i < MANY; i++) {
		assert_int_equal(space__find(&s, at(2 * i)) != NULL, there[i]);
		if (!there[i])
			continue;
		assert_int_equal(space__vma(&s, seen)->start, at(2 * i));
		assert_int_equal(space__vma(&copy, seen)->start, at(2 * i));
		seen++;
	}
	assert_int_equal(seen, n);
	space__clear(&s);
	space__clear(&copy);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(many_mappings_stay_in_order),
		cmocka_unit_test(a_space_is_like_an_array_of_pages),
		cmocka_unit_test(a_munmap_spares_what_was_mapped_while_it_ran),
		cmocka_unit_test(forks_do_not_leave_pieces),
		cmocka_unit_test(places_are_asked_for_anew_when_code_moves),
		cmocka_unit_test(the_stack_grows_but_not_without_end),
		cmocka_unit_test(nothing_comes_of_empty_ranges),
	};
	const char *wanted = getenv("SEED");

	seed = wanted ? strtoull(wanted, NULL, 0) : 20240229;
	printf("SEED=%" PRIu64 "\n", seed);
	if (!seed)
		seed = 1; /* zero would stay zero */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
