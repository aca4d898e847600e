/* SPDX-License-Identifier: MIT */
/*
 * A thread walks its own stack: for the producers, which do it at each allocation. As bpf/walker.bpf.h
 * walks the stacks of others, by the same rules (unwind_row.h) from the same builder (unwind.h), and
 * along frame pointers where code has no table.
 *
 * Nothing here allocates, takes a lock, or changes errno; what a thread has begun no other waits for.
 * So it may be called from within the loader, in a signal's handler, in the child of a fork. The
 * exception is walk__init(), for the beginning.
 *
 *	walk__init(memory, WALK_SHARED_BYTES);	once; the memory zeroed
 *	walker__begin(w);			for a thread: w zeroed, or of one that has ended
 *
 *	void *malloc(size_t size)
 *	{
 *		...
 *		walk__here(&regs);
 *		id = walker__take(w, table, &regs, WALK_TOP(), entry);
 *
 *	void free(void *block)
 *	{
 *		walk__watch_free(block, (uintptr_t)__builtin_return_address(0));
 *
 * The stack then is: entry (the function that the program sees itself call), the caller of the function
 * with WALK_TOP(), and so on outwards. Addresses are as in a REC_STACK: behind the call, and for a
 * frame that a signal interrupted one more than where.
 *
 * How it is quick. A thread keeps its last walk. Where the new one comes to a frame of that one, the
 * same address of code at the same stack pointer, rules need not be looked up: they follow from the
 * address, so the caller's frame is where it was, if the words that it was computed from are what
 * they were: the return address, and where a rule starts from rbp, rbp. Both are read anew and
 * compared, for each frame, to the outermost. This is not a guess that equal frames have equal
 * callers. It is the same walk, step by step, with the table's answer known beforehand; one
 * step that differs, and the walk goes on by the tables from there. Their ids are known
 * with the frames, as the id of a stack depends on what is outwards of it alone. What is to be
 * compared stands in one list (walker.seen), so that a walk that is the last one again is a loop over that.
 */
#ifndef MEMTRACE_WALK_H
#define MEMTRACE_WALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/trace/stack_table.h"

#define WALK_FRAMES 126 /* as many as the kernel side takes */
#define WALK_RULES 128 /* a power of two, as those below */
#define WALK_CHILDREN 128
#define WALK_SHARED_BYTES (1UL << 20)

/* As the flags of a REC_STACK. */
#define WALK_TRUNCATED (1 << 0)
#define WALK_BROKEN (1 << 1)
#define WALK_GUESSED (1 << 3)
#define WALK_CHECKED (1 << 4)

struct walk_regs {
	uint64_t ip, sp, bp, bx;
};

/* An entry of a cache. `key` is what is looked for xor `value`: words of two entries, as a signal's handler
 * or another thread may leave them, fit nothing. */
struct walk_known {
	uint64_t key;
	uint64_t value;
};

/* A frame of a walk. */
struct walk_step {
	uint64_t ip, sp;
	uint64_t bp; /* STEP_BP: what its CFA was computed from */
	uint64_t bp_at, bx_at; /* where this frame's are saved, if the step to it `sets` them */
	uint32_t id; /* of the stack from here outwards, 0: not known */
	uint8_t pairs; /* of walker.seen, from here outwards */
	uint8_t kind; /* enum walk_step_kind */
	uint8_t behind; /* ip is a return address */
	uint8_t sets; /* STEP_SETS_*: the registers that the step from the callee's frame changes */
};

/* A word that a walk went by, and what it was. */
struct walk_seen {
	uint64_t at, is;
};

#define WALK_SEEN (2 * (WALK_FRAMES + 1)) /* of each frame but the outermost */

/* What the walks of a thread keep. Some 20 KB, of which one with shallow stacks touches less. */
struct walker {
	uint64_t thread; /* its thread pointer */
	uint64_t own_start, own_end; /* of its stack, as far as it is known to be there */
	uint64_t foreign; /* a stack pointer that was found not to be on it */
	uint32_t turn; /* changes with each walk: one that finds another number was interrupted by one */
	uint32_t n; /* steps in `now` */
	/* The frame that the walk stands in. */
	uint64_t ip, sp;
	uint64_t bp, bx; /* as far as they are still in the register */
	uint64_t bp_at, bx_at; /* else where they have been saved */
	uint64_t bp_used; /* by the step that was made last */
	uint64_t start, bytes; /* memory that can be read */
	uint32_t flags; /* WALK_* */
	uint8_t behind;
	uint8_t own; /* on the thread's own stack */
	uint8_t sets, kind; /* of the step that was made last */
	uint8_t main; /* the process's first thread */
	/* The last walk: last[first] the innermost frame, up to last[end]. */
	uint32_t first, end;
	uint32_t last_flags;
	uint32_t hard; /* the outermost of its steps that is STEP_HARD; 0: none is */
	uint32_t stamp; /* of its rules */
	uint64_t top, entry; /* as it was asked for */
	uint32_t id; /* and what it came to; 0: not to be said again */
	struct walk_known rules[WALK_RULES]; /* of an address: rule and stamp */
	struct walk_known children[WALK_CHILDREN]; /* of an address: parent and id */
	struct walk_step last[WALK_FRAMES + 2];
	struct walk_step now[WALK_FRAMES + 2];
	struct walk_seen seen[WALK_SEEN]; /* by the last walk; the last of them by its outermost step */
};

/* Before any walk, where the loader may be asked; memory: shared by all threads, for good. */
void walk__init(void *memory, size_t bytes);

/* Frees have gone by unseen: what is known of code may not be so any more. */
void walk__forget(void);

/* A thread takes w, or begins with another table. */
void walker__begin(struct walker *w);

/* Where the calling function stands. */
static inline __attribute__((always_inline)) void walk__here(struct walk_regs *r)
{
#ifdef __x86_64__
	__asm__ volatile("lea 0(%%rip), %0\n\tmov %%rsp, %1\n\tmov %%rbp, %2\n\tmov %%rbx, %3"
			 : "=&r"(r->ip), "=&r"(r->sp), "=&r"(r->bp), "=&r"(r->bx));
#else
	*r = (struct walk_regs){0};
#endif
}

/* The stack pointer of the calling function's caller, once it has returned there. */
#define WALK_TOP() ((uint64_t)__builtin_dwarf_cfa())

/*
 * The id of the stack at `from`, with `entry` in place of what is further in than stack pointer `top`.
 * 0: there is no room for any of it. A walk that another one of the same thread interrupted, in a
 * signal's handler, has no more than `entry`.
 */
uint32_t walker__take(struct walker *w, const struct stack_table *t, const struct walk_regs *from,
		      uint64_t top, uint64_t entry);

/* Whether sp is on the stack that the calling thread began on, as far as no system call is needed to tell. */
bool walk__seems_own(uint64_t sp);

/* A block is freed, by the call that returns to `caller`. If it is the loader that drops a library, what
 * is known of code there is forgotten. */
struct walk_loader {
	uintptr_t start;
	size_t bytes; /* of its code */
};

extern struct walk_loader walk_loader;
void walk__loader_frees(const void *block);

/*
 * Who does not look at each free has `watch` called with each block that walk__watch_free() is to be told
 * of, before it is needed; with NULL: with all of them. Also with those that are known already.
 */
void walk__watch(void (*watch)(const void *block));

static inline void walk__watch_free(const void *block, uintptr_t caller)
{
	if (__builtin_expect(caller - walk_loader.start < walk_loader.bytes, 0))
		walk__loader_frees(block);
}

#endif /* MEMTRACE_WALK_H */
