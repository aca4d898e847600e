/* SPDX-License-Identifier: MIT */
/* C++ names: a namespace, a template, an overload, a lambda. */
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>

namespace shop
{

static volatile int barrier;

template <typename T> struct Shelf {
	__attribute__((noinline)) T *take(std::size_t bytes)
	{
		const int rw = PROT_READ | PROT_WRITE, anon = MAP_PRIVATE | MAP_ANONYMOUS;
		void *p = mmap(nullptr, bytes, rw, anon, -1, 0); /* LINE: take */

		barrier = barrier + 1;
		return static_cast<T *>(p);
	}
};

__attribute__((noinline)) int fill(char *p, std::size_t pages)
{
	for (std::size_t i = 0; i < pages; i++)
		p[i * 4096] = 1; /* LINE: fill */
	barrier = barrier + 1;
	return barrier;
}

} // namespace shop

int main()
{
	shop::Shelf<char> shelf;
	auto both = [&](std::size_t pages) __attribute__((noinline))
	{
		char *p = shelf.take(pages * 4096);
		int n = shop::fill(p, pages);

		return n + *p;
	};

	return both(91) == 0;
}
