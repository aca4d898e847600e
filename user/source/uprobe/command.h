/* SPDX-License-Identifier: MIT */
#ifndef MEMTRACE_COMMAND_H
#define MEMTRACE_COMMAND_H

#include <limits.h>
#include <stdbool.h>

/* The program that execvp(3) would run for a command: of a script its interpreter. False: there is
 * none. */
bool command__resolve(const char *command, char path[PATH_MAX]);

#endif /* MEMTRACE_COMMAND_H */
