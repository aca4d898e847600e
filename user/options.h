/* SPDX-License-Identifier: MIT */
/* What the command line asked for; user/cli.c fills it, main and the rest read it. */
#ifndef MEMTRACE_OPTIONS_H
#define MEMTRACE_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum mode { MODE_NONE, MODE_ATTACH, MODE_LAUNCH, MODE_ALL, MODE_DOCTOR, MODE_HELP, MODE_VERSION };

/* Exit statuses (DESIGN: as env and timeout do for a launched command). */
enum {
	EXIT_OK = 0,
	EXIT_FAIL = 1, /* something failed, or a contract was not held */
	EXIT_USAGE = 2,
	EXIT_UNABLE = 3, /* this machine cannot do it; check: there is no verdict */
	EXIT_OWN_FAILURE = 125, /* with a launched command: our failure, any kind */
	EXIT_NOT_EXECUTABLE = 126,
	EXIT_NOT_FOUND = 127,
};

enum check_format { CHECK_TEXT, CHECK_JSON, CHECK_TAP, CHECK_JUNIT, CHECK_FORMATS };

/* memtrace check */
struct check_options {
	bool on;
	const char *contract; /* NULL with learn */
	char **defines; /* "name=value" */
	size_t ndefines;
	bool learn;
	const char *learn_path; /* NULL: where text goes */
	bool strict;
	enum check_format format; /* of what is printed */
	struct {
		bool on;
		const char *path; /* NULL: standard output */
	} file[CHECK_FORMATS]; /* beside it, by format */
};

enum heap_choice {
	HEAP_CHOICE_AUTO,
	HEAP_CHOICE_RING,
	HEAP_CHOICE_UPROBE,
	HEAP_CHOICE_CONTRACT,
	HEAP_CHOICE_NONE
};

struct options {
	enum mode mode;
	pid_t *pids;
	size_t npids;
	char **argv; /* the command and its arguments, NULL-terminated */
	uint64_t duration_ns; /* 0: no limit */
	uint64_t interval_ns; /* 0: no live table */
	bool stream;
	bool no_follow;
	bool json; /* --json given */
	const char *json_path; /* NULL with json: standard output */
	const char *user; /* -u NAME */
	const char *comm; /* -a --comm NAME */
	const char *cgroup; /* -a --cgroup PATH */
	size_t buffer_bytes; /* ring buffer, all rings together; 0: default */
	enum heap_choice heap;
	const char *allocator; /* --allocator PATH */
	char **symbols; /* --allocator-symbol NAME, each */
	size_t nsymbols;
	uint64_t sample_bytes; /* 0: every call */
	size_t ring_bytes; /* --ring: of a thread's ring; 0: default */
	bool drop; /* --on-overrun=drop */
	size_t top; /* default 10 */
	size_t json_sites; /* 0: all */
	bool verbose, quiet;
	struct check_options check;
};

/*
 * Parse. Returns 0, or an exit status after having printed why to standard
 * error (EXIT_USAGE, or EXIT_OWN_FAILURE when a command was to be launched).
 */
int cli__parse(int argc, char **argv, struct options *o);
void cli__free(struct options *o);
void cli__help(void); /* to standard output */
int doctor__run(const struct options *o); /* the whole of `memtrace doctor`; returns the exit status */

#endif /* MEMTRACE_OPTIONS_H */
