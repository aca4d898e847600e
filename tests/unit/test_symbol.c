/* SPDX-License-Identifier: MIT */
/* Names for addresses: which files are taken for a module, and what is said of places in them. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "tests/unit/symbol_lib.h"

#if defined(__SANITIZE_ADDRESS__)
#define HAVE_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAVE_ASAN 1
#endif
#endif
#ifndef HAVE_ASAN
#define HAVE_ASAN 0
#endif

#define NO_MEMORY "MEMTRACE_TEST_NO_MEMORY"

static void assert_ends_with(const char *text, const char *end)
{
	assert_non_null(text);
	assert_true(strlen(text) >= strlen(end));
	assert_string_equal(text + strlen(text) - strlen(end), end);
}

static char *read_file(const char *path, size_t *bytes)
{
	FILE *f = fopen(path, "rb");
	struct stat st;
	char *data;

	assert_non_null(f);
	assert_int_equal(fstat(fileno(f), &st), 0);
	data = malloc(st.st_size);
	assert_non_null(data);
	*bytes = fread(data, 1, st.st_size, f);
	assert_int_equal(*bytes, st.st_size);
	fclose(f);
	return data;
}

static void test_inlined(void **state)
{
	struct symbol out[ENTRIES], again[ENTRIES];
	void *(*outer)(void);
	struct lib l;
	uint64_t offset;

	(void)state;
	need_compiler();
	l = lib__open("inlined.so", LIB_FLAGS);
	outer = (void *(*)(void))lib__find(&l, "outer");
	offset = spot__of(outer()).offset;
	assert_int_equal(symbols__resolve(l.symbols, l.module, offset, false, out, ENTRIES), 3);
	assert_string_equal(out[0].function, "inner");
	assert_string_equal(out[1].function, "middle");
	assert_string_equal(out[2].function, "outer");
	for (unsigned i = 0; i < 3; i++) {
		assert_ends_with(out[i].file, "/inlined.so.c");
		assert_int_equal(out[i].line, 4 + i);
		assert_int_equal(out[i].offset, offset);
		assert_string_equal(out[i].module, l.path);
	}
	assert_int_equal(out[2].function_offset, offset - spot__of(outer).offset);

	/* From the cache: the same strings. */
	assert_int_equal(symbols__resolve(l.symbols, l.module, offset, false, again, ENTRIES), 3);
	assert_memory_equal(out, again, 3 * sizeof(out[0]));
	/* Where there is no room, the function that holds the others stays. */
	assert_int_equal(symbols__resolve(l.symbols, l.module, offset, false, again, 2), 2);
	assert_string_equal(again[0].function, "inner");
	assert_string_equal(again[1].function, "outer");
	assert_int_equal(symbols__resolve(l.symbols, l.module, offset, false, again, 1), 1);
	assert_string_equal(again[0].function, "outer");
	assert_int_equal(symbols__resolve(l.symbols, l.module, offset, false, again, 0), -EINVAL);
	assert_int_equal(symbols__resolve(l.symbols, 99, offset, false, again, 1), -EINVAL);
	lib__close(&l);
}

static void test_return_address(void **state)
{
	struct symbol out[ENTRIES];
	struct lib l;
	uint64_t begin;

	(void)state;
	need_compiler();
	l = lib__open("return.so", LIB_FLAGS);
	begin = spot__of(lib__find(&l, "shown")).offset;
	assert_int_equal(symbols__resolve(l.symbols, l.module, begin + 1, true, out, ENTRIES), 1);
	assert_string_equal(out[0].function, "shown");
	assert_int_equal(out[0].function_offset, 1);
	assert_int_equal(out[0].line, 9);
	assert_int_equal(out[0].offset, begin + 1);
	/* What returns to a function's first byte was called by the one before, if any. */
	assert_true(symbols__resolve(l.symbols, l.module, begin, true, out, ENTRIES) >= 1);
	assert_true(!out[0].function || strcmp(out[0].function, "shown") != 0);
	assert_int_equal(symbols__resolve(l.symbols, l.module, 0, true, out, ENTRIES), 1);
	assert_null(out[0].function);
	assert_int_equal(symbols__resolve(l.symbols, l.module, UINT64_MAX, false, out, ENTRIES), 1);
	assert_null(out[0].function);
	lib__close(&l);
}

static void test_aliases(void **state)
{
	struct lib l;

	(void)state;
	need_compiler();
	l = lib__open("aliases.so", LIB_FLAGS " -g0");
	assert_string_equal(lib__name(&l, lib__find(&l, "many_names"), 0).function, "many_names");
	lib__close(&l);
}

static void test_stripped(void **state)
{
	void *(*get_hidden)(void);
	struct symbol at;
	struct lib l;

	(void)state;
	need_compiler();
	l = lib__open("stripped.so", LIB_FLAGS " -s -Wl,--build-id=0x00ff80ab");
	get_hidden = (void *(*)(void))lib__find(&l, "get_hidden");
	at = lib__name(&l, lib__find(&l, "shown"), 1);
	assert_string_equal(at.function, "shown");
	assert_int_equal(at.function_offset, 1);
	assert_null(at.file);
	assert_int_equal(at.line, 0);
	assert_string_equal(at.build_id, "00ff80ab");
	/* Not the nearest symbol below: it is not that function. */
	at = lib__name(&l, get_hidden(), 0);
	assert_null(at.function);
	assert_string_equal(at.module, l.path);
	assert_string_equal(at.build_id, "00ff80ab");
	lib__close(&l);
}

static void test_libc(void **state)
{
	struct symbols *s = symbols__new();
	struct symbol out[ENTRIES];
	struct spot at = spot__of(dlsym(RTLD_DEFAULT, "mkostemps"));
	int n, module = symbols__add(s, &at);

	(void)state;
	n = symbols__resolve(s, module, at.offset, false, out, ENTRIES);
	assert_true(n >= 1);
	assert_string_equal(out[n - 1].function, "mkostemps");
	assert_string_equal(out[n - 1].module, at.path);
	assert_string_equal(symbols__module_path(s, module), at.path);
	assert_null(symbols__module_path(s, module + 1));
	assert_null(symbols__module_path(s, -1));
	symbols__free(s);
}

/* A program that is not position-independent: its addresses are far from its file offsets. */
static void test_fixed_address(void **state)
{
	static const char source[] =
		"#include <stdio.h>\n"
		"extern char __executable_start[];\n"
		"__attribute__((noinline)) void target(void) {"
		" printf(\"%lx\\n\", (long)((char *)target - __executable_start)); }\n"
		"int main(void) { target(); return 0; }\n";
	char *command, *path;
	struct symbol out[ENTRIES];
	struct symbols *s;
	unsigned long offset;
	FILE *p;

	(void)state;
	need_compiler();
	path = compile("fixed", source, "-g -no-pie -fno-pie");
	assert_true(asprintf(&command, "'%s'", path) > 0);
	p = popen(command, "r");
	assert_non_null(p);
	assert_int_equal(fscanf(p, "%lx", &offset), 1);
	pclose(p);
	s = symbols__new();
	assert_int_equal(symbols__module(s, getpid(), 0, 0, path, 0, 0, 0), 0);
	assert_int_equal(symbols__resolve(s, 0, offset, false, out, ENTRIES), 1);
	assert_string_equal(out[0].function, "target");
	assert_int_equal(out[0].function_offset, 0);
	assert_int_equal(out[0].line, 3);
	symbols__free(s);
	unlink(path);
	free(path);
	free(command);
}

static void test_numbers(void **state)
{
	struct symbols *s = symbols__new();
	struct spot at = spot__of((void *)(uintptr_t)test_numbers);
	int module = symbols__add(s, &at);
	char name[32];

	(void)state;
	assert_int_equal(symbols__add(s, &at), module);
	assert_true(symbols__module(s, getpid(), 0, 0, at.path, 0, 0, 0) != module);
	for (int i = 0; i < 300; i++) {
		snprintf(name, sizeof(name), "/nowhere/%d", i);
		assert_int_equal(symbols__module(s, getpid(), 0, 0, name, 0, 0, i), module + 2 + i);
	}
	for (int i = 0; i < 300; i++) {
		snprintf(name, sizeof(name), "/nowhere/%d", i);
		assert_int_equal(symbols__module(s, getpid(), 0, 0, name, 0, 0, i), module + 2 + i);
		assert_string_equal(symbols__module_path(s, module + 2 + i), name);
	}
	assert_int_equal(symbols__module(s, getpid(), 0, 0, NULL, 0, 0, 0), -EINVAL);
	symbols__free(s);
	symbols__free(NULL);
}

static void test_deleted(void **state)
{
	struct lib l;

	(void)state;
	need_compiler();
	l = lib__open("deleted.so", LIB_FLAGS);
	assert_int_equal(unlink(l.path), 0);
	assert_string_equal(lib__name(&l, lib__find(&l, "shown"), 2).function, "shown");
	lib__close(&l);
}

static struct spot file__spot(const char *path)
{
	struct spot at = {0};
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	at.dev_major = major(st.st_dev);
	at.dev_minor = minor(st.st_dev);
	at.ino = st.st_ino;
	snprintf(at.path, sizeof(at.path), "%s", path);
	return at;
}

static void test_replaced(void **state)
{
	struct symbols *s = symbols__new();
	struct symbol out[ENTRIES];
	uint64_t offset;
	struct spot at;
	struct lib l;
	char *other;
	int module;

	(void)state;
	need_compiler();
	l = lib__open("replaced.so", LIB_FLAGS);
	offset = spot__of(lib__find(&l, "shown")).offset;
	dlclose(l.handle); /* or its mapping would lead to the file */
	l.handle = NULL;
	at = file__spot(l.path);
	other = compile_lib("other.so", LIB_FLAGS);
	assert_int_equal(run("mv '%s' '%s.old' && mv '%s' '%s'", l.path, l.path, other, l.path), 0);
	module = symbols__add(s, &at);
	assert_int_equal(symbols__resolve(s, module, offset, false, out, ENTRIES), 1);
	assert_null(out[0].function);
	assert_string_equal(out[0].module, l.path);
	assert_true(symbols__follows_call(s, module, offset) < 0);
	assert_int_equal(symbols__leaf_is_bare(s, module, offset), -ENOENT);
	/* The right one is back: what has no file yet is tried again. */
	assert_int_equal(run("mv '%s.old' '%s'", l.path, l.path), 0);
	assert_int_equal(symbols__add(s, &at), module);
	assert_int_equal(symbols__resolve(s, module, offset, false, out, ENTRIES), 1);
	assert_string_equal(out[0].function, "shown");
	symbols__free(s);
	symbols__free(l.symbols);
	unlink(l.path);
	free(l.path);
	free(other);
}

/* Written to between being registered and being asked: the code is another. */
static void test_changed(void **state)
{
	struct symbols *s = symbols__new();
	struct symbol out[ENTRIES];
	uint64_t offset;
	struct lib l;
	int module;

	(void)state;
	need_compiler();
	l = lib__open("changed.so", LIB_FLAGS);
	offset = spot__of(lib__find(&l, "shown")).offset;
	module = symbols__module(s, getpid(), 0, 0, l.path, 0, 0, 0);
	assert_int_equal(run("echo more >>'%s'", l.path), 0);
	assert_int_equal(symbols__resolve(s, module, offset, false, out, ENTRIES), 1);
	assert_null(out[0].function);
	symbols__free(s);
	lib__close(&l);
}

/* Shortened while it is being read through a mapping: fewer names, no SIGBUS. */
static void test_shortened(void **state)
{
	struct symbols *s = symbols__new();
	struct symbol out[ENTRIES];
	char *path, *padded;
	int module;

	(void)state;
	need_compiler();
	path = compile_lib("shortened.so", LIB_FLAGS);
	padded = in_dir("shortened");
	assert_int_equal(run("cp '%s' '%s'", path, padded), 0);
	module = symbols__module(s, getpid(), 0, 0, padded, 0, 0, 0);
	assert_true(symbols__follows_call(s, module, 0x1000) >= 0); /* it is open now */
	assert_int_equal(truncate(padded, 64), 0);
	for (uint64_t offset = 0; offset < 0x4000; offset += 0x100) {
		assert_true(symbols__resolve(s, module, offset, false, out, ENTRIES) >= 1);
		(void)symbols__leaf_is_bare(s, module, offset);
		(void)symbols__follows_call(s, module, offset);
	}
	symbols__free(s);
	unlink(path);
	unlink(padded);
	free(path);
	free(padded);
}

static void test_vdso(void **state)
{
	struct symbols *s = symbols__new();
	FILE *maps = fopen("/proc/self/maps", "re");
	struct symbol out[ENTRIES];
	uint64_t start = 0, end = 0;
	char line[1024];
	int module, found = 0;

	(void)state;
	while (fgets(line, sizeof(line), maps)) {
		if (strstr(line, "[vdso]"))
			sscanf(line, "%" SCNx64 "-%" SCNx64, &start, &end);
	}
	fclose(maps);
	if (!start) {
		symbols__free(s);
		skip();
	}
	module = symbols__vdso(s, getpid(), start, end);
	assert_int_equal(module, 0);
	assert_int_equal(symbols__vdso(s, getpid(), start, end), module);
	assert_string_equal(symbols__module_path(s, module), "[vdso]");
	for (uint64_t offset = 0; offset < end - start; offset += 4) {
		assert_int_equal(symbols__resolve(s, module, offset, false, out, ENTRIES), 1);
		assert_string_equal(out[0].module, "[vdso]");
		if (out[0].function && strstr(out[0].function, "clock_gettime"))
			found++;
	}
	assert_true(found > 0);
	/* One that cannot be read is known by name. */
	module = symbols__vdso(s, getpid(), 4096, 8192);
	assert_true(module > 0);
	assert_int_equal(symbols__resolve(s, module, 64, false, out, ENTRIES), 1);
	assert_string_equal(out[0].module, "[vdso]");
	assert_null(out[0].function);
	symbols__free(s);
}

/* A file that is no program: a module with a name, and nothing known in it. */
static void assert_nameless(const char *path)
{
	struct symbols *s = symbols__new();
	struct symbol out[ENTRIES];
	int module = symbols__module(s, getpid(), 0, 0, path, 0, 0, 0);

	assert_int_equal(module, 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(symbols__resolve(s, module, 64, i, out, ENTRIES), 1);
		assert_string_equal(out[0].module, path);
		assert_null(out[0].build_id);
		assert_null(out[0].function);
		assert_null(out[0].file);
		assert_int_equal(out[0].offset, 64);
	}
	assert_true(symbols__follows_call(s, module, 64) < 0);
	assert_int_equal(symbols__leaf_is_bare(s, module, 64), -ENOENT);
	symbols__free(s);
}

static void test_not_programs(void **state)
{
	static const char gzip[] = "\x1f\x8b\x08\0\0\0\0\0\0\x03";
	char *fifo = in_dir("fifo"), *file = in_dir("file"), *link = in_dir("link");

	(void)state;
	alarm(60); /* opening a FIFO waits for a writer */
	assert_int_equal(mkfifo(fifo, 0600), 0);
	assert_int_equal(symlink(fifo, link), 0);
	assert_nameless(fifo);
	assert_nameless(link);
	assert_nameless("/dev/zero");
	assert_nameless(dir);
	assert_nameless("/nowhere/at/all");
	assert_nameless("relative");
	assert_nameless("");
	assert_nameless("[heap]");
	write_file(file, "", 0);
	assert_nameless(file);
	write_file(file, "#!/bin/sh\n", 10);
	assert_nameless(file);
	write_file(file, gzip, sizeof(gzip));
	assert_nameless(file);
	write_file(file, "!<arch>\n", 8);
	assert_nameless(file);
	write_file(file, "\177ELF", 4);
	assert_nameless(file);
	alarm(0);
	unlink(fifo);
	unlink(file);
	unlink(link);
	free(fifo);
	free(file);
	free(link);
}

/* Ask everything of a file that may be damaged: any answer will do. */
static void ask_all(const char *path)
{
	struct symbols *s = symbols__new();
	struct symbol out[ENTRIES];
	int module = symbols__module(s, getpid(), 0, 0, path, 0, 0, 0);

	for (uint64_t offset = 0x1000; offset < 0x1400; offset += 0x48) {
		int n = symbols__resolve(s, module, offset, false, out, ENTRIES);

		assert_in_range(n, 1, ENTRIES);
		for (int i = 0; i < n; i++) {
			assert_string_equal(out[i].module, path);
			assert_true(!out[i].function || strlen(out[i].function) < 100000);
			assert_true(!out[i].file || strlen(out[i].file) < 100000);
		}
		(void)symbols__leaf_is_bare(s, module, offset);
		(void)symbols__follows_call(s, module, offset);
	}
	symbols__free(s);
}

static uint32_t next_random(uint32_t *seed)
{
	*seed = *seed * 1664525 + 1013904223;
	return *seed >> 8;
}

static void test_damaged(void **state)
{
	char *path, *whole, *damaged, *target = in_dir("damaged");
	uint32_t seed = 42;
	size_t bytes;

	(void)state;
	if (!have_compiler)
		free(target);
	need_compiler();
	path = compile_lib("whole.so", LIB_FLAGS);
	whole = read_file(path, &bytes);
	for (size_t length = 1; length < bytes; length = length * 3 / 2 + 1) {
		write_file(target, whole, length);
		ask_all(target);
	}
	damaged = malloc(bytes);
	assert_non_null(damaged);
	for (int i = 0; i < 120; i++) {
		/* The headers at the beginning and the end, the tables near them, anywhere. */
		size_t range = i % 3 == 0 ? 1024 : i % 3 == 1 ? 4096 : bytes;

		memcpy(damaged, whole, bytes);
		for (int k = 0; k < 1 + i / 8; k++) {
			size_t at = next_random(&seed) % range;

			damaged[i % 3 == 1 ? bytes - 1 - at : at] = (char)next_random(&seed);
		}
		write_file(target, damaged, bytes);
		ask_all(target);
	}
	unlink(path);
	unlink(target);
	free(path);
	free(whole);
	free(damaged);
	free(target);
}

/* Counts the allocations of the program itself, and makes one of them fail. */
static const char preload_source[] =
	"#define _GNU_SOURCE\n"
	"#include <stdlib.h>\n#include <string.h>\n"
	"extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t);\n"
	"extern void *__libc_realloc(void *, size_t);\n"
	"static char *low, *high; static long left = -1;\n"
	"void arm(char *l, char *h, long n) { low = l; high = h; left = n; }\n"
	"long armed(void) { return left; }\n"
	"#define FAILS() ((char *)__builtin_return_address(0) >= low && "
	"(char *)__builtin_return_address(0) < high && left >= 0 && left-- == 0)\n"
	"void *malloc(size_t n) { return FAILS() ? NULL : __libc_malloc(n); }\n"
	"void *calloc(size_t n, size_t m) { return FAILS() ? NULL : __libc_calloc(n, m); }\n"
	"void *realloc(void *p, size_t n) { return FAILS() ? NULL : __libc_realloc(p, n); }\n"
	"void *reallocarray(void *p, size_t n, size_t m)\n"
	"{ return FAILS() ? NULL : __libc_realloc(p, n * m); }\n"
	"char *strdup(const char *s) { size_t n = strlen(s) + 1;\n"
	"char *p = FAILS() ? NULL : __libc_malloc(n); return p ? memcpy(p, s, n) : p; }\n";

extern char __executable_start[], etext[];

/* 0 when everything was found, -ENOMEM when memory was lacking somewhere; else it is wrong. */
static int find_names(const char *path, uint64_t offset)
{
	struct symbols *s = symbols__new();
	struct symbol out[ENTRIES];
	int n, module;

	if (!s)
		return -ENOMEM;
	module = symbols__module(s, 1, 0, 0, "/nowhere", 0, 0, 7);
	if (module >= 0)
		module = symbols__module(s, getpid(), 0, 0, path, 0, 0, 0);
	n = module < 0 ? module : symbols__resolve(s, module, offset, false, out, ENTRIES);
	if (n == 3 && (!out[0].function || strcmp(out[0].function, "inner") != 0))
		n = -EINVAL;
	if (n >= 0)
		n = n == 3 ? symbols__leaf_is_bare(s, module, offset) : -EINVAL;
	symbols__free(s);
	return n >= 0 || n == -ENOENT ? 0 : n;
}

/* What the child of test_no_memory does: each allocation fails once. The exit status. */
static int child_no_memory(const char *path, uint64_t offset)
{
	void (*arm)(char *, char *, long) =
		(void (*)(char *, char *, long))dlsym(RTLD_DEFAULT, "arm");
	long (*armed)(void) = (long (*)(void))dlsym(RTLD_DEFAULT, "armed");

	if (!arm || !armed)
		return 2;
	for (long nth = 0; nth < 100000; nth++) {
		bool failed;
		int err;

		arm(__executable_start, etext, nth);
		err = find_names(path, offset);
		failed = armed() < 0;
		arm(NULL, NULL, -1);
		if (!failed)
			return err == 0 && nth > 20 ? 0 : 3;
		if (err != 0 && err != -ENOMEM)
			return 4;
	}
	return 5;
}

static void test_no_memory(void **state)
{
	void *(*outer)(void);
	char *preload, self[512];
	struct lib l;
	ssize_t n;

	(void)state;
	need_compiler();
	if (HAVE_ASAN)
		skip();
	preload = compile("preload.so", preload_source, "-shared -fPIC -fno-builtin");
	l = lib__open("memory.so", LIB_FLAGS);
	outer = (void *(*)(void))lib__find(&l, "outer");
	n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	assert_true(n > 0);
	self[n] = '\0';
	if (strstr(self, "valgrind"))
		snprintf(self, sizeof(self), "%s", spot__of((void *)(uintptr_t)run).path);
	assert_int_equal(run("%s=%" PRIx64 " LD_PRELOAD='%s' '%s' '%s'", NO_MEMORY,
			     spot__of(outer()).offset, preload, self, l.path),
			 0);
	lib__close(&l);
	unlink(preload);
	free(preload);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_inlined),	     cmocka_unit_test(test_return_address),
		cmocka_unit_test(test_aliases),	     cmocka_unit_test(test_stripped),
		cmocka_unit_test(test_libc),	     cmocka_unit_test(test_fixed_address),
		cmocka_unit_test(test_numbers),	     cmocka_unit_test(test_deleted),
		cmocka_unit_test(test_replaced),     cmocka_unit_test(test_changed),
		cmocka_unit_test(test_shortened),    cmocka_unit_test(test_vdso),
		cmocka_unit_test(test_not_programs), cmocka_unit_test(test_damaged),
		cmocka_unit_test(test_no_memory),
	};
	const char *no_memory = getenv(NO_MEMORY);

	if (no_memory && argc == 2)
		return child_no_memory(argv[1], strtoull(no_memory, NULL, 16));
	return cmocka_run_group_tests(tests, setup, teardown);
}
