/* SPDX-License-Identifier: MIT */
/* What the files of the command line share: ids of the options, what was given, messages. */
#ifndef MEMTRACE_CLI_INTERNAL_H
#define MEMTRACE_CLI_INTERNAL_H

#include <limits.h>

#include "user/options.h"

/* Ids of the options that have no short form. */
enum {
	OPT_JSON = UCHAR_MAX + 1,
	OPT_NO_FOLLOW,
	OPT_COMM,
	OPT_CGROUP,
	OPT_BUFFER,
	OPT_HEAP,
	OPT_ALLOCATOR,
	OPT_ALLOCATOR_SYMBOL,
	OPT_PLANES,
	OPT_SAMPLE,
	OPT_ON_OVERRUN,
	OPT_RING,
	OPT_LEARN,
	OPT_STRICT,
	OPT_FORMAT,
	OPT_TAP,
	OPT_JUNIT,
	OPT_JSON_SITES,
	OPT_IDS
};

enum word { WORD_NONE, WORD_COMMAND, WORD_DOCTOR, WORD_CHECK, WORD_REPORT };

struct line {
	enum word word;
	int word_index; /* in argv */
	int command_index; /* of check: where its command begins; argc: there is none */
	bool given[OPT_IDS];
};

/* All return -EINVAL after the message. */
__attribute__((format(printf, 1, 2))) int usage_error(const char *format, ...);
int bad_value(int id, const char *value, const char *why);
const char *option_name(int id);

/* An option of check alone, value NULL: none. 1: it is not one; 0 or -EINVAL. */
int cli__take_check(struct options *o, int id, const char *value);
/* What goes together. 0 or -EINVAL. */
int cli__decide_check(int argc, char **argv, const struct line *line, struct options *o);
/* Options of check without it. */
int cli__refuse_check(const struct line *line);

#endif /* MEMTRACE_CLI_INTERNAL_H */
