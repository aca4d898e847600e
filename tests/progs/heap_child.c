// FLAGS: -fno-builtin
/* SPDX-License-Identifier: MIT */
/*
 * Every function of the malloc family in a child that executes nothing: a known number of times, as it
 * counts it itself. Argument: "fork", the child says "ready PID" and waits for a line before it begins;
 * "vfork", the program itself does before it makes the child, which works on its heap. "exec PROGRAM
 * ARGUMENT...": nothing of this, the child of fork executes that.
 */
#include <malloc.h>

#include "prog.h"

#define ROUNDS 150

static struct {
	unsigned long malloc, calloc, realloc, reallocarray, aligned_alloc, memalign,
		posix_memalign, valloc, pvalloc, free, bytes, live_blocks, live_bytes;
} own;

static void *took(unsigned long *which, void *p, size_t bytes)
{
	if (!p)
		prog__die("allocation");
	++*which;
	own.bytes += bytes;
	own.live_blocks++;
	own.live_bytes += bytes;
	return p;
}

static void gave(void *p, size_t bytes)
{
	free(p);
	own.free++;
	own.live_blocks--;
	own.live_bytes -= bytes;
}

static PROG_NOINLINE void family(void)
{
	for (size_t i = 1; i <= ROUNDS; i++) {
		void *a = took(&own.malloc, malloc(i * 9), i * 9), *p = NULL;

		own.live_blocks--;
		own.live_bytes -= i * 9;
		a = took(&own.realloc, realloc(a, i * 90), i * 90);
		gave(took(&own.calloc, calloc(i, 24), i * 24), i * 24);
		gave(took(&own.reallocarray, reallocarray(NULL, i, 40), i * 40), i * 40);
		gave(took(&own.aligned_alloc, aligned_alloc(64, 128), 128), 128);
		gave(took(&own.memalign, memalign(256, i), i), i);
		gave(took(&own.valloc, valloc(i), i), i);
		took(&own.pvalloc, pvalloc(PROG_PAGE), PROG_PAGE);
		if (posix_memalign(&p, 512, i))
			prog__die("posix_memalign");
		took(&own.posix_memalign, p, i);
		if (i % 10)
			gave(a, i * 90);
		if (i % 10 != 5)
			gave(p, i);
	}
}

static void tell(pid_t who)
{
	prog__print("{\"pid\": %d, \"by_function\": {\"malloc\": %lu, \"calloc\": %lu, \"realloc\": %lu, "
		    "\"reallocarray\": %lu, \"aligned_alloc\": %lu, \"memalign\": %lu, "
		    "\"posix_memalign\": %lu, \"valloc\": %lu, \"pvalloc\": %lu, \"free\": %lu}, "
		    "\"bytes\": %lu, \"live_blocks\": %lu, \"live_bytes\": %lu}\n",
		    who, own.malloc, own.calloc, own.realloc, own.reallocarray, own.aligned_alloc,
		    own.memalign, own.posix_memalign, own.valloc, own.pvalloc, own.free, own.bytes,
		    own.live_blocks, own.live_bytes);
}

static void await(pid_t child)
{
	int status;

	if (child < 0 || waitpid(child, &status, 0) != child || status)
		prog__die("child");
}

static PROG_NOINLINE pid_t family_in_vfork(void)
{
	pid_t child = vfork();

	if (!child) {
		family();
		_exit(0);
	}
	return child;
}

static PROG_NOINLINE pid_t family_in_fork(void)
{
	pid_t child = fork();

	if (!child) {
		prog__ready();
		family();
		tell(getpid());
		prog__end();
		_exit(0);
	}
	return child;
}

static PROG_NOINLINE pid_t executed(char **argv)
{
	pid_t child = fork();

	if (!child) {
		execv(argv[0], argv);
		prog__die(argv[0]);
	}
	return child;
}

int main(int argc, char **argv)
{
	prog__start(&argc, &argv);
	if (argc < 2)
		return 2;
	if (!strcmp(argv[1], "vfork")) {
		prog__ready();
		await(family_in_vfork());
		tell(getpid());
		prog__end();
	} else {
		await(argc > 2 ? executed(argv + 2) : family_in_fork());
	}
	return 0;
}
