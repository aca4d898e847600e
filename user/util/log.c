// SPDX-License-Identifier: MIT
#include "user/util/log.h"

#include <stdarg.h>
#include <stdio.h>

static enum log_level current = LOG_NORMAL;
static char *diverted;
static size_t diverted_room;

void log__set_level(enum log_level level)
{
	current = level;
}

enum log_level log__level(void)
{
	return current;
}

/* One write for the whole line, so that it is not torn by a launched command's output. */
static void log__write(const char *prefix, const char *fmt, va_list ap)
{
	char line[2048];
	int n;

	n = vsnprintf(line, sizeof(line), fmt, ap);
	if (n >= 0)
		fprintf(stderr, "memtrace: %s%s\n", prefix, line);
}

void log__divert(char *to, size_t room)
{
	diverted = to;
	diverted_room = room;
	if (to && room)
		to[0] = '\0';
}

void log__error(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	if (!diverted)
		log__write("", fmt, ap);
	else if (!diverted[0])
		vsnprintf(diverted, diverted_room, fmt, ap);
	va_end(ap);
}

void log__warn(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	log__write("warning: ", fmt, ap);
	va_end(ap);
}

void log__info(const char *fmt, ...)
{
	va_list ap;

	if (current < LOG_NORMAL)
		return;
	va_start(ap, fmt);
	log__write("", fmt, ap);
	va_end(ap);
}

void log__debug(const char *fmt, ...)
{
	va_list ap;

	if (current < LOG_VERBOSE)
		return;
	va_start(ap, fmt);
	log__write("", fmt, ap);
	va_end(ap);
}
