/* SPDX-License-Identifier: MIT */
/*
 * Names for addresses: modules (ELF files that processes have mapped), their
 * build ids, and from a file offset in one of them to function, file and line.
 *
 * A module is registered while its file can still be opened (the process lives,
 * the file is not yet deleted); from then on it is held open, so names can be
 * had after the process ended or the file was deleted or replaced. Work is
 * lazy: nothing but open() is done until a name is asked for.
 */
#ifndef MEMTRACE_SYMBOL_H
#define MEMTRACE_SYMBOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct symbols;

/* One place in a module. Strings belong to struct symbols and live as long as
 * it does; NULL means not known. */
struct symbol {
	const char *module; /* path as the process saw it, or "[vdso]" */
	const char *build_id; /* lower-case hex */
	const char *function; /* demangled */
	const char *file;
	unsigned line; /* 0: not known */
	uint64_t offset; /* offset in the file */
	uint64_t function_offset; /* distance from the function's beginning */
};

struct symbols *symbols__new(void);
void symbols__free(struct symbols *s);

/*
 * Register the file that process pid has mapped at [start, end), known there as
 * path, with identity dev:ino. Opens it by /proc/PID/map_files, then
 * /proc/PID/root/path, then path itself, and takes it only if its dev:ino (as
 * stat gives them) agree, or dev and ino are both 0. Returns the module's number (>= 0; the
 * same number for the same dev:ino and path) or -errno; a module whose file could not be
 * opened is registered all the same, by its name only. A later call for a module
 * that has no file yet tries again.
 */
int symbols__module(struct symbols *s, int pid, uint64_t start, uint64_t end, const char *path,
		    uint32_t dev_major, uint32_t dev_minor, uint64_t ino);

/* Register process pid's vdso, mapped at [start, end): copied from its memory. */
int symbols__vdso(struct symbols *s, int pid, uint64_t start, uint64_t end);

/* The path the module was registered with. */
const char *symbols__module_path(struct symbols *s, int module);

/*
 * Resolve file offset `offset` of a module into out[0..max): the innermost
 * inlined function first, the function that holds it last. `is_return`: the
 * address is a return address (look up the byte before it). Returns the number of entries,
 * at least 1 (which may hold the module and offset only). Results are cached.
 * Negative when it could not be found out now: -ENOMEM, -EMFILE; -EINVAL: no such module, max < 1.
 */
int symbols__resolve(struct symbols *s, int module, uint64_t offset, bool is_return,
		     struct symbol *out, int max);

/*
 * Whether at `offset` of a module the innermost function has pushed nothing yet
 * (its CFA is rsp+8 by the module's .eh_frame or .debug_frame), so that the word at the stack
 * pointer is its return address.
 * 1 yes, 0 no, -ENOENT when no table covers the address.
 */
int symbols__leaf_is_bare(struct symbols *s, int module, uint64_t offset);

/* Whether the bytes before `offset` of a module are a call instruction, so that
 * the address can be a return address: 1 yes, 0 no, negative: cannot tell. */
int symbols__follows_call(struct symbols *s, int module, uint64_t offset);

/* A mangled C++ (Itanium) or Rust (legacy and v0) name made readable; malloc'ed, or NULL when it is
 * not mangled. */
char *symbol__demangle(const char *mangled);

#endif /* MEMTRACE_SYMBOL_H */
