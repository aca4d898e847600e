/* SPDX-License-Identifier: MIT */
/*
 * Probes of a program's own (USDT): those that tell of sampled allocations, otel_memory:alloc(ptr, size,
 * weighted_bytes) and otel_memory:free(ptr), and those that mark a phase. A note in the file tells for each where its instruction
 * is, where its arguments are, and which counter tells the program that somebody listens.
 */
#ifndef MEMTRACE_USDT_H
#define MEMTRACE_USDT_H

#include <stdbool.h>
#include <stdint.h>

#include <libelf.h>

#include "user/source/uprobe/family.h"

struct usdt_probe {
	const struct family *family; /* of HEAP_SAMPLED, HEAP_SAMPLED_FREE or HEAP_PHASE */
	char name[64]; /* "provider:name", cut */
	uint64_t addr; /* of the instruction, as the file has it */
	uint64_t semaphore; /* offset in the file; 0: it has none */
	struct contract_args args;
};

/* Call fn for each such probe of a file, until it returns something else than 0; returns that.
 * phases may be NULL. */
int usdt__each(Elf *elf, const struct usdt_phases *phases,
	       int (*fn)(void *ctx, const struct usdt_probe *p), void *ctx);

/* Where an argument is: "8@%rdi", "-4@%esi", "8@-16(%rbp)", "8@$5". *at is moved behind it. */
bool usdt__parse_arg(const char **at, struct contract_arg *arg);

#endif /* MEMTRACE_USDT_H */
