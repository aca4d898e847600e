/* SPDX-License-Identifier: MIT */
/*
 * A program whose own probes (USDT) say where its phases begin: app:warm has a counter of listeners
 * and is passed only when there are any, app:cool has none. 10 blocks before, 20 between them, 40
 * behind, and 5 between two more passes of app:warm.
 */
#include "probe.h"
#include "prog.h"

PROBE_SEMAPHORE(warm_semaphore);

#define ARGS "-4@%%edi 8@$7"

static PROG_NOINLINE void warm(void)
{
	if (warm_semaphore)
		__asm__ volatile(PROBE("app", "warm", "warm_semaphore", ARGS)::: "memory");
}

static PROG_NOINLINE void cool(void)
{
	__asm__ volatile(PROBE("app", "cool", "0", ARGS)::: "memory");
}

static PROG_NOINLINE void use(unsigned blocks)
{
	for (unsigned i = 0; i < blocks; i++) {
		void *volatile p = malloc(100);

		free(p);
	}
}

int main(int argc, char **argv)
{
	prog__start(&argc, &argv);
	prog__ready();
	use(10);
	warm();
	use(20);
	cool();
	use(40);
	warm();
	use(5);
	warm();
	prog__print("{\"listened\": %d}\n", warm_semaphore != 0);
	prog__end();
	return 0;
}
