// SPDX-License-Identifier: MIT
/*
 * Whether the program puts a filter on its own system calls (seccomp(2)). It allows what it calls
 * itself; one call of ours that it does not know would end it. That cannot be asked later, since to ask
 * is a call, too; so we stand before the two functions by which it is done.
 */
#include <errno.h>
#include <linux/seccomp.h>
#include <stdarg.h>
#include <sys/prctl.h>

#include "lib/agent/agent.h"
#include "lib/trace/sys.h"

typedef int prctl_fn(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d);
typedef long syscall_fn(long nr, ...);

/* As numbers in the code of syscall() below. */
_Static_assert(SYS_seccomp == 317 && SYS_prctl == 157, "x86-64");

/* What is known before a call that may forbid others; another thread may be waiting meanwhile. */
static void before_prctl(long option, unsigned long mode)
{
	if (option == PR_SET_SECCOMP)
		__atomic_store_n(&_producer_filtered, 1, __ATOMIC_RELAXED);
	/* Both take the time stamp counter away. */
	if ((option == PR_SET_SECCOMP && mode == SECCOMP_MODE_STRICT) ||
	    (option == PR_SET_TSC && mode == PR_TSC_SIGSEGV))
		producer__forgo();
}

static void before_seccomp(unsigned long operation, unsigned long flags)
{
	if (operation == SECCOMP_SET_MODE_STRICT || operation == SECCOMP_SET_MODE_FILTER)
		__atomic_store_n(&_producer_filtered, 1, __ATOMIC_RELAXED);
	/* With flags it is refused: so libseccomp asks whether there is such a call. */
	if (operation == SECCOMP_SET_MODE_STRICT && !flags)
		producer__forgo();
}

static long returned(long got)
{
	if (got >= 0 || got < -4095)
		return got;
	errno = (int)-got;
	return -1;
}

AGENT_PUBLIC int prctl(int option, ...)
{
	prctl_fn *next = (prctl_fn *)next__get(NEXT_prctl);
	unsigned long a[4];
	va_list args;

	va_start(args, option);
	for (int i = 0; i < 4; i++)
		a[i] = va_arg(args, unsigned long);
	va_end(args);
	before_prctl(option, a[0]);
	if (next)
		return next(option, a[0], a[1], a[2], a[3]);
	return (int)returned(
		sys__call6(SYS_prctl, option, (long)a[0], (long)a[1], (long)a[2], (long)a[3], 0));
}

/* Those of syscall() that are looked at, and all before the function behind it was looked up. */
__attribute__((used, visibility("hidden"))) long _agent_syscall(long nr, long a, long b, long c,
								long d, long e, long f)
{
	syscall_fn *next = (syscall_fn *)next__get(NEXT_syscall);

	if (nr == SYS_prctl)
		before_prctl(a, (unsigned long)b);
	else if (nr == SYS_seccomp)
		before_seccomp((unsigned long)a, (unsigned long)b);
	return next ? next(nr, a, b, c, d, e, f) : returned(sys__call6(nr, a, b, c, d, e, f));
}

__attribute__((used, visibility("hidden"))) void *_agent_next_syscall = (void *)_agent_syscall;

void filter__watch(void)
{
	void *next = next__get(NEXT_syscall);

	if (next)
		__atomic_store_n(&_agent_next_syscall, next, __ATOMIC_RELAXED);
}

/* long syscall(long number, ...): it may be clone(2) with another stack, or vfork(2), so there is no frame
 * of ours in between. */
__asm__(".pushsection .text\n"
	".globl syscall\n"
	".type syscall, @function\n"
	"syscall:\n"
	"	.cfi_startproc\n"
	"	cmpq	$317, %rdi\n"
	"	je	_agent_syscall\n"
	"	cmpq	$157, %rdi\n"
	"	je	_agent_syscall\n"
	"	jmp	*_agent_next_syscall(%rip)\n"
	"	.cfi_endproc\n"
	".size syscall, . - syscall\n"
	".popsection\n");
