// SPDX-License-Identifier: MIT
/*
 * Where instructions end and where functions return: all of this program's own code beside objdump,
 * and functions written for it, shaped as allocators' are.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "user/source/uprobe/exits.h"
#include "user/source/uprobe/insn.h"

/* Never run. */
__asm__(".text\n"
	/* The fast path: the branch that says that the free list is not empty. */
	"fast: push %rbx\n"
	"  mov %rdi, %rbx\n"
	"  mov (%rdx), %rax\n"
	"  test %rax, %rax\n"
	"fast_branch: je 1f\n"
	"  mov (%rax), %rcx\n"
	"  mov %rcx, (%rdx)\n"
	"  pop %rbx\n"
	"  ret\n"
	"1: call stranger\n"
	"  pop %rbx\n"
	"fast_ret: ret\n"
	/* The result is in another register until the end; both ways lead out. */
	"both: mov (%rdx), %r9\n"
	"  sub $24, %rsp\n"
	"  cmp %rdi, %rsi\n"
	"both_branch: jb 1f\n"
	"1: mov %r9, %rax\n"
	"  add $24, %rsp\n"
	"  ret\n"
	/* It jumps to another function in place of returning, straight and through a pointer. */
	"tail: test %rdi, %rdi\n"
	"  je 1f\n"
	"  jmp both\n"
	"1: jmp *exits_pointer(%rip)\n"
	/* A call that does not return is the last instruction. */
	"dies: test %rdi, %rdi\n"
	"dies_branch: je 1f\n"
	"  mov %rdi, %rax\n"
	"  ret\n"
	"1: call stranger\n"
	"after_dies: ret\n"
	/* No branch before the ret. */
	"bare: mov %rdi, %rax\n"
	"bare_ret: ret\n"
	/* What is returned is not in a register yet at the branch. */
	"late: test %rdi, %rdi\n"
	"  je 1f\n"
	"  nop\n"
	"1: mov 8(%rdi), %rax\n"
	"late_ret: ret\n"
	"wild: test %rdi, %rdi\n"
	"  je 1f\n"
	"  ret\n"
	"1: jmp *%rax\n"
	"stranger: ret\n"
	".data\n"
	"exits_pointer: .quad 0\n"
	".text\n");

#define LABEL(name) extern const char name[] __asm__(#name)
LABEL(fast);
LABEL(fast_branch);
LABEL(fast_ret);
LABEL(both);
LABEL(both_branch);
LABEL(tail);
LABEL(dies);
LABEL(dies_branch);
LABEL(after_dies);
LABEL(bare);
LABEL(bare_ret);
LABEL(late);
LABEL(late_ret);
LABEL(wild);

enum { AX = 0, DI = 7, R9 = 9, EQUAL = 4 };

static size_t read_self(void *ctx, uint64_t addr, uint8_t *to, size_t n)
{
	(void)ctx;
	memcpy(to, (const void *)(uintptr_t)addr, n);
	return n;
}

static bool begins(void *ctx, uint64_t addr)
{
	(void)ctx;
	return addr == (uintptr_t)after_dies;
}

/* Every pointer leads to the context. */
static uint64_t pointer(void *ctx, uint64_t addr)
{
	(void)addr;
	return (uintptr_t)ctx;
}

static struct exit_site sites[EXITS_MAX];

static size_t find(const char *function, const char *behind_pointer)
{
	struct code code = {(void *)(uintptr_t)behind_pointer, read_self, begins, pointer};

	return exits__find(&code, (uintptr_t)function, sites);
}

static const struct exit_site *site_at(size_t n, const char *where)
{
	for (size_t i = 0; i < n; i++)
		if (sites[i].at == (uintptr_t)where)
			return &sites[i];
	fail_msg("no site there");
	return NULL;
}

static void a_branch_before_the_ret(void **state)
{
	const struct exit_site *s;
	size_t n = find(fast, NULL);

	(void)state;
	assert_int_equal(n, 2);
	s = site_at(n, fast_branch);
	assert_int_equal(s->reg, AX);
	assert_int_equal(s->words, 1);
	assert_int_equal(s->edges, EXIT_NOT_TAKEN);
	assert_int_equal(s->condition, EQUAL);
	assert_false(s->slow);
	s = site_at(n, fast_ret);
	assert_true(s->slow);
	assert_int_equal(s->words, 0);
	assert_int_equal(s->edges, EXIT_TAKEN | EXIT_NOT_TAKEN);
}

static void both_ways_are_one_site(void **state)
{
	const struct exit_site *s;
	size_t n = find(both, NULL);

	(void)state;
	assert_int_equal(n, 1);
	s = site_at(n, both_branch);
	assert_int_equal(s->reg, R9);
	assert_int_equal(s->words, 3);
	assert_int_equal(s->edges, EXIT_TAKEN | EXIT_NOT_TAKEN);
}

static void functions_that_are_jumped_to(void **state)
{
	size_t n = find(tail, bare);

	(void)state;
	assert_int_equal(n, 2);
	site_at(n, both_branch);
	assert_true(site_at(n, bare_ret)->slow);
	/* Where the pointer leads is not known. */
	assert_int_equal(find(tail, NULL), 0);
}

static void code_behind_a_call_that_does_not_return(void **state)
{
	size_t n = find(dies, NULL);

	(void)state;
	assert_int_equal(n, 1);
	assert_int_equal(site_at(n, dies_branch)->reg, DI);
}

static void a_ret_without_a_branch(void **state)
{
	size_t n = find(bare, NULL);

	(void)state;
	assert_int_equal(n, 1);
	assert_true(site_at(n, bare_ret)->slow);
	n = find(late, NULL);
	assert_int_equal(n, 1);
	assert_true(site_at(n, late_ret)->slow);
}

static void code_that_a_function_runs_in(void **state)
{
	struct code code = {(void *)(uintptr_t)bare, read_self, begins, pointer};
	struct code_range ranges[3];

	(void)state;
	assert_int_equal(exits__ranges(&code, (uintptr_t)dies, ranges, 2), 1);
	assert_int_equal(ranges[0].from, (uintptr_t)dies);
	assert_int_equal(ranges[0].to, (uintptr_t)after_dies);
	/* `tail`, and what it jumps to: next to it, where it is still another piece; not `dies` in between. */
	assert_int_equal(exits__ranges(&code, (uintptr_t)tail, ranges, 3), 3);
	assert_int_equal(ranges[0].from, (uintptr_t)both);
	assert_int_equal(ranges[0].to, (uintptr_t)tail);
	assert_int_equal(ranges[1].from, (uintptr_t)tail);
	assert_int_equal(ranges[1].to, (uintptr_t)dies);
	assert_int_equal(ranges[2].from, (uintptr_t)bare);
	assert_int_equal(exits__ranges(&code, (uintptr_t)tail, ranges, 2), 0);
	assert_int_equal(exits__ranges(&code, (uintptr_t)wild, ranges, 2), 0);
}

static void what_cannot_be_followed(void **state)
{
	(void)state;
	assert_int_equal(find(wild, NULL), 0);
}

/* One line of objdump: its bytes. How many, 0: no instruction. */
static size_t parse(char *line, uint8_t bytes[32])
{
	char *at = strchr(line, ':'), *text;
	size_t n = 0;

	if (!at || at[1] != '\t')
		return 0;
	at += 2;
	text = strchr(at, '\t');
	/* fwait is an instruction of its own, which objdump takes for a prefix. */
	if (!text || strstr(text, "(bad)") || !strncmp(at, "9b ", 3))
		return 0;
	*text = '\0';
	while (n < 32) {
		char *end;

		bytes[n] = strtoul(at, &end, 16);
		if (end == at)
			break;
		n++;
		at = end;
	}
	return n;
}

static void lengths_are_objdumps(void **state)
{
	FILE *p = popen("objdump -d -w --insn-width=16 /proc/$PPID/exe /lib64/ld-linux-x86-64.so.2",
			"r");
	unsigned long known = 0, unknown = 0;
	size_t room = 0;
	char *line = NULL;

	(void)state;
	assert_non_null(p);
	while (getline(&line, &room, p) > 0) {
		uint8_t bytes[32];
		size_t n = parse(line, bytes);
		struct insn_step s;

		if (!n)
			continue;
		s = insn__step(bytes, n);
		if (s.length) {
			if (s.length != n)
				fail_msg("%u bytes: %s", s.length, line);
			known++;
			/* No shorter piece of it passes for an instruction. */
			assert_int_equal(insn__step(bytes, n - 1).length, 0);
		} else {
			unknown++;
		}
	}
	free(line);
	assert_int_equal(pclose(p), 0);
	assert_true(known > 20000);
	/* Jumps by register. */
	assert_true(unknown < known / 200);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_branch_before_the_ret),
		cmocka_unit_test(both_ways_are_one_site),
		cmocka_unit_test(functions_that_are_jumped_to),
		cmocka_unit_test(code_behind_a_call_that_does_not_return),
		cmocka_unit_test(a_ret_without_a_branch),
		cmocka_unit_test(code_that_a_function_runs_in),
		cmocka_unit_test(what_cannot_be_followed),
		cmocka_unit_test(lengths_are_objdumps),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
