// SPDX-License-Identifier: MIT
/*
 * From records to calls and lives.
 *
 * The events of an allocation come before its record and those of a release after it. So a call is
 * put together by thread: an allocation is judged when its record comes, a release when its thread is
 * in another call, or at the thread's end.
 */
#include "user/check/check.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "user/check/state.h"

static void check__fail(struct check *k, int err)
{
	if (err && !k->err)
		k->err = err;
}

/* ---- lives ---- */

static void life__free(struct life *l)
{
	if (!l)
		return;
	hmap__clear(&l->pages);
	free(l->counts);
	free(l->looked);
	free(l->had_first);
	free(l->triggers);
	free(l);
}

static struct life *life__new(struct check *k, pid_t pid)
{
	size_t rules = k->contract ? k->contract->nrules : 0;
	size_t phases = k->contract ? k->contract->nphases : 0, i;
	struct life *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	l->pid = pid;
	l->counts = calloc(rules + 1, sizeof(*l->counts));
	l->looked = calloc(rules + 1, sizeof(*l->looked));
	l->had_first = calloc(rules + 1, sizeof(*l->had_first));
	l->triggers = calloc(phases + 1, sizeof(*l->triggers));
	if (!l->counts || !l->looked || !l->had_first || !l->triggers) {
		life__free(l);
		return NULL;
	}
	l->phase = l->phase_before = PHASE_OTHER;
	for (i = 0; i < phases; i++)
		if (!strcmp(k->contract->phases[i].name, "start"))
			l->phase = l->phase_before = (int)i;
	l->now.begin_ns = l->phase_begin.begin_ns = k->now_ns;
	return l;
}

static struct life *check__find_life(struct check *k, pid_t pid)
{
	uint64_t *found;

	if (k->last_life && k->last_life->pid == pid)
		return k->last_life;
	found = hmap__find(&k->lives, (uint64_t)pid);
	if (found)
		k->last_life = (struct life *)(uintptr_t)*found;
	return found ? k->last_life : NULL;
}

static struct life *check__put_life(struct check *k, struct life *l)
{
	if (l && hmap__set(&k->lives, (uint64_t)l->pid, (uintptr_t)l)) {
		life__free(l);
		l = NULL;
	}
	k->last_life = NULL;
	return l;
}

/* The life that a record is of; one that is met in the middle was there before. */
static struct life *check__life(struct check *k, pid_t pid)
{
	struct life *l = check__find_life(k, pid);

	if (l)
		return l;
	l = check__put_life(k, life__new(k, pid));
	if (l)
		l->attached = true;
	return l;
}

/* ---- calls ---- */

static void call__clear(struct call *c)
{
	if (c->nevents)
		memset(&c->tally, 0, sizeof(c->tally));
	c->ngot = c->nevents = 0;
	c->nfaults = 0;
	if (c->faults_room > FAULTS_ROOM) {
		free(c->faults);
		c->faults = NULL;
		c->faults_room = 0;
	}
	c->got_more = false;
}

/* How many faults lie in the block that the call returned. */
static void call__count_in_block(struct call *c)
{
	uint64_t start = c->r.result, n = 0;
	size_t i;

	if (!c->tally.n[C_FAULTS] || c->tally.n[C_FAULTS_IN_BLOCK] == UNKNOWN)
		return;
	for (i = 0; start && i < c->nfaults; i++)
		n += c->faults[i] - start < c->r.size;
	c->tally.n[C_FAULTS_IN_BLOCK] = n;
}

/* All is known of the call. */
static void check__judge(struct check *k, struct thread *t)
{
	struct call *c = &t->call;

	call__count_in_block(c);
	if (k->contract)
		judge__call(k, t);
	if (k->learned && !(c->r.h.flags & HEAP_ABANDONED))
		check__fail(k, learned__call(k->learned, c));
	t->state = CALL_JUDGED;
}

static void check__settle(struct check *k, struct thread *t)
{
	if (t->state == CALL_OPEN)
		check__judge(k, t);
	t->state = CALL_NONE;
	call__clear(&t->call);
}

static struct thread *check__thread(struct check *k, uint32_t tid, struct life *l)
{
	struct thread *t = k->last_thread;
	uint64_t *found;

	if (t && t->tid == tid)
		return t;
	found = hmap__find(&k->threads, tid);
	if (found) {
		k->last_thread = (struct thread *)(uintptr_t)*found;
		return k->last_thread;
	}
	t = calloc(1, sizeof(*t));
	if (!t)
		return NULL;
	t->tid = tid;
	t->life = l;
	t->ordinal = (uint32_t)++l->now.threads;
	if (hmap__set(&k->threads, tid, (uintptr_t)t)) {
		free(t);
		return NULL;
	}
	k->last_thread = t;
	return t;
}

static void thread__free(struct thread *t)
{
	free(t->call.faults);
	free(t);
}

static void check__end_thread(struct check *k, uint32_t tid)
{
	uint64_t *found = hmap__find(&k->threads, tid);
	struct thread *t;

	if (!found)
		return;
	t = (struct thread *)(uintptr_t)*found;
	check__settle(k, t);
	hmap__remove(&k->threads, tid);
	if (k->last_thread == t)
		k->last_thread = NULL;
	thread__free(t);
}

static void check__end_life(struct check *k, struct life *l)
{
	uint64_t tid, t;
	size_t pos = 0;
	bool again;

	/* An exec ends threads without a word. */
	do {
		again = false;
		for (pos = 0; !again && hmap__next(&k->threads, &pos, &tid, &t);)
			again = ((struct thread *)(uintptr_t)t)->life == l;
		if (again)
			check__end_thread(k, (uint32_t)tid);
	} while (again);
	if (k->contract) {
		judge__end(k, l, true);
		judge__end(k, l, false);
	}
	if (k->learned && l->is_used && !l->shares_mm && !l->unseen)
		learned__life(k->learned, l);
	k->summary.processes += l->is_used && !l->shares_mm;
	k->summary.unseen += l->is_used && !l->shares_mm && l->unseen;
	k->summary.missed += l->unseen && !l->child;
	hmap__remove(&k->lives, (uint64_t)l->pid);
	k->last_life = NULL;
	life__free(l);
}

/* ---- phases ---- */

static void check__begin_phase(struct check *k, struct life *l, int phase, uint64_t at_ns)
{
	if (k->contract)
		judge__end(k, l, true);
	l->phase_before = l->phase;
	l->phase = phase;
	l->phase_begin = l->now;
	l->phase_begin.begin_ns = at_ns;
	l->phase_peak.peak = l->live;
	l->phase_peak.mapped = l->mapped;
	l->phase_peak.resident = l->resident;
	if (phase >= 0)
		judge__forget(k, l, phase);
}

/* A mark that the program made: the name is in the last three arguments. */
static void check__mark(struct check *k, struct life *l, const struct rec_call *c)
{
	char name[PHASE_NAME_BYTES + 1] = {0};
	uint64_t *found = hmap__find(&k->threads, c->h.tid);
	size_t i;
	int phase = PHASE_OTHER;

	memcpy(name, &c->arg[3], PHASE_NAME_BYTES);
	/* What this thread did before is over. */
	if (found)
		check__settle(k, (struct thread *)(uintptr_t)*found);
	for (i = 0; k->contract && i < k->contract->nphases; i++)
		if (!strcmp(k->contract->phases[i].name, name))
			phase = (int)i;
	/* Its own time: a record of another ring may have come before it, and be later. */
	check__begin_phase(k, l, phase, c->h.ts_ns);
}

/* A probe of the program's own, which the contract says begins a phase. */
static void check__probe(struct check *k, struct life *l, const struct rec_heap *r)
{
	uint64_t *found = hmap__find(&k->threads, r->h.tid);

	if (!k->contract || r->arg - 1 >= k->contract->nphases)
		return;
	if (found)
		check__settle(k, (struct thread *)(uintptr_t)*found);
	check__begin_phase(k, l, (int)r->arg - 1, r->h.ts_ns);
}

static bool call__is_mark(const struct rec_call *c)
{
	return c->h.kind == REC_MADVISE && c->arg[0] == MT_PHASE_ADDRESS && !c->arg[1];
}

/* Phases that begin after so many calls. */
static void check__count_triggers(struct check *k, struct life *l, const struct rec_heap *r)
{
	unsigned op = HEAP_AUX_OP(r->h.aux), group = group__of(op, r->arg != 0);
	size_t i;

	for (i = 0; k->contract && i < k->contract->nphases; i++) {
		const struct phase *p = &k->contract->phases[i];

		if (p->has_trigger && (p->after.ops & 1U << op || p->after.groups & 1U << group) &&
		    ++l->triggers[i] == p->count)
			check__begin_phase(k, l, (int)i, k->now_ns);
	}
}

/* ---- events ---- */

static void life__raise(struct life *l)
{
	if (l->live > l->peak)
		l->peak = l->live;
	if (l->live > l->phase_peak.peak)
		l->phase_peak.peak = l->live;
	if (l->mapped > l->mapped_peak)
		l->mapped_peak = l->mapped;
	if (l->mapped > l->phase_peak.mapped)
		l->phase_peak.mapped = l->mapped;
}

static void life__hold(struct life *l, uint64_t more, uint64_t less)
{
	l->mapped += more;
	l->mapped -= less < l->mapped ? less : l->mapped;
	life__raise(l);
}

/* Memory that a call inside an allocator call got. */
static void call__got(struct call *c, uint64_t start, uint64_t end)
{
	if (start >= end)
		return;
	if (c->ngot == RANGES_KEPT) {
		c->got_more = true;
		return;
	}
	c->got[c->ngot++] = (struct range){start, end};
}

static void life__note_break(struct life *l, const struct rec_call *c)
{
	uint64_t now = (uint64_t)c->ret;

	if (!l->has_break && !l->attached && c->old_brk) {
		l->has_break = true;
		l->break_start = c->old_brk;
	}
	l->break_end = now;
}

/* What a successful call changes in what the allocator holds, and in what is resident of it. */
static int life__apply(struct check *k, struct life *l, struct call *c, const struct rec_call *r)
{
	uint64_t len = page_up(r->arg[1]), to = (uint64_t)r->ret, from = r->arg[0], more;
	int err = 0;

	switch (r->h.kind) {
	case REC_BRK:
		if (c && to > r->old_brk)
			call__got(c, r->old_brk, to);
		if (c)
			life__hold(l, to > r->old_brk ? to - r->old_brk : 0,
				   to < r->old_brk ? r->old_brk - to : 0);
		if (to < r->old_brk)
			life__drop_range(l, page_up(to), page_up(r->old_brk));
		break;
	case REC_MMAP:
		if (r->arg[3] & MAP_FIXED)
			life__drop_range(l, to, to + len);
		if (!c)
			break;
		call__got(c, to, to + len);
		life__hold(l, len, 0);
		if (k->tracks_pages && r->h.aux)
			err = life__touch_range(l, to, to + len);
		break;
	case REC_MUNMAP:
		life__drop_range(l, from, from + len);
		if (c)
			life__hold(l, 0, len);
		break;
	case REC_MREMAP:
		more = page_up(r->arg[2]);
		if (more < len)
			life__drop_range(l, from + more, from + len);
		if (to != from && k->tracks_pages)
			err = life__move_range(l, from, to, more < len ? more : len);
		if (c && to != from)
			call__got(c, to, to + more);
		else if (c)
			call__got(c, to + len, to + more);
		if (c)
			life__hold(l, more, len);
		break;
	case REC_MADVISE:
		if (r->arg[2] == MADV_DONTNEED || r->arg[2] == MADV_FREE || r->arg[2] == MADV_REMOVE)
			life__drop_range(l, from, from + len);
		break;
	}
	return err;
}

static void call__keep(struct call *c, const struct rec *r, size_t len)
{
	if (c->nevents < EVENTS_KEPT)
		memcpy(&c->events[c->nevents], r, len);
	c->nevents++;
}

static int call__note_fault(struct call *c, uint64_t addr)
{
	size_t room = c->faults_room ? 2 * c->faults_room : 16;
	uint64_t *grown;

	if (c->nfaults == FAULTS_MOST) {
		c->tally.n[C_FAULTS_IN_BLOCK] = UNKNOWN;
		return 0;
	}
	if (c->nfaults == c->faults_room) {
		grown = reallocarray(c->faults, room, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		c->faults = grown;
		c->faults_room = room;
	}
	c->faults[c->nfaults++] = addr;
	return 0;
}

/* The thread that is inside call `owner`, made ready for an event of it. */
static struct thread *check__inside(struct check *k, struct life *l, uint32_t tid, uint64_t owner)
{
	struct thread *t = check__thread(k, tid, l);

	if (!t)
		return NULL;
	if (t->owner != owner) {
		check__settle(k, t);
		t->owner = owner;
		t->state = CALL_UNTOLD;
	}
	k->summary.late += t->state == CALL_JUDGED || t->state == CALL_NONE;
	return t;
}

static int check__event(struct check *k, struct life *l, const struct rec *r,
			const struct check_known *known)
{
	const struct rec_fault *f = r->kind == REC_FAULT ? (const struct rec_fault *)r : NULL;
	const struct rec_call *c = f ? NULL : (const struct rec_call *)r;
	uint64_t owner = f ? f->owner : c->owner;
	struct event e = {r, known, owner != 0};
	struct tally *sum = owner ? &l->now.in : &l->now.out;
	struct thread *t = NULL;
	int err = 0;

	k->summary.events++;
	if (f && !f->ip) {
		tally__fault(&l->exec, f, known);
		return 0;
	}
	l->is_used = true;
	if (owner) {
		t = check__inside(k, l, r->tid, owner);
		if (!t)
			return -ENOMEM;
		call__keep(&t->call, r, f ? sizeof(*f) : sizeof(*c));
	}
	if (f) {
		tally__fault(sum, f, known);
		l->now.touch_faults += !owner && known->in_block;
		if (t)
			tally__fault(&t->call.tally, f, known);
		if (t)
			err = call__note_fault(&t->call, f->addr);
		if (!err && k->tracks_pages && known->by_allocator)
			err = life__touch_page(l, f->addr);
	} else {
		tally__call(sum, c);
		if (t)
			tally__call(&t->call.tally, c);
		if (c->h.kind == REC_BRK)
			life__note_break(l, c);
		if (!call__failed(c))
			err = life__apply(k, l, t ? &t->call : NULL, c);
	}
	if (k->contract)
		judge__event(k, l, t, &e);
	return err;
}

/* ---- allocator calls ---- */

static double life__in_break(const struct life *l, uint64_t addr)
{
	if (!l->has_break)
		return NAN;
	return addr >= l->break_start && addr < l->break_end;
}

static void life__count_call(struct life *l, const struct rec_heap *r, uint64_t old_size)
{
	unsigned op = HEAP_AUX_OP(r->h.aux);
	bool failed = r->h.flags & (HEAP_FAILED | HEAP_ABANDONED);

	l->now.op_calls[op]++;
	l->now.group_calls[group__of(op, r->arg != 0)]++;
	if (failed)
		return;
	if (r->arg && old_size != UNKNOWN) {
		l->live -= old_size < l->live ? old_size : l->live;
		l->live_blocks -= l->live_blocks != 0;
	}
	if (op < HEAP_FREE && r->result) {
		l->live += r->size;
		l->live_blocks++;
		l->now.requested += r->size;
	}
	life__raise(l);
}

static int check__heap(struct check *k, struct life *l, const struct rec_heap *r, uint64_t old_size)
{
	struct thread *t = check__thread(k, r->h.tid, l);
	bool release = HEAP_AUX_OP(r->h.aux) >= HEAP_FREE;
	struct call *c;

	if (!t)
		return -ENOMEM;
	k->summary.calls++;
	l->is_used = l->has_allocator = true;
	if (t->owner != r->start_ns || t->state != CALL_UNTOLD) {
		check__settle(k, t);
		t->owner = r->start_ns;
	}
	life__count_call(l, r, old_size);
	c = &t->call;
	c->r = *r;
	c->old_size = old_size;
	c->number = l->now.group_calls[GROUP_ALLOCATION] + l->now.group_calls[GROUP_RESIZE] +
		    l->now.group_calls[GROUP_RELEASE];
	c->in_break = life__in_break(l, release ? r->arg : r->result);
	c->phase = r->start_ns < l->phase_begin.begin_ns ? l->phase_before : l->phase;
	if (release)
		t->state = CALL_OPEN;
	else
		check__judge(k, t);
	check__count_triggers(k, l, r);
	return 0;
}

/* ---- tasks ---- */

static int check__fork(struct check *k, struct life *l, const struct rec_fork *f)
{
	struct life *child;

	if (f->child_tgid == f->h.tgid)
		return 0;
	child = check__find_life(k, (pid_t)f->child_tgid);
	if (child) /* the pid's earlier owner, whose end was lost */
		check__end_life(k, child);
	child = check__put_life(k, life__new(k, (pid_t)f->child_tgid));
	if (!child)
		return -ENOMEM;
	child->child = true;
	child->has_history = l->has_history;
	child->shares_mm = f->h.flags & FORK_SHARES_MM;
	child->has_break = l->has_break;
	child->break_start = l->break_start;
	child->break_end = l->break_end;
	child->phase = l->phase;
	child->phase_before = l->phase_before;
	child->live = child->peak = child->phase_peak.peak = l->live;
	child->live_blocks = l->live_blocks;
	child->mapped = child->mapped_peak = child->phase_peak.mapped = l->mapped;
	return k->tracks_pages ? life__copy_pages(child, l) : 0;
}

static int check__exec(struct check *k, struct life *l, const struct rec_exec *e)
{
	bool has_allocator = l->has_allocator, unseen = l->unseen, child = l->child;
	struct tally out = l->exec;

	check__end_life(k, l);
	l = check__put_life(k, life__new(k, (pid_t)e->h.tgid));
	if (!l)
		return -ENOMEM;
	l->whole = l->has_history = true;
	l->now.out = out;
	l->has_allocator = has_allocator;
	l->unseen = unseen;
	l->child = child;
	l->has_break = e->start_brk != 0;
	l->break_start = e->start_brk;
	l->break_end = e->brk;
	return 0;
}

static int check__apply(struct check *k, const struct rec *r, const struct check_known *known)
{
	struct life *l = check__life(k, (pid_t)r->tgid);
	const struct rec_heap *h = (const struct rec_heap *)r;
	const struct rec_allocator *a = (const struct rec_allocator *)r;

	if (!l)
		return -ENOMEM;
	switch (r->kind) {
	case REC_HEAP:
		if (HEAP_AUX_OP(r->aux) != HEAP_PHASE)
			return check__heap(k, l, h, known->old_size);
		check__probe(k, l, h);
		return 0;
	case REC_FORK:
		return check__fork(k, l, (const struct rec_fork *)r);
	case REC_EXEC:
		return check__exec(k, l, (const struct rec_exec *)r);
	case REC_EXIT:
		check__end_thread(k, r->tid);
		if (r->aux)
			check__end_life(k, l);
		return 0;
	case REC_ALLOCATOR:
		l->has_allocator |= a->ino != 0;
		/* Of one that was there before, what is counted begins with the trace anyhow. */
		l->unseen |= a->incomplete && !l->attached;
		return 0;
	default:
		if (call__is_mark((const struct rec_call *)r)) {
			check__mark(k, l, (const struct rec_call *)r);
			return 0;
		}
		return check__event(k, l, r, known);
	}
}

int check__take(struct check *k, const struct rec *r, const struct check_known *known)
{
	switch (r->kind) {
	case REC_BRK ... REC_FAULT:
	case REC_FORK:
	case REC_EXEC:
	case REC_EXIT:
	case REC_HEAP:
	case REC_ALLOCATOR:
		break;
	default:
		return 0;
	}
	if (r->ts_ns > k->now_ns)
		k->now_ns = r->ts_ns;
	check__fail(k, check__apply(k, r, known));
	return k->err;
}

/* ---- all of it ---- */

struct check *check__new(const struct contract *c, const struct check_printer *p, uint64_t start_ns,
			 bool learn)
{
	struct check *k = calloc(1, sizeof(*k));

	if (!k)
		return NULL;
	k->contract = c;
	k->printer = p;
	k->now_ns = start_ns;
	k->learned = learn ? learned__new() : NULL;
	if ((learn && !k->learned) || judge__prepare(k)) {
		check__free(k);
		return NULL;
	}
	return k;
}

int check__finish(struct check *k, uint64_t end_ns)
{
	uint64_t pid, l, tid, t;
	size_t pos;

	if (end_ns > k->now_ns)
		k->now_ns = end_ns;
	for (pos = 0; hmap__next(&k->threads, &pos, &tid, &t);)
		check__settle(k, (struct thread *)(uintptr_t)t);
	for (pos = 0; hmap__next(&k->lives, &pos, &pid, &l); pos = 0)
		check__end_life(k, (struct life *)(uintptr_t)l);
	return k->err;
}

void check__free(struct check *k)
{
	uint64_t key, value;
	size_t pos;

	if (!k)
		return;
	for (pos = 0; hmap__next(&k->threads, &pos, &key, &value);)
		thread__free((struct thread *)(uintptr_t)value);
	for (pos = 0; hmap__next(&k->lives, &pos, &key, &value);)
		life__free((struct life *)(uintptr_t)value);
	hmap__clear(&k->threads);
	hmap__clear(&k->lives);
	judge__free(k);
	learned__free(k->learned);
	free(k);
}

const struct verdict *check__verdicts(const struct check *k, size_t *n)
{
	*n = k->contract ? k->contract->nrules : 0;
	return k->verdicts;
}

struct check_summary check__summary(const struct check *k)
{
	return k->summary;
}

const struct learned *check__learned(const struct check *k)
{
	return k->learned;
}
