/* SPDX-License-Identifier: MIT */
/*
 * Threads that pass blocks on to one another: each takes what lies in a slot, frees it or has
 * it moved, and leaves a new block there. So most blocks are freed by another thread than
 * their own, and their addresses are at once reused. What remains is known to the byte.
 * Arguments: threads, operations of each.
 */
#include <pthread.h>

#include "prog.h"

#define SLOTS 256

static size_t *slots[SLOTS]; /* the first word of a block is its size */
static unsigned long operations, moved[16], requested[16];

static size_t *sized(size_t *block, size_t size)
{
	if (!block)
		prog__die("malloc");
	block[0] = size;
	return block;
}

static PROG_NOINLINE void churn(size_t me)
{
	uint64_t r = me + 1;

	for (unsigned long i = 0; i < operations; i++) {
		size_t size, at, *block;

		r = r * 6364136223846793005ULL + 1442695040888963407ULL;
		size = 16 + (r >> 33) % (r >> 60 ? 400 : 40000);
		at = (r >> 20) % SLOTS;
		requested[me] += size;
		block = __atomic_exchange_n(&slots[at], NULL, __ATOMIC_ACQ_REL);
		if (block && r >> 62 == 0) {
			block = realloc(block, size);
			moved[me]++;
		} else {
			free(block);
			block = malloc(size);
		}
		block = __atomic_exchange_n(&slots[at], sized(block, size), __ATOMIC_ACQ_REL);
		free(block);
	}
}

static void *work(void *arg)
{
	churn((size_t)arg);
	return NULL;
}

int main(int argc, char **argv)
{
	unsigned long threads, blocks = 0, bytes = 0, moves = 0, asked = 0;
	pthread_t thread[16];

	prog__start(&argc, &argv);
	threads = prog__number(argc, argv, 1, 4);
	operations = prog__number(argc, argv, 2, 20000);
	prog__ready();
	for (size_t i = 0; i < threads; i++)
		if (pthread_create(&thread[i], NULL, work, (void *)i))
			prog__die("pthread_create");
	for (size_t i = 0; i < threads; i++)
		pthread_join(thread[i], NULL);
	for (size_t i = 0; i < SLOTS; i++) {
		blocks += slots[i] != NULL;
		bytes += slots[i] ? slots[i][0] : 0;
	}
	for (size_t i = 0; i < threads; i++) {
		moves += moved[i];
		asked += requested[i];
	}
	prog__print("{\"calls\": %lu, \"moved\": %lu, \"requested\": %lu, \"blocks\": %lu, "
		    "\"bytes\": %lu}\n",
		    threads * operations, moves, asked, blocks, bytes);
	prog__end();
	return 0;
}
