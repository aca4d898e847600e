/* SPDX-License-Identifier: MIT */
/*
 * What a program or library defines of the malloc family. Read with read(2), not
 * mapped: the file is a stranger's and may shrink meanwhile.
 */
#ifndef MEMTRACE_BINARY_H
#define MEMTRACE_BINARY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "user/source/uprobe/family.h"
#include "user/source/uprobe/prologue.h"

struct entry_point {
	char name[HOOK_NAME_BYTES];
	const struct family *family; /* NULL: a longjmp */
	size_t prefix; /* bytes of name */
	uint64_t offset; /* in the file */
	bool given; /* the user named it */
	bool exported; /* other modules can call it by name */
	struct site site;
};

struct binary {
	struct entry_point *entries; /* by name: one address can have several */
	size_t nentries;
	bool dynamic; /* has a table of exported symbols */
	bool has_symtab;
	bool is_static; /* a program without interpreter */
	char allocator[32]; /* "glibc", "jemalloc", ...; empty: not known by its symbols */
};

/* extra: names that the user gave as --allocator-symbol. 0, -ENOEXEC: not an x86-64 ELF file,
 * or another -errno. */
int binary__read(struct binary *b, int fd, char *const *extra, size_t nextra);
void binary__free(struct binary *b);

/* The entry point of this name; NULL: there is none. */
const struct entry_point *binary__find(const struct binary *b, const char *name);

#endif /* MEMTRACE_BINARY_H */
