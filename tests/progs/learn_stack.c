/* SPDX-License-Identifier: MIT */
/*
 * A stack of integers on the break: what a process can do with nothing but sbrk. It prints a number
 * in any base: the digits come out from the last to the first, and the stack turns them round.
 */
#include "learn.h"

static int *bottom, *top, *limit;

static void push(int value)
{
	if (top == limit) {
		int *more = sbrk(PAGE);

		if (!bottom)
			bottom = top = more;
		limit = more + PAGE / sizeof(int);
	}
	*top++ = value;
}

static int pop(void)
{
	return *--top;
}

static const char *in_base(unsigned long number, unsigned int base)
{
	static char text[4096];
	char *at = text;

	do {
		push((int)(number % base));
		number /= base;
	} while (number);
	while (top > bottom)
		*at++ = "0123456789abcdefghijklmnopqrstuvwxyz"[pop()];
	*at = '\0';
	return text;
}

static void learn(void)
{
	learn__say("2026 in base 2: %s", in_base(2026, 2));
	learn__say("in base 7: %s", in_base(2026, 7));
	learn__say("in base 16: %s", in_base(2026, 16));
	learn__say("in base 36: %s", in_base(2026, 36));
	learn__say("3000 integers, 1024 to a page");
	for (int i = 0; i < 3000; i++)
		push(i);
}
