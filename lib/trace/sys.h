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

/*
 * Not 0: the process has put a filter on its own system calls, which may end it at any that is not its own, or has
 * taken the clock away. Then a ring goes on, but nothing is called that the allocator itself does not call:
 * who waits does not sleep, a stack is followed no further than memory is known, and a fork's child does
 * not look for a tracer. Not wiped by a fork. Who stands before the program's calls counts them here; an
 * allocator by itself does not know.
 */
extern uint32_t _sys_filters __attribute__((visibility("hidden")));

static inline int sys__is_filtered(void)
{
	return __atomic_load_n(&_sys_filters, __ATOMIC_RELAXED) != 0;
}

#define sys__call(nr, a, b, c) sys__call3(nr, (long)(a), (long)(b), (long)(c))

#endif /* MEMTRACE_SYS_H */
