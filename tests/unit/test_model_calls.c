/* SPDX-License-Identifier: MIT */
/* What the six system calls change: counts, bytes, and the mappings that they leave. */
#include "tests/unit/model_lib.h"

static void the_break_grows_and_shrinks(void **state)
{
	const struct call_stats *s = stats(CALL_BRK);

	(void)state;
	brk_call(HEAP, 0, HEAP); /* only asks */
	assert_int_equal(s->calls, 1);
	assert_int_equal(s->failed, 0);
	assert_int_equal(s->bytes, 0);
	MAPPINGS(PID);
	brk_call(HEAP, HEAP + 33 * PAGE, HEAP + 33 * PAGE);
	MAPPINGS(PID, HEAP, HEAP + 33 * PAGE);
	assert_int_equal(s->grown_bytes, 33 * PAGE);
	brk_call(HEAP + 33 * PAGE, HEAP + 40 * PAGE, HEAP + 40 * PAGE);
	MAPPINGS(PID, HEAP, HEAP + 40 * PAGE);
	brk_call(HEAP + 40 * PAGE, HEAP + 10 * PAGE, HEAP + 10 * PAGE);
	MAPPINGS(PID, HEAP, HEAP + 10 * PAGE);
	assert_int_equal(s->calls, 4);
	assert_int_equal(s->failed, 0);
	assert_int_equal(s->grown_bytes, 40 * PAGE);
	assert_int_equal(s->shrunk_bytes, 30 * PAGE);
	assert_int_equal(s->bytes, 70 * PAGE);
	assert_int_equal(m->heap_bytes, 10 * PAGE);
	assert_int_equal(m->mapped_bytes, 10 * PAGE);
	assert_int_equal(model__class(m, model__find(m, PID, HEAP)), REGION_HEAP);
}

/* The break itself is exact, what is mapped goes by pages. */
static void the_break_need_not_be_at_a_page(void **state)
{
	const struct call_stats *s = stats(CALL_BRK);

	(void)state;
	brk_call(HEAP + 100, HEAP + 200, HEAP + 200);
	assert_int_equal(s->grown_bytes, 100);
	MAPPINGS(PID);
	brk_call(HEAP + 200, HEAP + PAGE + 1, HEAP + PAGE + 1);
	MAPPINGS(PID, HEAP + PAGE, HEAP + 2 * PAGE);
	brk_call(HEAP + PAGE + 1, HEAP + PAGE, HEAP + PAGE);
	MAPPINGS(PID);
	assert_int_equal(s->shrunk_bytes, 1);
}

static void a_failed_brk_changes_nothing(void **state)
{
	const struct call_stats *s = stats(CALL_BRK);

	(void)state;
	brk_call(HEAP, HEAP + 2 * PAGE, HEAP + 2 * PAGE);
	brk_call(HEAP + 2 * PAGE, 1ULL << 46, HEAP + 2 * PAGE); /* no room */
	brk_call(HEAP + 2 * PAGE, PAGE, HEAP + 2 * PAGE); /* below where it starts */
	assert_int_equal(s->calls, 3);
	assert_int_equal(s->failed, 2);
	assert_int_equal(s->bytes, 2 * PAGE);
	assert_int_equal(s->shrunk_bytes, 0);
	MAPPINGS(PID, HEAP, HEAP + 2 * PAGE);
}

static void mmap_maps_whole_pages(void **state)
{
	const struct call_stats *s = stats(CALL_MMAP);

	(void)state;
	mmap_call(MMAP, 1, RW, ANON);
	mmap_call(MMAP + PAGE, 2 * PAGE, RW, ANON); /* like the kernel, one with what it continues */
	mmap_call(MMAP + 8 * PAGE, PAGE, PROT_NONE, ANON);
	MAPPINGS(PID, MMAP, MMAP + 3 * PAGE, MMAP + 8 * PAGE, MMAP + 9 * PAGE);
	assert_int_equal(s->calls, 3);
	assert_int_equal(s->bytes, 4 * PAGE);
	assert_int_equal(model__class(m, model__find(m, PID, MMAP)), REGION_MMAP);
	CALL(.kind = REC_MMAP, .ret = -ENOMEM, .arg = {0, 1ULL << 50, RW, ANON, -1ULL});
	assert_int_equal(s->calls, 4);
	assert_int_equal(s->failed, 1);
	assert_int_equal(s->bytes, 4 * PAGE);
	assert_int_equal(m->mapped_bytes, 4 * PAGE);
}

static void a_fixed_mmap_takes_the_place_of_others(void **state)
{
	(void)state;
	mmap_call(MMAP, 8 * PAGE, RW, ANON);
	mmap_call(MMAP + 2 * PAGE, 2 * PAGE, PROT_READ, ANON | MAP_FIXED);
	MAPPINGS(PID, MMAP, MMAP + 2 * PAGE, MMAP + 2 * PAGE, MMAP + 4 * PAGE, MMAP + 4 * PAGE,
		 MMAP + 8 * PAGE);
	assert_int_equal(m->mapped_bytes, 8 * PAGE);
	mmap_call(MMAP - PAGE, 20 * PAGE, RW, ANON | MAP_FIXED);
	MAPPINGS(PID, MMAP - PAGE, MMAP + 19 * PAGE);
	assert_int_equal(stats(CALL_MMAP)->bytes, 30 * PAGE);
}

static void a_file_is_mapped_by_its_number(void **state)
{
	static const char path[] = "data\0tmp";
	const struct vma *v;

	(void)state;
	mmap_file(MMAP, 4 * PAGE, PROT_READ, MAP_PRIVATE, 5, 8 * PAGE);
	v = model__find(m, PID, MMAP);
	assert_int_equal(v->kind, VMA_FILE);
	assert_int_equal(v->offset, 8 * PAGE);
	assert_int_equal(model__file_ino(m, v->file), 5);
	assert_int_equal(model__file_dev(m, v->file), EXE_DEV);
	assert_null(model__file_path(m, v->file));
	file_record(5, EXE_DEV, path, sizeof(path));
	assert_string_equal(model__file_path(m, v->file), "/tmp/data");
	assert_int_equal(model__class(m, v), REGION_FILE);
	/* Where the record that tells the file was lost, the file is unknown: not the one before. */
	CALL(.kind = REC_MMAP, .ret = MMAP + 64 * PAGE,
	     .arg = {0, PAGE, PROT_READ, MAP_SHARED, 3, 0});
	v = model__find(m, PID, MMAP + 64 * PAGE);
	assert_int_equal(v->kind, VMA_FILE);
	assert_int_equal(v->file, NO_FILE);
	assert_null(model__file_path(m, v->file));
	assert_int_equal(model__class(m, v), REGION_FILE);
}

static void threads_that_map_files_at_once_keep_theirs(void **state)
{
	struct rec_vma v[2] = {
		{.start = MMAP, .end = MMAP + PAGE, .ino = 5, .dev = 1, .prot = PROT_READ},
		{.start = MMAP + 9 * PAGE, .end = MMAP + 10 * PAGE, .ino = 6, .dev = 1, .prot = PROT_READ},
	};
	struct rec_call c = {.arg = {0, PAGE, PROT_READ, MAP_PRIVATE, 3, 0}};
	int i;

	(void)state;
	for (i = 0; i < 2; i++) {
		v[i].h = head(REC_VMA, PID);
		v[i].h.tid = PID + i;
		assert_int_equal(apply(&v[i], sizeof(v[i])), 0);
	}
	for (i = 0; i < 2; i++) {
		c.h = head(REC_MMAP, PID);
		c.h.tid = PID + i;
		c.start_ns = now;
		c.ret = v[i].start;
		assert_int_equal(apply(&c, sizeof(c)), 0);
	}
	assert_int_equal(model__file_ino(m, model__find(m, PID, MMAP)->file), 5);
	assert_int_equal(model__file_ino(m, model__find(m, PID, MMAP + 9 * PAGE)->file), 6);
	/* The same place again, with the record that tells the file lost. */
	munmap_call(MMAP, PAGE);
	CALL(.kind = REC_MMAP, .ret = MMAP, .arg = {0, PAGE, PROT_READ, MAP_PRIVATE, 3, 0});
	assert_int_equal(model__find(m, PID, MMAP)->file, NO_FILE);
}

static void munmap_goes_over_holes_and_ends(void **state)
{
	const struct call_stats *s = stats(CALL_MUNMAP);

	(void)state;
	mmap_call(MMAP, 4 * PAGE, RW, ANON);
	mmap_call(MMAP + 6 * PAGE, 4 * PAGE, RW, ANON);
	munmap_call(MMAP + 3 * PAGE, 4 * PAGE); /* a page of each and the hole between */
	MAPPINGS(PID, MMAP, MMAP + 3 * PAGE, MMAP + 7 * PAGE, MMAP + 10 * PAGE);
	assert_int_equal(s->bytes, 4 * PAGE); /* what was asked for */
	assert_int_equal(m->mapped_bytes, 6 * PAGE);
	munmap_call(MMAP + PAGE, PAGE + 1); /* out of the middle, rounded up: to the end of it */
	MAPPINGS(PID, MMAP, MMAP + PAGE, MMAP + 7 * PAGE, MMAP + 10 * PAGE);
	munmap_call(MMAP + 1000 * PAGE, PAGE); /* where nothing is */
	assert_int_equal(s->calls, 3);
	assert_int_equal(s->bytes, 7 * PAGE);
	CALL(.kind = REC_MUNMAP, .ret = -EINVAL, .arg = {MMAP + 1, PAGE});
	assert_int_equal(s->failed, 1);
	assert_int_equal(s->bytes, 7 * PAGE);
	assert_int_equal(m->mapped_bytes, 4 * PAGE);
}

static void munmap_spares_what_came_while_it_ran(void **state)
{
	(void)state;
	mmap_call(MMAP, 4 * PAGE, RW, ANON);
	mmap_call(MMAP + PAGE, PAGE, RW, ANON); /* by another thread, while this munmap returned */
	CALL(.kind = REC_MUNMAP, .arg = {MMAP, 4 * PAGE}, .began_ago = 2 * STEP - 1);
	MAPPINGS(PID, MMAP + PAGE, MMAP + 2 * PAGE);
}

static void mremap_grows_shrinks_and_moves(void **state)
{
	const struct call_stats *s = stats(CALL_MREMAP);

	(void)state;
	mmap_call(MMAP, 4 * PAGE, RW, ANON);
	CALL(.kind = REC_MREMAP, .ret = MMAP, .arg = {MMAP, 4 * PAGE, 6 * PAGE});
	MAPPINGS(PID, MMAP, MMAP + 6 * PAGE);
	CALL(.kind = REC_MREMAP, .ret = MMAP, .arg = {MMAP, 6 * PAGE, 3 * PAGE});
	MAPPINGS(PID, MMAP, MMAP + 3 * PAGE);
	CALL(.kind = REC_MREMAP, .ret = MMAP + 100 * PAGE,
	     .arg = {MMAP, 3 * PAGE, 5 * PAGE - 1, MREMAP_MAYMOVE});
	MAPPINGS(PID, MMAP + 100 * PAGE, MMAP + 105 * PAGE);
	assert_int_equal(s->calls, 3);
	assert_int_equal(s->grown_bytes, 4 * PAGE);
	assert_int_equal(s->shrunk_bytes, 3 * PAGE);
	assert_int_equal(s->bytes, 14 * PAGE);
	CALL(.kind = REC_MREMAP, .ret = -ENOMEM, .arg = {MMAP + 100 * PAGE, 5 * PAGE, 1ULL << 50});
	assert_int_equal(s->failed, 1);
	assert_int_equal(s->bytes, 14 * PAGE);
	assert_int_equal(m->mapped_bytes, 5 * PAGE);
}

static void mremap_keeps_what_a_mapping_is(void **state)
{
	const struct vma *v;

	(void)state;
	mmap_file(MMAP, 4 * PAGE, PROT_READ, MAP_SHARED, 5, 8 * PAGE);
	CALL(.kind = REC_MREMAP, .ret = MMAP + 50 * PAGE,
	     .arg = {MMAP + PAGE, 2 * PAGE, 3 * PAGE, MREMAP_MAYMOVE});
	MAPPINGS(PID, MMAP, MMAP + PAGE, MMAP + 3 * PAGE, MMAP + 4 * PAGE, MMAP + 50 * PAGE,
		 MMAP + 53 * PAGE);
	v = model__find(m, PID, MMAP + 50 * PAGE);
	assert_int_equal(v->kind, VMA_FILE);
	assert_int_equal(v->offset, 9 * PAGE);
	assert_int_equal(v->prot, PROT_READ | VMA_SHARED);
	assert_int_equal(model__file_ino(m, v->file), 5);
}

static void mremap_may_leave_the_old_one(void **state)
{
	(void)state;
	mmap_call(MMAP, 4 * PAGE, RW, ANON);
	CALL(.kind = REC_MREMAP, .ret = MMAP + 100 * PAGE,
	     .arg = {MMAP, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP});
	MAPPINGS(PID, MMAP, MMAP + 4 * PAGE, MMAP + 100 * PAGE, MMAP + 104 * PAGE);
	/* An old size of zero makes a second view of a shared mapping. */
	CALL(.kind = REC_MREMAP, .ret = MMAP + 200 * PAGE,
	     .arg = {MMAP, 0, 4 * PAGE, MREMAP_MAYMOVE});
	assert_int_equal(m->mapped_bytes, 12 * PAGE);
}

/* From Linux 6.17 on it moves several, and what is not mapped between them stays unmapped. */
static void mremap_moves_several_as_they_are(void **state)
{
	const uint64_t to = MMAP + 100 * PAGE;
	const struct vma *v;

	(void)state;
	mmap_call(MMAP, 2 * PAGE, RW, ANON);
	mmap_call(MMAP + 2 * PAGE, 2 * PAGE, PROT_READ, ANON);
	mmap_file(MMAP + 6 * PAGE, 4 * PAGE, PROT_READ, MAP_PRIVATE, 5, 8 * PAGE);
	mmap_call(to + 3 * PAGE, PAGE, RW, ANON); /* where the gap will be: not in the way */
	CALL(.kind = REC_MREMAP, .ret = to,
	     .arg = {MMAP + PAGE, 7 * PAGE, 7 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to});
	MAPPINGS(PID, MMAP, MMAP + PAGE, MMAP + 8 * PAGE, MMAP + 10 * PAGE, to, to + PAGE, to + PAGE,
		 to + 3 * PAGE, to + 3 * PAGE, to + 4 * PAGE, to + 5 * PAGE, to + 7 * PAGE);
	assert_int_equal(model__find(m, PID, to)->prot, RW);
	assert_int_equal(model__find(m, PID, to + PAGE)->prot, PROT_READ);
	v = model__find(m, PID, to + 5 * PAGE);
	assert_int_equal(v->offset, 8 * PAGE);
	assert_int_equal(model__file_ino(m, v->file), 5);
	assert_int_equal(model__find(m, PID, MMAP + 8 * PAGE)->offset, 10 * PAGE);
	assert_int_equal(m->mapped_bytes, 9 * PAGE);
}

static void mremap_of_size_nothing_maps_it_again(void **state)
{
	(void)state;
	mmap_file(MMAP, 4 * PAGE, RW, MAP_SHARED, 5, 0);
	CALL(.kind = REC_MREMAP, .ret = MMAP + 100 * PAGE,
	     .arg = {MMAP, 0, 4 * PAGE, MREMAP_MAYMOVE});
	MAPPINGS(PID, MMAP, MMAP + 4 * PAGE, MMAP + 100 * PAGE, MMAP + 104 * PAGE);
	assert_int_equal(model__find(m, PID, MMAP + 100 * PAGE)->kind, VMA_FILE);
}

static void mremap_to_a_fixed_place_replaces(void **state)
{
	(void)state;
	mmap_call(MMAP, 2 * PAGE, RW, ANON);
	mmap_call(MMAP + 10 * PAGE, 4 * PAGE, PROT_READ, ANON);
	CALL(.kind = REC_MREMAP, .ret = MMAP + 11 * PAGE,
	     .arg = {MMAP, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, MMAP + 11 * PAGE});
	MAPPINGS(PID, MMAP + 10 * PAGE, MMAP + 11 * PAGE, MMAP + 11 * PAGE, MMAP + 13 * PAGE,
		 MMAP + 13 * PAGE, MMAP + 14 * PAGE);
}

static void mprotect_splits_and_joins(void **state)
{
	const struct call_stats *s = stats(CALL_MPROTECT);

	(void)state;
	mmap_call(MMAP, 8 * PAGE, PROT_READ, ANON);
	CALL(.kind = REC_MPROTECT, .arg = {MMAP + 2 * PAGE, 2 * PAGE, PROT_NONE});
	MAPPINGS(PID, MMAP, MMAP + 2 * PAGE, MMAP + 2 * PAGE, MMAP + 4 * PAGE, MMAP + 4 * PAGE,
		 MMAP + 8 * PAGE);
	CALL(.kind = REC_MPROTECT, .arg = {MMAP + 2 * PAGE, PAGE + 1, PROT_READ});
	MAPPINGS(PID, MMAP, MMAP + 8 * PAGE);
	assert_int_equal(s->bytes, 4 * PAGE);
	CALL(.kind = REC_MPROTECT, .ret = -EACCES, .arg = {MMAP, PAGE, PROT_EXEC});
	MAPPINGS(PID, MMAP, MMAP + 8 * PAGE);
	assert_int_equal(s->calls, 3);
	assert_int_equal(s->failed, 1);
	assert_int_equal(s->bytes, 4 * PAGE);
	assert_int_equal(m->mapped_bytes, 8 * PAGE);
}

/* It has changed what lies before the gap at which it failed. */
static void mprotect_may_fail_half_way(void **state)
{
	(void)state;
	mmap_call(MMAP, 2 * PAGE, RW, ANON);
	mmap_call(MMAP + 2 * PAGE, PAGE, PROT_READ, ANON);
	mmap_call(MMAP + 5 * PAGE, PAGE, RW, ANON);
	CALL(.kind = REC_MPROTECT, .ret = -ENOMEM, .arg = {MMAP + PAGE, 5 * PAGE, PROT_NONE});
	assert_int_equal(model__find(m, PID, MMAP)->prot, RW);
	assert_int_equal(model__find(m, PID, MMAP + PAGE)->prot, PROT_NONE);
	assert_int_equal(model__find(m, PID, MMAP + 2 * PAGE)->prot, PROT_NONE);
	assert_int_equal(model__find(m, PID, MMAP + 5 * PAGE)->prot, RW);
	assert_int_equal(stats(CALL_MPROTECT)->failed, 1);
	assert_int_equal(stats(CALL_MPROTECT)->bytes, 0);
	/* With no gap it failed for another reason, and where is not known. */
	CALL(.kind = REC_MPROTECT, .ret = -ENOMEM, .arg = {MMAP, 3 * PAGE, PROT_READ});
	CALL(.kind = REC_MPROTECT, .ret = -EACCES, .arg = {MMAP, 6 * PAGE, PROT_READ});
	assert_int_equal(model__find(m, PID, MMAP)->prot, RW);
	assert_int_equal(model__find(m, PID, MMAP + PAGE)->prot, PROT_NONE);
}

/* It has cleared the place that it was to move to, where the kernel side has seen so. */
static void mremap_may_fail_half_way(void **state)
{
	const uint64_t to = MMAP + 20 * PAGE;

	(void)state;
	mmap_call(MMAP, 4 * PAGE, RW, ANON);
	mmap_call(to, 4 * PAGE, RW, ANON);
	CALL(.kind = REC_MREMAP, .ret = -EFAULT,
	     .arg = {MMAP, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to});
	MAPPINGS(PID, MMAP, MMAP + 4 * PAGE, to, to + 4 * PAGE);
	CALL(.kind = REC_MREMAP, .flags = CALL_CLEARED, .ret = -EFAULT,
	     .arg = {MMAP, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to});
	MAPPINGS(PID, MMAP, MMAP + 4 * PAGE, to + 2 * PAGE, to + 4 * PAGE);
	assert_int_equal(m->mapped_bytes, 6 * PAGE);
	/* Nothing was at the first page before, so it tells nothing of the third. */
	CALL(.kind = REC_MREMAP, .flags = CALL_CLEARED, .ret = -EFAULT,
	     .arg = {MMAP, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to});
	MAPPINGS(PID, MMAP, MMAP + 4 * PAGE, to + 2 * PAGE, to + 4 * PAGE);
	assert_int_equal(stats(CALL_MREMAP)->failed, 3);
}

static void huge_pages_are_mapped_whole(void **state)
{
	(void)state;
	mmap_call(MMAP, PAGE, RW, ANON | MAP_HUGETLB);
	MAPPINGS(PID, MMAP, MMAP + (2 << 20));
	mmap_call(MMAP, PAGE, RW, ANON | MAP_HUGETLB | 30 << MAP_HUGE_SHIFT);
	MAPPINGS(PID, MMAP, MMAP + (1 << 30));
	assert_int_equal(stats(CALL_MMAP)->bytes, (2 << 20) + (1 << 30));
}

static void madvise_only_counts(void **state)
{
	const struct call_stats *s = stats(CALL_MADVISE);

	(void)state;
	mmap_call(MMAP, 8 * PAGE, RW, ANON);
	CALL(.kind = REC_MADVISE, .arg = {MMAP, 3 * PAGE, MADV_DONTNEED});
	CALL(.kind = REC_MADVISE, .ret = -ENOMEM, .arg = {MMAP, 30 * PAGE, MADV_DONTNEED});
	assert_int_equal(s->calls, 2);
	assert_int_equal(s->failed, 1);
	assert_int_equal(s->bytes, 3 * PAGE);
	MAPPINGS(PID, MMAP, MMAP + 8 * PAGE);
}

static void time_and_populated_faults_are_summed(void **state)
{
	(void)state;
	CALL(.kind = REC_MMAP, .ret = MMAP, .arg = {0, PAGE, RW, ANON | MAP_POPULATE},
	     .populated = 1, .began_ago = 700);
	CALL(.kind = REC_MMAP, .ret = -ENOMEM, .arg = {0, PAGE, RW, ANON}, .began_ago = 40);
	CALL(.kind = REC_MMAP, .ret = MMAP + PAGE, .arg = {0, PAGE, RW, ANON | MAP_POPULATE},
	     .populated = 512, .began_ago = 60);
	assert_int_equal(stats(CALL_MMAP)->populated, 513);
	assert_int_equal(stats(CALL_MMAP)->time_ns, 800);
}

/* A clock that went backwards, as only a file could have it, does not make ages of time. */
static void a_call_cannot_take_less_than_no_time(void **state)
{
	(void)state;
	CALL(.kind = REC_MADVISE, .began_ago = -5000ULL);
	assert_int_equal(stats(CALL_MADVISE)->time_ns, 0);
}

static void what_is_not_well_formed_is_refused(void **state)
{
	struct rec_stack st = {.h = {.kind = REC_STACK, .aux = STACK_FRAMES + 1}, .stack_id = 1};
	struct rec_file f = {.h = {.kind = REC_FILE, .aux = FILE_PATH_BYTES + 1}};
	struct rec_call c = {.h = {.kind = REC_MMAP, .tgid = 4711}};

	(void)state;
	assert_int_equal(apply(&c, sizeof(c) - 1), -EBADMSG);
	assert_int_equal(apply(&c, 3), -EBADMSG);
	assert_int_equal(apply(&c, 0), -EBADMSG);
	c.h.kind = REC_NONE;
	assert_int_equal(apply(&c, sizeof(c)), -EBADMSG);
	c.h.kind = REC_KINDS;
	assert_int_equal(apply(&c, sizeof(c)), -EBADMSG);
	assert_int_equal(apply(&st, sizeof(st)), -EBADMSG);
	st.h.aux = 0;
	assert_int_equal(apply(&st, sizeof(st)), -EBADMSG);
	st.h.aux = 4;
	assert_int_equal(apply(&st, offsetof(struct rec_stack, ip) + 3 * 8), -EBADMSG);
	assert_int_equal(apply(&f, sizeof(f)), -EBADMSG);
	f.h.aux = 4;
	assert_int_equal(apply(&f, offsetof(struct rec_file, path) + 3), -EBADMSG);
	memcpy(f.path, "abcd", 4); /* not ended */
	assert_int_equal(apply(&f, sizeof(f)), -EBADMSG);
	assert_false(model__knows(m, 4711));
	assert_int_equal(m->nprocesses, 1);
}

/* As long a path as there can be, with the mark that it goes on. */
static void a_long_path_is_taken_whole(void **state)
{
	char components[FILE_PATH_BYTES], want[FILE_PATH_BYTES + 8] = "...";
	struct rec_file f = {.h = {.kind = REC_FILE, .flags = FILE_CUT, .aux = FILE_PATH_BYTES},
			     .ino = 9,
			     .dev = 9};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(components); i += 2) {
		memcpy(components + i, "x", 2);
		strcat(want, "/x");
	}
	memcpy(f.path, components, sizeof(components));
	assert_int_equal(apply(&f, sizeof(f)), 0);
	assert_string_equal(model__file_path(m, model__file(m, 9, 9, NULL)), want);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_break_grows_and_shrinks),
		TEST(the_break_need_not_be_at_a_page),
		TEST(a_failed_brk_changes_nothing),
		TEST(mmap_maps_whole_pages),
		TEST(a_fixed_mmap_takes_the_place_of_others),
		TEST(a_file_is_mapped_by_its_number),
		TEST(threads_that_map_files_at_once_keep_theirs),
		TEST(munmap_goes_over_holes_and_ends),
		TEST(munmap_spares_what_came_while_it_ran),
		TEST(mremap_grows_shrinks_and_moves),
		TEST(mremap_keeps_what_a_mapping_is),
		TEST(mremap_may_leave_the_old_one),
		TEST(mremap_moves_several_as_they_are),
		TEST(mremap_of_size_nothing_maps_it_again),
		TEST(mremap_to_a_fixed_place_replaces),
		TEST(mprotect_splits_and_joins),
		TEST(mprotect_may_fail_half_way),
		TEST(mremap_may_fail_half_way),
		TEST(huge_pages_are_mapped_whole),
		TEST(madvise_only_counts),
		TEST(time_and_populated_faults_are_summed),
		TEST(a_call_cannot_take_less_than_no_time),
		TEST(what_is_not_well_formed_is_refused),
		TEST(a_long_path_is_taken_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
