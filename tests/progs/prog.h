/* SPDX-License-Identifier: MIT */
/*
 * What the test programs share: the handshake with the harness, fault
 * brackets, and results on standard output, one JSON object a line.
 *
 * With -w as its first argument a program says "ready PID" before its phase and
 * waits for a line on standard input, does the phase, prints its result, and
 * waits once more before it ends: a tracer can be attached and detached in
 * between, and nothing but the phase happens while it looks. Without -w it
 * does not wait.
 *
 * None of this takes a page fault once prog__ready() has run, except after a
 * fork, where the first prog__faults() takes them (they are then inside the
 * bracket). No stdio streams, no malloc.
 */
#ifndef PROG_H
#define PROG_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROG_PAGE 4096
#define PROG_UNUSED __attribute__((unused))
#define PROG_NOINLINE __attribute__((noinline))

/* As getrusage has them. */
struct prog_faults {
	unsigned long minor, major;
};

static bool prog__waits;
static char prog__line[4096];

static PROG_UNUSED void prog__die(const char *what)
{
	dprintf(2, "%s: %s\n", what, strerror(errno));
	_exit(99);
}

/* Write a line made like printf's; the whole of it in one write(2). */
__attribute__((format(printf, 1, 2))) static PROG_UNUSED void prog__print(const char *format, ...)
{
	va_list ap;
	int n;

	va_start(ap, format);
	n = vsnprintf(prog__line, sizeof(prog__line), format, ap);
	va_end(ap);
	if (write(1, prog__line, (size_t)n) != n)
		_exit(98);
}

/* Touch everything that the functions here write to. */
static PROG_UNUSED PROG_NOINLINE void prog__warm(void)
{
	volatile char stack[4 * PROG_PAGE];
	struct rusage usage;

	for (size_t i = 0; i < sizeof(stack); i += 512)
		stack[i] = 1;
	snprintf(prog__line, sizeof(prog__line), "{\"%s\":%lu,\"%s\":%ld,\"%d\":%#lx}\n", "x", 1UL,
		 "y", 1L, 1, 1UL);
	for (size_t i = 0; i < sizeof(prog__line); i += 512)
		*(volatile char *)&prog__line[i] = 0;
	getrusage(RUSAGE_SELF, &usage);
}

/* The process's faults up to here. */
static PROG_UNUSED struct prog_faults prog__faults(void)
{
	struct rusage usage;

	prog__warm();
	if (getrusage(RUSAGE_SELF, &usage))
		prog__die("getrusage");
	return (struct prog_faults){(unsigned long)usage.ru_minflt, (unsigned long)usage.ru_majflt};
}

/* Take -w off the arguments. */
static PROG_UNUSED void prog__start(int *argc, char ***argv)
{
	if (*argc > 1 && !strcmp((*argv)[1], "-w")) {
		prog__waits = true;
		(*argv)[1] = (*argv)[0];
		++*argv;
		--*argc;
	}
}

static PROG_UNUSED void prog__await(void)
{
	char c;

	while (read(0, &c, 1) == 1 && c != '\n')
		continue;
}

/* With -w: say "ready PID", wait for a line. */
static PROG_UNUSED void prog__ready(void)
{
	prog__faults();
	if (!prog__waits)
		return;
	prog__print("ready %d\n", getpid());
	prog__await();
}

/* With -w: wait for a line or for standard input to end. */
static PROG_UNUSED void prog__end(void)
{
	if (prog__waits)
		prog__await();
}

/* Argument i as a number, or its default. */
static PROG_UNUSED unsigned long prog__number(int argc, char **argv, int i, unsigned long other)
{
	return i < argc ? strtoul(argv[i], NULL, 0) : other;
}

/* Fresh private anonymous pages that no huge page will back. */
static PROG_UNUSED char *prog__pages(size_t n)
{
	char *p = (char *)mmap(NULL, n * PROG_PAGE, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		prog__die("mmap");
	/* EINVAL: a kernel without huge pages, which is as good */
	if (madvise(p, n * PROG_PAGE, MADV_NOHUGEPAGE) && errno != EINVAL)
		prog__die("madvise");
	return p;
}

static PROG_UNUSED PROG_NOINLINE void prog__write_pages(volatile char *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		p[i * PROG_PAGE] = 1;
}

static PROG_UNUSED PROG_NOINLINE unsigned prog__read_pages(const volatile char *p, size_t n)
{
	unsigned sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += (unsigned char)p[i * PROG_PAGE];
	return sum;
}

static PROG_UNUSED long prog__gettid(void)
{
	return syscall(SYS_gettid);
}

#endif /* PROG_H */
