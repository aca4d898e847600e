/* SPDX-License-Identifier: MIT */
/*
 * A run held against a contract. It takes the records that the model takes, in the same order and
 * after the model, and gives a verdict on each rule. It reads nothing itself, neither /proc nor
 * names: who holds the run says how a call, an event and a stack are written.
 *
 * Vocabulary
 *   life       of one program in a process: from exec, fork or attach to exec or end; what the
 *              contract calls a process
 *   exercised  put to the test: there was something that the rule speaks of
 *   undecided  a fact that the rule needs is not known
 */
#ifndef MEMTRACE_CHECK_H
#define MEMTRACE_CHECK_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "bpf/event.h"
#include "user/check/contract.h"

struct check;

#define EXAMPLES 3

/* How what was found is shown, as the stream shows it; each a line or more. 0 or -errno. */
struct check_printer {
	void *ctx;
	int (*heap)(void *ctx, FILE *out, const struct rec_heap *r);
	int (*event)(void *ctx, FILE *out, const struct rec *r, bool inside);
	int (*stack)(void *ctx, FILE *out, pid_t pid, uint64_t stack_id);
	const char *(*comm)(void *ctx, pid_t pid);
};

/* What the model knows of a record that was applied to it. */
struct check_known {
	uint64_t old_size; /* of the block that a call freed or resized; UNKNOWN */
	bool in_break, in_mmap, in_file; /* a fault: what it touched */
	bool in_block; /* a live block */
	bool by_allocator; /* in memory that an allocator call mapped */
};

/* A case of a rule that is broken. Text that may come from the target is as the printer made it. */
struct example {
	pid_t pid;
	char *comm;
	char *why; /* which needs are not met, and the values in them */
	char *events; /* the call, its events; "" of a process */
	char *stack;
};

struct verdict {
	const struct rule *rule;
	uint64_t exercised, broken, undecided; /* broken ones are among the exercised */
	struct example examples[EXAMPLES];
	unsigned nexamples;
};

struct check_summary {
	uint64_t calls, events; /* that were looked at */
	uint64_t processes; /* lives */
	uint64_t unseen; /* of these, such whose first calls were not seen */
	uint64_t missed; /* the same of those that the user asked for: no child may speak for them */
	uint64_t late; /* events that came when their call had been judged */
};

struct learned;

/* learn: gather figures for a proposal, too. NULL: no memory. */
struct check *check__new(const struct contract *c, const struct check_printer *p, uint64_t start_ns,
			 bool learn);
void check__free(struct check *k);

/* 0 or -ENOMEM or what a printer returned. */
int check__take(struct check *k, const struct rec *r, const struct check_known *known);

/* Nothing more will come. */
int check__finish(struct check *k, uint64_t end_ns);

const struct verdict *check__verdicts(const struct check *k, size_t *n);
struct check_summary check__summary(const struct check *k);
const struct learned *check__learned(const struct check *k);

#endif /* MEMTRACE_CHECK_H */
