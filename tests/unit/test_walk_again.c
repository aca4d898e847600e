/* SPDX-License-Identifier: MIT */
/*
 * What a walker knows of its last walk, on stacks that are made up: words in an array that look like frames of
 * the functions below. From one walk to the next a little of it changes, or nothing; what a walker finds
 * that remembers the last one is to be what one finds that knows nothing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "lib/trace/walk.h"
#include "tests/unit/dice.h"

#define NODES (1U << 21)
#define WORDS 96
#define OUTER 40 /* the frames from here on stay longer than those before */
#define ROUNDS 200000

/* Nothing calls them: their frames are what their unwind tables say. */
__asm__(".text\n"
	"as_sp:\n"
	".cfi_startproc\n"
	"nop; nop\n"
	".cfi_endproc\n"
	"as_saving:\n" /* has rbp on the stack */
	".cfi_startproc\n"
	".cfi_def_cfa_offset 16\n"
	".cfi_offset rbp, -16\n"
	"nop; nop\n"
	".cfi_endproc\n"
	"as_frame:\n" /* is found by rbp */
	".cfi_startproc\n"
	".cfi_def_cfa rbp, 16\n"
	".cfi_offset rbp, -16\n"
	"nop; nop\n"
	".cfi_endproc\n"
	"as_keeping:\n" /* likewise, and the caller's rbp is the same */
	".cfi_startproc\n"
	".cfi_def_cfa rbp, 16\n"
	"nop; nop\n"
	".cfi_endproc\n"
	"as_losing:\n" /* where the caller's rbp is is not known */
	".cfi_startproc\n"
	".cfi_undefined rbp\n"
	"nop; nop\n"
	".cfi_endproc\n"
	"as_end:\n"
	".cfi_startproc\n"
	".cfi_undefined rip\n"
	"nop; nop\n"
	".cfi_endproc\n");

extern const char as_sp[], as_saving[], as_frame[], as_keeping[], as_losing[], as_end[];

enum { SP, SAVING, FRAME, KEEPING, NO_TABLE, LOSING, END, KINDS };

static struct stack_table table;
static struct walker walker, fresh;

static uint64_t code_of(unsigned kind)
{
	static const char *const code[KINDS] = {as_sp, as_saving, as_frame, as_keeping,
						NULL,  as_losing, as_end};

	return kind == NO_TABLE ? 4097 : (uint64_t)code[kind] + 1;
}

static unsigned some_kind(void)
{
	static const unsigned mostly[] = {SP, SP, SAVING, SAVING, FRAME, FRAME};

	return dice(8) ? mostly[dice(6)] : dice(END);
}

struct made_up {
	uint64_t word[WORDS];
	struct walk_regs regs; /* of the innermost frame */
	uint64_t outer_ip, outer_bp; /* of the frame whose stack pointer is &word[OUTER] */
	uint64_t top, entry;
};

/* Frames from word[at] to word[end], whose caller is at `ip` and has rbp `bp`. What the first one is at and has. */
static void make_up(struct made_up *m, unsigned at, unsigned end, uint64_t *first_ip,
		    uint64_t *first_bp, uint64_t ip, uint64_t bp)
{
	uint64_t *is_at = first_ip, *has_bp = first_bp;

	while (at < end) {
		unsigned kind = some_kind(), skip = 0;

		if (end - at < 6)
			kind = SP;
		*is_at = code_of(kind);
		if (kind == SAVING) {
			*has_bp = (uint64_t)&m->word[dice(WORDS)];
			has_bp = &m->word[at++];
		} else if (kind == FRAME || kind == KEEPING || kind == NO_TABLE) {
			skip = dice(3);
			at += skip;
			*has_bp = (uint64_t)&m->word[at];
			if (kind != KEEPING)
				has_bp = &m->word[at];
			at++;
		}
		is_at = &m->word[at++];
	}
	*is_at = ip;
	*has_bp = bp;
}

static void make_outer(struct made_up *m)
{
	unsigned end = OUTER + 6 + dice(WORDS - OUTER - 8);

	make_up(m, OUTER, end, &m->outer_ip, &m->outer_bp, code_of(END), 0);
}

static void make_inner(struct made_up *m)
{
	unsigned at = OUTER - 1 - dice(OUTER - 1);

	m->regs.sp = (uint64_t)&m->word[at];
	make_up(m, at, OUTER, &m->regs.ip, &m->regs.bp, m->outer_ip, m->outer_bp);
}

static void change(struct made_up *m)
{
	uint64_t *word = &m->word[dice(WORDS)];

	switch (dice(12)) {
	case 0:
		*word = (uint64_t)&m->word[dice(WORDS)];
		break;
	case 1:
		*word = code_of(dice(KINDS));
		break;
	case 2:
		m->regs.bp = (uint64_t)&m->word[dice(WORDS)];
		break;
	case 3:
		m->regs.ip = code_of(some_kind());
		break;
	case 4:
		m->entry ^= 1;
		break;
	case 5:
		m->top = (uint64_t)&m->word[dice(OUTER)];
		break;
	case 6:
	case 7:
		make_inner(m);
		break;
	case 8:
		make_outer(m);
		make_inner(m);
		break;
	default: /* the same once more */
		break;
	}
}

static unsigned frames_of(uint32_t id)
{
	uint64_t ip[WORDS];
	uint32_t flags;

	return stack_table__read(&table, id, ip, WORDS, &flags);
}

static void stacks_that_change_a_little(void **state)
{
	struct made_up m = {.entry = 4711};
	unsigned deep = 0, same = 0;
	uint32_t id, before = 0;

	(void)state;
	seed = 1;
	make_outer(&m);
	make_inner(&m);
	m.top = (uint64_t)&m.word[OUTER];
	for (unsigned i = 0; i < ROUNDS; i++) {
		change(&m);
		id = walker__take(&walker, &table, &m.regs, m.top, m.entry);
		memset(&fresh, 0, sizeof(fresh));
		walker__begin(&fresh);
		assert_int_equal(id, walker__take(&fresh, &table, &m.regs, m.top, m.entry));
		deep += frames_of(id) > 10;
		same += id == before;
		before = id;
	}
	/* That there was anything to be compared. */
	assert_true(deep > ROUNDS / 20);
	assert_true(same > ROUNDS / 5);
}

/* A frame and its caller's. */
static void make_plain(struct made_up *m)
{
	m->word[OUTER] = code_of(END);
	m->regs = (struct walk_regs){.ip = code_of(SP), .sp = (uint64_t)&m->word[OUTER]};
	m->top = (uint64_t)&m->word[OUTER + 1];
}

/* What is known of code may not hold any more. */
static void rules_are_looked_up_again(void **state)
{
	struct made_up m = {.entry = 4711};
	uint32_t stamp;

	(void)state;
	make_plain(&m);
	walker__take(&walker, &table, &m.regs, m.top, m.entry);
	stamp = walker.stamp;
	walk__forget();
	walker__take(&walker, &table, &m.regs, m.top, m.entry);
	assert_int_not_equal(walker.stamp, stamp);
}

/* Each stack that finds no room is counted, also the same one. */
static void each_cut_is_counted(void **state)
{
	struct stack_table small = table;
	struct made_up m = {.entry = 4711};

	(void)state;
	small.nodes = 64;
	small.node = mmap(NULL, stack_table__bytes(64), PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(small.node != MAP_FAILED);
	memset(&walker, 0, sizeof(walker));
	walker__begin(&walker);
	for (unsigned i = 0; i < 31; i++)
		stack_table__child(&small, 0, i + 1);
	make_plain(&m);
	for (unsigned i = 1; i < 4; i++) {
		walker__take(&walker, &small, &m.regs, m.top, m.entry);
		assert_int_equal(stack_table__dropped(&small), i);
	}
}

static int setup(void **state)
{
	(void)state;
	table.nodes = NODES;
	table.node = mmap(NULL, stack_table__bytes(NODES), PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(table.node != MAP_FAILED);
	walk__init(mmap(NULL, WALK_SHARED_BYTES, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
		   WALK_SHARED_BYTES);
	walker__begin(&walker);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(stacks_that_change_a_little),
		cmocka_unit_test(rules_are_looked_up_again),
		cmocka_unit_test(each_cut_is_counted),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
