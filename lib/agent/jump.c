// SPDX-License-Identifier: MIT
/*
 * longjmp: it may leave an allocator's call, from a signal handler. What the kernel does
 * afterwards is not part of that call any more.
 */
#include "lib/agent/agent.h"

typedef void longjmp_fn(void *env, int value);

#define JUMP(symbol, name)                                                       \
	AGENT_PUBLIC __attribute__((noreturn)) void symbol(void *env, int value) \
	{                                                                        \
		longjmp_fn *next = (longjmp_fn *)next__get(NEXT_##name);         \
                                                                                 \
		call__escape(producer__self());                                  \
		if (!next)                                                       \
			__builtin_trap();                                        \
		next(env, value);                                                \
		__builtin_unreachable();                                         \
	}

JUMP(longjmp, longjmp)
JUMP(_longjmp, bare_longjmp)
JUMP(siglongjmp, siglongjmp)
JUMP(__longjmp_chk, checked_longjmp)
