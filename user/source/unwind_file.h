/* SPDX-License-Identifier: MIT */
/* From an ELF file to its unwind table (lib/trace/unwind.h), and to the files it is linked with. */
#ifndef MEMTRACE_UNWIND_FILE_H
#define MEMTRACE_UNWIND_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "lib/trace/unwind.h"

struct unwind_table {
	struct unwind_row *rows; /* malloc'ed */
	size_t n;
};

/*
 * Make the table of the x86-64 program or library that fd holds. 0; -ENOEXEC: it is something
 * else; -ENODATA: it has no .eh_frame that says anything; -EBADMSG, -EFBIG: a damaged one;
 * -ENOMEM, -EIO and the like.
 */
int unwind_file__read(int fd, struct unwind_table *t);
void unwind_table__clear(struct unwind_table *t);

/* The offset of its first code, a whole page. 0 or -errno as above. */
int unwind_file__code(int fd, uint64_t *offset);

/*
 * Call fn with the name of its interpreter (a path), then of each library it needs as
 * its dynamic section has it. `runpath` is DT_RUNPATH or DT_RPATH, NULL without. 0 or -errno.
 */
int unwind_file__needed(int fd, void (*fn)(void *ctx, const char *name, const char *runpath),
			void *ctx);

#endif /* MEMTRACE_UNWIND_FILE_H */
