/* SPDX-License-Identifier: MIT */
/* Numbers for people. */
#include "user/view/format.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "user/model/report.h"

#define NS_PER_S 1000000000ull

static const struct fmt unknown = {"-"};

/* n / unit in tenths, to nearest; cannot overflow for the units used here. */
static uint64_t tenths(uint64_t n, uint64_t unit)
{
	return (uint64_t)(((unsigned __int128)n * 10 + unit / 2) / unit);
}

struct fmt fmt__count(uint64_t n)
{
	char plain[24];
	struct fmt f;
	size_t length, i, at = 0;

	if (n == UNKNOWN)
		return unknown;
	length = (size_t)snprintf(plain, sizeof(plain), "%llu", (unsigned long long)n);
	for (i = 0; i < length; i++) {
		if (i > 0 && (length - i) % 3 == 0)
			f.s[at++] = ',';
		f.s[at++] = plain[i];
	}
	f.s[at] = '\0';
	return f;
}

struct fmt fmt__count_fit(uint64_t n, unsigned width)
{
	struct fmt f = fmt__count(n);

	return strlen(f.s) <= width ? f : fmt__rate((double)n);
}

struct fmt fmt__bytes(uint64_t n)
{
	static const char *const names[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	size_t i, last = sizeof(names) / sizeof(names[0]) - 1;
	uint64_t unit = 1024, t;
	struct fmt f;

	if (n == UNKNOWN)
		return unknown;
	if (n < 1024) {
		snprintf(f.s, sizeof(f.s), "%llu B", (unsigned long long)n);
		return f;
	}
	for (i = 0; i < last && tenths(n, unit) >= 10240; i++)
		unit *= 1024;
	t = tenths(n, unit);
	snprintf(f.s, sizeof(f.s), "%llu.%llu %s", (unsigned long long)(t / 10),
		 (unsigned long long)(t % 10), names[i]);
	return f;
}

static struct fmt fmt__long_duration(uint64_t seconds)
{
	unsigned long long minutes = seconds / 60, hours = minutes / 60, days = hours / 24;
	struct fmt f;

	if (hours == 0)
		snprintf(f.s, sizeof(f.s), "%llu min %02llu s", minutes,
			 (unsigned long long)seconds % 60);
	else if (hours < 100)
		snprintf(f.s, sizeof(f.s), "%llu h %02llu min", hours, minutes % 60);
	else
		snprintf(f.s, sizeof(f.s), "%llu d", days);
	return f;
}

struct fmt fmt__duration(uint64_t ns)
{
	static const char *const names[] = {"us", "ms", "s"};
	uint64_t unit = 1000, t;
	struct fmt f;
	size_t i;

	if (ns == UNKNOWN)
		return unknown;
	if (ns < 1000) {
		snprintf(f.s, sizeof(f.s), "%llu ns", (unsigned long long)ns);
		return f;
	}
	for (i = 0; i < 2 && tenths(ns, unit) >= 10000; i++)
		unit *= 1000;
	t = tenths(ns, unit);
	if (i == 2 && t >= 600)
		return fmt__long_duration(ns / NS_PER_S + (ns % NS_PER_S >= NS_PER_S / 2));
	snprintf(f.s, sizeof(f.s), "%llu.%llu %s", (unsigned long long)(t / 10),
		 (unsigned long long)(t % 10), names[i]);
	return f;
}

struct fmt fmt__mean(uint64_t total_ns, uint64_t n)
{
	if (total_ns == UNKNOWN || n == UNKNOWN || n == 0)
		return unknown;
	return fmt__duration(total_ns / n + (total_ns % n >= n - n / 2));
}

struct fmt fmt__percent(uint64_t part, uint64_t whole)
{
	struct fmt f;
	uint64_t permille;

	if (part == UNKNOWN || whole == UNKNOWN || whole == 0)
		return unknown;
	permille = (uint64_t)(((unsigned __int128)part * 1000 + whole / 2) / whole);
	snprintf(f.s, sizeof(f.s), "%llu.%llu%%", (unsigned long long)(permille / 10),
		 (unsigned long long)(permille % 10));
	return f;
}

/* value in steps of `step`, each with its letter: at most five characters, but
 * whole numbers below the first step. */
static struct fmt fmt__scaled(double value, double step, const char *letters)
{
	struct fmt f;
	bool fraction;

	if (!isfinite(value) || value < 0)
		return unknown;
	if (value + 0.5 < step) {
		fraction = value < 9.95 && value != (double)(unsigned)value;
		snprintf(f.s, sizeof(f.s), fraction ? "%.1f" : "%.0f", value);
		return f;
	}
	for (value /= step; value + 0.5 >= step && letters[1]; letters++)
		value /= step;
	snprintf(f.s, sizeof(f.s), value < 99.95 ? "%.1f%c" : "%.0f%c", value, *letters);
	return f;
}

struct fmt fmt__rate(double per_s)
{
	return fmt__scaled(per_s, 1000, "kMGTPE");
}

struct fmt fmt__bytes_short(double n)
{
	if (n > 0 && n < 1024)
		n = (double)(unsigned)(n + 0.5);
	return fmt__scaled(n, 1024, "KMGTPE");
}

struct fmt fmt__bytes_change(int64_t n)
{
	struct fmt f, size;

	if (n == INT64_MIN)
		return unknown;
	if (n == 0)
		return (struct fmt){"0"};
	size = fmt__bytes_short(n < 0 ? -(double)n : (double)n);
	snprintf(f.s, sizeof(f.s), "%c%.30s", n < 0 ? '-' : '+', size.s);
	return f;
}
