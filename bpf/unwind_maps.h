/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/*
 * What the collector and the BPF programs have between them for walking stacks by unwind
 * tables: keys and values of maps. Plain integers, explicit padding, sizes asserted.
 */
#ifndef MEMTRACE_UNWIND_MAPS_H
#define MEMTRACE_UNWIND_MAPS_H

#include "lib/trace/unwind_row.h"

/* A file, as the kernel identifies it; all zero: the vdso. */
struct vnode_key {
	__u64 ino;
	__u32 dev;
	__u32 generation; /* tells files apart that had the same inode one after the other */
};

/* Rows lie in the maps in blocks: the last one's rest has `at` = UINT32_MAX. */
#define UNWIND_BLOCK_ROWS 32
struct unwind_block {
	struct unwind_row row[UNWIND_BLOCK_ROWS];
};

#define UNWIND_BLOCKS_MAX (1U << 17) /* of a table; 17 steps find one of them */
#define UNWIND_TABLES_MAX 4096

/* What is known of a file. */
struct unwind_file_info {
	__u32 table; /* number in unwind_tables, if blocks is not 0 */
	__u32 blocks; /* 0: there is no table for it: frame pointers are all that can be had */
	__u32 used; /* set where it is looked up */
	__u32 pad;
};

/* Code of a file that nothing is known of was met: who has it mapped, and where. */
struct unwind_want {
	__u64 start, end;
	__u32 tgid;
	__u32 other; /* of no meaning here */
};

/* Answers of identify_code(). */
#define PROBE_FOUND 1
#define PROBE_BUSY 2 /* the list of mappings is being changed: ask again */

_Static_assert(sizeof(struct vnode_key) == 16, "vnode_key");
_Static_assert(sizeof(struct unwind_block) == 256, "unwind_block");
_Static_assert(sizeof(struct unwind_file_info) == 16, "unwind_file_info");
_Static_assert(sizeof(struct unwind_want) == 24, "unwind_want");

#endif /* MEMTRACE_UNWIND_MAPS_H */
