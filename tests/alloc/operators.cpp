/* SPDX-License-Identifier: MIT */
/* operator new and delete in every form, through the allocator the program has. */
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <memory>
#include <new>
#include <string>
#include <thread>
#include <vector>

#include <malloc.h>

#include "tests/alloc/case.h"
#include "tests/alloc/fill.h"

using std::align_val_t;
using std::nothrow;

static const size_t sizes[] = {0, 1, 15, 16, 17, 100, 1000, 4096, 5000, 65536, 131072, 1 << 20};
static const size_t alignments[] = {1, 8, 16, 32, 64, 256, 4096, 65536};
/* In a variable, or the compiler refuses to build what it knows cannot succeed. */
static volatile size_t too_much = PTRDIFF_MAX;
/* Blocks that nobody looks at need not be made. */
static void *volatile sink;

static void use(void *p, size_t size, size_t alignment)
{
	CHECK(p);
	CHECK(((uintptr_t)p & (alignment - 1)) == 0);
	CHECK_LE(size, malloc_usable_size(p));
	fill__block(p, size, size + alignment);
	CHECK(fill__holds(p, size, size, size + alignment));
}

static void plain_forms(void)
{
	for (size_t n : sizes) {
		void *p;

		use(p = ::operator new(n), n, 16);
		::operator delete(p);
		use(p = ::operator new(n), n, 16);
		::operator delete(p, n);
		use(p = ::operator new(n, nothrow), n, 16);
		::operator delete(p, nothrow);
		use(p = ::operator new[](n), n, 16);
		::operator delete[](p);
		use(p = ::operator new[](n), n, 16);
		::operator delete[](p, n);
		use(p = ::operator new[](n, nothrow), n, 16);
		::operator delete[](p, nothrow);
	}
	::operator delete(nullptr);
	::operator delete[](nullptr);
	::operator delete(nullptr, (size_t)8);
	::operator delete[](nullptr, (size_t)8);
	::operator delete(nullptr, nothrow);
	::operator delete[](nullptr, nothrow);
}

static void aligned_forms(void)
{
	for (size_t a : alignments) {
		align_val_t al = (align_val_t)a;

		for (size_t n : sizes) {
			void *p;

			use(p = ::operator new(n, al), n, a);
			::operator delete(p, al);
			use(p = ::operator new(n, al), n, a);
			::operator delete(p, n, al);
			use(p = ::operator new(n, al, nothrow), n, a);
			::operator delete(p, al, nothrow);
			use(p = ::operator new[](n, al), n, a);
			::operator delete[](p, al);
			use(p = ::operator new[](n, al), n, a);
			::operator delete[](p, n, al);
			use(p = ::operator new[](n, al, nothrow), n, a);
			::operator delete[](p, al, nothrow);
		}
		::operator delete(nullptr, al);
		::operator delete[](nullptr, al);
		::operator delete(nullptr, (size_t)8, al);
		::operator delete[](nullptr, (size_t)8, al);
		::operator delete(nullptr, al, nothrow);
		::operator delete[](nullptr, al, nothrow);
	}
}

template <typename F> static bool throws_bad_alloc(F f)
{
	try {
		f();
	} catch (const std::bad_alloc &) {
		return true;
	}
	return false;
}

static void no_memory_throws_or_is_null(void)
{
	size_t n = too_much;
	align_val_t al = (align_val_t)64;

	CHECK(throws_bad_alloc([=] { sink = ::operator new(n); }));
	CHECK(throws_bad_alloc([=] { sink = ::operator new[](n); }));
	CHECK(throws_bad_alloc([=] { sink = ::operator new(n, al); }));
	CHECK(throws_bad_alloc([=] { sink = ::operator new[](n, al); }));
	CHECK(!::operator new(n, nothrow));
	CHECK(!::operator new[](n, nothrow));
	CHECK(!::operator new(n, al, nothrow));
	CHECK(!::operator new[](n, al, nothrow));
}

static unsigned int handler_calls;

/* A new handler is called until it gives up; here the third time, by taking itself away. */
static void new_handler_that_gives_up()
{
	if (++handler_calls % 3 == 0)
		std::set_new_handler(nullptr);
}

static void the_new_handler_is_asked(void)
{
	size_t n = too_much;
	align_val_t al = (align_val_t)64;
	unsigned int forms = 0;

	auto asked = [&](auto f) {
		std::set_new_handler(new_handler_that_gives_up);
		f();
		CHECK_EQ(handler_calls, ++forms * 3);
	};
	asked([=] { CHECK(throws_bad_alloc([=] { sink = ::operator new(n); })); });
	asked([=] { CHECK(throws_bad_alloc([=] { sink = ::operator new[](n); })); });
	asked([=] { CHECK(throws_bad_alloc([=] { sink = ::operator new(n, al); })); });
	asked([=] { CHECK(!::operator new(n, nothrow)); });
	asked([=] { CHECK(!::operator new[](n, nothrow)); });
	asked([=] { CHECK(!::operator new(n, al, nothrow)); });
}

/* A handler that throws: out of the throwing forms. */
static void a_new_handler_may_throw(void)
{
	size_t n = too_much;

	std::set_new_handler([] { throw std::bad_alloc(); });
	CHECK(throws_bad_alloc([=] { sink = ::operator new(n); }));
	CHECK(throws_bad_alloc([=] { sink = ::operator new[](n); }));
	CHECK(throws_bad_alloc([=] { sink = ::operator new(n, (align_val_t)64); }));
	std::set_new_handler(nullptr);
}

/* Not where all is static: there the C++ library's own forms are not to be had. */
#ifndef ALLOC_STATIC
static void what_a_new_handler_throws_is_caught(void)
{
	size_t n = too_much;
	int asked = 0;
	static int *count = &asked;

	std::set_new_handler([] {
		++*count;
		throw std::bad_alloc();
	});
	CHECK(!(sink = ::operator new(n, std::nothrow)));
	CHECK(!(sink = ::operator new[](n, std::nothrow)));
	CHECK(!(sink = ::operator new(n, (align_val_t)64, std::nothrow)));
	CHECK(!(sink = ::operator new[](n, (align_val_t)64, std::nothrow)));
	CHECK_EQ(asked, 4);
	std::set_new_handler(nullptr);
	CHECK(!(sink = ::operator new(n, std::nothrow)));
}
#endif

struct alignas(64) cache_line {
	char bytes[64];
	std::string text = "longer than what a string keeps within itself, by far";
};

static void containers_and_objects(void)
{
	std::map<int, std::unique_ptr<cache_line>> lines;
	std::vector<std::string> words;

	for (int i = 0; i < 20000; i++) {
		lines[i] = std::make_unique<cache_line>();
		CHECK(((uintptr_t)lines[i].get() & 63) == 0);
		words.push_back(std::to_string(i) + " with a tail that needs memory of its own");
		if (i % 3 == 0)
			lines.erase(i / 2);
	}
	for (auto &line : lines)
		CHECK(line.second->text.size() == 53);
	delete[] new cache_line[100];
	delete new std::string(1000, 'x');
}

/* The destructors of a thread's objects free after the thread's own work is over. */
static void thread_locals_are_destroyed_after_use(void)
{
	static thread_local std::vector<std::string> mine;

	for (int i = 0; i < 200; i++) {
		std::thread t([i] {
			for (int j = 0; j < 100; j++)
				mine.push_back(std::string((size_t)(i + j), 'y'));
		});
		t.join();
	}
	CHECK(mine.empty());
}

static const struct test_case cases[] = {
	CASE(plain_forms),
	CASE(aligned_forms),
	CASE(no_memory_throws_or_is_null),
	CASE(the_new_handler_is_asked),
	CASE(a_new_handler_may_throw),
#ifndef ALLOC_STATIC
	CASE(what_a_new_handler_throws_is_caught),
#endif
	CASE(containers_and_objects),
	CASE(thread_locals_are_destroyed_after_use),
};

CASES_MAIN(cases)
