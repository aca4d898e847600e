/* SPDX-License-Identifier: MIT */
/*
 * Cases of the allocator's tests. Each case runs in a child process of its own, so that one which
 * crashes, hangs or leaves limits behind costs only itself; an allocator's tests may not trust the
 * allocator. A program is a table of cases and prints, as the last line, the sum
 * "N passed, N failed, N skipped".
 *
 * Nothing here allocates: messages go through dprintf(), which formats on the stack.
 */
#ifndef TESTS_ALLOC_CASE_H
#define TESTS_ALLOC_CASE_H

#ifdef __cplusplus
extern "C" {
#endif

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct test_case {
	const char *name;
	void (*run)(void);
	unsigned int limit_s; /* 0: the default, 60 s */
	bool (*applies)(void); /* NULL: always; else the case is no case where it says false */
	bool inner; /* no case by itself, but what child__exec() runs */
};

#define CASE(function)                                \
	{                                             \
#function, (function), 0, NULL, false \
	}
#define CASE_WITHIN(function, seconds)                        \
	{                                                     \
#function, (function), (seconds), NULL, false \
	}
/* What can only be seen where nobody but the test allocates (alloc__is_alone()). */
#define CASE_ALONE(function)                                     \
	{                                                        \
#function, (function), 0, alloc__is_alone, false \
	}
#define INNER(function)                              \
	{                                            \
#function, (function), 0, NULL, true \
	}

/* A promise that only mtalloc gives (alloc__is_mtalloc() of api.h). */
#define CASE_OF_MTALLOC(function)                                  \
	{                                                          \
#function, (function), 0, alloc__is_mtalloc, false \
	}

/* main() of a program: NAME [-l] [-1] [PATTERN]. -l lists, -1 runs without children, for debuggers
 * and valgrind; PATTERN is a part of the names to run. NAME -x CASE runs one, silently. */
int cases__main(int argc, char **argv, const struct test_case *cases, size_t count);
#define CASES_MAIN(table)                                                                \
	int main(int argc, char **argv)                                                  \
	{                                                                                \
		return cases__main(argc, argv, table, sizeof(table) / sizeof(table[0])); \
	}

/* Ends the case as failed or as skipped; usable from any thread of it. */
void case__fail(const char *file, int line, const char *format, ...)
	__attribute__((noreturn, format(printf, 3, 4)));
void case__skip(const char *why) __attribute__((noreturn));

#define CHECK(condition)                                                          \
	do {                                                                      \
		if (!(condition))                                                 \
			case__fail(__FILE__, __LINE__, "not so: %s", #condition); \
	} while (0)

#define CHECK_MSG(condition, ...)                                    \
	do {                                                         \
		if (!(condition))                                    \
			case__fail(__FILE__, __LINE__, __VA_ARGS__); \
	} while (0)

/* Both sides as signed integers; failing prints both. */
#define CHECK_EQ(got, wanted)                                                                   \
	do {                                                                                    \
		long long got_ = (long long)(got), wanted_ = (long long)(wanted);               \
		if (got_ != wanted_)                                                            \
			case__fail(__FILE__, __LINE__, "%s is %lld, not %s (%lld)", #got, got_, \
				   #wanted, wanted_);                                           \
	} while (0)

#define CHECK_LE(got, most)                                                                       \
	do {                                                                                      \
		long long got_ = (long long)(got), most_ = (long long)(most);                     \
		if (got_ > most_)                                                                 \
			case__fail(__FILE__, __LINE__, "%s is %lld, above %s (%lld)", #got, got_, \
				   #most, most_);                                                 \
	} while (0)

/* What a child process came to. */
struct outcome {
	int status; /* as of waitpid() */
	size_t length; /* of the text, terminated by a null byte; longer output is cut */
	char text[4096]; /* what it wrote to stderr */
};

/* Runs function(arg) in a child whose stderr is caught; a function that returns exits 0. */
void child__run(void (*function)(void *), void *arg, struct outcome *out);

/* Runs the named inner case in a fresh image of this program, with one more environment variable
 * "NAME=value": for what an allocator looks at only once. */
void child__exec(const char *name, const char *variable, struct outcome *out);

/* The child has to end by SIGABRT after one line on stderr, which holds `pointer` in hexadecimal
 * (NULL: any) and the word `what` (NULL: any). */
void outcome__check_trap(const struct outcome *out, const void *pointer, const char *what);

/* Repeatable numbers: the state is the caller's, any value but 0. */
static inline uint64_t rnd__next(uint64_t *state)
{
	uint64_t x = *state;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	*state = x;
	return x * 0x2545f4914f6cdd1dULL;
}

static inline size_t rnd__below(uint64_t *state, size_t bound)
{
	return (size_t)((rnd__next(state) >> 32) * bound >> 32);
}

/* A number from the environment, or fallback where it is not set. */
unsigned long env__number(const char *name, unsigned long fallback);

#ifdef __cplusplus
}
#endif
#endif
