/* SPDX-License-Identifier: MIT */
/*
 * steady SIZES [THREADS [TURNS]]: churn that repeats itself. A round replaces
 * blocks in an order and with sizes that are the same each time, so that from the
 * second one on every round begins and ends with the same live set and nothing new
 * is ever needed. A round is TURNS (10,000) blocks. After four rounds the process
 * names itself "steady", does four more, names itself "over" and prints the minor
 * faults of these.
 *
 * SIZES: small (8 to 1,023 bytes), medium (1 to 63 KiB), large (64 KiB to 1 MiB),
 * all, crossed (small, each block freed by another thread).
 */
#include "tests/bench/alloc/work.h"

#include <sys/prctl.h>
#include <sys/resource.h>

#define SLOTS 256
#define PAGE 4096
#define WARM 4
#define ROUNDS 4

static void *slots[WORK_THREADS][SLOTS];
static pthread_barrier_t turnover;
static unsigned low = 3, high = 20;
static size_t turns;
static bool crossed;
static long faults[2];

static long minor_faults(void)
{
	struct rusage usage;

	WORK_CHECK(!getrusage(RUSAGE_SELF, &usage));
	return usage.ru_minflt;
}

/* A block, each page of which has been written to. */
static void *touched(size_t size)
{
	char *p = block__new(size);

	for (size_t at = PAGE; at + 1 < size; at += PAGE)
		p[at] = 1;
	return p;
}

static void round_of(unsigned index, void **mine)
{
	struct rng rng = rng__seed(800 + index);

	for (size_t i = 0; i < turns; i++) {
		size_t at = rng__below(&rng, SLOTS);

		block__drop(mine[at]);
		mine[at] = touched(rng__skewed(&rng, low, high));
	}
}

static void turn_over(void)
{
	if (work__threads > 1)
		pthread_barrier_wait(&turnover);
}

static void work(unsigned index)
{
	for (unsigned i = 0; i < WARM + ROUNDS; i++) {
		turn_over();
		if (!index && i == WARM) {
			faults[0] = minor_faults();
			prctl(PR_SET_NAME, "steady");
		}
		turn_over();
		round_of(index, slots[crossed ? (index + i) % work__threads : index]);
	}
	turn_over();
	if (!index) {
		prctl(PR_SET_NAME, "over");
		faults[1] = minor_faults();
	}
	turn_over();
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		unsigned low, high;
	} kinds[] = {{"small", 3, 10},
		     {"medium", 10, 16},
		     {"large", 16, 20},
		     {"all", 3, 20},
		     {"crossed", 3, 10}};
	bool known = false;

	for (size_t i = 0; argc > 1 && i < sizeof(kinds) / sizeof(*kinds); i++)
		if (!strcmp(argv[1], kinds[i].name)) {
			low = kinds[i].low;
			high = kinds[i].high;
			known = true;
		}
	WORK_CHECK(known);
	crossed = !strcmp(argv[1], "crossed");
	work__threads = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 1;
	turns = argc > 3 ? strtoul(argv[3], NULL, 10) : 10000;
	WORK_CHECK(work__threads && work__threads <= WORK_THREADS);
	minor_faults();
	WORK_CHECK(!pthread_barrier_init(&turnover, NULL, work__threads));
	if (work__threads == 1)
		work(0);
	else
		work__parallel(work__threads, work);
	for (unsigned i = 0; i < work__threads; i++)
		for (size_t k = 0; k < SLOTS; k++)
			block__drop(slots[i][k]);
	dprintf(1, "{\"faults\":%ld}\n", faults[1] - faults[0]);
	return work__end();
}
