/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/*
 * The format of an unwind table: what one needs to know of a place in x86-64 code to get
 * from a function to its caller. Made by unwind.h from a file's .eh_frame, walked by
 * bpf/unwind.bpf.h and by whoever walks its own stack: plain integers, no pointers.
 *
 * A table is an array of rows sorted by `at`, an offset in the file; a row holds from there
 * to the next. It tells the canonical frame address (CFA: the stack pointer before the call;
 * the return address lies at CFA - 8), and where the caller's rbp and rbx have been saved.
 * rbx, since ld.so's resolver finds its frame by it; the other registers take no part.
 *
 *   bits  0..1   base   what the CFA is reckoned from: rsp, rbp, rbx; or UNWIND_SPECIAL
 *         2..15  words  CFA = base + 8 * words
 *        16..23  rbp    0: still in the register; 255: lost; n: saved at CFA - 8 * (n + 1)
 *        24..31  rbx    likewise
 *
 * UNWIND_SPECIAL: bits 2..5 are one of enum unwind_kind, 6..15 its value.
 */
#ifndef MEMTRACE_UNWIND_ROW_H
#define MEMTRACE_UNWIND_ROW_H

#include <linux/types.h>

struct unwind_row {
	__u32 at;
	__u32 rule;
};

#define UNWIND_SP 0
#define UNWIND_BP 1
#define UNWIND_BX 2
#define UNWIND_SPECIAL 3

enum unwind_kind {
	UNWIND_UNKNOWN, /* no table covers it, or not in these terms */
	UNWIND_END, /* the outermost function: nobody called it */
	UNWIND_PLT, /* CFA = rsp + 8, and 8 more from byte `value` of each 16 of the code on */
	UNWIND_SIGNAL, /* a signal's return: the interrupted registers stand on the stack */
	UNWIND_AT_BP, /* CFA = [rbp - 8 * value], rbp saved at [rbp], rbx at rbp - 8 * its bits */
	UNWIND_AT_SP, /* CFA = [rsp + 8 * value] + 8 */
	UNWIND_FRAME, /* rbp points to a frame: [rbp] is the caller's, [rbp + 8] the return address;
		       * in no table, for code that has none */
};

#define UNWIND_WORDS_MAX 0x3fff
#define UNWIND_VALUE_MAX 0x3ff
#define UNWIND_KEPT 0
#define UNWIND_LOST 255

#define UNWIND_RULE(base, words, bp, bx) \
	((base) | (words) << 2 | (__u32)(bp) << 16 | (__u32)(bx) << 24)
#define UNWIND_RULE_OF(kind, value, bp, bx) \
	UNWIND_RULE(UNWIND_SPECIAL, (__u32)(kind) | (__u32)(value) << 4, bp, bx)
#define UNWIND_BASE(rule) ((rule)&3)
#define UNWIND_WORDS(rule) ((rule) >> 2 & UNWIND_WORDS_MAX)
#define UNWIND_KIND(rule) ((rule) >> 2 & 0xf)
#define UNWIND_VALUE(rule) ((rule) >> 6 & UNWIND_VALUE_MAX)
#define UNWIND_SAVED_BP(rule) ((rule) >> 16 & 0xff)
#define UNWIND_SAVED_BX(rule) ((rule) >> 24)
#define UNWIND_NOTHING UNWIND_RULE_OF(UNWIND_UNKNOWN, 0, 0, 0)

/* Where x86-64 Linux keeps the interrupted registers, from the stack pointer of a signal's return
 * (struct ucontext). */
#define UNWIND_SIGNAL_BP 120
#define UNWIND_SIGNAL_BX 128
#define UNWIND_SIGNAL_SP 160
#define UNWIND_SIGNAL_IP 168

#endif /* MEMTRACE_UNWIND_ROW_H */
