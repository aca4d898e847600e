/* SPDX-License-Identifier: MIT */
/*
 * Small libraries to ask names of, compiled by the tests themselves, so that what is known of them
 * does not depend on how the tests were built. Without a compiler those tests are skipped.
 */
#ifndef TEST_SYMBOL_LIB_H
#define TEST_SYMBOL_LIB_H

#include <dlfcn.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "user/symbol/symbol.h"

#define ENTRIES 16

static char dir[] = "/tmp/test-symbol-XXXXXX";
static bool have_compiler;

/* Lines 4 to 6 and 9 are asked for by number. */
static const char lib_source[] =
	"#define NOINLINE __attribute__((noinline))\n"
	"#define INLINE static inline __attribute__((always_inline))\n"
	"int barrier;\n"
	"INLINE void *inner(void) { void *pc; __asm__ volatile(PC : \"=r\"(pc)); return pc; }\n"
	"INLINE void *middle(void) { void *pc = inner(); barrier++; return pc; }\n"
	"NOINLINE void *outer(void) { void *pc = middle(); barrier++; return pc; }\n"
	"NOINLINE static int hidden(int x) { __asm__ volatile(\"\"); return x * 3; }\n"
	"void *get_hidden(void) { return (void *)(hidden(barrier) ? hidden : hidden); }\n"
	"NOINLINE int shown(int x) { return hidden(x) + barrier; }\n"
	"NOINLINE int many_names(void) { return barrier; }\n"
	"int many(void) __attribute__((weak, alias(\"many_names\")));\n"
	"int __many(void) __attribute__((alias(\"many_names\")));\n"
	"NOINLINE void call_direct(void (*f)(void)) { f(); barrier++; }\n"
	"NOINLINE void call_back(void (*f)(void)) { call_direct(f); barrier++; }\n";

#if defined(__x86_64__)
#define PC "lea 0f(%%rip), %0; 0: nop"
#elif defined(__aarch64__)
#define PC "adr %0, 0f; 0: nop"
#else
#define PC "la %0, 0f; 0: nop"
#endif

static char *in_dir(const char *name)
{
	char *path;

	assert_true(asprintf(&path, "%s/%s", dir, name) > 0);
	return path;
}

static void write_file(const char *path, const void *data, size_t bytes)
{
	FILE *f = fopen(path, "wb");

	assert_non_null(f);
	assert_int_equal(fwrite(data, 1, bytes, f), bytes);
	assert_int_equal(fclose(f), 0);
}

/* Run a shell command made by format; its exit status. */
static int __attribute__((format(printf, 1, 2))) run(const char *format, ...)
{
	char command[4096];
	va_list args;

	va_start(args, format);
	vsnprintf(command, sizeof(command), format, args);
	va_end(args);
	return system(command);
}

/* Compile source into dir/name. The path, for free(). */
static char *compile(const char *name, const char *source, const char *flags)
{
	char *from, *to = in_dir(name);
	const char *cc = getenv("CC");

	assert_true(asprintf(&from, "%s.c", to) > 0);
	write_file(from, source, strlen(source));
	assert_int_equal(run("%s -O2 %s -o '%s' '%s'", cc && *cc ? cc : "cc", flags, to, from), 0);
	free(from);
	return to;
}

static char *compile_lib(const char *name, const char *flags)
{
	char *source, *path;

	assert_true(asprintf(&source, "#define PC \"%s\"\n#line 1\n%s", PC, lib_source) > 0);
	path = compile(name, source, flags);
	free(source);
	return path;
}

#define LIB_FLAGS "-g -shared -fPIC -fno-optimize-sibling-calls -fno-omit-frame-pointer"

/* Where an address of ours is in a file. */
struct spot {
	uint64_t start, end, offset;
	unsigned dev_major, dev_minor;
	uint64_t ino;
	char path[512];
};

static struct spot spot__of(const void *pointer)
{
	uint64_t addr = (uintptr_t)pointer;
	FILE *maps = fopen("/proc/self/maps", "re");
	struct spot s = {0};
	char line[1024];
	bool found = false;

	assert_non_null(maps);
	while (!found && fgets(line, sizeof(line), maps)) {
		s.path[0] = '\0';
		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %*s %" SCNx64 " %x:%x %" SCNu64 " %511[^\n]",
			   &s.start, &s.end, &s.offset, &s.dev_major, &s.dev_minor, &s.ino,
			   s.path) < 6)
			continue;
		found = addr >= s.start && addr < s.end;
	}
	fclose(maps);
	assert_true(found);
	s.offset += addr - s.start;
	return s;
}

static int symbols__add(struct symbols *s, const struct spot *at)
{
	int module = symbols__module(s, getpid(), at->start, at->end, at->path, at->dev_major,
				     at->dev_minor, at->ino);

	assert_true(module >= 0);
	return module;
}

/* A library of lib_source, loaded and registered. */
struct lib {
	struct symbols *symbols;
	char *path;
	void *handle;
	int module;
};

static struct lib lib__open(const char *name, const char *flags)
{
	struct lib l = {.symbols = symbols__new(), .path = compile_lib(name, flags)};
	struct spot at;

	assert_non_null(l.symbols);
	l.handle = dlopen(l.path, RTLD_NOW | RTLD_LOCAL);
	assert_non_null(l.handle);
	at = spot__of(dlsym(l.handle, "outer"));
	l.module = symbols__add(l.symbols, &at);
	return l;
}

static void lib__close(struct lib *l)
{
	symbols__free(l->symbols);
	dlclose(l->handle);
	unlink(l->path);
	free(l->path);
}

static void *lib__find(const struct lib *l, const char *name)
{
	void *found = dlsym(l->handle, name);

	assert_non_null(found);
	return found;
}

/* The first entry for an address of the library plus a distance. */
static struct symbol lib__name(const struct lib *l, const void *addr, unsigned more)
{
	struct symbol out[ENTRIES];
	uint64_t offset = spot__of(addr).offset + more;

	assert_true(symbols__resolve(l->symbols, l->module, offset, false, out, ENTRIES) >= 1);
	assert_int_equal(out[0].offset, offset);
	assert_non_null(out[0].module);
	return out[0];
}

#define need_compiler()             \
	do {                        \
		if (!have_compiler) \
			skip();     \
	} while (0)

static int setup(void **state)
{
	const char *cc = getenv("CC");

	(void)state;
	if (!mkdtemp(dir))
		return -1;
	have_compiler = run("%s --version >/dev/null 2>&1", cc && *cc ? cc : "cc") == 0;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	return run("rm -r '%s'", dir);
}

#endif /* TEST_SYMBOL_LIB_H */
