// SPDX-License-Identifier: MIT
/* The one line before the program ends. Needs no memory and no stdio. */
#include <stdlib.h>
#include <unistd.h>

#include "internal.h"

struct line {
	char text[256];
	size_t length;
};

static void put(struct line *line, const char *text)
{
	while (*text && line->length < sizeof(line->text) - 1)
		line->text[line->length++] = *text++;
}

static void put_number(struct line *line, uint64_t value, unsigned int base)
{
	char digits[24];
	int at = sizeof(digits) - 1;

	digits[at] = '\0';
	do {
		digits[--at] = "0123456789abcdef"[value % base];
		value /= base;
	} while (value);
	put(line, &digits[at]);
}

_Noreturn void _mt_die(const char *caller, const void *block, const char *what, size_t size)
{
	struct line line = {.length = 0};

	put(&line, "mtalloc: ");
	put(&line, caller);
	put(&line, "(0x");
	put_number(&line, (uintptr_t)block, 16);
	put(&line, "): ");
	put(&line, what);
	if (size) {
		put(&line, " (a block of ");
		put_number(&line, size, 10);
		put(&line, " bytes)");
	}
	line.text[line.length++] = '\n';
	_mt_os_write(STDERR_FILENO, line.text, line.length);
	abort();
}
