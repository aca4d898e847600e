// SPDX-License-Identifier: MIT
/* The functions behind ours. */
#include <dlfcn.h>
#include <string.h>

#include "lib/agent/agent.h"

#define ARENA_ALIGN 16

void *_next[NEXT_COUNT];

static const char *const names[NEXT_COUNT] = {
#define NEXT_NAME(symbol, name) [NEXT_##name] = #symbol,
	AGENT_FUNCTIONS(NEXT_NAME)
#undef NEXT_NAME
};

/* Libraries of C++ that a program loads for itself are not in the order that we look in. */
static const char *const cxx_libraries[] = {"libstdc++.so.6", "libc++.so.1", "libc++abi.so.1"};

/* In one lookup this thread is; what that allocates is taken from the arena. */
static __thread bool looking __attribute__((tls_model("initial-exec")));

static void *find_cxx(const char *name)
{
	for (size_t i = 0; i < sizeof(cxx_libraries) / sizeof(cxx_libraries[0]); i++) {
		void *library = dlopen(cxx_libraries[i], RTLD_LAZY | RTLD_NOLOAD), *f;

		/* The handle is kept: who calls the operator needs the library as long as we do. */
		f = library ? dlsym(library, name) : NULL;
		if (f)
			return f;
	}
	return NULL;
}

void *next__find(enum next_index which)
{
	void *f;

	if (looking)
		return NULL;
	looking = true;
	f = dlsym(RTLD_NEXT, names[which]);
	if (!f && which >= NEXT_new)
		/* It takes the first of the operators for one that is behind the last name. */
		/* cppcheck-suppress arrayIndexOutOfBoundsCond */
		f = find_cxx(names[which]);
	/* Nobody asks for the text of this error: let it be freed here. */
	while (!f && dlerror())
		;
	looking = false;
	_next[which] = f;
	return f;
}

void *next__find_for(enum next_index which, const void *caller)
{
	void *library, *f = NULL;
	Dl_info info;

	if (looking)
		return NULL;
	looking = true;
	if (dladdr(caller, &info) && info.dli_fname) {
		library = dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
		f = library ? dlsym(library, names[which]) : NULL;
	}
	while (!f && dlerror())
		;
	looking = false;
	return f;
}

bool next__is_allocators(enum next_index which)
{
	static int8_t known[NEXT_COUNT]; /* 1: yes, -1: no */
	Dl_info of_malloc, of_this;
	void *f;

	if (PRODUCER_LIKELY(known[which]))
		return known[which] > 0;
	f = next__get(which);
	known[which] = f && dladdr(next__get(NEXT_malloc), &of_malloc) && dladdr(f, &of_this) &&
				       of_malloc.dli_fbase == of_this.dli_fbase ?
			       1 :
			       -1;
	return known[which] > 0;
}

#pragma weak gnu_get_libc_version
extern const char *gnu_get_libc_version(void);

/* glibc's are known to be so. */
bool next__is_leaf(void)
{
	static const enum next_index plain[] = {NEXT_malloc, NEXT_free, NEXT_calloc, NEXT_realloc};
	Dl_info libc, own;

	if (!gnu_get_libc_version || !dladdr((void *)gnu_get_libc_version, &libc))
		return false;
	for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++)
		if (!next__get(plain[i]) || !dladdr(next__get(plain[i]), &own) ||
		    own.dli_fbase != libc.dli_fbase)
			return false;
	return true;
}

/* The arena: blocks with their size before them, never given back. */

char _arena[ARENA_BYTES] __attribute__((aligned(ARENA_ALIGN)));
static size_t arena_used;

void *arena__take(size_t size)
{
	size_t bytes = ARENA_ALIGN + ((size + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1)), at;

	if (size > ARENA_BYTES)
		return NULL;
	at = __atomic_fetch_add(&arena_used, bytes, __ATOMIC_RELAXED);
	if (at + bytes > ARENA_BYTES)
		return NULL;
	memcpy(_arena + at, &size, sizeof(size));
	sampled__watch(&_producer_sampled, _arena + at + ARENA_ALIGN);
	return _arena + at + ARENA_ALIGN;
}

/* Whoever takes one later has seen the filter. */
void arena__watch(void)
{
	size_t used;

	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	used = __atomic_load_n(&arena_used, __ATOMIC_RELAXED);
	for (size_t at = 0; at < used && at < ARENA_BYTES; at += ARENA_ALIGN)
		sampled__watch(&_producer_sampled, _arena + at);
}

size_t arena__size(const void *p)
{
	size_t size;

	memcpy(&size, (const char *)p - ARENA_ALIGN, sizeof(size));
	return size;
}
