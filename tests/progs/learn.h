/* SPDX-License-Identifier: MIT */
/*
 * What the programs of docs/linux-memory.md share. Each is one function, learn(), that the document
 * shows; a tracer is attached before it and looks until it has returned.
 *
 * learn__say() puts a sentence into the stream: it is printed as "step N TEXT", and in the stream
 * stands an madvise of no bytes at page N, which does nothing. tests/trace/learn.py joins the two.
 */
#ifndef LEARN_H
#define LEARN_H

#include <malloc.h>

#include "prog.h"

#define PAGE PROG_PAGE
#define KIB 1024UL
#define MIB (1024 * KIB)

/* Shared with children. */
static struct {
	unsigned int steps;
	unsigned int length;
	char text[8192]; /* said by those who have no standard output */
} * learn__shared;
static bool learn__silent; /* say what there is to say at the end */
static int learn__argc;
static char **learn__argv;

static void learn(void);

__attribute__((format(printf, 1, 2))) static PROG_UNUSED void learn__say(const char *format, ...)
{
	static char text[512], line[600];
	int saved = errno, length;
	unsigned int step = 0;
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	if (learn__shared)
		step = ++learn__shared->steps;
	length = snprintf(line, sizeof(line), "step %u %s\n", step, text);
	if (!step)
		return;
	if (learn__silent) {
		memcpy(learn__shared->text + learn__shared->length, line, (size_t)length);
		learn__shared->length += (unsigned int)length;
	} else if (write(1, line, (size_t)length) != length) {
		_exit(98);
	}
	syscall(SYS_madvise, (unsigned long)step * PAGE, 0UL, MADV_NORMAL);
	errno = saved;
}

static PROG_UNUSED PROG_NOINLINE void write_byte(char *at, char value)
{
	*(volatile char *)at = value;
}

static PROG_UNUSED PROG_NOINLINE char read_byte(const char *at)
{
	return *(const volatile char *)at;
}

/* One byte in each of so many pages. */
static PROG_UNUSED PROG_NOINLINE void write_pages(char *at, size_t pages)
{
	for (size_t i = 0; i < pages; i++)
		*(volatile char *)(at + i * PAGE) = 1;
}

static PROG_UNUSED PROG_NOINLINE void read_pages(const char *at, size_t pages)
{
	for (size_t i = 0; i < pages; i++)
		(void)*(const volatile char *)(at + i * PAGE);
}

/* Private anonymous memory, as most of a process is. */
static PROG_UNUSED char *map_pages(size_t pages, int protection, int more_flags)
{
	return mmap(NULL, pages * PAGE, protection, MAP_ANONYMOUS | more_flags, -1, 0);
}

/* How many of the pages from there on are in memory. */
static PROG_UNUSED int resident(void *at, int pages)
{
	static unsigned char here[1024];
	int n = 0;

	if (mincore((void *)((uintptr_t)at & ~(PAGE - 1UL)), (size_t)pages * PAGE, here))
		return -1;
	for (int i = 0; i < pages; i++)
		n += here[i] & 1;
	return n;
}

int main(int argc, char **argv)
{
	prog__start(&argc, &argv);
	learn__argc = argc;
	learn__argv = argv;
	/* what saying something touches is there from now on */
	learn__say("%d %lu %s", 1, 1UL, "ready");
	learn__shared = mmap(NULL, sizeof(*learn__shared), PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (learn__shared == MAP_FAILED)
		prog__die("mmap");
	prog__ready();
	learn();
	if (learn__shared->length &&
	    write(1, learn__shared->text, learn__shared->length) != learn__shared->length)
		prog__die("write");
	prog__print("{}\n");
	prog__end();
	return 0;
}

#endif /* LEARN_H */
