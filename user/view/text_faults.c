/* SPDX-License-Identifier: MIT */
/* The text report's figures over time: the mapped total, the page faults and how long they took. */
#include <string.h>

#include "user/view/format.h"
#include "user/view/text.h"

#define SPARK_COLUMNS 76
#define SPARK_LEVELS 8

/* A quantity over time: its extremes, and the most of it in each column's slice of time. */
struct series {
	uint64_t first, last, peak, peak_at_ns;
	uint64_t most[SPARK_COLUMNS];
};

static uint64_t point__value(const struct mapped_point *p, bool heap)
{
	uint64_t value = heap ? p->heap_bytes : p->mapped_bytes;

	return value == UNKNOWN ? 0 : value;
}

static void series__make(struct series *out, const struct report *r, bool heap, unsigned columns)
{
	const struct mapped_point *points = r->mapped, *end = points + r->nmapped, *p = points;
	uint64_t span = r->duration_ns == UNKNOWN ? 0 : r->duration_ns, now = 0, until;
	unsigned i;

	memset(out, 0, sizeof(*out));
	if (end[-1].t_ns > span)
		span = end[-1].t_ns;
	out->first = point__value(points, heap);
	out->last = point__value(end - 1, heap);
	for (i = 0; i < columns; i++) {
		until = (uint64_t)((unsigned __int128)span * (i + 1) / columns);
		out->most[i] = now;
		for (; p < end && (p->t_ns < until || i + 1 == columns); p++) {
			now = point__value(p, heap);
			if (now > out->most[i])
				out->most[i] = now;
			if (now > out->peak) {
				out->peak = now;
				out->peak_at_ns = p->t_ns;
			}
		}
	}
}

static void put_spark(struct sink *s, const struct series *series, unsigned columns)
{
	static const char *const glyphs[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
	unsigned i, level;

	sink__str(s, "  ");
	for (i = 0; i < columns; i++) {
		level = 0;
		if (series->peak)
			level = (unsigned)(((unsigned __int128)series->most[i] * SPARK_LEVELS +
					    series->peak - 1) /
					   series->peak);
		sink__raw(s, glyphs[level], strlen(glyphs[level]), 1);
	}
	sink__char(s, '\n');
}

static void put_series(struct sink *s, const struct series *series)
{
	sink__str(s, "  first ");
	sink__str(s, fmt__bytes(series->first).s);
	sink__str(s, ", peak ");
	sink__str(s, fmt__bytes(series->peak).s);
	sink__str(s, " at ");
	sink__str(s, fmt__duration(series->peak_at_ns).s);
	sink__str(s, ", last ");
	sink__str(s, fmt__bytes(series->last).s);
	sink__char(s, '\n');
}

void text__mapped(struct sink *s, const struct report *r, const struct view_opts *o)
{
	unsigned columns = SPARK_COLUMNS;
	struct series series;

	if (r->nmapped == 0)
		return;
	if (o->width && o->width < SPARK_COLUMNS + 4)
		columns = o->width > 12 ? o->width - 4 : 8;
	text__heading(s, "Mapped total");
	series__make(&series, r, false, columns);
	put_series(s, &series);
	put_spark(s, &series, columns);
	series__make(&series, r, true, columns);
	if (series.peak == 0)
		return;
	sink__str(s, "  of it break:");
	put_series(s, &series);
	put_spark(s, &series, columns);
}

static void put_kinds(struct sink *s, const struct fault_stats *f, uint64_t all, unsigned width)
{
	char text[256], not_known[64] = "";

	snprintf(text, sizeof(text), "%s from user code, %s by the kernel on its behalf",
		 fmt__count(f->user).s, fmt__count(f->kernel).s);
	text__item(s, text, width);
	if (f->access_unknown)
		snprintf(not_known, sizeof(not_known), ", %s not known",
			 fmt__count(f->access_unknown).s);
	snprintf(text, sizeof(text), "%s read, %s write, %s exec%s", fmt__count(f->read).s,
		 fmt__count(f->write).s, fmt__count(f->exec).s, not_known);
	text__item(s, text, width);
	snprintf(text, sizeof(text), "copy-on-write: %s after fork, %s other",
		 fmt__count(f->cow_after_fork).s, fmt__count(f->cow_other).s);
	text__item(s, text, width);
	not_known[0] = '\0';
	if (f->time_known != all)
		snprintf(not_known, sizeof(not_known), " (known of %s)", fmt__count(f->time_known).s);
	snprintf(text, sizeof(text), "service time %s, mean %s%s",
		 fmt__duration(f->time_known ? f->time_ns : UNKNOWN).s,
		 fmt__mean(f->time_ns, f->time_known).s, not_known);
	text__item(s, text, width);
}

/* The kernel's own counts of the processes for which it told them, and ours of the same. */
struct kernel_counts {
	size_t told;
	uint64_t kernel_minor, kernel_major, minor, major;
};

static void kernel_counts__make(struct kernel_counts *k, const struct report *r)
{
	const struct process_report *p;

	memset(k, 0, sizeof(*k));
	for (p = r->processes; p < r->processes + r->nprocesses; p++) {
		if (p->kernel_minflt == UNKNOWN || p->kernel_majflt == UNKNOWN)
			continue;
		k->told++;
		k->kernel_minor += p->kernel_minflt;
		k->kernel_major += p->kernel_majflt;
		k->minor += p->faults.minor + p->agent.faults.minor;
		k->major += p->faults.major + p->agent.faults.major;
	}
}

/* Compare with the kernel's count of one kind; true when there was something to say. */
static bool put_difference(struct sink *s, const char *kind, uint64_t kernel, uint64_t ours,
			   bool lossy, bool hidden, unsigned width)
{
	char text[256];

	if (kernel == ours)
		return false;
	if (kernel < ours)
		snprintf(text, sizeof(text), "the kernel counts only %s %s faults of these %s",
			 fmt__count(kernel).s, kind, fmt__count(ours).s);
	else if (hidden)
		snprintf(text, sizeof(text),
			 "the kernel counts %s %s faults; %s of them are not here: a set-id program may "
			 "have hidden its own (see Notes), %sand some raise no event",
			 fmt__count(kernel).s, kind, fmt__count(kernel - ours).s,
			 lossy ? "some were lost, " : "");
	else if (lossy)
		snprintf(text, sizeof(text),
			 "the kernel counts %s %s faults; %s of them are not here: lost, or they "
			 "raised no event (those of MAP_POPULATE, mlock, exec and of placing probes raise none)",
			 fmt__count(kernel).s, kind, fmt__count(kernel - ours).s);
	else
		snprintf(text, sizeof(text),
			 "the kernel counts %s %s faults; %s of them raised no event (those of "
			 "MAP_POPULATE, mlock, exec and of placing probes raise none)",
			 fmt__count(kernel).s, kind, fmt__count(kernel - ours).s);
	text__item(s, text, width);
	return true;
}

static void put_kernel_counts(struct sink *s, const struct report *r, const struct view_opts *o)
{
	bool lossy = r->events[REC_FAULT].lost != 0, differs;
	struct kernel_counts k;
	char text[128];

	kernel_counts__make(&k, r);
	if (k.told == 0)
		return;
	differs = put_difference(s, "minor", k.kernel_minor, k.minor, lossy, r->has_hidden_faults,
				 o->width);
	differs |= put_difference(s, "major", k.kernel_major, k.major, lossy, r->has_hidden_faults,
				  o->width);
	if (!differs)
		text__item(s,
			   r->has_agent ?
				   "with memtrace's agent's the kernel's own counts are the same" :
				   "the kernel's own counts are the same",
			   o->width);
	if (k.told == r->nprocesses)
		return;
	snprintf(text, sizeof(text), "(the kernel's counts are known of %s of %s processes)",
		 fmt__count(k.told).s, fmt__count(r->nprocesses).s);
	text__item(s, text, o->width);
}

enum { HIST_FROM = 10, HIST_TO = 8, HIST_COUNT = 13, HIST_SHARE = 8, HIST_BAR = 36 };

static void put_bar(struct sink *s, uint64_t n, uint64_t most, unsigned columns)
{
	static const char *const parts[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
	unsigned eighths = (unsigned)((unsigned __int128)n * columns * 8 / most), i;

	if (eighths == 0 && n > 0)
		eighths = 1;
	for (i = 0; i < eighths / 8; i++)
		sink__raw(s, "█", strlen("█"), 1);
	if (eighths % 8)
		sink__raw(s, parts[eighths % 8], strlen(parts[eighths % 8]), 1);
}

static void put_histogram(struct sink *s, const struct fault_stats *f, const struct view_opts *o)
{
	const unsigned figures = HIST_FROM + 3 + HIST_TO + HIST_COUNT + HIST_SHARE + 2;
	unsigned first = HIST_BUCKETS, last = 0, i, bar = HIST_BAR;
	uint64_t most = 0;

	for (i = 0; i < HIST_BUCKETS; i++) {
		if (!f->histogram[i])
			continue;
		if (first == HIST_BUCKETS)
			first = i;
		last = i;
		if (f->histogram[i] > most)
			most = f->histogram[i];
	}
	if (most == 0)
		return;
	if (o->width && o->width < figures + bar)
		bar = o->width > figures + 1 ? o->width - figures : 1;
	text__heading(s, "Fault service time");
	sink__char(s, '\n');
	for (i = first; i <= last; i++) {
		sink__right(s, fmt__duration(i ? 1ull << i : 0).s, HIST_FROM);
		sink__str(s, " - ");
		sink__right(s, i + 1 < HIST_BUCKETS ? fmt__duration(2ull << i).s : "more", HIST_TO);
		sink__right(s, fmt__count_fit(f->histogram[i], HIST_COUNT - 1).s, HIST_COUNT);
		sink__right(s, fmt__percent(f->histogram[i], f->time_known).s, HIST_SHARE);
		if (f->histogram[i]) {
			sink__str(s, "  ");
			put_bar(s, f->histogram[i], most, bar);
		}
		sink__char(s, '\n');
	}
}

void text__faults(struct sink *s, const struct report *r, const struct view_opts *o)
{
	uint64_t all = text__add(r->faults.minor, r->faults.major);

	text__heading(s, "Page faults");
	sink__str(s, "  ");
	sink__str(s, fmt__count(all).s);
	sink__str(s, " seen: ");
	sink__str(s, fmt__count(r->faults.minor).s);
	sink__str(s, " minor, ");
	sink__str(s, fmt__count(r->faults.major).s);
	sink__str(s, " major\n");
	if (all)
		put_kinds(s, &r->faults, all, o->width);
	put_kernel_counts(s, r, o);
	put_histogram(s, &r->faults, o);
}
