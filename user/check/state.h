/* SPDX-License-Identifier: MIT */
/*
 * What is kept while a run goes on, shared by user/check's own files: lives, threads, calls.
 * None of it grows with the number of events.
 */
#ifndef MEMTRACE_CHECK_STATE_H
#define MEMTRACE_CHECK_STATE_H

#include "lib/trace/mt_phase.h"
#include "user/check/check.h"
#include "user/model/report.h"
#include "user/util/hmap.h"

#define EVENTS_KEPT 16 /* of a call, for a counter-example */
#define RANGES_KEPT 8 /* of memory that a call got */
#define FAULTS_MOST (1U << 20) /* of a call, whose addresses are kept; then: not known */
#define FAULTS_ROOM 1024 /* what is kept for them from call to call */
#define PHASE_OTHER (-2) /* the program is in a phase that the contract does not speak of */

struct range {
	uint64_t start, end;
};

union kept_event {
	struct rec h;
	struct rec_call call;
	struct rec_fault fault;
};

/* A call into the allocator, from its first event on. */
struct call {
	struct rec_heap r;
	uint64_t old_size; /* UNKNOWN */
	uint64_t number; /* of the process's calls */
	int phase; /* in which it began */
	double in_break; /* whether its block is; NaN: not known */
	struct tally tally;
	struct range got[RANGES_KEPT];
	unsigned ngot, nevents; /* nevents: all, not only those kept */
	bool got_more; /* than is kept */
	union kept_event events[EVENTS_KEPT];
	uint64_t *faults; /* their addresses */
	size_t nfaults, faults_room;
};

enum call_state {
	CALL_NONE,
	CALL_UNTOLD, /* events have come, its record has not */
	CALL_OPEN, /* a release: its events are still to come */
	CALL_JUDGED,
};

struct thread {
	uint32_t tid, ordinal;
	struct life *life;
	uint64_t owner; /* start of the latest call that anything was told of */
	enum call_state state;
	struct call call;
};

/* Counts and gauges of a life; those at the beginning of a phase are kept to be subtracted. */
struct sums {
	uint64_t begin_ns;
	struct tally in, out;
	uint64_t op_calls[HEAP_OPS], group_calls[GROUPS];
	uint64_t requested, touch_faults, threads;
};

struct life {
	pid_t pid;
	bool whole; /* from its exec on: nothing was before */
	bool has_history; /* that, or forked by one: what it holds is known */
	bool is_used; /* something was told of it */
	bool has_allocator; /* its calls are seen */
	bool attached; /* it was there before */
	bool child; /* of one that is traced: nobody asked for it by itself */
	bool unseen; /* its first calls were not */
	bool shares_mm; /* vfork: it works on its parent's memory, and is not judged */
	bool has_break; /* where its break begins is known */
	uint64_t break_start, break_end;
	int phase, phase_before; /* and the one before that, until phase_begin.begin_ns */
	struct tally exec; /* of the execve under way: it is the next life's */
	struct sums now, phase_begin;
	uint64_t live, live_blocks, peak, mapped, mapped_peak, resident, resident_peak;
	struct {
		uint64_t peak, mapped, resident;
	} phase_peak;
	struct hmap pages; /* address / 64 pages -> bit for each that is resident */
	uint64_t *counts; /* of each rule that counts: in the phase or life so far */
	uint64_t *looked; /* and how many were looked at */
	bool *had_first; /* of each rule, in the phase or life so far */
	uint64_t *triggers; /* of each phase: calls so far */
};

struct event {
	const struct rec *r;
	const struct check_known *known;
	bool inside;
};

/* What an expression is about. Times of a process end now. */
struct sight {
	const struct life *life;
	const struct thread *thread;
	const struct call *call;
	const struct event *event;
	bool of_phase; /* facts of the process: since the phase began */
	uint64_t now_ns;
};

/* A rule as it is held against things. */
struct ready_rule {
	const struct rule *rule;
	struct program condition; /* empty: none */
	struct program *needs;
	size_t nneeds;
};

struct rule_list {
	const struct ready_rule **rules;
	size_t n;
};

/* Most calls are quiet: nothing happened in them, and so most of what rules speak of is 0. */
enum loudness { LOUD, QUIET, LOUDNESSES };

struct check {
	const struct contract *contract; /* NULL: only to learn */
	const struct check_printer *printer;
	struct verdict *verdicts; /* of each rule */
	struct ready_rule *ready[LOUDNESSES]; /* of each rule; QUIET: for a call without events */
	struct rule_list by_op[HEAP_OPS][2][LOUDNESSES]; /* second: does it have a block already */
	struct rule_list by_kind[VMCALLS + 1]; /* of events */
	struct rule_list by_end; /* of processes: judged at the end of a life or phase */
	struct rule_list always;
	bool tracks_pages; /* some rule speaks of what is resident */
	struct hmap lives, threads; /* pid -> struct life *, tid -> struct thread * */
	struct thread *last_thread;
	struct life *last_life;
	uint64_t now_ns; /* of the latest record */
	struct check_summary summary;
	struct learned *learned; /* NULL: not asked for */
	int err; /* the first */
};

/* eval.c */
double eval(const struct program *p, const struct sight *s);
double fact__value(const struct insn *load, const struct sight *s);

/* judge.c */
int judge__prepare(struct check *k);
void judge__call(struct check *k, struct thread *t);
void judge__event(struct check *k, struct life *l, const struct thread *t, const struct event *e);
void judge__forget(struct check *k, struct life *l, int phase); /* what rules have counted */
void judge__end(struct check *k, struct life *l, bool of_phase);
void judge__free(struct check *k);

/* pages.c: what is resident of the allocator's memory */
int life__touch_page(struct life *l, uint64_t addr);
int life__touch_range(struct life *l, uint64_t start, uint64_t end);
void life__drop_range(struct life *l, uint64_t start, uint64_t end);
int life__move_range(struct life *l, uint64_t from, uint64_t to, uint64_t bytes);
int life__copy_pages(struct life *to, const struct life *from);

/* learn.c */
struct learned *learned__new(void);
void learned__free(struct learned *l);
int learned__call(struct learned *l, const struct call *c);
void learned__life(struct learned *l, const struct life *life);

/* tally.c */
void tally__call(struct tally *t, const struct rec_call *c);
void tally__fault(struct tally *t, const struct rec_fault *f, const struct check_known *known);
bool call__failed(const struct rec_call *c);
uint64_t call__bytes(const struct rec_call *c); /* of one that succeeded */

static inline uint64_t page_up(uint64_t n)
{
	return (n + 4095) & ~4095ULL;
}

#endif /* MEMTRACE_CHECK_STATE_H */
