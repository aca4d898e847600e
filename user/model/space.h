/* SPDX-License-Identifier: MIT */
/*
 * The address space of one process: its mappings, kept up by the calls that
 * change them. A sorted array with a hole where it was changed last: the kernel itself
 * allows about 65,000 mappings, and a program changes its own near to each other. Like the
 * kernel we merge neighbours that are alike.
 */
#ifndef MEMTRACE_SPACE_H
#define MEMTRACE_SPACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum vma_kind { VMA_ANON, VMA_HEAP, VMA_STACK, VMA_BSS, VMA_SPECIAL, VMA_FILE };

#define VMA_WAS_WRITABLE (1 << 0) /* now or before: data, even if made read-only later (RELRO) */
#define VMA_PRE_FORK (1 << 1) /* was there at a fork: its pages may be shared until written */
#define VMA_FIXED_SIZE \
	(1 << 2) /* VMA_STACK: a thread's, made by mmap, does not grow when touched */
#define VMA_BY_ALLOCATOR (1 << 3) /* mapped inside an allocator call */
#define VMA_HAS_BLOCKS (1 << 4) /* a block was given out in it, now or before */
#define VMA_BEFORE (1 << 5) /* was there when memtrace attached */
#define VMA_AGENT \
	(1 << 6) /* memtrace's own within the process: its agent, a ring plane's segment */
#define VMA_DONT_FORK (1 << 7) /* madvise(MADV_DONTFORK): a child has none of it */

#define NO_FILE UINT32_MAX

struct vma {
	uint64_t start, end;
	uint64_t offset; /* VMA_FILE: in the file */
	uint32_t file; /* VMA_FILE: the model's number of it, or NO_FILE when not known */
	uint8_t kind; /* enum vma_kind */
	uint8_t prot; /* PROT_*, VMA_SHARED */
	uint8_t flags;
	uint8_t pad;
};

#define RECENT_MAPS 16

struct space {
	struct vma *vmas; /* use space__vma() */
	size_t count, room;
	size_t hole; /* before this mapping is what of the room is free */
	uint64_t mapped_bytes, heap_bytes; /* of the program's mappings */
	uint64_t agent_bytes; /* of those with VMA_AGENT */
	uint32_t code_changes; /* grows when executable code was mapped or unmapped */
	/* The last mmaps: a munmap that began before one of them returned cannot be meant for it. */
	struct {
		uint64_t start, end, ts_ns;
	} recent[RECENT_MAPS];
	unsigned next_recent;
	uint64_t marked_start, marked_end; /* a mapping that has VMA_HAS_BLOCKS, not changed since */
};

/* The mapping of a number, from 0 on, by address. It stays where it is until the next change. */
static inline struct vma *space__vma(const struct space *s, size_t i)
{
	return &s->vmas[i < s->hole ? i : i + (s->room - s->count)];
}

void space__clear(struct space *s);
int space__copy(struct space *to, const struct space *from);

/* A new mapping that came to be at ts_ns, in place of what was there. 0 or -ENOMEM. */
int space__map(struct space *s, const struct vma *v, uint64_t ts_ns);

/* What a call that began at began_ns took away. */
int space__unmap(struct space *s, uint64_t start, uint64_t end, uint64_t began_ns);

int space__protect(struct space *s, uint64_t start, uint64_t end, unsigned prot);

/* A block was given out at addr: set VMA_HAS_BLOCKS on its mapping. */
void space__mark_blocks(struct space *s, uint64_t addr);

/* The first address in [start, end) where nothing is mapped; end when there is none. */
uint64_t space__gap(const struct space *s, uint64_t start, uint64_t end);

/* What an mremap(2) did that moved. From Linux 6.17 on it takes several mappings at once, with what
 * gaps are between them; only a single one can have another size at its new place. */
struct space_move {
	uint64_t from, old_bytes, to, new_bytes;
	bool keeps; /* what was there stays mapped (MREMAP_DONTUNMAP) */
	uint64_t began_ns, ended_ns;
};
int space__move(struct space *s, const struct space_move *move);

/* Set or clear flags of the mappings in [start, end). 0 or -ENOMEM. */
int space__flag(struct space *s, uint64_t start, uint64_t end, uint8_t flag, bool on);

/* What a child does not get: mappings with VMA_DONT_FORK go. 0 or -ENOMEM. */
int space__drop_not_forked(struct space *s);

/* Bytes of [start, end) with VMA_AGENT; *other: the first mapping there without it, or NULL. */
uint64_t space__agents(const struct space *s, uint64_t start, uint64_t end, const struct vma **other);

/* Set VMA_PRE_FORK on all private mappings. */
void space__mark_forked(struct space *s);

/* The mapping that holds addr, NULL when none does. */
const struct vma *space__find(const struct space *s, uint64_t addr);

/* The same for an address that is accessed: a stack will grow down to it, */
const struct vma *space__reach(const struct space *s, uint64_t addr);
/* or now does. */
const struct vma *space__touch(struct space *s, uint64_t addr);

#endif /* MEMTRACE_SPACE_H */
