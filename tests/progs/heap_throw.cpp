// FLAGS: -fno-builtin
/* SPDX-License-Identifier: MIT */
/*
 * operator new in its forms, a known number of times: what works, and what throws and is caught:
 * bad_alloc of a size that no allocator has, and what a new-handler throws of its own. Between
 * the failures blocks are made and freed. Arguments: rounds; 1: throw from mimalloc's error
 * handler: Debian's is built as C, does not know new-handlers, and ends the program otherwise.
 */
#include <dlfcn.h>
#include <new>

#include "prog.h"

#define HUGE_BYTES ((size_t)1 << 61)

struct given_up {
	int why;
};

static unsigned long made, made_bytes, freed, failed, caught;

template <class T> static T *keep(T *p)
{
	__asm__ volatile("" : "+r"(p) : : "memory");
	return p;
}

static void *took(void *p, size_t bytes)
{
	if (!keep(p))
		prog__die("operator new");
	made++;
	made_bytes += bytes;
	return p;
}

static void give_up()
{
	throw given_up{1};
}

template <class F> static void fails(F ask)
{
	failed++;
	try {
		ask();
	} catch (const std::bad_alloc &) {
		caught++;
	} catch (const given_up &) {
		caught++;
	}
}

static void on_error(int error, void *)
{
	if (error == ENOMEM)
		give_up();
}

static void throw_from_mimalloc()
{
	void *symbol = dlsym(RTLD_DEFAULT, "mi_register_error");

	if (!symbol)
		prog__die("mi_register_error");
	((void (*)(void (*)(int, void *), void *))symbol)(on_error, nullptr);
}

static PROG_NOINLINE void one_round(size_t size, bool mimalloc)
{
	void *a = took(::operator new(size), size);
	void *b = took(::operator new[](size + 1), size + 1);
	void *c = took(::operator new(size, std::align_val_t(64)), size);
	void *d = took(::operator new(size, std::nothrow), size);

	fails([] { keep(::operator new(HUGE_BYTES)); });
	::operator delete(keep(a));
	fails([] { keep(::operator new[](HUGE_BYTES)); });
	fails([] { keep(::operator new(HUGE_BYTES, std::align_val_t(64))); });
	std::set_new_handler(give_up);
	fails([] { keep(::operator new(HUGE_BYTES)); });
	std::set_new_handler(nullptr);
	if (!mimalloc) {
		failed++;
		caught += !keep(::operator new(HUGE_BYTES, std::nothrow));
	}
	::operator delete[](keep(b));
	::operator delete(keep(c), std::align_val_t(64));
	freed += 3;
	/* d is leaked. */
	keep(d);
}

int main(int argc, char **argv)
{
	unsigned long rounds;
	bool mimalloc;

	prog__start(&argc, &argv);
	rounds = prog__number(argc, argv, 1, 100);
	mimalloc = prog__number(argc, argv, 2, 0);
	if (mimalloc)
		throw_from_mimalloc();
	/* The first exception makes the unwinder allocate and cache what it needs. */
	one_round(1, mimalloc);
	made = made_bytes = freed = failed = caught = 0;
	prog__ready();
	for (unsigned long i = 0; i < rounds; i++)
		one_round(1 + 37 * i % 5000, mimalloc);
	prog__print(
		"{\"made\": %lu, \"bytes\": %lu, \"freed\": %lu, \"failed\": %lu, \"caught\": %lu}\n",
		made, made_bytes, freed, failed, caught);
	prog__end();
	return 0;
}
