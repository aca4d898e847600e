/* SPDX-License-Identifier: MIT */
// FLAGS: -fno-builtin
/* What glibc writes between blocks, and what comes of writing over it. */
#include "learn.h"

/* Run in a child; what it said when it died. */
static void in_a_child(void (*work)(void))
{
	static char text[256];
	int out[2], status;
	ssize_t n;

	if (pipe(out))
		prog__die("pipe");
	if (!fork()) {
		setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
		dup2(out[1], 2);
		work();
		_exit(0);
	}
	close(out[1]);
	n = read(out[0], text, sizeof(text) - 1);
	text[n > 0 ? n - 1 : 0] = '\0';
	wait(&status);
	learn__say("\"%s\", and it ended by signal %d (SIGABRT is %d)", text, WTERMSIG(status),
		   SIGABRT);
}

static void overflow(void)
{
	char *a = malloc(24), *b = malloc(24);

	a[24] = 'x'; /* one byte too far */
	free(a);
	free(b);
}

static void free_twice(void)
{
	char *a = malloc(24);

	free(a);
	free(a);
}

static void learn(void)
{
	char *a = malloc(24), *b = malloc(24), *c = malloc(25);

	learn__say("24 bytes, 24 bytes, 25 bytes: %td and %td apart", b - a, c - b);
	learn__say("the 8 bytes before each: %zu, %zu, %zu", ((size_t *)a)[-1], ((size_t *)b)[-1],
		   ((size_t *)c)[-1]);
	learn__say("the 25th byte of 24 is written, both are freed");
	in_a_child(overflow);
	learn__say("a block is freed twice");
	in_a_child(free_twice);
}
