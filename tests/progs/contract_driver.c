/* SPDX-License-Identifier: MIT */
// FLAGS: -fno-builtin
/*
 * What the contracts of tests/contracts are exercised with: one phase for each kind of promise.
 * Whatever allocator serves malloc here, each phase does the same. Arguments: MiB of the peak,
 * and names of phases to do (default: all).
 */
#include <pthread.h>
#include <sys/prctl.h>
#include <time.h>

#include "lib/trace/mt_phase.h"
#include "tests/progs/prog.h"

/* Not every C library has it. */
extern int malloc_trim(size_t pad) __attribute__((weak));

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)
#define SMALL 4000
#define MOST 65536

static char *blocks[MOST];
static size_t peak_bytes;

static void touch(char *block, size_t bytes)
{
	for (size_t at = 0; at < bytes; at += PROG_PAGE)
		((volatile char *)block)[at] = 1;
}

static char *take(size_t bytes)
{
	char *block = malloc(bytes);

	if (!block)
		prog__die("malloc");
	return block;
}

/* Blocks of these sizes in turn, half of the peak, from that place in the table on; where it ends. */
static size_t fill(size_t from, const size_t *sizes, size_t kinds)
{
	size_t at = from;

	for (size_t bytes = 0; bytes < peak_bytes / 2; bytes += sizes[at++ % kinds]) {
		blocks[at] = take(sizes[at % kinds]);
		touch(blocks[at], sizes[at % kinds]);
	}
	return at;
}

/* All sizes, a block that stays, and small ones above it: what goes back, from where? */
static void peak(void)
{
	static const size_t sizes[] = {100, 1000, SMALL, 30000, 100000}, small = SMALL;
	size_t half = fill(0, sizes, 5), all;
	char *pin = take(6000); /* of a size for itself: nothing freed can hold it */

	all = fill(half, &small, 1);
	mt_phase("top_freed");
	for (size_t i = all; i-- > half;)
		free(blocks[i]);
	mt_phase("inside_freed");
	for (size_t i = 0; i < half; i++)
		free(blocks[i]);
	mt_phase("unpinned");
	free(pin);
}

/* Small blocks, to twice of what was ever there. */
static void grow(void)
{
	size_t n = 2 * peak_bytes / SMALL;

	for (size_t i = 0; i < n; i++)
		blocks[i] = take(SMALL);
	mt_phase("shrink");
	for (size_t i = 0; i < n; i++)
		free(blocks[i]);
}

/* Around the threshold that most have, and far above it; not touched. */
static void large(void)
{
	static const size_t sizes[] = {128 * KIB - 4096, 128 * KIB - 1, 128 * KIB,    128 * KIB + 1,
				       200000,		 MIB,		5 * MIB + 17, 40 * MIB};
	char *first[8], *second[8];

	for (int i = 0; i < 8; i++)
		first[i] = take(sizes[i]);
	for (int i = 0; i < 8; i++)
		second[i] = calloc(1, sizes[i]);
	mt_phase("large_free");
	for (int i = 7; i >= 0; i--)
		free(first[i]);
	for (int i = 7; i >= 0; i--)
		free(second[i]);
	mt_phase("large_again");
	for (int i = 2; i < 7; i++)
		first[i] = take(sizes[i]);
	for (int i = 6; i >= 2; i--)
		free(first[i]);
}

static void resize(void)
{
	size_t bytes = 200 * KIB;
	char *block = take(bytes);

	touch(block, bytes);
	for (; bytes < 40 * MIB; bytes *= 2)
		block = realloc(block, 2 * bytes);
	for (; bytes > MIB; bytes /= 2)
		block = realloc(block, bytes / 2);
	free(block);
	block = take(34 * MIB);
	block = realloc(block, 36 * MIB);
	free(block);
}

#define EACH 16

static void turn(void)
{
	static const size_t sizes[] = {24, 100, 1000, 5000, 20000, 60000, 200000, 600000};

	for (int i = 0; i < 8 * EACH; i++) {
		blocks[i] = take(sizes[i % 8]);
		touch(blocks[i], sizes[i % 8]);
	}
	for (int i = 0; i < 8 * EACH; i++)
		free(blocks[i]);
}

static unsigned long now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (unsigned long)now.tv_sec * 1000 + (unsigned long)now.tv_nsec / 1000000;
}

/* Much less than before, for longer than memory is kept for what may come back. */
static void idle(void)
{
	unsigned long until = now_ms() + 2200;
	const struct timespec nap = {.tv_nsec = 20000000};

	while (now_ms() < until) {
		char *a = take(70000), *b = take(200000), *small[24];

		for (int i = 0; i < 24; i++)
			small[i] = take(12000);
		for (int i = 0; i < 24; i++)
			free(small[i]);
		free(a);
		free(b);
		nanosleep(&nap, NULL);
	}
}

/* What comes and goes, until an allocator has seen it, and then as long again. */
static void churn(void)
{
	for (int i = 0; i < 30; i++)
		turn();
	mt_phase("steady");
	for (int i = 0; i < 30; i++)
		turn();
}

/* A tenth stays, in one piece. */
static void trim(void)
{
	size_t n = peak_bytes / SMALL;

	for (size_t i = 0; i < n; i++) {
		blocks[i] = take(SMALL);
		touch(blocks[i], SMALL);
	}
	for (size_t i = 0; i < n; i++)
		if (i < n / 2 || i >= n / 2 + n / 10)
			free(blocks[i]);
	if (malloc_trim)
		malloc_trim(0);
	mt_phase("trimmed");
	/* One call: what is there is looked at when the phase ends. */
	free(take(24));
	mt_phase("rest");
	for (size_t i = n / 2; i < n / 2 + n / 10; i++)
		free(blocks[i]);
}

static void *in_thread(void *unused)
{
	(void)unused;
	for (int i = 0; i < 400; i++)
		blocks[i] = take(SMALL);
	for (int i = 0; i < 400; i++)
		free(blocks[i]);
	return NULL;
}

static void thread(void)
{
	pthread_t other;

	if (pthread_create(&other, NULL, in_thread, NULL) || pthread_join(other, NULL))
		prog__die("thread");
}

static const struct {
	const char *name;
	void (*work)(void);
} phases[] = {
	{"large", large}, {"resize", resize}, {"peak", peak}, {"grow", grow},	  {"settle", idle},
	{"churn", churn}, {"idle", idle},     {"trim", trim}, {"thread", thread},
};

static bool wanted(int argc, char **argv, const char *name)
{
	for (int i = 2; i < argc; i++)
		if (!strcmp(argv[i], name))
			return true;
	return argc <= 2;
}

int main(int argc, char **argv)
{
	peak_bytes = prog__number(argc, argv, 1, 24) * MIB;
	/* Pages of 4 KiB are what is counted. */
	prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
	free(take(100));
	for (size_t i = 0; i < sizeof(phases) / sizeof(phases[0]); i++) {
		if (!wanted(argc, argv, phases[i].name))
			continue;
		mt_phase(phases[i].name);
		phases[i].work();
	}
	mt_phase("end");
	return 0;
}
