/* SPDX-License-Identifier: MIT */
/* FLAGS: -O2 -fomit-frame-pointer */
/* Frames while an exception is on its way: a destructor that maps memory, and a handler. */
#include <cstdio>
#include <stdexcept>
#include <sys/mman.h>

#define NOINLINE __attribute__((noinline))

static volatile int barrier;

extern "C" NOINLINE void *take(size_t pages)
{
	void *p = mmap(nullptr, pages * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		       -1, 0);

	barrier = barrier + 1;
	return p;
}

extern "C" NOINLINE void cleaned_up()
{
	take(111);
	barrier = barrier + 1;
}

struct Guard {
	~Guard()
	{
		cleaned_up();
	}
};

extern "C" NOINLINE void thrower()
{
	barrier = barrier + 1;
	throw std::runtime_error("thrown");
}

extern "C" NOINLINE void guarded()
{
	Guard guard;

	thrower();
	barrier = barrier + 1;
}

extern "C" NOINLINE void catcher()
{
	try {
		guarded();
	} catch (const std::exception &) {
		take(112);
	}
	barrier = barrier + 1;
}

int main()
{
	catcher();
	std::puts("{\"done\":1}");
	return 0;
}
