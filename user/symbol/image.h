/* SPDX-License-Identifier: MIT */
/*
 * An ELF file, open for questions: where a file offset lies in its address space, which function
 * and source line that is. Internal to user/symbol.
 *
 * Addresses here are libdwfl's: the file's own plus a bias of the file or of its separate debug
 * file. A table is made when it is first needed. Strings in answers live as long as the image.
 * Nothing is asked of the network, and no path that the file itself names is opened unless it
 * lies under /usr/lib/debug.
 */
#ifndef MEMTRACE_IMAGE_H
#define MEMTRACE_IMAGE_H

#include <elfutils/libdwfl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "user/symbol/span.h"

struct segment {
	uint64_t offset, addr, bytes; /* in the file; where it is loaded; as far as the file has it */
	bool code;
};

struct debug;

struct image {
	Dwfl *dwfl;
	Dwfl_Module *module;
	unsigned machine; /* EM_* */
	int fd; /* the caller's */
	struct segment *segments;
	size_t nsegments;
	struct spans functions; /* the symbol tables; value: index for dwfl_module_getsym_info */
	bool has_functions;
	struct debug *debug; /* NULL: not asked for yet, or there is none */
	bool has_no_debug;
};

/* A function that an address lies in. */
struct place {
	const char *function, *file; /* function as the tables have it, mangled; NULL: not known */
	unsigned line; /* 0: not known */
	uint64_t start; /* of the function; 0: not known */
};

/* Parse what fd holds; path is for messages of the library. 0, -ENOMEM, or another -errno: not an
 * ELF program or library, or a damaged one. fd must stay open as long as the image. */
int image__open(struct image **out, int fd, const char *path);
void image__free(struct image *image);

/* Hexadecimal build id into out; empty when there is none or it does not fit. */
void image__build_id(struct image *image, char *out, size_t room);

/* The address that byte `offset` of the file is loaded to; false: to none. */
bool image__address(const struct image *image, uint64_t offset, uint64_t *addr);
bool image__is_code(const struct image *image, uint64_t addr);

/* symtab.c: the symbol that contains addr: 1 and *place, 0 when none does, -ENOMEM. The name may
 * end in a version (@VERSION). */
int image__symbol(struct image *image, uint64_t addr, struct place *place);

/* debug.c: the functions that addr lies in by debug information, the innermost inlined one first,
 * at most max: their number, 0 without debug information, -ENOMEM. A place may have a file and a
 * line only. */
int image__places(struct image *image, uint64_t addr, struct place *places, int max);

/* Bytes, roughly, that tables made by image__places hold. */
size_t image__debug_bytes(const struct image *image);
void debug__free(struct debug *debug);

/* cfi.c: see symbols__leaf_is_bare and symbols__follows_call. */
int image__leaf_is_bare(struct image *image, uint64_t addr);
int image__follows_call(const struct image *image, uint64_t offset);

#endif /* MEMTRACE_IMAGE_H */
