/* SPDX-License-Identifier: MIT */
/*
 * Numbers for people: "1.5 MiB", "12.3 us", "12,345". All round to nearest and
 * print UNKNOWN as "-". The result is a value: fmt__bytes(n).s
 */
#ifndef MEMTRACE_VIEW_FORMAT_H
#define MEMTRACE_VIEW_FORMAT_H

#include <stdint.h>

struct fmt {
	char s[40];
};

struct fmt fmt__count(uint64_t n); /* 12,345 */
/* The same in at most `width` characters (7 or more): 12.3M where it has to be. */
struct fmt fmt__count_fit(uint64_t n, unsigned width);
struct fmt fmt__bytes(uint64_t n); /* 512 B, 1.5 MiB */
struct fmt fmt__duration(uint64_t ns); /* 340 ns, 12.3 us, 2 min 05 s */
struct fmt fmt__mean(uint64_t total_ns, uint64_t n); /* "-" of none */
struct fmt fmt__percent(uint64_t part, uint64_t whole); /* 45.2%; "-" of nothing */
struct fmt fmt__rate(double per_s); /* 0, 1.5, 340, 12.3k, 340k */
struct fmt fmt__bytes_short(double n); /* 512, 1.5K, 12.3M, 340M */
struct fmt fmt__bytes_change(int64_t n); /* +1.5M, -64.0K, 0; INT64_MIN: "-" */

#endif /* MEMTRACE_VIEW_FORMAT_H */
