/* SPDX-License-Identifier: MIT */
/*
 * What the tests of the model share: a model in which process PID is traced from time START on with
 * an address space of its own, a clock that goes on by one microsecond a record, and records made
 * from what matters about them.
 */
#ifndef MEMTRACE_TESTS_MODEL_LIB_H
#define MEMTRACE_TESTS_MODEL_LIB_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "user/model/internal.h"

#define START 1000000000ULL
#define STEP 1000ULL /* ns */
#define PID 100
#define PAGE 4096ULL

/* Where things are in process PID (bed__fill), in the way the kernel lays them out. */
#define TEXT 0x400000ULL /* 4 pages of the program's code */
#define DATA 0x404000ULL /* 2 pages of its data, then 2 of bss */
#define BSS 0x406000ULL
#define HEAP 0x1000000ULL
#define MMAP 0x7f0000000000ULL
#define STACK 0x7ffd00000000ULL /* 4 pages, up to STACK_TOP */
#define STACK_TOP 0x7ffd00004000ULL
#define VDSO 0x7ffe00000000ULL

#define EXE_INO 77
#define EXE_DEV 0x800001

static struct model *m;
static uint64_t now;

static inline int apply(const void *r, size_t len)
{
	return model__apply(m, r, len);
}

static inline struct rec head(unsigned kind, unsigned pid)
{
	now += STEP;
	return (struct rec){.kind = kind, .tgid = pid, .tid = pid, .ts_ns = now};
}

struct call {
	unsigned kind, pid; /* pid 0: PID */
	int64_t ret;
	uint64_t arg[6], old_brk, stack, ip, began_ago; /* ip 0: TEXT */
	unsigned populated, flags;
};

static inline void call(struct call c)
{
	struct rec_call r = {.h = head(c.kind, c.pid ? c.pid : PID), .ret = c.ret};

	r.h.aux = c.populated;
	r.h.flags = c.flags;
	r.start_ns = r.h.ts_ns - (c.began_ago ? c.began_ago : 100);
	memcpy(r.arg, c.arg, sizeof(r.arg));
	r.old_brk = c.old_brk;
	r.stack_id = c.stack;
	r.ip = c.ip ? c.ip : TEXT;
	assert_int_equal(apply(&r, sizeof(r)), 0);
}

#define CALL(...) call((struct call){__VA_ARGS__})

static inline void brk_call(uint64_t old, uint64_t wanted, uint64_t ret)
{
	CALL(.kind = REC_BRK, .ret = ret, .arg = {wanted}, .old_brk = old);
}

static inline void mmap_call(uint64_t at, uint64_t len, int prot, int flags)
{
	CALL(.kind = REC_MMAP, .ret = at,
	     .arg = {flags & MAP_FIXED ? at : 0, len, prot, flags, -1ULL});
}

#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)
#define RW (PROT_READ | PROT_WRITE)

static inline void munmap_call(uint64_t at, uint64_t len)
{
	CALL(.kind = REC_MUNMAP, .arg = {at, len});
}

static inline void vma_record(unsigned pid, bool exec, uint64_t start, uint64_t end,
			      uint64_t offset, uint64_t ino, unsigned prot)
{
	struct rec_vma r = {.h = head(REC_VMA, pid),
			    .start = start,
			    .end = end,
			    .pgoff = offset,
			    .ino = ino,
			    .dev = ino ? EXE_DEV : 0,
			    .prot = prot};

	r.h.aux = exec;
	assert_int_equal(apply(&r, sizeof(r)), 0);
}

/* An mmap of a file, with the record that tells which. */
static inline void mmap_file(uint64_t at, uint64_t len, int prot, int flags, uint64_t ino,
			     uint64_t offset)
{
	vma_record(PID, false, at, at + len, offset, ino,
		   prot | (flags & MAP_SHARED ? VMA_SHARED : 0));
	CALL(.kind = REC_MMAP, .ret = at, .arg = {at, len, prot, flags, 3, offset});
}

struct fault {
	unsigned pid; /* 0: PID */
	uint64_t addr;
	unsigned flags, took;
	uint64_t stack, ip; /* ip 0: TEXT */
	bool execve;
};

static inline void fault(struct fault f)
{
	struct rec_fault r = {.h = head(REC_FAULT, f.pid ? f.pid : PID),
			      .addr = f.addr,
			      .ip = f.execve ? 0 :
				    f.ip     ? f.ip :
					       TEXT,
			      .stack_id = f.stack};

	r.h.flags = f.flags;
	r.h.aux = f.took;
	assert_int_equal(apply(&r, sizeof(r)), 0);
}

#define FAULT(...) fault((struct fault){__VA_ARGS__})

static inline void fork_record(unsigned parent, unsigned child, unsigned flags)
{
	struct rec_fork r = {
		.h = head(REC_FORK, parent), .child_tgid = child, .child_tid = child, .comm = "child"};

	r.h.flags = flags;
	assert_int_equal(apply(&r, sizeof(r)), 0);
}

static inline void exit_record(unsigned pid, bool last, int code)
{
	struct rec_exit r = {.h = head(REC_EXIT, pid), .exit_code = code, .min_flt = 5, .maj_flt = 2};

	r.h.aux = last;
	assert_int_equal(apply(&r, sizeof(r)), 0);
}

static inline void exec_record(unsigned pid, const char *comm)
{
	struct rec_exec r = {.h = head(REC_EXEC, pid),
			     .start_stack = STACK_TOP - 64,
			     .exe_ino = EXE_INO,
			     .exe_dev = EXE_DEV};
	size_t len = strlen(comm);

	r.h.aux = pid;
	memcpy(r.comm, comm, len < sizeof(r.comm) ? len : sizeof(r.comm));
	assert_int_equal(apply(&r, sizeof(r)), 0);
}

static inline void rename_record(unsigned pid, const char *comm)
{
	struct rec_rename r = {.h = head(REC_RENAME, pid)};
	size_t len = strlen(comm);

	memcpy(r.comm, comm, len < sizeof(r.comm) ? len : sizeof(r.comm));
	assert_int_equal(apply(&r, sizeof(r)), 0);
}

/* The path as the kernel side gives it: components from the last to the first. */
static inline void file_record(uint64_t ino, uint32_t dev, const char *components, size_t bytes)
{
	struct rec_file r = {.h = head(REC_FILE, 0), .ino = ino, .dev = dev};

	r.h.aux = bytes;
	memcpy(r.path, components, bytes);
	assert_int_equal(apply(&r, offsetof(struct rec_file, path) + bytes), 0);
}

/* A new image at the usual addresses, `shift` higher. */
static inline void exec_image(unsigned pid, uint64_t shift)
{
	static const char path[] = "prog\0bin\0usr";

	file_record(EXE_INO, EXE_DEV, path, sizeof(path));
	vma_record(pid, true, TEXT + shift, TEXT + shift + 4 * PAGE, PAGE, EXE_INO,
		   PROT_READ | PROT_EXEC);
	vma_record(pid, true, DATA + shift, DATA + shift + 2 * PAGE, 5 * PAGE, EXE_INO, RW);
	vma_record(pid, true, BSS + shift, BSS + shift + 2 * PAGE, 0, 0, RW);
	vma_record(pid, true, STACK, STACK_TOP, 0, 0, RW | VMA_GROWSDOWN);
	vma_record(pid, true, VDSO, VDSO + PAGE, 0, 0, PROT_READ | PROT_EXEC);
	exec_record(pid, "prog");
}

#define IMAGE_BYTES ((4 + 2 + 2 + 4 + 1) * PAGE)

/* A stack of n addresses, the innermost first. */
static inline void stack_record(uint64_t id, uint64_t leaf_word, unsigned flags, unsigned n,
				const uint64_t *ip)
{
	struct rec_stack r = {.h = head(REC_STACK, PID), .stack_id = id, .leaf_word = leaf_word};

	r.h.flags = flags;
	r.h.aux = n;
	memcpy(r.ip, ip, n * sizeof(*ip));
	assert_int_equal(apply(&r, offsetof(struct rec_stack, ip) + n * sizeof(*ip)), 0);
}

#define STACK_OF(id, leaf, flags, ...)                                       \
	stack_record(id, leaf, flags, sizeof((uint64_t[]){__VA_ARGS__}) / 8, \
		     (uint64_t[]){__VA_ARGS__})

static inline int bed__set_up(void **state)
{
	(void)state;
	now = START;
	m = model__new(START);
	return !m || model__add_root(m, PID, 1, "first", NULL, false) ||
	       model__snapshot_begin(m, PID, START);
}

/* The same, in an image. */
static inline int bed__set_up_image(void **state)
{
	if (bed__set_up(state))
		return 1;
	exec_image(PID, 0);
	return 0;
}

static inline int bed__tear_down(void **state)
{
	(void)state;
	model__free(m);
	m = NULL;
	return 0;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, bed__set_up, bed__tear_down)
#define TEST_IMAGE(f) cmocka_unit_test_setup_teardown(f, bed__set_up_image, bed__tear_down)

static inline const struct call_stats *stats(enum vmcall which)
{
	return &model__process(m, PID)->call[which];
}

/* The mappings of a process are exactly these [start, end) pairs, ended by a zero. */
static inline void assert_mappings(unsigned pid, const uint64_t *pairs)
{
	const struct space *s = &model__live(m, pid)->space;
	size_t i;

	for (i = 0; pairs[2 * i]; i++) {
		if (i >= s->count)
			fail_msg("only %zu mappings", s->count);
		assert_int_equal(space__vma(s, i)->start, pairs[2 * i]);
		assert_int_equal(space__vma(s, i)->end, pairs[2 * i + 1]);
	}
	assert_int_equal(s->count, i);
}

#define MAPPINGS(pid, ...) assert_mappings(pid, (uint64_t[]){__VA_ARGS__ __VA_OPT__(, ) 0, 0})

/* Names that tell what was asked: no symbols, all leaves framed and all frames behind calls,
 * but for the offsets below. */
static uint64_t bare_leaf_at, no_call_before;

static inline int names_resolve(void *ctx, uint32_t file, uint64_t offset, bool is_return,
				struct frame *out, int max)
{
	(void)ctx;
	(void)max;
	out[0] = (struct frame){
		.module = model__file_path(m, file), .offset = offset, .line = is_return};
	return 1;
}

static inline int names_leaf_is_bare(void *ctx, uint32_t file, uint64_t offset)
{
	(void)ctx;
	(void)file;
	return offset == bare_leaf_at;
}

static inline int names_follows_call(void *ctx, uint32_t file, uint64_t offset)
{
	(void)ctx;
	(void)file;
	return offset != no_call_before;
}

static const struct model_names names = {NULL, names_resolve, names_leaf_is_bare, names_follows_call};

static inline struct report *report_now(void)
{
	struct report *r = model__report(m, now, NULL, NULL, &names);

	assert_non_null(r);
	return r;
}

/* The same of the heap's figures, which may be estimates, rounded one by one. */
static inline void assert_heap_balanced(const struct report *r)
{
	uint64_t bytes = 0, freed = 0, live = 0, inside = 0, touched = 0, ns = 0, syscalls = 0;
	uint64_t events = 0;
	const struct heap_stats *h = &r->heap;
	size_t i, c;

	for (i = 0; i < r->nsites; i++) {
		const struct site_heap *s = &r->sites[i].heap;

		assert_true(r->sites[i].is_heap || !s->calls);
		bytes += s->bytes;
		freed += s->freed_bytes;
		live += s->live_bytes;
		inside += s->inside_minor + s->inside_major;
		touched += s->touch_minor + s->touch_major;
		ns += s->fault_ns + s->syscall_ns;
		for (c = 0; c < VMCALLS; c++)
			syscalls += s->syscalls[c];
		assert_true(s->live_bytes <= s->peak_live_bytes);
	}
	for (c = 0; c < VMCALLS; c++)
		events += h->syscalls[c];
	assert_true(bytes == h->bytes_requested);
	assert_true(freed == h->freed_bytes);
	assert_true(live == h->live_bytes);
	assert_true(h->live_bytes <= h->bytes_requested);
	assert_true(inside + h->unplaced_faults == h->inside_minor + h->inside_major);
	assert_true(touched == h->touch_minor + h->touch_major);
	assert_true(syscalls + h->unplaced_syscalls == events);
	assert_true(ns + h->unplaced_ns == h->syscall_ns + h->inside_ns + h->touch_ns);
}

/* What must hold of every report: each figure is split up without a rest. */
static inline void assert_balanced(const struct report *r)
{
	uint64_t calls[VMCALLS] = {0}, call_ns = 0, mapped = 0, unmapped = 0, time_ns = 0;
	uint64_t minor = 0, major = 0, cow = 0, fault_ns = 0, histogram = 0, regions = 0;
	const struct fault_stats *f = &r->faults;
	size_t i, c;

	for (i = 0; i < r->nsites; i++) {
		const struct site *s = &r->sites[i];

		for (c = 0; c < VMCALLS; c++)
			calls[c] += s->calls[c];
		call_ns += s->call_ns;
		mapped += s->mapped_bytes;
		unmapped += s->unmapped_bytes;
		minor += s->faults.minor;
		major += s->faults.major;
		cow += s->faults.cow;
		fault_ns += s->faults.time_ns;
	}
	for (c = 0; c < VMCALLS; c++) {
		assert_int_equal(calls[c], r->call[c].calls);
		time_ns += r->call[c].time_ns;
	}
	assert_int_equal(call_ns, time_ns);
	assert_int_equal(mapped, r->call[CALL_MMAP].bytes + r->call[CALL_BRK].grown_bytes +
					 r->call[CALL_MREMAP].grown_bytes);
	assert_int_equal(unmapped, r->call[CALL_MUNMAP].bytes + r->call[CALL_BRK].shrunk_bytes +
					   r->call[CALL_MREMAP].shrunk_bytes);
	assert_int_equal(r->call[CALL_BRK].bytes,
			 r->call[CALL_BRK].grown_bytes + r->call[CALL_BRK].shrunk_bytes);
	assert_int_equal(minor, f->minor);
	assert_int_equal(major, f->major);
	assert_int_equal(cow, f->cow_after_fork + f->cow_other);
	assert_int_equal(fault_ns, f->time_ns);
	assert_int_equal(f->minor + f->major, f->user + f->kernel);
	assert_int_equal(f->minor + f->major, f->read + f->write + f->exec + f->access_unknown);
	if (r->heap.failed != UNKNOWN)
		assert_heap_balanced(r);
	for (i = 0; i < HIST_BUCKETS; i++)
		histogram += f->histogram[i];
	assert_int_equal(histogram, f->time_known);
	for (i = 0; i < REGION_CLASSES; i++)
		regions += r->regions[i].faults_minor + r->regions[i].faults_major;
	assert_int_equal(regions, f->minor + f->major);
}

#endif /* MEMTRACE_TESTS_MODEL_LIB_H */
