/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/*
 * How to get from a place in code to its caller: from an address in a process to the rule
 * of the unwind table (lib/trace/unwind_row.h) that covers it.
 *
 *   address -> mapping   `code`, by address space and 64 KiB of it. Filled when a mapping is made (by
 *                        execve, by mmap of a file), and else, when an address is met for the first
 *                        time, from the kernel's own list of mappings. That list can be asked once in
 *                        a walk: bpf_find_vma() says EBUSY the second time where interrupts are off.
 *   mapping -> table     `unwind_files`, by the file's identity. The collector makes the tables. One
 *                        that is missing is asked for in `unwind_wanted`.
 *   offset -> rule       a binary search in the table's blocks.
 *
 * Rules that are remembered by address (walker.bpf.h) hold as long as `code_generation` does not
 * change. It does when code has gone from an address space, and when a table goes.
 */
#ifndef MEMTRACE_UNWIND_BPF_H
#define MEMTRACE_UNWIND_BPF_H

#include "bpf/state.bpf.h"
#include "bpf/unwind_maps.h"

#define CODE_SHIFT 16
#define GRANULE_SHIFT 21 /* where a range is larger, it is looked through by these */
#define GRANULE (1ULL << 63) /* in the key of one */
#define CHUNKS_A_GRANULE (1 << (GRANULE_SHIFT - CODE_SHIFT))
#define GRANULES_MAX 4096
#define ENTERED_MAX 4096 /* the map drops none of as many as were entered last */
#define CHUNKS_MAX 64 /* of a mapping, entered when it is made */
#define HASH_FACTOR 0x9E3779B97F4A7C15ULL

/* Values of UNWIND_FRAME, which is in no table. */
#define FRAME_NO_TABLE 1 /* a file without */
#define FRAME_ANONYMOUS 2 /* no file: code made at run time, or a uretprobe's trampoline */
/* Values of UNWIND_UNKNOWN beside the table's own, 0. */
#define UNKNOWN_NO_CODE 1 /* no code is there */
#define UNKNOWN_BUSY \
	2 /* no answer this time: the table is not there yet, or the list of mappings busy */

__u64 code_generation = 1;
__u32 code_epoch = 1; /* of what is in `code` */
__u32 code_entered; /* so often has something been put there */

struct code_key {
	__u64 image, chunk;
};

enum code_kind { CODE_NONE, CODE_FILE, CODE_ANONYMOUS };

/* A mapping of code. It begins as struct unwind_want does and serves as one: the stack is scarce. */
struct code_value {
	__u64 start, end;
	__u32 tgid;
	__u32 kind; /* enum code_kind */
	__u64 offset; /* of start, in the file */
	__u32 epoch;
	__u32 shared; /* 1: code of another mapping is in the chunk, too */
	struct vnode_key file;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct code_key);
	__type(value, struct code_value);
} code SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct vnode_key);
	__type(value, struct unwind_file_info);
} unwind_files SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct vnode_key);
	__type(value, struct unwind_want);
} unwind_wanted SEC(".maps");

/* Wakes the collector when something was put there: until it is served, stacks are guessed. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} unwind_wake SEC(".maps");

struct unwind_table {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_INNER_MAP | BPF_F_MMAPABLE); /* tables differ in size */
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct unwind_block));
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, UNWIND_TABLES_MAX);
	__type(key, __u32);
	__array(values, struct unwind_table);
} unwind_tables SEC(".maps");

/* An address space: by where it is, by its process, and by what of it execve leaves to chance.
 * address: mm, as a number to the verifier. */
static __always_inline __u64 mm__image(struct task_struct *t, struct mm_struct *mm, __u64 address)
{
	return (address ^ POINTER(t, group_leader)->start_time) + mm->start_stack * HASH_FACTOR;
}

/* The image of the current process, 0: it has none. */
static __always_inline __u64 task__image(struct task_struct *t)
{
	struct mm_struct *mm = POINTER(t, mm);
	__u64 address = 0;

	if (!mm || bpf_core_read(&address, sizeof(address), &t->mm))
		return 0;
	return mm__image(t, mm, address);
}

static __always_inline void code__changed(void)
{
	__sync_fetch_and_add(&code_generation, 1);
}

static __always_inline void code__forget_all(void)
{
	__sync_fetch_and_add(&code_epoch, 1);
	code__changed();
}

struct code_range {
	struct code_key key;
	__u64 last; /* chunk or granule */
	__u64 start, end;
	__u64 found;
};

/* Drop what is known of a chunk, if it lies in the range. Where it is of one mapping of several, another
 * one may lie there that rules are remembered of. */
static long code__drop(__u32 i, struct code_range *r)
{
	struct code_value *c = bpf_map_lookup_elem(&code, &r->key);

	if (c && c->start < r->end && c->end > r->start) {
		r->found = 1;
		bpf_map_delete_elem(&code, &r->key);
	} else if (c && c->shared) {
		r->found = 1;
		c->shared = 0;
	}
	return r->key.chunk++ == r->last;
}

static long code__look(__u32 i, struct code_range *r)
{
	if (bpf_map_lookup_elem(&code, &r->key)) {
		r->found = 1;
		return 1;
	}
	return r->key.chunk++ == r->last;
}

/*
 * [start, start + bytes) of the current process is not mapped any more, or anew. The first
 * and the last 2 MiB are looked through by chunks, what is between by granules: if one
 * has code, everything is forgotten. A function of its own to the verifier, and with a stack of its own.
 */
__noinline int code__forget(__u64 start, __u64 bytes)
{
	__u64 image = task__image(bpf_get_current_task_btf()), last = start + bytes - 1, edge;
	__u64 first_granule = start >> GRANULE_SHIFT, last_granule = last >> GRANULE_SHIFT;
	struct code_range r = {{image, start >> CODE_SHIFT}, 0, start, start + bytes, 0};

	if (!image || !bytes)
		return 0;
	edge = ((first_granule + 1) << (GRANULE_SHIFT - CODE_SHIFT)) - 1;
	r.last = first_granule == last_granule ? last >> CODE_SHIFT : edge;
	bpf_loop(CHUNKS_A_GRANULE, code__drop, &r, 0);
	if (first_granule != last_granule) {
		r.key.chunk = last_granule << (GRANULE_SHIFT - CODE_SHIFT);
		r.last = last >> CODE_SHIFT;
		bpf_loop(CHUNKS_A_GRANULE, code__drop, &r, 0);
	}
	edge = r.found;
	if (last_granule - first_granule > 1) {
		r.found = last_granule - first_granule > GRANULES_MAX;
		r.key.chunk = (first_granule + 1) | GRANULE;
		r.last = (last_granule - 1) | GRANULE;
		if (!r.found)
			bpf_loop(GRANULES_MAX, code__look, &r, 0);
		if (r.found)
			code__forget_all();
		edge |= r.found;
	}
	if (edge)
		code__changed();
	return 0;
}

/* Note that there is code in the granule of a chunk. */
static __always_inline void code__enter_granule(__u64 image, __u64 chunk, struct code_value *c)
{
	struct code_key key = {image, chunk >> (GRANULE_SHIFT - CODE_SHIFT) | GRANULE};

	if (!bpf_map_lookup_elem(&code, &key))
		bpf_map_update_elem(&code, &key, c, BPF_ANY);
}

/* Whether a chunk, of which c is to be entered, is known to have code of another mapping. */
static __always_inline __u32 code__shares(const struct code_key *key, const struct code_value *c)
{
	struct code_value *was = bpf_map_lookup_elem(&code, key);

	return was && was->epoch == c->epoch && (was->shared || was->start != c->start);
}

/*
 * So many have been entered. Rules are remembered for as long as it is found here that their code goes: before
 * the map drops an entry that is in use by way of such rules alone, all are looked up, and entered, again.
 */
static __always_inline void code__count(__u32 entered)
{
	__u32 before = __sync_fetch_and_add(&code_entered, entered);

	if (before / ENTERED_MAX != (before + entered) / ENTERED_MAX)
		code__changed();
}

/* Enter a mapping for one chunk. No room only means that the kernel is asked again. */
static __always_inline void code__enter(__u64 image, __u64 chunk, struct code_value *c)
{
	struct code_key key = {image, chunk};

	c->shared = code__shares(&key, c);
	bpf_map_update_elem(&code, &key, c, BPF_ANY);
	code__enter_granule(image, chunk, c);
	code__count(1);
}

static __always_inline void file__key(struct file *f, struct vnode_key *key)
{
	key->ino = BPF_CORE_READ(f, f_inode, i_ino);
	key->dev = BPF_CORE_READ(f, f_inode, i_sb, s_dev);
	key->generation = BPF_CORE_READ(f, f_inode, i_generation);
}

/* Ask for the table of a file whose code the current process has in a mapping. */
static __always_inline void unwind__want(struct code_value *c)
{
	c->tgid = bpf_get_current_pid_tgid() >> 32;
	/* A ring that is full is waking already. */
	if (!bpf_map_update_elem(&unwind_wanted, &c->file, c, BPF_NOEXIST))
		bpf_ringbuf_output(&unwind_wake, c, sizeof(__u64), BPF_RB_FORCE_WAKEUP);
}

/* The current process has come to have code of a file (the address of a struct file) at [start, end).
 * A function of its own to the verifier, which else looks at its loop in each state that it is called
 * in; no bpf_loop(): the programs' stack is scarce. */
__noinline int code__mapped(__u64 file, __u64 start, __u64 end, __u64 offset)
{
	struct code_value c = {.start = start, .end = end, .kind = CODE_FILE, .offset = offset};
	__u64 image = task__image(bpf_get_current_task_btf()), chunk = start >> CODE_SHIFT;
	__u64 last = (end - 1) >> CODE_SHIFT;
	struct code_key key = {image, last};
	int i;

	c.epoch = code_epoch;
	file__key((struct file *)file, &c.file);
	/* Others can be in the first and the last one alone. */
	c.shared = code__shares(&key, &c);
	key.chunk = chunk;
	c.shared |= code__shares(&key, &c);
	/* Any number: else the verifier goes through the loop with each. */
	bpf_probe_read_kernel(&c.shared, sizeof(c.shared), &c.shared);
	for (i = 0; i < CHUNKS_MAX && key.chunk <= last; i++) {
		bpf_map_update_elem(&code, &key, &c, BPF_ANY);
		key.chunk++;
	}
	code__count(i);
	for (i = 0; i <= CHUNKS_MAX / CHUNKS_A_GRANULE && chunk <= last; i++) {
		code__enter_granule(image, chunk, &c);
		chunk += CHUNKS_A_GRANULE;
	}
	code__enter_granule(image, key.chunk - 1, &c);
	if (!bpf_map_lookup_elem(&unwind_files, &c.file))
		unwind__want(&c);
	return 0;
}

static long code__found(struct task_struct *t, struct vm_area_struct *vma, struct code_value *c)
{
	struct file *f = POINTER(vma, vm_file);
	struct mm_struct *mm = POINTER(t, mm);

	c->start = vma->vm_start;
	c->end = vma->vm_end;
	c->offset = vma->vm_pgoff << PAGE_SHIFT;
	if (!(vma->vm_flags & VM_EXEC))
		return 0;
	c->kind = CODE_ANONYMOUS;
	if (f) {
		c->kind = CODE_FILE;
		file__key(f, &c->file);
	} else if (mm && (__u64)BPF_CORE_READ(mm, context.vdso) == c->start && c->start >> 32) {
		/* The 32-bit one is another file, and not walked. */
		c->kind = CODE_FILE;
		c->offset = 0;
	}
	return 0;
}

/* The rule at an offset of a table. */
static __always_inline __u32 table__search(__u32 number, __u32 blocks, __u64 offset)
{
	__u32 low = 0, high = blocks, middle, i;
	struct unwind_block *b;
	void *table = bpf_map_lookup_elem(&unwind_tables, &number);
	int step;

	if (!table) /* its file is known, it follows */
		return UNWIND_RULE_OF(UNWIND_UNKNOWN, UNKNOWN_BUSY, 0, 0);
	if (offset >= 0xffffffff)
		return UNWIND_NOTHING;
	for (step = 0; step < 17 && high - low > 1; step++) {
		middle = (low + high) / 2;
		b = bpf_map_lookup_elem(table, &middle);
		if (!b)
			return UNWIND_NOTHING;
		if (b->row[0].at <= offset)
			low = middle;
		else
			high = middle;
	}
	b = bpf_map_lookup_elem(table, &low);
	if (!b || b->row[0].at > offset)
		return UNWIND_NOTHING;
	i = 0;
	for (step = UNWIND_BLOCK_ROWS / 2; step; step /= 2)
		if (b->row[(i + step) & (UNWIND_BLOCK_ROWS - 1)].at <= offset)
			i += step;
	return b->row[i & (UNWIND_BLOCK_ROWS - 1)].rule;
}

/*
 * The rule for address `at` of the current process, whose mm__image() is `image`. A function of its
 * own to the verifier, which so looks at it once for each program and not at each call.
 */
__noinline __u32 unwind__look_up(__u64 at, __u64 image)
{
	struct code_key key = {image, at >> CODE_SHIFT};
	struct code_value fresh = {}, *c = bpf_map_lookup_elem(&code, &key);
	struct unwind_file_info *f;
	long err;

	if (!c || c->epoch != code_epoch || at - c->start >= c->end - c->start) {
		err = bpf_find_vma(bpf_get_current_task_btf(), at, code__found, &fresh, 0);
		if (err == -16 /* EBUSY */)
			return UNWIND_RULE_OF(UNWIND_UNKNOWN, UNKNOWN_BUSY, 0, 0);
		if (err || fresh.kind == CODE_NONE)
			return UNWIND_RULE_OF(UNWIND_UNKNOWN, UNKNOWN_NO_CODE, 0, 0);
		fresh.epoch = code_epoch;
		code__enter(image, key.chunk, &fresh);
		c = &fresh;
	}
	if (c->kind != CODE_FILE)
		return UNWIND_RULE_OF(UNWIND_FRAME, FRAME_ANONYMOUS, 0, 0);
	f = bpf_map_lookup_elem(&unwind_files, &c->file);
	if (!f) {
		unwind__want(c);
		return UNWIND_RULE_OF(UNWIND_UNKNOWN, UNKNOWN_BUSY, 0, 0);
	}
	f->used = 1;
	if (!f->blocks)
		return UNWIND_RULE_OF(UNWIND_FRAME, FRAME_NO_TABLE, 0, 0);
	return table__search(f->table, f->blocks, at - c->start + c->offset);
}

/* The collector asks which file process probe_tgid has mapped at probe_addr. */
__u32 probe_tgid;
__u32 probe_answer;
__u64 probe_addr;
__u64 probe_ino;
__u32 probe_dev, probe_generation;

SEC("iter/task")
int identify_code(struct bpf_iter__task *ctx)
{
	struct task_struct *t = ctx->task;
	struct code_value c = {};
	long err;

	if (!t || (__u32)t->pid != probe_tgid)
		return 0;
	err = bpf_find_vma(t, probe_addr, code__found, &c, 0);
	if (err == -16 /* EBUSY */)
		probe_answer = PROBE_BUSY;
	if (err || c.kind != CODE_FILE)
		return 0;
	probe_ino = c.file.ino;
	probe_dev = c.file.dev;
	probe_generation = c.file.generation;
	probe_answer = PROBE_FOUND;
	return 0;
}

#endif /* MEMTRACE_UNWIND_BPF_H */
