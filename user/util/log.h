/* SPDX-License-Identifier: MIT */
/* Messages to the user, on standard error, each one line that begins "memtrace: ". */
#ifndef MEMTRACE_LOG_H
#define MEMTRACE_LOG_H

#include <stddef.h>

enum log_level { LOG_QUIET, LOG_NORMAL, LOG_VERBOSE };

void log__set_level(enum log_level level);
enum log_level log__level(void);

void log__error(const char *fmt, ...) __attribute__((format(printf, 1, 2))); /* always printed */
void log__warn(const char *fmt, ...) __attribute__((format(printf, 1, 2))); /* always printed */
void log__info(const char *fmt, ...) __attribute__((format(printf, 1, 2))); /* not with -q */
void log__debug(const char *fmt, ...) __attribute__((format(printf, 1, 2))); /* with -v */

/* From here on the first error goes into *to instead, others nowhere; NULL: as ever. */
void log__divert(char *to, size_t room);

#endif /* MEMTRACE_LOG_H */
