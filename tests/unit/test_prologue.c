// SPDX-License-Identifier: MIT
/* Where a probe goes in a function: real beginnings of Debian 12's allocators, and traps. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "user/source/uprobe/family.h"
#include "user/source/uprobe/prologue.h"

#define ARG1 1U
#define ARG2 2U
#define ARG3 4U
enum { CX = 1, DX = 2, SI = 6, DI = 7 };

static struct site choose(const char *code, size_t bytes, unsigned args)
{
	struct site site;

	prologue__choose((const uint8_t *)code, bytes, args, &site);
	return site;
}
#define CHOOSE(code, args) choose(code, sizeof(code) - 1, args)

static void expect(struct site s, unsigned place, unsigned offset, const char *what)
{
	assert_string_equal(s.what, what);
	assert_int_equal(s.place, place);
	assert_int_equal(s.offset, offset);
}

static void real_beginnings(void **state)
{
	struct site s;

	(void)state;
	/* glibc malloc: push %r12; push %rbp */
	s = CHOOSE("\x41\x54\x55\x53\x48\x89\xfb", ARG1);
	expect(s, PLACE_ENTRY, 0, "push %r12");
	assert_int_equal(s.reg[0], DI);
	/* glibc free: test %rdi,%rdi; je; push %rbp */
	s = CHOOSE("\x48\x85\xff\x0f\x84\xbf\x00\x00\x00\x55", ARG1);
	expect(s, PLACE_INSIDE, 3, "je");
	/* glibc aligned_alloc: cmpb $0,(%rip); je */
	s = CHOOSE("\x80\x3d\x71\x0e\x14\x00\x00\x74\x07\xe9", ARG1 | ARG2);
	expect(s, PLACE_INSIDE, 7, "je");
	/* glibc reallocarray: mov %rsi,%rax; mul %rdx; mov %rax,%rsi; jo: the count is gone */
	s = CHOOSE("\x48\x89\xf0\x48\xf7\xe2\x48\x89\xc6\x70\x05", ARG1 | ARG2 | ARG3);
	expect(s, PLACE_SLOW, 0, "single-stepped");
	/* the same, if only the block mattered */
	s = CHOOSE("\x48\x89\xf0\x48\xf7\xe2\x48\x89\xc6\x70\x05", ARG1);
	expect(s, PLACE_INSIDE, 9, "jo");
	/* mimalloc free: mov %rdi,%rcx; test %rdi,%rdi; je */
	s = CHOOSE("\x48\x89\xf9\x48\x85\xff\x74\x60", ARG1);
	expect(s, PLACE_INSIDE, 6, "je");
	assert_int_equal(s.reg[0], CX);
}

static void arguments_that_move(void **state)
{
	struct site s;

	(void)state;
	/* mov %rdi,%rsi; mov %fs:(%rax),%rdi; cmp $0x400,%rsi; ja: the size has moved */
	s = CHOOSE("\x48\x89\xfe\x64\x48\x8b\x38\x48\x81\xfe\x00\x04\x00\x00\x77\x10", ARG1);
	expect(s, PLACE_INSIDE, 14, "ja");
	assert_int_equal(s.reg[0], SI);
	/* a copy of 32 bits is not the argument: mov %edi,%esi; xor %edi,%edi; push */
	s = CHOOSE("\x89\xfe\x31\xff\x55", ARG1);
	expect(s, PLACE_SLOW, 0, "single-stepped");
}

static void what_is_never_chosen(void **state)
{
	struct site s;

	(void)state;
	/* endbr64 is passed */
	s = CHOOSE("\xf3\x0f\x1e\xfa\x55", ARG1);
	expect(s, PLACE_INSIDE, 4, "push %rbp");
	s = CHOOSE("\xf3\x0f\x1e\xfa\xc3", ARG1);
	expect(s, PLACE_SLOW, 4, "single-stepped");
	/* nothing behind a change of the stack pointer: sub $8,%rsp; push */
	s = CHOOSE("\x48\x83\xec\x08\x55", ARG1);
	expect(s, PLACE_SLOW, 0, "single-stepped");
	/* nor behind one of the frame pointer, which the stack walk needs: mov %rsp,%rbp; push */
	s = CHOOSE("\x48\x89\xe5\x55", ARG1);
	expect(s, PLACE_SLOW, 0, "single-stepped");
	/* a nop of five bytes is passed, one of one byte taken */
	s = CHOOSE("\x0f\x1f\x44\x00\x00\x90", ARG1);
	expect(s, PLACE_INSIDE, 5, "nop");
	/* cut in the middle of an instruction, and nothing at all */
	s = CHOOSE("\x48\x8b", ARG1);
	expect(s, PLACE_SLOW, 0, "single-stepped");
	s = choose("", 0, ARG1);
	expect(s, PLACE_SLOW, 0, "single-stepped");
}

static void names(void **state)
{
	const char *name = "free=give_back";
	size_t prefix;

	(void)state;
	assert_int_equal(family__find("malloc", &prefix)->op, HEAP_MALLOC);
	assert_int_equal(family__find("_rjem_sdallocx", &prefix)->op, HEAP_SDALLOCX);
	assert_int_equal(prefix, strlen("_rjem_"));
	assert_int_equal(family__find("_Znam", &prefix)->op, HEAP_NEW_ARRAY);
	assert_null(family__find("je__Znam", &prefix));
	assert_null(family__find("xmalloc", &prefix));
	assert_int_equal(family__parse(&name)->op, HEAP_FREE);
	assert_string_equal(name, "give_back");
	name = "my_reallocarray";
	assert_int_equal(family__parse(&name)->op, HEAP_REALLOCARRAY);
	name = "grab";
	assert_null(family__parse(&name));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(real_beginnings),
		cmocka_unit_test(arguments_that_move),
		cmocka_unit_test(what_is_never_chosen),
		cmocka_unit_test(names),
	};

	return cmocka_run_group_tests_name("prologue", tests, NULL, NULL);
}
