/* SPDX-License-Identifier: MIT */
/*
 * Probes of a program's own (USDT) that tell of sampled allocations: otel_memory:alloc(ptr, size,
 * weighted_bytes) and otel_memory:free(ptr). A note in the file tells for each where its instruction
 * is, where its arguments are, and which counter tells the program that somebody listens.
 */
#ifndef MEMTRACE_USDT_H
#define MEMTRACE_USDT_H

#include <stdbool.h>
#include <stdint.h>

#include <libelf.h>

#include "user/source/uprobe/family.h"

struct usdt_probe {
	const struct family *family; /* of HEAP_SAMPLED or HEAP_SAMPLED_FREE */
	uint64_t addr; /* of the instruction, as the file has it */
	uint64_t semaphore; /* offset in the file; 0: it has none */
	struct contract_args args;
};

/* Call fn for each such probe of a file, until it returns something else than 0; returns that. */
int usdt__each(Elf *elf, int (*fn)(void *ctx, const struct usdt_probe *p), void *ctx);

/* Where an argument is: "8@%rdi", "-4@%esi", "8@-16(%rbp)", "8@$5". *at is moved behind it. */
bool usdt__parse_arg(const char **at, struct contract_arg *arg);

#endif /* MEMTRACE_USDT_H */
