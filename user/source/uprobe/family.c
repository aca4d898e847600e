// SPDX-License-Identifier: MIT
#include "user/source/uprobe/family.h"

#include <string.h>

#define ALLOC(n, o, size, count, ptr, align)                            \
	{                                                               \
		n, o, {size, count, ptr, align}, 0, false, false, false \
	}
#define NEW(n, o, align)                                     \
	{                                                    \
		n, o, {1, 0, 0, align}, 0, false, true, true \
	}
#define DELETE(n, o, size, align)                                \
	{                                                        \
		n, o, {size, 0, 1, align}, 0, false, true, false \
	}

static const struct family functions[] = {
	ALLOC("malloc", HEAP_MALLOC, 1, 0, 0, 0),
	ALLOC("free", HEAP_FREE, 0, 0, 1, 0),
	ALLOC("calloc", HEAP_CALLOC, 2, 1, 0, 0),
	ALLOC("realloc", HEAP_REALLOC, 2, 0, 1, 0),
	ALLOC("reallocarray", HEAP_REALLOCARRAY, 3, 2, 1, 0),
	ALLOC("aligned_alloc", HEAP_ALIGNED_ALLOC, 2, 0, 0, 1),
	{"posix_memalign", HEAP_POSIX_MEMALIGN, {3, 0, 1, 2}, RESULT_STORED, false, false, false},
	ALLOC("memalign", HEAP_MEMALIGN, 2, 0, 0, 1),
	ALLOC("valloc", HEAP_VALLOC, 1, 0, 0, 0),
	ALLOC("pvalloc", HEAP_PVALLOC, 1, 0, 0, 0),
	ALLOC("cfree", HEAP_FREE, 0, 0, 1, 0),
	ALLOC("free_sized", HEAP_FREE_SIZED, 2, 0, 1, 0),
	ALLOC("free_aligned_sized", HEAP_FREE_ALIGNED_SIZED, 3, 0, 1, 2),
	{"mallocx", HEAP_MALLOCX, {1, 0, 0, 2}, 0, true, false, false},
	{"rallocx", HEAP_RALLOCX, {2, 0, 1, 3}, 0, true, false, false},
	{"xallocx", HEAP_XALLOCX, {2, 0, 1, 0}, RESULT_IN_PLACE, false, false, false},
	ALLOC("dallocx", HEAP_DALLOCX, 0, 0, 1, 0),
	ALLOC("sdallocx", HEAP_SDALLOCX, 2, 0, 1, 0),
	NEW("_Znwm", HEAP_NEW, 0),
	NEW("_ZnwmRKSt9nothrow_t", HEAP_NEW, 0),
	NEW("_ZnwmSt11align_val_t", HEAP_NEW, 2),
	NEW("_ZnwmSt11align_val_tRKSt9nothrow_t", HEAP_NEW, 2),
	NEW("_Znam", HEAP_NEW_ARRAY, 0),
	NEW("_ZnamRKSt9nothrow_t", HEAP_NEW_ARRAY, 0),
	NEW("_ZnamSt11align_val_t", HEAP_NEW_ARRAY, 2),
	NEW("_ZnamSt11align_val_tRKSt9nothrow_t", HEAP_NEW_ARRAY, 2),
	DELETE("_ZdlPv", HEAP_DELETE, 0, 0),
	DELETE("_ZdlPvRKSt9nothrow_t", HEAP_DELETE, 0, 0),
	DELETE("_ZdlPvm", HEAP_DELETE, 2, 0),
	DELETE("_ZdlPvSt11align_val_t", HEAP_DELETE, 0, 2),
	DELETE("_ZdlPvSt11align_val_tRKSt9nothrow_t", HEAP_DELETE, 0, 2),
	DELETE("_ZdlPvmSt11align_val_t", HEAP_DELETE, 2, 3),
	DELETE("_ZdaPv", HEAP_DELETE_ARRAY, 0, 0),
	DELETE("_ZdaPvRKSt9nothrow_t", HEAP_DELETE_ARRAY, 0, 0),
	DELETE("_ZdaPvm", HEAP_DELETE_ARRAY, 2, 0),
	DELETE("_ZdaPvSt11align_val_t", HEAP_DELETE_ARRAY, 0, 2),
	DELETE("_ZdaPvSt11align_val_tRKSt9nothrow_t", HEAP_DELETE_ARRAY, 0, 2),
	DELETE("_ZdaPvmSt11align_val_t", HEAP_DELETE_ARRAY, 2, 3),
};

static const char *const prefixes[] = {"", "je_", "_rjem_", "mt_", "mi_", "tc_", "scalable_"};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const struct family *family__exact(const char *name)
{
	for (size_t i = 0; i < COUNT(functions); i++)
		if (!strcmp(functions[i].name, name))
			return &functions[i];
	return NULL;
}

const struct family *family__find(const char *name, size_t *prefix)
{
	const struct family *f;

	for (size_t i = 0; i < COUNT(prefixes); i++) {
		*prefix = strlen(prefixes[i]);
		if (strncmp(name, prefixes[i], *prefix))
			continue;
		f = family__exact(name + *prefix);
		if (f && !(f->cxx && *prefix))
			return f;
	}
	return NULL;
}

/* The longest function name that `name` ends in: reallocarray, not array; a word of its own. */
static const struct family *family__by_end(const char *name)
{
	const struct family *best = NULL;
	size_t length = strlen(name), longest = 0;

	for (size_t i = 0; i < COUNT(functions); i++) {
		size_t n = strlen(functions[i].name);

		if (n <= longest || n > length || strcmp(name + length - n, functions[i].name))
			continue;
		best = &functions[i];
		longest = n;
	}
	return best;
}

const struct family *family__parse(const char **name)
{
	const char *equals = strchr(*name, '=');
	char op[32];

	if (!equals)
		return family__by_end(*name);
	if (!equals[1] || (size_t)(equals - *name) >= sizeof(op))
		return NULL;
	memcpy(op, *name, equals - *name);
	op[equals - *name] = '\0';
	*name = equals + 1;
	return family__exact(op);
}

bool family__is_escape(const char *name, unsigned *kind)
{
	static const struct {
		const char *name;
		unsigned kind;
	} names[] = {
		{"longjmp", ESCAPE_JUMP},
		{"_longjmp", ESCAPE_JUMP},
		{"siglongjmp", ESCAPE_JUMP},
		{"__longjmp_chk", ESCAPE_JUMP},
		/* It calls malloc, which would be taken for a part of the call. */
		{"__cxa_allocate_exception", ESCAPE_THROW},
		{"_Unwind_RaiseException", ESCAPE_THROW},
		{"_Unwind_Resume_or_Rethrow", ESCAPE_THROW},
		{"_Unwind_ForcedUnwind", ESCAPE_THROW},
	};

	for (size_t i = 0; i < COUNT(names); i++)
		if (!strcmp(names[i].name, name)) {
			*kind = names[i].kind;
			return true;
		}
	return false;
}
