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

#include "user/source/uprobe/exits.h"
#include "user/source/uprobe/family.h"
#include "user/source/uprobe/prologue.h"

struct entry_point {
	char name[HOOK_NAME_BYTES];
	const struct family *family; /* NULL: an escape */
	unsigned escape; /* ESCAPE_* */
	size_t prefix; /* bytes of name */
	uint64_t offset; /* in the file */
	bool given; /* the user named it */
	bool exported; /* other modules can call it by name */
	struct site site;
	/* Of a probe of the file's own (usdt.h). */
	struct contract_args args;
	uint64_t semaphore; /* offset in the file; 0: none */
	/* Where it returns, of a function that may throw: it gets no return probe. None: it gets
	 * no probe at all. */
	struct exit_site *exits; /* .at is an offset in the file */
	size_t nexits;
	/* A free: the code it runs in, relative to its probe, so that it can do without a return probe. */
	bool no_end;
	struct hook_code code;
};

/* Whether its returns are seen at its exits. */
static inline bool entry__by_exits(const struct entry_point *e)
{
	return e->nexits != 0;
}

/* Whether it is a probe of the file's own. */
static inline bool entry__is_contract(const struct entry_point *e)
{
	return e->site.place == PLACE_USDT;
}

/* Whether it marks a phase: no part of an allocator. */
static inline bool entry__is_phase(const struct entry_point *e)
{
	return e->family && e->family->op == HEAP_PHASE;
}

struct binary {
	struct entry_point *entries; /* by name: one address can have several */
	size_t nentries;
	bool dynamic; /* has a table of exported symbols */
	bool has_symtab;
	bool unwinds; /* has code that exceptions pass through */
	bool is_static; /* a program without interpreter */
	/* Where an allocator offers to hand its calls over, and the semaphore that is to be raised for it, in the
	 * file (lib/mtalloc/attach.c); 0: it does not. And where another is that has to be raised with it. */
	uint64_t offer, semaphore;
	uint64_t wake, wake_semaphore;
	char allocator[32]; /* "glibc", "jemalloc", ...; empty: not known by its symbols */
};

/* What is looked for beside the family itself. */
struct binary_wanted {
	char *const *symbols; /* names that the user gave as --allocator-symbol */
	size_t nsymbols;
	struct usdt_phases phases;
};

/* 0, -ENOEXEC: not an x86-64 ELF file, or another -errno. */
int binary__read(struct binary *b, int fd, const struct binary_wanted *wanted);
void binary__free(struct binary *b);

/* The entry point of this name; NULL: there is none. */
const struct entry_point *binary__find(const struct binary *b, const char *name);

#endif /* MEMTRACE_BINARY_H */
