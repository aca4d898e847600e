/* SPDX-License-Identifier: MIT */
/*
 * The functions of the malloc family: their names, and where their arguments are.
 *
 * Vocabulary
 *   prefix     what some allocators put before the C names: je_, _rjem_, mt_, ...
 *   operand    what a function is told: size, count, block, alignment
 */
#ifndef MEMTRACE_FAMILY_H
#define MEMTRACE_FAMILY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bpf/event.h"

enum operand { OPERAND_SIZE, OPERAND_COUNT, OPERAND_PTR, OPERAND_ALIGN, OPERANDS };

/* When a program's own probes (usdt.h) are taken in place of the functions. */
enum contract_use { CONTRACT_NEVER, CONTRACT_PREFERRED, CONTRACT_ONLY };

/* Probes of a program's own (usdt.h) that mark a phase, "provider:name" each; NULL: none at this number. */
struct usdt_phases {
	const char *const *names;
	size_t n;
};

struct family {
	const char *name; /* without prefix; a C++ operator as its mangled name */
	uint8_t op; /* enum heap_op */
	uint8_t arg[OPERANDS]; /* which argument, from 1; 0: it has none */
	uint8_t result; /* RESULT_* */
	bool align_is_flags;
	bool cxx;
	bool throws; /* it may be left by an exception: no return probe */
};

/* What a function is that is called `name` in a symbol table; its prefix's length goes into
 * *prefix. NULL: none of ours. */
const struct family *family__find(const char *name, size_t *prefix);

/* As the user says it: a name whose end tells what it does (my_malloc), or OP=NAME. *name is
 * moved to the name. NULL: cannot be told. */
const struct family *family__parse(const char **name);

/* Whether name is a function by which other functions are left: longjmp, or what begins an
 * exception. *kind: ESCAPE_*. */
bool family__is_escape(const char *name, unsigned *kind);

#endif /* MEMTRACE_FAMILY_H */
