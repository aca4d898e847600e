// SPDX-License-Identifier: MIT
/*
 * A run in the exact mode: target, kernel plane, model and views put together.
 *
 *   begin:  launch or attach, snapshot the address spaces
 *   loop:   wait, drain, show
 *   end:    detach, drain to the last record, true up with /proc, report
 */
#include "user/session.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "user/alone.h"
#include "user/checking.h"
#include "user/finish.h"
#include "user/live.h"
#include "user/names.h"
#include "user/output.h"
#include "user/session_internal.h"
#include "user/source/census.h"
#include "user/util/log.h"

#define POLL_RING_MS 1
#define POLL_BUSY_MS 10
#define POLL_IDLE_MS 40
#define POLL_LAST_MS \
	3 /* after the command's end: its last record has come, and will be let go then */
#define CHECK_NS 250000000ULL /* how often the kernel is asked for losses and for who is left */
#define LOOK_UP_NS 1000000ULL
#define GRACE_NS 1000000000ULL /* how long a signalled command may take to end before the report */

static bool is_call(unsigned kind)
{
	return kind >= REC_BRK && kind <= REC_MPROTECT;
}

void session__add_code(void *ctx, pid_t pid, const struct vma *v)
{
	struct session *s = ctx;

	names__add_code(s->names, pid, v);
}

/* Before its probes are placed: what is allocated from then on is told by them. */
static void session__count_before(struct session *s, pid_t pid)
{
	struct process_report *p = model__process(s->model, pid);
	struct census c;
	int err;

	if (!s->plane || !p)
		return;
	err = census__take(pid, &c);
	if (err) {
		log__debug("process %d: what is live cannot be told: %s", pid,
			   err == -ENOENT ? "no heap of glibc's or mtalloc's as it is known here" :
					    strerror(-err));
		return;
	}
	p->heap.before_blocks = c.blocks;
	p->heap.before_bytes = c.bytes;
	p->heap.before_at_most = c.at_most;
}

void session__fail(struct session *s, int err)
{
	if (!s->err)
		s->err = err;
}

/* A process that a name or cgroup matched, met for the first time: what was before. */
static void session__meet(struct session *s, pid_t pid)
{
	char comm[17], exe[4096];
	pid_t ppid;

	if (process__identify(pid, comm, &ppid, exe, sizeof(exe)))
		return;
	if (model__add_root(s->model, pid, ppid, comm, exe[0] ? exe : NULL, false))
		return;
	model__process(s->model, pid)->threads = process__threads(pid);
	process__snapshot(s->model, pid, session__add_code, s);
	session__count_before(s, pid);
	if (s->plane)
		session__fail(s, plane__add(s->plane, pid, NULL));
}

/* Open what has become code, while its process lives. */
static void session__note_code(struct session *s, const struct rec *r)
{
	const struct rec_vma *vma = (const struct rec_vma *)r;
	const struct rec_call *call = (const struct rec_call *)r;
	const struct vma *known;
	struct vma v = {.kind = VMA_FILE};

	if (r->kind == REC_VMA && vma->prot & PROT_EXEC && vma->ino) {
		v.start = vma->start;
		v.end = vma->end;
		v.file = model__file(s->model, vma->ino, vma->dev, NULL);
		names__add_code(s->names, r->tgid, &v);
	} else if (r->kind == REC_MPROTECT && call->arg[2] & PROT_EXEC && !call->ret) {
		known = model__find(s->model, r->tgid, call->arg[0]);
		if (known && known->kind == VMA_FILE)
			names__add_code(s->names, r->tgid, known);
	}
}

/*
 * A fault in no mapping we know: made by a call that is not among the six (shmat), or that
 * was under way as we attached. Ask the kernel, not more than once a millisecond.
 */
static void session__look_up(struct session *s, const struct rec_fault *f)
{
	uint64_t now;

	if (!f->ip || model__find(s->model, f->h.tgid, f->addr) || !model__knows(s->model, f->h.tgid))
		return;
	now = clock__now();
	if (now < s->next_look_up_ns)
		return;
	s->next_look_up_ns = now + LOOK_UP_NS;
	process__find_mapping(s->model, model__lender(s->model, f->h.tgid), f->addr);
}

/* 0 when the model has taken it; -EBADMSG. Any other error ends the session. */
static int session__apply(struct session *s, const struct rec *r, size_t len)
{
	int err = model__apply(s->model, r, len);

	if (err == -EBADMSG)
		s->malformed++;
	else if (err)
		session__fail(s, err);
	return err;
}

/* Calls of the allocator are most of all, and nobody else has to hear of them. */
static void session__take_heap(struct session *s, const struct rec *r, size_t len)
{
	int err;

	if (HEAP_AUX_OP(r->aux) == HEAP_PHASE) {
		session__fail(s, checking__take(s, r));
		return;
	}
	err = session__apply(s, r, len);
	if (s->o->stream)
		session__fail(s, live__stream_after(s, r));
	if (s->checking && err != -EBADMSG)
		session__fail(s, checking__take(s, r));
}

static void session__gap(void *ctx, pid_t pid)
{
	model__heap_gap(((struct session *)ctx)->model, pid);
}

/* What was lost up to a process's end: its blocks may have been freed. */
static void session__gaps_before_end(struct session *s, pid_t pid)
{
	struct event_counts counts;
	uint64_t delivered[REC_KINDS];

	if (s->ring)
		ring_plane__tell_gaps(s->ring, pid);
	if ((s->ring || s->plane) && !session__counts(s, &counts, delivered))
		live__note_gaps(s, &counts);
}

static void session__take(void *ctx, const struct rec *r, size_t len)
{
	struct session *s = ctx;
	union ring_owned copy;
	bool ours;
	int err;

	if (r->kind == REC_HEAP) {
		session__take_heap(s, r, len);
		return;
	}
	if (s->ring)
		r = ring_plane__own(s->ring, r, &copy);
	if (s->matching && !model__knows(s->model, r->tgid) &&
	    (is_call(r->kind) || r->kind == REC_FAULT || r->kind == REC_FORK || r->kind == REC_EXIT))
		session__meet(s, r->tgid);
	if (r->kind == REC_FAULT)
		session__look_up(s, (const struct rec_fault *)r);
	if (r->kind == REC_STACK && s->alone)
		alone__look_up_stack(s, (const struct rec_stack *)r);
	/* What memtrace does within the process is in the report, and nowhere else. */
	ours = s->ring && (s->o->stream || s->checking) && model__is_agents(s->model, r);
	if (s->o->stream && !ours)
		session__fail(s, live__stream_before(s, r));
	/* What there is to say of a process must be said while the model and the check have it. */
	if (s->plane && r->kind == REC_EXIT)
		plane__note(s->plane, r);
	if (r->kind == REC_EXIT && r->aux)
		session__gaps_before_end(s, (pid_t)r->tgid);
	if (s->checking && (r->kind == REC_EXIT || r->kind == REC_EXEC))
		session__fail(s, checking__take(s, r));
	err = session__apply(s, r, len);
	if (s->o->stream && !ours)
		session__fail(s, live__stream_after(s, r));
	if (s->checking && !ours && r->kind != REC_EXIT && r->kind != REC_EXEC && err != -EBADMSG)
		session__fail(s, checking__take(s, r));
	session__note_code(s, r);
	if (s->plane && r->kind != REC_EXIT)
		plane__note(s->plane, r);
	if (s->ring)
		ring_plane__note(s->ring, r);
	if (r->kind == REC_EXIT)
		s->exits++;
	if (r->kind == REC_EXEC && r->flags & EXEC_SECURE) {
		s->secure_execs++;
		kernel__reopen(s->kernel, r->tgid);
	}
}

static int session__attach(struct session *s)
{
	char comm[17], exe[4096];
	pid_t ppid;
	size_t i;
	int err;

	for (i = 0; i < s->o->npids; i++) {
		pid_t pid = s->o->pids[i];

		err = process__identify(pid, comm, &ppid, exe, sizeof(exe));
		if (!err)
			err = kernel__add(s->kernel, pid, false);
		if (!err)
			err = model__add_root(s->model, pid, ppid, comm, exe[0] ? exe : NULL, false);
		if (!err) {
			model__process(s->model, pid)->threads = process__threads(pid);
			err = process__snapshot(s->model, pid, session__add_code, s);
			session__count_before(s, pid);
		}
		if (!err && s->plane)
			err = plane__add(s->plane, pid, NULL);
		if (err == -ESRCH) {
			log__error("process %d: it ended while memtrace attached to it", pid);
			return err;
		}
		if (err)
			return err;
		log__info("tracing process %d (%s)%s", pid, comm,
			  i + 1 < s->o->npids ? "" :
			  s->o->duration_ns   ? "" :
						"; Ctrl-C ends it and prints the report");
	}
	return 0;
}

static int session__make_ring(struct session *s, bool attach)
{
	const struct options *o = s->o;
	struct ring_plane_opts r = {
		.attach = attach,
		.ring_bytes = o->ring_bytes,
		.sample_bytes = o->sample_bytes,
		/* There is no hurry for a process that runs already, but what it waits for us. */
		.drop = o->drop || attach,
		.only_root = o->no_follow,
		.gap = session__gap,
		.sink = session__take,
		.ctx = s,
	};

	s->ring = ring_plane__new(&r);
	return s->ring ? 0 : -EIO;
}

/* The ring plane, if the command can have it. 0 or -errno, after a message. */
static int session__open_ring(struct session *s)
{
	const struct options *o = s->o;
	const char *why;

	if (o->npids && !o->allocator && !o->nsymbols && !o->check.on &&
	    (o->heap == HEAP_CHOICE_RING || o->heap == HEAP_CHOICE_AUTO))
		return session__make_ring(s, true);
	if (o->heap != HEAP_CHOICE_RING || !o->argv)
		return 0;
	why = ring_plane__unfit(o->argv[0]);
	if (why) {
		log__warn("%s: %s: its allocator's calls are traced by uprobes", o->argv[0], why);
		return 0;
	}
	return session__make_ring(s, false);
}

/* The command, waiting until it may run. 0 or -errno, after a message. */
static int session__prepare(struct session *s)
{
	return launch__prepare(&s->launch, s->o->argv, s->o->user,
			       s->ring ? ring_plane__library(s->ring) : NULL,
			       s->ring ? ring_plane__address(s->ring) : NULL);
}

/* Whether a run without the kernel plane is of any use. */
static bool session__may_go_alone(const struct session *s)
{
	const struct options *o = s->o;

	return o->argv && !o->check.on && !o->allocator && !o->nsymbols &&
	       (o->heap == HEAP_CHOICE_RING || o->heap == HEAP_CHOICE_AUTO);
}

/* What cannot be had from the kernel is left out: the command with the library preloaded. 0 or -errno. */
static int session__go_alone(struct session *s, const struct kernel_opts *k)
{
	const char *why = s->ring ? NULL : ring_plane__unfit(s->o->argv[0]);

	if (why)
		log__error("%s: %s: a library cannot be preloaded into it", s->o->argv[0], why);
	if (why || (!s->ring && session__make_ring(s, false)))
		return -ENOTSUP;
	/* It has been prepared without the library. */
	if (s->o->heap != HEAP_CHOICE_RING) {
		launch__cancel(&s->launch);
		s->launch = (struct launch){.go = -1, .error = -1};
		if (session__prepare(s))
			return -ENOTSUP;
	}
	s->kernel = kernel__none(k);
	if (!s->kernel)
		return -ENOMEM;
	s->alone = true;
	ring_plane__go_alone(s->ring, alone__meet);
	log__warn("system calls and page faults cannot be traced, allocator calls can: %s",
		  s->without_kernel);
	return 0;
}

static int session__open_kernel(struct session *s)
{
	struct kernel_opts k = {
		.mode = s->matching ? KERNEL_MATCH : KERNEL_PIDS,
		.follow = !s->o->no_follow,
		.comm = s->o->comm,
		.cgroup = s->o->cgroup,
		.buffer_bytes = s->o->buffer_bytes,
		.heap = s->o->heap != HEAP_CHOICE_NONE,
		.ring = s->ring != NULL,
		.sample_bytes = s->o->sample_bytes,
		.sink = session__take,
		.sink_ctx = s,
	};
	bool may = session__may_go_alone(s);
	int status;

	if (may)
		log__divert(s->without_kernel, sizeof(s->without_kernel));
	s->kernel = kernel__new(&k, &status);
	log__divert(NULL, 0);
	if (s->kernel)
		return 0;
	if (may && status == EXIT_UNABLE && !session__go_alone(s, &k))
		return 0;
	if (may)
		log__error("%s", s->without_kernel);
	return status;
}

static int session__ask(void *ctx, pid_t pid, const struct ring_probe *probe, bool child)
{
	return ring_plane__ask(((const struct session *)ctx)->ring, pid, probe, child);
}

static bool session__has_answered(void *ctx, pid_t pid)
{
	return ring_plane__says(((const struct session *)ctx)->ring, pid, 0) == RING_SAYS_YES;
}

static const char *session__path(void *ctx, uint64_t ino, uint32_t dev)
{
	const struct session *s = ctx;

	return model__file_path(s->model, model__file(s->model, ino, dev, NULL));
}

/* 0 or -ENOMEM. */
static int session__open_plane(struct session *s)
{
	const struct options *o = s->o;
	struct plane_opts p = {
		.allocator = o->allocator,
		.symbols = o->symbols,
		.nsymbols = o->nsymbols,
		/* What is exact wins, unless samples are asked for. */
		.contract = o->heap == HEAP_CHOICE_CONTRACT ? CONTRACT_ONLY :
			    o->heap == HEAP_CHOICE_AUTO && o->sample_bytes && !o->allocator ?
							      CONTRACT_PREFERRED :
							      CONTRACT_NEVER,
		.required = o->heap == HEAP_CHOICE_UPROBE || o->heap == HEAP_CHOICE_CONTRACT ||
			    o->allocator || o->nsymbols || o->check.on,
		.ask = s->ring && !o->argv ? session__ask : NULL,
		.has_answered = session__has_answered,
		.rings = o->argv ? s->ring : NULL,
		.path = session__path,
		.sink = session__take,
		.sink_ctx = s,
	};

	if (o->heap == HEAP_CHOICE_NONE || s->alone)
		return 0;
	if (s->checking)
		p.phases = checking__phases(s->checking);
	s->plane = plane__new(s->kernel, &p);
	if (!s->plane)
		return -ENOMEM;
	return o->argv ? plane__add(s->plane, s->launch.pid, o->argv[0]) : 0;
}

/* Everything up to the first event. 0 or the exit status to end with. */
static int session__begin(struct session *s)
{
	const struct options *o = s->o;
	size_t i;
	int status;

	status = o->check.on ? checking__open(s) : 0;
	if (status)
		return status;
	for (i = 0; i < o->npids; i++)
		if (process__check(o->pids[i]))
			return EXIT_FAIL;
	if (o->json && output__open(&s->json, o->json_path))
		return EXIT_FAIL;
	if (session__open_ring(s))
		return EXIT_FAIL;
	if (o->argv && session__prepare(s))
		return EXIT_FAIL;
	status = session__open_kernel(s);
	if (status)
		return status;
	if (s->ring) {
		ring_plane__set_root(s->ring, s->launch.pid);
		if (ring_plane__join(s->ring, s->kernel))
			return EXIT_FAIL;
	}
	s->start_ns = clock__now();
	s->stream.start_ns = s->start_ns;
	s->model = model__new(s->start_ns);
	if (s->model && s->ring && ring_plane__library(s->ring) &&
	    model__set_agent(s->model, ring_plane__library(s->ring)))
		return EXIT_FAIL;
	if (s->model)
		model__set_sampling(s->model, o->sample_bytes);
	s->names = s->model ? names__new(s->model) : NULL;
	if (!s->names)
		return EXIT_FAIL;
	if (o->argv)
		kernel__expect(s->kernel, o->argv[0]);
	if (o->argv && (kernel__add(s->kernel, s->launch.pid, true) ||
			model__add_root(s->model, s->launch.pid, getpid(), o->argv[0], NULL, true)))
		return EXIT_FAIL;
	if (session__open_plane(s))
		return EXIT_FAIL;
	if (waiter__init(&s->wait, s->launch.pid, o->duration_ns, o->interval_ns))
		return EXIT_FAIL;
	if (o->argv)
		return launch__go(&s->launch, o->argv[0]);
	if (s->matching)
		log__info("tracing all processes %s %s; Ctrl-C ends it and prints the report",
			  o->comm ? "named" : "of cgroup", o->comm ? o->comm : o->cgroup);
	return session__attach(s) ? EXIT_FAIL : 0;
}

static void count_thread(void *ctx, const struct task_row *row)
{
	(void)row;
	++*(size_t *)ctx;
}

int session__counts(const struct session *s, struct event_counts *counts,
		    uint64_t delivered[REC_KINDS])
{
	int err = kernel__counts(s->kernel, counts, delivered);

	if (!err && s->ring)
		ring_plane__counts(s->ring, counts, delivered);
	return err;
}

/* From time to time: losses for the stream, and whether there is anyone left whose end was lost. */
static bool session__check(struct session *s)
{
	struct event_counts counts;
	uint64_t delivered[REC_KINDS], now = clock__now();
	size_t threads = 0;
	unsigned i;

	if (now < s->next_check_ns || session__counts(s, &counts, delivered))
		return true;
	s->next_check_ns = now + CHECK_NS;
	live__note_gaps(s, &counts);
	for (i = 0; s->o->stream && i < REC_KINDS; i++)
		if (counts.lost[i] > s->lost_told[i]) {
			session__fail(s, view__stream_lost(s->text, rec_kind_name[i],
							   counts.lost[i] - s->lost_told[i],
							   &s->stream));
			s->lost_told[i] = counts.lost[i];
		}
	if (s->matching || (!counts.lost[REC_EXIT] && !counts.lost[REC_FORK]))
		return true;
	return kernel__threads(s->kernel, count_thread, &threads) || threads;
}

static bool session__all_ended(struct session *s)
{
	pid_t pid;

	if (s->matching || s->exits == s->exits_seen)
		return false;
	s->exits_seen = s->exits;
	return !model__alive(s->model, &pid, 1);
}

/* A signal: the launched command gets it too, when it has not already from the terminal. */
static bool session__signal(struct session *s)
{
	if (!s->launch.pid || s->stop_ns)
		return false;
	if (s->wait.signal_was_sent)
		kill(s->launch.pid, s->wait.signal);
	s->stop_ns = clock__now() + GRACE_NS;
	return true;
}

/* How long nobody needs to look: rings fill in some milliseconds. */
static int session__patience(const struct session *s)
{
	double fill = s->ring ? ring_plane__fill(s->ring) : 0;

	if (fill > 0.05)
		return fill > 0.25 ? 0 : POLL_RING_MS;
	/* Also those that are empty now: a burst fills one in less than it takes to be idle. */
	return kernel__fill(s->kernel) > 0.05 || (s->ring && ring_plane__serves(s->ring)) ?
		       POLL_BUSY_MS :
		       POLL_IDLE_MS;
}

int session__poll(struct session *s, bool last)
{
	int err = 0;

	kernel__begin_poll(s->kernel);
	if (s->ring)
		err = ring_plane__look(s->ring);
	if (!err)
		err = kernel__poll(s->kernel, last);
	if (s->ring)
		ring_plane__tidy(s->ring);
	return err;
}

static void session__loop(struct session *s)
{
	int timeout = POLL_BUSY_MS;
	bool go_on = true, ended;
	struct rec_exit end;

	while (go_on && !s->err) {
		ended = false;
		switch (waiter__wait(&s->wait, timeout)) {
		case WAIT_SIGNAL:
			go_on = session__signal(s);
			break;
		case WAIT_END:
			go_on = false;
			break;
		case WAIT_TICK:
			session__fail(s, live__table(s));
			break;
		case WAIT_CHILD:
			ended = s->child_ended = true;
			break;
		case WAIT_TIMEOUT:
			break;
		}
		if (s->stop_ns && clock__now() >= s->stop_ns)
			go_on = false;
		timeout = ended ? POLL_LAST_MS : session__patience(s);
		session__fail(s, session__poll(s, false));
		if (s->alone && alone__command_is_over(s, &end))
			session__take(s, &end.h, sizeof(end));
		if (s->plane)
			session__fail(s, plane__work(s->plane));
		if (s->o->stream && fflush(s->text))
			session__fail(s, -errno);
		if (session__all_ended(s) || !session__check(s))
			go_on = false;
	}
}

/* After the report: a command that goes on is still ours to wait for. */
static int session__wait_command(struct session *s)
{
	int status;
	pid_t got;

	if (!s->launch.pid)
		return EXIT_OK;
	if (!s->command_ended) {
		log__info("tracing has ended, the command goes on");
		/* Its time is up and no table follows: else each wait would return at once. */
		s->wait.end_ns = s->wait.tick_ns = s->wait.next_tick_ns = 0;
		while ((got = waitpid(s->launch.pid, &status, WNOHANG)) == 0)
			if (waiter__wait(&s->wait, 1000) == WAIT_SIGNAL) {
				kill(s->launch.pid, s->wait.signal);
				return 128 + s->wait.signal;
			}
		if (got < 0)
			return EXIT_OWN_FAILURE;
		s->command_status = status;
	}
	status = s->command_status;
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static void session__free(struct session *s)
{
	plane__free(s->plane);
	ring_plane__free(s->ring);
	kernel__free(s->kernel);
	hold__free(s->hold);
	checking__free(s->checking);
	names__free(s->names);
	model__free(s->model);
	output__close(&s->json);
	waiter__free(&s->wait);
	live__free(s);
}

int session__run(const struct options *o)
{
	struct session s = {
		.o = o,
		.matching = o->mode == MODE_ALL,
		/* A launched command owns standard output. */
		.text = o->argv ? stderr : stdout,
		.wait = {-1, -1, 0, 0, 0, 0, false},
		.launch = {.go = -1, .error = -1},
	};
	int own_failure = o->check.on ? EXIT_UNABLE : o->argv ? EXIT_OWN_FAILURE : EXIT_FAIL;
	int status, err;

	s.stream.color = isatty(fileno(s.text));
	s.hold = hold__new(s.text);
	if (!s.hold)
		return own_failure;
	status = session__begin(&s);
	if (status) {
		/* EXIT_UNABLE is for the forms that have no command's status to keep clear of. */
		if (o->check.on)
			status = status == EXIT_USAGE ? EXIT_USAGE : EXIT_UNABLE;
		else if (o->argv && status < EXIT_OWN_FAILURE)
			status = EXIT_OWN_FAILURE;
		launch__cancel(&s.launch);
		session__free(&s);
		return status;
	}
	session__loop(&s);
	err = finish__report(&s);
	plane__free(s.plane);
	s.plane = NULL;
	kernel__free(s.kernel);
	s.kernel = NULL;
	status = session__wait_command(&s);
	if (s.checking)
		status = checking__status(s.checking);
	if (err)
		status = own_failure;
	session__free(&s);
	return status;
}
