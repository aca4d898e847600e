/* SPDX-License-Identifier: MIT */
/*
 * What it costs the collector to hold a contract against allocator calls: ns a call, beside what the
 * model takes for the same. Blocks of many sizes, a thousand of them alive, each call quiet: what a
 * program does most of the time, and what no kernel event hides the cost of.
 *
 *   check CONTRACT [PAIRS]
 *
 * held: rules that were put to the test; an evaluation that does nothing would be fast, too.
 */
#include <stdlib.h>

#include "tests/bench/bench.h"
#include "user/check/check.h"
#include "user/model/model.h"

#define PID 100
#define ALIVE 1024
#define BREAK 0x10000000ULL
#define BREAK_BYTES (64ULL << 20)
#define APART 16384 /* from block to block: the largest */

static struct model *model;
static struct check *check;
static unsigned long pairs = 1000000;
static uint64_t now = 1000;

static int no_heap(void *ctx, FILE *out, const struct rec_heap *r)
{
	(void)ctx;
	(void)out;
	return r ? 0 : -1;
}

static int no_event(void *ctx, FILE *out, const struct rec *r, bool inside)
{
	(void)ctx;
	(void)out;
	(void)inside;
	return r ? 0 : -1;
}

static int no_stack(void *ctx, FILE *out, pid_t pid, uint64_t stack_id)
{
	(void)ctx;
	(void)out;
	(void)pid;
	return stack_id ? 0 : -1;
}

static const char *no_comm(void *ctx, pid_t pid)
{
	(void)ctx;
	return pid ? "bench" : "";
}

static const struct check_printer printer = {NULL, no_heap, no_event, no_stack, no_comm};

static struct rec head(unsigned kind)
{
	now += 100;
	return (struct rec){.kind = kind, .tgid = PID, .tid = PID, .ts_ns = now};
}

/* To whoever is measured; which is the other. */
static void take(const void *r, size_t bytes, uint64_t old_size)
{
	struct check_known known = {.old_size = old_size, .in_break = true};

	if (check ? check__take(check, r, &known) : model__apply(model, r, bytes))
		prog__die("a record");
}

static uint64_t size_of(unsigned long i)
{
	return 16 + i * 7919 % (APART - 16);
}

static void allocate(unsigned long i)
{
	struct rec_heap r = {.h = head(REC_HEAP), .size = size_of(i)};

	r.h.aux = HEAP_MALLOC;
	r.start_ns = now - 50;
	r.result = BREAK + i % ALIVE * APART;
	take(&r, sizeof(r), UNKNOWN);
}

static void release(unsigned long i)
{
	struct rec_heap r = {.h = head(REC_HEAP)};

	r.h.aux = HEAP_FREE;
	r.start_ns = now;
	r.arg = BREAK + i % ALIVE * APART;
	take(&r, sizeof(r), size_of(i));
}

/* The first call grows the break, by 33 pages and by a lot. */
static void begin(void)
{
	struct rec_exec e = {.h = head(REC_EXEC), .start_brk = BREAK, .brk = BREAK};
	struct rec_call c = {.h = head(REC_BRK), .start_ns = now, .owner = now + 50};

	take(&e, sizeof(e), UNKNOWN);
	c.arg[0] = BREAK + BREAK_BYTES;
	c.ret = (int64_t)c.arg[0];
	c.old_brk = BREAK;
	take(&c, sizeof(c), UNKNOWN);
	for (unsigned long i = 0; i < ALIVE; i++)
		allocate(i);
}

static void measure(const char *name)
{
	double cpu;

	begin();
	cpu = bench__clock(CLOCK_THREAD_CPUTIME_ID);
	for (unsigned long i = ALIVE; i < ALIVE + pairs; i++) {
		release(i - ALIVE);
		allocate(i);
	}
	cpu = bench__clock(CLOCK_THREAD_CPUTIME_ID) - cpu;
	prog__print("{\"name\":\"%s\",\"ns\":%.1f,\"calls\":%lu}\n", name,
		    cpu / (double)pairs / 2 * 1e9, 2 * pairs);
}

int main(int argc, char **argv)
{
	struct contract_error error;
	struct contract *contract;
	const struct verdict *v;
	size_t rules, held = 0;

	if (argc < 2)
		prog__die("usage: check CONTRACT [PAIRS]");
	if (argc > 2)
		pairs = strtoul(argv[2], NULL, 0);
	contract = contract__parse(argv[1], NULL, 0, &contract_files, &error);
	if (!contract)
		prog__die(error.text);
	model = model__new(now);
	if (!model || model__add_root(model, PID, 1, "bench", NULL, true))
		prog__die("a model");
	measure("model");
	check = check__new(contract, &printer, now, false);
	if (!check)
		prog__die("a check");
	measure("check");
	if (check__finish(check, now))
		prog__die("the end");
	v = check__verdicts(check, &rules);
	for (size_t i = 0; i < rules; i++)
		held += v[i].exercised && !v[i].broken;
	prog__print("{\"rules\":%zu,\"held\":%zu}\n", rules, held);
	check__free(check);
	model__free(model);
	contract__free(contract);
	return 0;
}
