/* SPDX-License-Identifier: MIT */
/*
 * A contract, parsed: rules, ready to be held against a run. docs/contracts.md has the language.
 *
 * Vocabulary
 *   clause     what a rule demands: of each subject, of the first one, of how many there are
 *   selection  which subjects: kinds of calls or events, a phase, a condition
 *   need       one of the demands behind the colon
 */
#ifndef MEMTRACE_CHECK_CONTRACT_H
#define MEMTRACE_CHECK_CONTRACT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "user/check/facts.h"
#include "user/check/program.h"

enum clause { CLAUSE_EACH, CLAUSE_FIRST, CLAUSE_NEVER, CLAUSE_COUNT, CLAUSE_ALWAYS };
enum bound { BOUND_EXACTLY, BOUND_AT_MOST, BOUND_AT_LEAST };
extern const char *const bound_name[]; /* "exactly", "at most", ... */

#define WHERE_INSIDE (1 << 0) /* of events: in an allocator call */
#define WHERE_OUTSIDE (1 << 1)

#define PHASE_ANY (-1)
#define PHASE_NAME_BYTES 24

struct need {
	struct program is_met;
	char *text; /* as the contract has it */
};

struct rule {
	char *name;
	char *text; /* the clause, on one line */
	const char *file; /* the contract's */
	unsigned line;
	enum clause clause;
	struct subject subject;
	unsigned where; /* WHERE_* */
	int phase; /* index, or PHASE_ANY */
	struct program condition; /* empty: none */
	struct need *needs;
	size_t nneeds;
	enum bound bound; /* CLAUSE_COUNT */
	struct program limit;
	bool needs_heap; /* of a process: what it speaks of is not known without the heap plane */
	bool needs_all; /* nor of a process from before the trace */
};

struct phase {
	char name[PHASE_NAME_BYTES];
	bool has_trigger; /* begins after so many calls, else when the program says so */
	struct subject after;
	uint64_t count;
	char *probe; /* "provider:name" of the program's own probe that it begins at; NULL: none */
};

struct contract {
	struct rule *rules;
	size_t nrules, rules_room;
	struct phase *phases; /* those that are spoken of */
	size_t nphases, phases_room;
	char **files; /* paths of all that was read */
	size_t nfiles, files_room;
	struct param *params;
	size_t nparams, params_room;
};

/* What is wrong, and where. */
struct contract_error {
	char text[1024]; /* "file:3:14: expected ...", the line itself, a caret under the place */
	unsigned line, column;
};

/* How files are read: 0 and text, malloc'ed, and its length; or -errno. */
struct contract_reader {
	int (*read)(void *ctx, const char *path, char **text, size_t *length);
	void *ctx;
};
extern const struct contract_reader contract_files; /* from the file system */

/*
 * Parse the file at path; defines: "name=value" each. NULL after an error, which is then in *e.
 */
struct contract *contract__parse(const char *path, const char *const *defines, size_t ndefines,
				 const struct contract_reader *reader, struct contract_error *e);
void contract__free(struct contract *c);

#endif /* MEMTRACE_CHECK_CONTRACT_H */
