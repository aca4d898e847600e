// FLAGS: -fno-builtin
/* SPDX-License-Identifier: MIT */
/*
 * Threads that allocate, fill, check and free without end, until a line comes: tells how many
 * blocks there were and how many had been changed by somebody else. Argument: threads.
 */
#include <pthread.h>

#include "prog.h"

#define SLOTS 256

static unsigned long blocks, broken;
static bool stop;

static void *work(void *number)
{
	unsigned seed = (unsigned)(uintptr_t)number * 7919 + 1, n = 0, bad = 0;
	unsigned char *slot[SLOTS] = {0};
	size_t bytes[SLOTS];

	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		unsigned i, fill;

		seed = seed * 1103515245 + 12345;
		i = seed >> 16 & (SLOTS - 1);
		fill = i ^ (unsigned)(uintptr_t)number;
		if (slot[i]) {
			for (size_t k = 0; k < bytes[i]; k++)
				bad += slot[i][k] != (unsigned char)fill;
			free(slot[i]);
			slot[i] = NULL;
			continue;
		}
		bytes[i] = 1 + (seed >> 8) % 400;
		slot[i] = seed & 1 << 30 ? calloc(1, bytes[i]) : malloc(bytes[i]);
		if (!slot[i])
			prog__die("malloc");
		memset(slot[i], (int)fill, bytes[i]);
		n++;
	}
	for (unsigned i = 0; i < SLOTS; i++)
		free(slot[i]);
	__atomic_add_fetch(&blocks, n, __ATOMIC_RELAXED);
	__atomic_add_fetch(&broken, bad, __ATOMIC_RELAXED);
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t thread[16];
	unsigned long n;

	prog__start(&argc, &argv);
	n = prog__number(argc, argv, 1, 4);
	for (uintptr_t i = 0; i < n; i++)
		if (pthread_create(&thread[i], NULL, work, (void *)i))
			prog__die("pthread_create");
	prog__ready();
	stop = true;
	for (unsigned i = 0; i < n; i++)
		pthread_join(thread[i], NULL);
	prog__print("{\"blocks\": %lu, \"broken\": %lu}\n", blocks, broken);
	prog__end();
	return 0;
}
