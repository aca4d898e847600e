/* SPDX-License-Identifier: MIT */
/*
 * Unwind tables: every row of real programs and of assembled oddities against what libdw
 * makes of the same .eh_frame, and damaged input.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <dwarf.h>
#include <elfutils/libdw.h>
#include <gelf.h>

#include "user/source/unwind_file.h"

#define RBX 3
#define RBP 6
#define RSP 7
#define RIP 16

static char dir[] = "/tmp/test-unwind-XXXXXX";

/* ---- what libdw says, as a rule ---- */

static bool op_is(const Dwarf_Op *op, unsigned atom, Dwarf_Word number)
{
	return op->atom == atom && op->number == number;
}

/* Saved below the CFA, in words; KEPT, LOST. */
static unsigned oracle__saved(Dwarf_Frame *frame, int reg)
{
	Dwarf_Op mem[3], *ops;
	size_t n;
	int64_t offset;

	assert_int_equal(dwarf_frame_register(frame, reg, mem, &ops, &n), 0);
	/* Of a register that is not mentioned libdw says "the same", but for rbx "undefined". */
	if (!n && (!ops || reg == RBX))
		return UNWIND_KEPT;
	if (n != 2 || ops[0].atom != DW_OP_call_frame_cfa || ops[1].atom != DW_OP_plus_uconst)
		return UNWIND_LOST;
	offset = (int64_t)ops[1].number;
	if (offset % 8 || offset > -16 || offset < -8 * UNWIND_LOST)
		return UNWIND_LOST;
	return (unsigned)(-offset / 8 - 1);
}

static bool oracle__at_register(Dwarf_Frame *frame, int reg, unsigned base, int64_t *offset)
{
	Dwarf_Op mem[3], *ops;
	size_t n;

	assert_int_equal(dwarf_frame_register(frame, reg, mem, &ops, &n), 0);
	/* The CFA is on the expression's stack before it begins. */
	if (n != 2 || ops[0].atom != DW_OP_call_frame_cfa || ops[1].atom != DW_OP_breg0 + base)
		return false;
	*offset = (int64_t)ops[1].number;
	return true;
}

static bool oracle__no_return(Dwarf_Frame *frame, bool *usual)
{
	Dwarf_Op mem[3], *ops;
	size_t n;

	assert_int_equal(dwarf_frame_register(frame, RIP, mem, &ops, &n), 0);
	*usual = n == 2 && ops[0].atom == DW_OP_call_frame_cfa &&
		 ops[1].atom == DW_OP_plus_uconst && (int64_t)ops[1].number == -8;
	return n == 0 && ops == mem;
}

static uint32_t oracle__expression(Dwarf_Frame *frame, const Dwarf_Op *ops, size_t n, bool usual)
{
	unsigned bp = oracle__saved(frame, RBP), bx = oracle__saved(frame, RBX);
	int64_t at;

	if (n == 9 && op_is(&ops[0], DW_OP_breg7, 8) && op_is(&ops[1], DW_OP_breg16, 0) &&
	    ops[2].atom == DW_OP_lit15 && ops[3].atom == DW_OP_and && ops[4].atom >= DW_OP_lit0 &&
	    ops[4].atom <= DW_OP_lit15 && ops[5].atom == DW_OP_ge && ops[6].atom == DW_OP_lit3 &&
	    ops[7].atom == DW_OP_shl && ops[8].atom == DW_OP_plus && usual)
		return UNWIND_RULE_OF(UNWIND_PLT, ops[4].atom - DW_OP_lit0, bp, bx);
	if (n == 2 && ops[0].atom == DW_OP_breg6 && ops[1].atom == DW_OP_deref && usual &&
	    oracle__at_register(frame, RBP, RBP, &at) && at == 0) {
		if (bx == UNWIND_LOST && oracle__at_register(frame, RBX, RBP, &at))
			bx = (unsigned)(-at / 8);
		return UNWIND_RULE_OF(UNWIND_AT_BP, -(int64_t)ops[0].number / 8, 0, bx);
	}
	if (n == 2 && op_is(&ops[0], DW_OP_breg7, 160) && ops[1].atom == DW_OP_deref &&
	    oracle__at_register(frame, RIP, RSP, &at) && at == 168 &&
	    oracle__at_register(frame, RBP, RSP, &at) && at == 120 &&
	    oracle__at_register(frame, RBX, RSP, &at) && at == 128)
		return UNWIND_RULE_OF(UNWIND_SIGNAL, 0, 0, 0);
	if (n == 3 && ops[0].atom == DW_OP_breg7 && ops[1].atom == DW_OP_deref &&
	    op_is(&ops[2], DW_OP_plus_uconst, 8) && usual)
		return UNWIND_RULE_OF(UNWIND_AT_SP, ops[0].number / 8, bp, bx);
	return UNWIND_NOTHING;
}

static uint32_t oracle__rule(Dwarf_Frame *frame)
{
	unsigned reg, base;
	Dwarf_Op *ops;
	int64_t words;
	bool usual;
	size_t n;

	if (oracle__no_return(frame, &usual))
		return UNWIND_RULE_OF(UNWIND_END, 0, 0, 0);
	assert_int_equal(dwarf_frame_cfa(frame, &ops, &n), 0);
	if (n != 1 || ops[0].atom != DW_OP_bregx)
		return oracle__expression(frame, ops, n, usual);
	reg = (unsigned)ops[0].number;
	words = (int64_t)ops[0].number2 / 8;
	if (!usual || (int64_t)ops[0].number2 % 8 || words < 1 || words > UNWIND_WORDS_MAX)
		return UNWIND_NOTHING;
	if (reg != RSP && reg != RBP && reg != RBX)
		return UNWIND_NOTHING;
	base = reg == RSP ? UNWIND_SP : reg == RBP ? UNWIND_BP : UNWIND_BX;
	return UNWIND_RULE(base, (uint32_t)words, oracle__saved(frame, RBP),
			   oracle__saved(frame, RBX));
}

/* ---- comparing ---- */

struct compared {
	size_t frames, special, rows;
	struct unwind_table table;
};

/* The address that file offset `at` is loaded to. */
static uint64_t address_of(Elf *elf, uint64_t at)
{
	GElf_Phdr p;
	size_t n, i;

	assert_int_equal(elf_getphdrnum(elf, &n), 0);
	for (i = 0; i < n; i++) {
		assert_non_null(gelf_getphdr(elf, (int)i, &p));
		if (p.p_type == PT_LOAD && p.p_flags & PF_X && at - p.p_offset < p.p_filesz)
			return p.p_vaddr + (at - p.p_offset);
	}
	fail_msg("offset %#lx is not loaded", at);
	return 0;
}

static void expect_rule(const char *path, const struct compared *c, uint64_t at, uint32_t want)
{
	uint32_t got = unwind__find(c->table.rows, c->table.n, (uint32_t)at);

	if (got != want)
		fail_msg("%s: offset %#lx: %#x, libdw has %#x", path, at, got, want);
}

/* Every stretch of code for which libdw has one answer has that answer at both of its ends. */
static struct compared compare(const char *path)
{
	int fd = open(path, O_RDONLY);
	Elf *elf = elf_begin(fd, ELF_C_READ, NULL);
	Dwarf_CFI *cfi = elf ? dwarf_getcfi_elf(elf) : NULL;
	struct compared c = {0};
	size_t i;

	assert_non_null(cfi);
	assert_int_equal(unwind_file__read(fd, &c.table), 0);
	c.rows = c.table.n;
	/* The last row is the end of all code. */
	assert_int_equal(c.table.rows[c.table.n - 1].rule, UNWIND_NOTHING);
	for (i = 0; i + 1 < c.table.n; i++) {
		uint64_t at = c.table.rows[i].at, end = c.table.rows[i + 1].at;
		Dwarf_Addr from, to;
		Dwarf_Frame *frame;
		bool is_signal;

		if (i)
			assert_true(at > c.table.rows[i - 1].at);
		while (at < end) {
			uint64_t addr = address_of(elf, at);

			/* Between functions there is nothing to compare. */
			if (dwarf_cfi_addrframe(cfi, addr, &frame)) {
				at++;
				continue;
			}
			assert_int_equal(dwarf_frame_info(frame, &from, &to, &is_signal), RIP);
			expect_rule(path, &c, at, oracle__rule(frame));
			assert_true(to > addr);
			expect_rule(path, &c, at + (to - addr) - 1, oracle__rule(frame));
			c.frames++;
			c.special += UNWIND_BASE(oracle__rule(frame)) == UNWIND_SPECIAL;
			free(frame);
			at += to - addr;
		}
	}
	dwarf_cfi_end(cfi);
	elf_end(elf);
	close(fd);
	return c;
}

static void compare_program(const char *path, size_t least)
{
	struct compared c;

	if (access(path, R_OK))
		skip();
	c = compare(path);
	print_message("%s: %zu rows, %zu of libdw's, %zu of them special\n", path, c.rows, c.frames,
		      c.special);
	assert_true(c.frames >= least && c.rows >= least);
	unwind_table__clear(&c.table);
}

#if defined(__x86_64__)
#define NATIVE true
#else
#define NATIVE false
#endif

#define PROGRAM(name, path, least)            \
	static void test_##name(void **state) \
	{                                     \
		(void)state;                  \
		if (!NATIVE)                  \
			skip();               \
		compare_program(path, least); \
	}

PROGRAM(libc, "/lib/x86_64-linux-gnu/libc.so.6", 10000)
PROGRAM(loader, "/lib64/ld-linux-x86-64.so.2", 1000)
PROGRAM(python, "/usr/bin/python3", 10000)
PROGRAM(sqlite, "/usr/lib/x86_64-linux-gnu/libsqlite3.so.0", 10000)
PROGRAM(redis, "/usr/bin/redis-check-rdb", 10000)
PROGRAM(itself, "/proc/self/exe", 100)

/* ---- without .eh_frame ---- */

extern void (*__fini_array_start[])(void) __attribute__((visibility("hidden")));
extern const char __ehdr_start[] __attribute__((visibility("hidden")));

/* What gcc puts in front of the functions that run at the end has pushed rbp where it calls others. */
static void test_start_files(void **state)
{
	const unsigned char *code = (const unsigned char *)(uintptr_t)__fini_array_start[0];
	uint64_t at = (uint64_t)(code - (const unsigned char *)__ehdr_start);
	int fd = open("/proc/self/exe", O_RDONLY);
	struct unwind_table t;
	size_t i = 0, calls = 0;

	(void)state;
#ifdef __SANITIZE_ADDRESS__
	skip(); /* a function of the sanitizer's comes first */
#endif
	if (!NATIVE)
		skip();
	assert_int_equal(unwind_file__read(fd, &t), 0);
	assert_int_equal(unwind__find(t.rows, t.n, at), UNWIND_RULE(UNWIND_SP, 1, 0, 0));
	/* From its push %rbp to its pop %rbp. */
	while (code[i] != 0x55)
		i++;
	for (i++; code[i] != 0x5d || code[i + 1] != 0xc3; i++) {
		assert_int_equal(unwind__find(t.rows, t.n, at + i), UNWIND_RULE(UNWIND_SP, 2, 1, 0));
		calls += code[i] == 0xe8;
	}
	assert_true(calls > 0);
	assert_int_equal(unwind__find(t.rows, t.n, at + i + 1), UNWIND_RULE(UNWIND_SP, 1, 0, 0));
	unwind_table__clear(&t);
	close(fd);
}

/* ---- assembled ---- */

static const char oddities[] =
	".text\n"
	".macro function name\n.globl \\name\n.type \\name,@function\n\\name: .cfi_startproc\n.endm\n"
	".macro finish name\n.cfi_endproc\n.size \\name, .-\\name\n.fill 20, 1, 0xcc\n.endm\n"
	"function plain\n push %rbx\n .cfi_adjust_cfa_offset 8\n .cfi_rel_offset rbx, 0\n"
	" sub $0x100008, %rsp\n .cfi_adjust_cfa_offset 0x100008\n nop\n .cfi_remember_state\n"
	" .cfi_remember_state\n add $0x100008, %rsp\n .cfi_adjust_cfa_offset -0x100008\n nop\n"
	" .cfi_restore_state\n nop\n .cfi_def_cfa_offset 0x1fff8\n nop\n .cfi_restore_state\n nop\n"
	" .cfi_restore rbx\n ret\nfinish plain\n"
	"function far_saved\n nop\n .cfi_offset rbp, -2040\n nop\n .cfi_offset rbp, -2048\n nop\n"
	" .cfi_offset rbp, -8\n nop\n .cfi_offset rbp, 16\n nop\n"
	" .cfi_same_value rbp\n nop\n .cfi_undefined rbp\n nop\n .cfi_register rbp, rax\n nop\n"
	" .cfi_val_offset rbp, -16\n ret\nfinish far_saved\n"
	"function returns\n nop\n .cfi_offset rip, -16\n nop\n .cfi_undefined rip\n nop\n"
	" .cfi_restore rip\n nop\n .cfi_register rip, rcx\n ret\nfinish returns\n"
	"function bases\n nop\n .cfi_def_cfa rbp, 16\n nop\n .cfi_def_cfa rbx, 24\n nop\n"
	" .cfi_def_cfa r10, 0\n nop\n .cfi_def_cfa rbp, -16\n nop\n .cfi_def_cfa rsp, 4\n nop\n"
	" .cfi_def_cfa rsp, 0\n nop\n .cfi_def_cfa rsp, 131064\n nop\n .cfi_def_cfa rsp, 131072\n ret\n"
	"finish bases\n"
	/* def_cfa_expression: breg6 -8; deref, with rbp at breg6 0 and rbx at breg6 -40 */
	"function aligned\n nop\n .cfi_escape 0x0f,3,0x76,0x78,0x06\n nop\n"
	" .cfi_escape 0x10,6,2,0x76,0\n nop\n .cfi_escape 0x10,3,2,0x76,0x58\n nop\n"
	" .cfi_escape 0x10,3,2,0x77,0x58\n ret\nfinish aligned\n"
	/* breg7 64; deref; plus_uconst 8 or 16 */
	"function at_sp\n nop\n .cfi_escape 0x0f,6,0x77,0xc0,0x00,0x06,0x23,8\n nop\n"
	" .cfi_escape 0x0f,6,0x77,0xc0,0x00,0x06,0x23,16\n ret\nfinish at_sp\n"
	/* GNU_args_size, def_cfa_sf, offset_extended_sf, negative_offset_extended, wide advances */
	"function rare\n nop\n .cfi_escape 0x2e,16\n .cfi_escape 0x12,7,0x7c\n nop\n"
	" .cfi_escape 0x11,6,3\n nop\n .cfi_escape 0x13,0x7a\n nop\n .fill 300, 1, 0x90\n"
	" .cfi_def_cfa_offset 48\n .fill 70000, 1, 0x90\n .cfi_def_cfa_offset 64\n ret\nfinish rare\n";

static void assemble(const char *path)
{
	char source[64], command[256];
	FILE *f;

	snprintf(source, sizeof(source), "%s/odd.s", dir);
	f = fopen(source, "w");
	assert_non_null(f);
	fputs(oddities, f);
	assert_int_equal(fclose(f), 0);
	/* Whatever compiles the rest: clang 14's assembler does not know .cfi_val_offset. */
	snprintf(command, sizeof(command), "gcc -shared -nostdlib -o %s %s", path, source);
	assert_int_equal(system(command), 0);
}

static void test_oddities(void **state)
{
	char path[64];
	struct compared c;
	size_t i, lost = 0, nothing = 0, kinds[16] = {0};

	(void)state;
	if (!NATIVE || system("command -v ${CC:-gcc} >/dev/null"))
		skip();
	snprintf(path, sizeof(path), "%s/odd.so", dir);
	assemble(path);
	c = compare(path);
	for (i = 0; i < c.table.n; i++) {
		uint32_t rule = c.table.rows[i].rule;

		nothing += rule == UNWIND_NOTHING;
		if (UNWIND_BASE(rule) == UNWIND_SPECIAL)
			kinds[UNWIND_KIND(rule)]++;
		else
			lost += UNWIND_SAVED_BP(rule) == UNWIND_LOST;
	}
	/* Not by chance the same because nothing was understood. */
	assert_true(kinds[UNWIND_END] >= 1 && kinds[UNWIND_AT_BP] >= 2 && kinds[UNWIND_AT_SP] >= 1);
	assert_true(lost >= 2);
	assert_true(nothing >= 8);
	unwind_table__clear(&c.table);
}

/* ---- damaged ---- */

static unsigned char *frame_of(const char *path, size_t *bytes, uint64_t *addr)
{
	int fd = open(path, O_RDONLY);
	Elf *elf = elf_begin(fd, ELF_C_READ, NULL);
	Elf_Scn *section = NULL;
	unsigned char *copy = NULL;
	GElf_Shdr h;
	size_t names;

	assert_non_null(elf);
	assert_int_equal(elf_getshdrstrndx(elf, &names), 0);
	while (!copy && (section = elf_nextscn(elf, section))) {
		Elf_Data *data;

		assert_non_null(gelf_getshdr(section, &h));
		if (strcmp(elf_strptr(elf, names, h.sh_name), ".eh_frame") != 0)
			continue;
		data = elf_rawdata(section, NULL);
		copy = malloc(data->d_size);
		memcpy(copy, data->d_buf, data->d_size);
		*bytes = data->d_size;
		*addr = h.sh_addr;
	}
	assert_non_null(copy);
	elf_end(elf);
	close(fd);
	return copy;
}

static uint64_t random_state = 88172645463325252ULL;

static uint64_t random_number(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

/* Whatever the input: the counts agree, rows are sorted, and nothing is written beyond the room. */
static long build(const unsigned char *frame, size_t bytes, uint64_t addr)
{
	const struct unwind_segment code = {0, 0, 1UL << 32};
	const struct unwind_source s = {frame, bytes, addr, &code, 1};
	long n = unwind__functions(&s, NULL, 0), rows, i;
	struct unwind_function *functions;
	struct unwind_row *out;

	if (n < 0)
		return n;
	functions = calloc(n + 1, sizeof(*functions));
	functions[n].entry = 0xa5a5;
	assert_int_equal(unwind__functions(&s, functions, n), n);
	assert_int_equal(functions[n].entry, 0xa5a5);
	for (i = 1; i < n; i++)
		assert_true(functions[i].begin >= functions[i - 1].begin);
	rows = unwind__rows(&s, functions, n, NULL, 0);
	if (rows >= 0) {
		out = calloc(rows + 1, sizeof(*out));
		out[rows].at = 0xa5a5;
		assert_int_equal(unwind__rows(&s, functions, n, out, rows), rows);
		assert_int_equal(out[rows].at, 0xa5a5);
		for (i = 1; i < rows; i++)
			assert_true(out[i].at > out[i - 1].at);
		free(out);
	}
	free(functions);
	return rows;
}

static void test_damaged(void **state)
{
	size_t whole = 0, bytes, cut, i, refused = 0, good = 0;
	unsigned char *original, *damaged;
	uint64_t addr = 0;
	unsigned round, changes;

	(void)state;
	if (!NATIVE || access("/lib64/ld-linux-x86-64.so.2", R_OK))
		skip();
	original = frame_of("/lib64/ld-linux-x86-64.so.2", &whole, &addr);
	assert_true(build(original, whole, addr) > 1000);
	for (round = 0; round < 1500; round++) {
		bytes = round % 3 ? whole : random_number() % whole;
		/* Of its own size, so that a sanitizer sees a read beyond it. */
		damaged = malloc(bytes + 1);
		cut = 0;
		memcpy(damaged, original, bytes);
		changes = round % 3 ? 1 + random_number() % 64 : 0;
		for (i = 0; i < changes && bytes; i++) {
			cut = random_number() % bytes;
			damaged[cut] = (unsigned char)random_number();
		}
		damaged = realloc(damaged, bytes ? bytes : 1);
		if (build(damaged, bytes, addr) < 0)
			refused++;
		else
			good++;
		free(damaged);
	}
	free(original);
	assert_true(refused > 100 && good > 100);
}

static size_t put(unsigned char *at, uint64_t value, size_t bytes)
{
	memcpy(at, &value, bytes);
	return bytes;
}

/* Each function with another common entry than the one before, of a program without an end. */
static void test_work_is_bounded(void **state)
{
	const size_t program = 200000, functions = 20000;
	size_t bytes = 2 * (program + 32) + functions * 32, at = 0, common[2], i;
	unsigned char *frame = calloc(bytes, 1);

	(void)state;
	for (i = 0; i < 2; i++) {
		common[i] = at;
		at += put(frame + at, program + 4 + 9, 4);
		at += put(frame + at, 0, 4);
		/* version, "zR", alignments 1 and -8, rip, one byte: absolute */
		memcpy(frame + at, "\1zR\0\1\x78\x10\1\0", 9);
		at += 9 + program;
	}
	for (i = 0; i < functions; i++) {
		at += put(frame + at, 4 + 8 + 8 + 1 + 3, 4);
		at += put(frame + at, at - common[i % 2], 4);
		at += put(frame + at, 0x1000 + i * 64, 8);
		at += put(frame + at, 64, 8) + 4;
	}
	assert_int_equal(build(frame, at, 0), -EFBIG);
	free(frame);
}

static void test_other_files(void **state)
{
	char path[64];
	struct unwind_table t;
	int fd;

	(void)state;
	snprintf(path, sizeof(path), "%s/text", dir);
	fd = open(path, O_RDWR | O_CREAT, 0600);
	assert_int_equal(unwind_file__read(fd, &t), -ENOEXEC);
	assert_int_equal(write(fd, "#!/bin/sh\nexit 0\n", 17), 17);
	assert_int_equal(unwind_file__read(fd, &t), -ENOEXEC);
	/* A header whose program headers lie beyond the end. */
	assert_int_equal(pwrite(fd, "\177ELF\2\1\1", 7, 0), 7);
	assert_int_equal(pwrite(fd, "\3\0\x3e\0", 4, 16), 4);
	assert_int_equal(pwrite(fd, "\0\x10\0\0\0\0\0\0", 8, 32), 8);
	assert_int_equal(pwrite(fd, "\x38\0\x05\0", 4, 54), 4);
	assert_int_equal(ftruncate(fd, 64), 0);
	assert_int_equal(unwind_file__read(fd, &t), -EBADMSG);
	/* None at all. */
	assert_int_equal(pwrite(fd, "\0\0", 2, 56), 2);
	assert_int_equal(unwind_file__read(fd, &t), -ENODATA);
	assert_null(t.rows);
	close(fd);
}

static void test_find(void **state)
{
	const struct unwind_row rows[] = {{16, 1}, {32, 2}, {33, 3}};

	(void)state;
	assert_int_equal(unwind__find(rows, 3, 0), UNWIND_NOTHING);
	assert_int_equal(unwind__find(rows, 3, 15), UNWIND_NOTHING);
	assert_int_equal(unwind__find(rows, 3, 16), 1);
	assert_int_equal(unwind__find(rows, 3, 31), 1);
	assert_int_equal(unwind__find(rows, 3, 32), 2);
	assert_int_equal(unwind__find(rows, 3, 33), 3);
	assert_int_equal(unwind__find(rows, 3, UINT32_MAX), 3);
	assert_int_equal(unwind__find(rows, 0, 5), UNWIND_NOTHING);
}

static int set_up(void **state)
{
	(void)state;
	elf_version(EV_CURRENT);
	return mkdtemp(dir) ? 0 : -1;
}

static int tear_down(void **state)
{
	char command[64];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	return system(command);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_libc),	    cmocka_unit_test(test_loader),
		cmocka_unit_test(test_python),	    cmocka_unit_test(test_sqlite),
		cmocka_unit_test(test_redis),	    cmocka_unit_test(test_itself),
		cmocka_unit_test(test_start_files), cmocka_unit_test(test_oddities),
		cmocka_unit_test(test_damaged),	    cmocka_unit_test(test_find),
		cmocka_unit_test(test_other_files), cmocka_unit_test(test_work_is_bounded),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
