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

/* Of the four arguments of prctl(2), the first two. */
static bool prctl__forbids(long option, unsigned long mode)
{
	return option == PR_SET_SECCOMP || (option == PR_SET_TSC && mode == PR_TSC_SIGSEGV);
}

static bool seccomp__forbids(unsigned long operation)
{
	return operation == SECCOMP_SET_MODE_STRICT || operation == SECCOMP_SET_MODE_FILTER;
}

/* Before a call that forbids others: another thread may be waiting meanwhile. clock: that is taken, too. */
static void filter__begin(bool clock)
{
	__atomic_fetch_add(&_sys_filters, 1, __ATOMIC_RELAXED);
	if (clock)
		producer__forgo();
}

/* It failed: programs ask so whether there is such a call. */
static void filter__failed(void)
{
	__atomic_fetch_sub(&_sys_filters, 1, __ATOMIC_RELAXED);
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
	bool forbids;
	int got;

	va_start(args, option);
	for (int i = 0; i < 4; i++)
		a[i] = va_arg(args, unsigned long);
	va_end(args);
	forbids = prctl__forbids(option, a[0]);
	if (forbids)
		filter__begin(option == PR_SET_TSC || a[0] == SECCOMP_MODE_STRICT);
	got = next ? next(option, a[0], a[1], a[2], a[3]) :
		     (int)returned(sys__call6(SYS_prctl, option, (long)a[0], (long)a[1], (long)a[2],
					      (long)a[3], 0));
	if (forbids && got < 0)
		filter__failed();
	return got;
}

/* Those of syscall() that are looked at, and all before the function behind it was looked up. */
__attribute__((used, visibility("hidden"))) long _agent_syscall(long nr, long a, long b, long c,
								long d, long e, long f)
{
	syscall_fn *next = (syscall_fn *)next__get(NEXT_syscall);
	/* With flags the strict mode is refused: so libseccomp asks whether there is such a call. */
	bool of_seccomp = nr == SYS_seccomp && seccomp__forbids((unsigned long)a);
	bool of_prctl = nr == SYS_prctl && prctl__forbids(a, (unsigned long)b);
	long got;

	if (of_seccomp)
		filter__begin(a == SECCOMP_SET_MODE_STRICT && !b);
	else if (of_prctl)
		filter__begin(a == PR_SET_TSC || b == SECCOMP_MODE_STRICT);
	got = next ? next(nr, a, b, c, d, e, f) : returned(sys__call6(nr, a, b, c, d, e, f));
	if ((of_seccomp || of_prctl) && got < 0)
		filter__failed();
	return got;
}

__attribute__((used, visibility("hidden"))) void *_agent_next_syscall = (void *)_agent_syscall;

void filter__watch(void)
{
	void *next = next__get(NEXT_syscall);

	/* Looked up now, and not when the child of a clone(2) calls it, that has a copied loader's lock. */
	next__get(NEXT_prctl);
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
