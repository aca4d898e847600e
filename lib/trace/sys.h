/* SPDX-License-Identifier: MIT */
/*
 * System calls for code within an allocator: nothing of libc is called and errno stays as it
 * is. Each returns what the kernel does: a negative errno on failure.
 */
#ifndef MEMTRACE_SYS_H
#define MEMTRACE_SYS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>

static inline long sys__call6(long nr, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}

static inline long sys__call3(long nr, long a, long b, long c)
{
	return sys__call6(nr, a, b, c, 0, 0, 0);
}

#define sys__call(nr, a, b, c) sys__call3(nr, (long)(a), (long)(b), (long)(c))

#endif /* MEMTRACE_SYS_H */
