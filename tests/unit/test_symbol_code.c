/* SPDX-License-Identifier: MIT */
/* What surrounds an instruction: whether its function has pushed nothing yet, the call before it. */
#include <errno.h>
#include <execinfo.h>

#include "tests/unit/symbol_lib.h"

static void test_leaf(void **state)
{
	uint64_t begin, past = 0;
	struct lib l;

	(void)state;
	need_compiler();
#if !defined(__x86_64__)
	skip();
#endif
	l = lib__open("leaf.so", LIB_FLAGS " -O0 -fcf-protection=none");
	begin = spot__of(lib__find(&l, "shown")).offset;
	assert_int_equal(symbols__leaf_is_bare(l.symbols, l.module, begin), 1);
	/* After push %rbp, and after mov %rsp,%rbp. */
	assert_int_equal(symbols__leaf_is_bare(l.symbols, l.module, begin + 1), 0);
	assert_int_equal(symbols__leaf_is_bare(l.symbols, l.module, begin + 4), 0);
	/* At its ret the stack is bare again. */
	for (uint64_t at = begin + 4; at < begin + 64 && !past; at++) {
		if (symbols__leaf_is_bare(l.symbols, l.module, at) == 1)
			past = at;
	}
	assert_true(past != 0);
	assert_string_equal(lib__name(&l, lib__find(&l, "shown"), past - begin).function, "shown");
	assert_int_equal(symbols__leaf_is_bare(l.symbols, l.module, 16), -ENOENT);
	assert_int_equal(symbols__leaf_is_bare(l.symbols, l.module, UINT64_MAX), -ENOENT);
	lib__close(&l);

	/* .debug_frame alone */
	l = lib__open("leaf2.so", LIB_FLAGS " -fno-asynchronous-unwind-tables -fno-unwind-tables");
	begin = spot__of(lib__find(&l, "outer")).offset;
	assert_int_equal(symbols__leaf_is_bare(l.symbols, l.module, begin), 1);
	lib__close(&l);
}

static void *frames[16];
static int nframes;

static void note_frames(void)
{
	nframes = backtrace(frames, 16);
}

static int compare_and_note(const void *a, const void *b)
{
	note_frames();
	return memcmp(a, b, 1);
}

static void assert_follow_calls(struct symbols *s, int from, int to)
{
	for (int i = from; i < to; i++) {
		struct spot at = spot__of(frames[i]);

		assert_int_equal(symbols__follows_call(s, symbols__add(s, &at), at.offset), 1);
	}
}

static void test_real_return_addresses(void **state)
{
	void (*call_back)(void (*)(void));
	char letters[] = "dcba";
	int first = 0;
	struct lib l;

	(void)state;
#if !defined(__x86_64__)
	skip();
#endif
	need_compiler();
	l = lib__open("calls.so", LIB_FLAGS);
	call_back = (void (*)(void (*)(void)))lib__find(&l, "call_back");
	call_back(note_frames);
	/* note_frames (after what a sanitizer adds); call_direct, by pointer; call_back, by name; here */
	assert_true(nframes > 4);
	assert_follow_calls(l.symbols, 0, nframes - 1);
	while (first < nframes && strcmp(spot__of(frames[first]).path, l.path) != 0)
		first++;
	assert_true(first + 1 < nframes);
	assert_string_equal(lib__name(&l, frames[first], 0).function, "call_direct");
	assert_string_equal(lib__name(&l, frames[first + 1], 0).function, "call_back");
	/* An address within the instruction that follows is none. */
	assert_int_equal(
		symbols__follows_call(l.symbols, l.module, spot__of(frames[first]).offset + 1), 0);
	qsort(letters, 4, 1, compare_and_note);
	assert_true(nframes > 4);
	assert_follow_calls(l.symbols, 0, nframes - 1);
	lib__close(&l);
}

/* Instructions each in eight bytes of its own kind of nothing, and what is after them. */
static void test_call_encodings(void **state)
{
	static const char *const code[] = {
		"call here", "notrack call *%rax", ".byte 0xf2; call *%r11",
		".byte 0x67; call here", "call *%rax", "call *%r12", "call *(%rax)", "call *(%r12)",
		"call *(%r13)", "call *(%rsp)", "call *8(%rsp)", "call *0x40(%rbx)",
		"call *0x40(%r15)", "call *0x1000(%rbx)", "call *here(%rip)", "call *0x100",
		"call *(,%rax,8)", "call *(%rbx,%rax,8)", "call *0x10(%rbx,%rax,8)",
		"call *0x1000(%rbx,%r9,8)", "call *0x1000(%rsp)", "call *(%rbp)",
		/* not calls, from here on */
		"jmp *%rax", "jmp *8(%rax)", "pushq (%rax)", "incq %rax", "decq (%rax)", "syscall",
		"ret", "nop", "movq %rax, %rbx", "jmp here", ".byte 0xe8, 0, 0, 0, 0x70",
		".byte 0xff, 0xd0, 0x90", ".byte 0xff, 0x10, 0, 0", ".byte 0xff, 0x90, 0, 0, 0"};
	const size_t ncalls = 22, n = sizeof(code) / sizeof(code[0]);
	struct symbols *s = symbols__new();
	char *source = NULL, *path, name[16];
	size_t room;
	void *handle;
	FILE *f;

	(void)state;
#if !defined(__x86_64__)
	symbols__free(s);
	skip();
#endif
	if (!have_compiler)
		symbols__free(s);
	need_compiler();
	f = open_memstream(&source, &room);
	fprintf(f, "__asm__(\".text\\n.type here,@function\\nhere: ret\\n\"\n");
	for (size_t i = 0; i < n; i++)
		fprintf(f, "\".fill 8, 1, 0x90\\n %s\\n.globl p%zu\\np%zu: nop\\n\"\n", code[i], i,
			i);
	fprintf(f, ");\n");
	fclose(f);
	path = compile("encodings.so", source, "-shared -fPIC");
	handle = dlopen(path, RTLD_NOW);
	assert_non_null(handle);
	for (size_t i = 0; i < n; i++) {
		struct spot at;
		int found;

		snprintf(name, sizeof(name), "p%zu", i);
		at = spot__of(dlsym(handle, name));
		found = symbols__follows_call(s, symbols__add(s, &at), at.offset);
		if (found != (i < ncalls))
			print_error("%s: %d\n", code[i], found);
		assert_int_equal(found, i < ncalls);
	}
	/* Data cannot be returned to. */
	assert_int_equal(symbols__follows_call(s, 0, 0), 0);
	assert_int_equal(symbols__follows_call(s, 0, 64), 0);
	assert_true(symbols__follows_call(s, 1, 64) < 0);
	symbols__free(s);
	dlclose(handle);
	unlink(path);
	free(path);
	free(source);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_leaf),
		cmocka_unit_test(test_real_return_addresses),
		cmocka_unit_test(test_call_encodings),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
