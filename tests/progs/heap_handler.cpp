// FLAGS: -fno-builtin
/* SPDX-License-Identifier: MIT */
/*
 * A new-handler that allocates: operator new that cannot have what it wants calls it twice, and it calls
 * malloc and free itself, within operator new. Then the operator throws. Argument: rounds, in each of
 * which a block is made, too, and every other one freed.
 */
#include <new>

#include "prog.h"

#define HUGE_BYTES ((size_t)1 << 61)
#define OWN_BYTES 700

static unsigned long made, freed, failed, caught, handled;

template <class T> static T *keep(T *p)
{
	__asm__ volatile("" : "+r"(p) : : "memory");
	return p;
}

static PROG_NOINLINE void on_empty()
{
	void *p = keep(malloc(OWN_BYTES));

	if (!p)
		prog__die("malloc");
	free(p);
	if (++handled % 2 == 0)
		std::set_new_handler(nullptr);
}

static PROG_NOINLINE void one_round(bool leaks)
{
	void *a = keep(::operator new(100));

	made++;
	std::set_new_handler(on_empty);
	failed++;
	try {
		keep(::operator new(HUGE_BYTES));
	} catch (const std::bad_alloc &) {
		caught++;
	}
	if (leaks)
		return;
	::operator delete(a);
	freed++;
}

int main(int argc, char **argv)
{
	unsigned long rounds;

	prog__start(&argc, &argv);
	rounds = prog__number(argc, argv, 1, 100);
	/* The first exception makes the unwinder allocate and cache what it needs. */
	one_round(true);
	made = freed = failed = caught = handled = 0;
	prog__ready();
	for (unsigned long i = 0; i < rounds; i++)
		one_round(i % 2);
	prog__print(
		"{\"made\": %lu, \"freed\": %lu, \"failed\": %lu, \"caught\": %lu, \"handled\": %lu}\n",
		made, freed, failed, caught, handled);
	prog__end();
	return 0;
}
