/* SPDX-License-Identifier: MIT */
/*
 * A program with the probes otel_memory:alloc and otel_memory:free of its own: of every tenth block,
 * and only as long as somebody listens. Arguments of the probes are in registers, in
 * memory and a constant. Argument: blocks.
 */
#include "probe.h"
#include "prog.h"

#define EACH 10

PROBE_SEMAPHORE(alloc_semaphore);
PROBE_SEMAPHORE(free_semaphore);

#define OTEL(name, args) PROBE("otel_memory", name, name "_semaphore", args)

static PROG_NOINLINE void *take(uint64_t size, bool sampled)
{
	void *block = malloc(size);
	volatile uint64_t in_memory = size;

	if (!block)
		prog__die("malloc");
	if (sampled && alloc_semaphore)
		__asm__ volatile(OTEL("alloc", "8@%0 8@%1 -8@%2")
				 :
				 : "r"(block), "m"(in_memory), "r"(EACH * size));
	return block;
}

static PROG_NOINLINE void give(void *block, bool sampled)
{
	if (sampled && free_semaphore)
		__asm__ volatile(OTEL("free", "8@%0") : : "r"(block));
	free(block);
}

/* A probe of a block that stands for itself, by constants. */
static PROG_NOINLINE void take_constant(void)
{
	static char block[64];

	if (alloc_semaphore)
		__asm__ volatile(OTEL("alloc", "8@%0 4@$64 8@$64") : : "r"(block));
}

int main(int argc, char **argv)
{
	unsigned long blocks, bytes = 0, live = 0, fired = 0, freed = 0;
	void **made;

	prog__start(&argc, &argv);
	blocks = prog__number(argc, argv, 1, 1000);
	made = calloc(blocks, sizeof(*made));
	if (!made)
		prog__die("calloc");
	prog__ready();
	for (unsigned long i = 0; i < blocks; i++) {
		bool sampled = i % EACH == 0;

		made[i] = take(100 + i, sampled);
		fired += sampled;
		bytes += sampled ? EACH * (100 + i) : 0;
	}
	for (unsigned long i = 0; i < blocks; i++)
		if (i % 20 < EACH) {
			give(made[i], i % EACH == 0);
			freed += i % EACH == 0;
		} else if (i % EACH == 0) {
			live += EACH * (100 + i);
		}
	take_constant();
	prog__print("{\"fired\":%lu,\"freed\":%lu,\"bytes\":%lu,\"live\":%lu,\"listeners\":%d}\n",
		    fired, freed, bytes, live, alloc_semaphore);
	prog__end();
	prog__print("{\"listeners\":%d}\n", alloc_semaphore + free_semaphore);
	return 0;
}
