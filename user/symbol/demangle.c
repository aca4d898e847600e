/* SPDX-License-Identifier: MIT */
/*
 * Mangled names made readable, by libiberty.
 *
 * Names come from files that nobody vouches for, and a short one can stand for a text of any
 * length (each back reference may double it). So the text is taken piece by piece and, when it
 * grows too long, the demangler is left by longjmp; its callback forms hold no memory.
 */
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <libiberty/demangle.h>

#include "user/symbol/symbol.h"

#define MANGLED_MAX_BYTES 16384
#define READABLE_MAX_BYTES 65536

struct readable {
	jmp_buf too_long; /* or no memory */
	char *text; /* not terminated */
	size_t length, room;
};

static void readable__add(const char *piece, size_t bytes, void *opaque)
{
	struct readable *r = opaque;

	if (bytes > READABLE_MAX_BYTES - r->length)
		longjmp(r->too_long, 1);
	if (r->length + bytes >= r->room) {
		size_t room = 2 * (r->length + bytes) + 64;
		char *text = realloc(r->text, room);

		if (!text)
			longjmp(r->too_long, 1);
		r->text = text;
		r->room = room;
	}
	memcpy(r->text + r->length, piece, bytes);
	r->length += bytes;
}

typedef int (*demangle_fn)(const char *mangled, int options, demangle_callbackref callback,
			   void *opaque);

static bool readable__fill(struct readable *r, demangle_fn demangle, const char *mangled)
{
	r->length = 0;
	if (setjmp(r->too_long))
		return false;
	return demangle(mangled, DMGL_PARAMS | DMGL_ANSI, readable__add, r) && r->length > 0;
}

/* LLVM marks a local symbol that it made global: NAME.llvm.1234. Length without that. */
static size_t name__length(const char *name)
{
	const char *mark = strstr(name, ".llvm.");

	return mark ? (size_t)(mark - name) : strlen(name);
}

char *symbol__demangle(const char *mangled)
{
	struct readable r = {.text = NULL};
	size_t length;
	char *copy;

	if (!mangled || (strncmp(mangled, "_Z", 2) != 0 && strncmp(mangled, "_R", 2) != 0))
		return NULL;
	length = name__length(mangled);
	if (length > MANGLED_MAX_BYTES)
		return NULL;
	copy = malloc(length + 1);
	if (!copy)
		return NULL;
	memcpy(copy, mangled, length);
	copy[length] = '\0';
	/* Rust first: its legacy names are C++ names too, but with a hash that says nothing. */
	if (!readable__fill(&r, rust_demangle_callback, copy) &&
	    !readable__fill(&r, cplus_demangle_v3_callback, copy)) {
		free(r.text);
		r.text = NULL;
	} else {
		r.text[r.length] = '\0';
	}
	free(copy);
	return r.text;
}
