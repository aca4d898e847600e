/* SPDX-License-Identifier: MIT */
/* Verdicts as text, JSON (memtrace.check/1), TAP 13 and JUnit XML. */
#ifndef MEMTRACE_CHECK_OUTPUT_H
#define MEMTRACE_CHECK_OUTPUT_H

#include <stdio.h>

#include "user/check/check.h"

struct check_result {
	const struct verdict *verdicts;
	size_t nverdicts;
	struct check_summary summary;
	const char *contract, *how; /* its path; what was run */
	const char *version;
	uint64_t seen, delivered, lost; /* events */
	bool strict; /* what was not exercised has failed */
	const char *incomplete; /* why there is no verdict; NULL: there is one */
	uint64_t duration_ns;
};

enum verdict_kind { VERDICT_HELD, VERDICT_BROKEN, VERDICT_NOT_EXERCISED };
enum verdict_kind verdict__kind(const struct verdict *v);

/* Whether all is as it should be, evidence aside. */
bool check_result__held(const struct check_result *r);

/* 0 or -errno. */
int check_result__text(FILE *out, const struct check_result *r, bool color);
int check_result__json(FILE *out, const struct check_result *r);
int check_result__tap(FILE *out, const struct check_result *r);
int check_result__junit(FILE *out, const struct check_result *r);

#endif /* MEMTRACE_CHECK_OUTPUT_H */
