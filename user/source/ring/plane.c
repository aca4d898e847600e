// SPDX-License-Identifier: MIT
#include "user/source/ring/ring.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "user/source/ring/claims.h"
#include "user/source/ring/clock.h"
#include "user/source/ring/offers.h"
#include "user/source/ring/server.h"
#include "user/source/uprobe/binary.h"
#include "user/symbol/file.h"
#include "user/util/hmap.h"
#include "user/util/log.h"
#include "user/wait.h"

#define RING_BYTES (4UL << 20)
#define TIDY_NS 20000000 /* how often it is looked who has ended */
#define AGAIN_NS 500000000 /* and who has not answered */
#define LIBRARY "libmemtrace-agent.so"

/* A segment in use. */
struct served {
	struct ring_guest *guest;
	bool told; /* that there is an allocator */
	bool over; /* its process has ended, or has another one now */
	bool seen; /* to its end */
};

struct ring_plane {
	struct ring_plane_opts o;
	void (*meet)(void *ctx, const struct ring_guest *g); /* NULL: there is a kernel plane */
	struct kernel *kernel;
	struct order *order;
	struct ring_clock *clock;
	struct ring_server *server;
	struct ring_offers *offers; /* with .attach */
	struct claims *claims;
	char *library;
	struct served *list;
	size_t n, room;
	struct order_feed news; /* the beginnings of segments, in their time */
	struct hmap allocators; /* hash of a path -> struct rec_allocator * */
	struct hmap unable; /* pids that said so */
	uint64_t next_tidy_ns, next_again_ns;
	struct event_counts retired; /* of segments that are gone */
	uint64_t retired_delivered;
	struct ring_plane_notes notes;
	pid_t root; /* read by the server's thread */
};

/* The agent is beside the program, as it was built, or where it was installed. */
static char *find_library(void)
{
	static const char *const places[] = {"", "../lib/memtrace/", "../lib64/memtrace/"};
	char self[PATH_MAX], path[PATH_MAX + 64], *slash;
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (n <= 0)
		return NULL;
	self[n] = '\0';
	slash = strrchr(self, '/');
	if (!slash)
		return NULL;
	slash[1] = '\0';
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		snprintf(path, sizeof(path), "%s%s%s", self, places[i], LIBRARY);
		if (!access(path, R_OK))
			return realpath(path, NULL);
	}
	return NULL;
}

static int plane__announce(void *ctx, pid_t pid, int64_t call_at)
{
	struct ring_plane *p = ctx;

	/* Who is asked is one that is traced. */
	if (p->o.only_root && !p->o.attach && pid != __atomic_load_n(&p->root, __ATOMIC_ACQUIRE))
		return -EPERM;
	if (!claims__hello(p->claims, pid))
		return -EBUSY;
	return kernel__ring_calls(p->kernel, pid, call_at);
}

static void plane__tell_news(struct order_feed *f, struct order *o, uint64_t until_ns);

struct ring_plane *ring_plane__new(const struct ring_plane_opts *o)
{
	struct ring_plane *p = calloc(1, sizeof(*p));
	struct ring_server_opts server = {
		.segment = {.ring_bytes = o->ring_bytes ?: RING_BYTES,
			    .sample_bytes = o->sample_bytes,
			    .drop = o->drop,
			    .stack_frames = STACK_FRAMES,
			    .follow = o->attach && !o->only_root},
		.announce = plane__announce,
		.ctx = p,
	};

	if (!p)
		return NULL;
	p->o = *o;
	p->library = o->attach ? NULL : find_library();
	if (o->attach) {
		/* Nobody says hello. */
	} else if (!p->library || strpbrk(p->library, ": ")) {
		log__error("ring plane: %s",
			   p->library ? "the path of " LIBRARY
					" has a space or colon in it: it cannot be preloaded" :
					LIBRARY " is neither beside memtrace nor in ../lib/memtrace");
		ring_plane__free(p);
		return NULL;
	}
	p->clock = ring_clock__new();
	p->claims = claims__new();
	server.clock = p->clock;
	p->server = p->clock && p->claims ? ring_server__new(&server) : NULL;
	p->news = (struct order_feed){.next_ns = UINT64_MAX, .hand_on = plane__tell_news};
	if (!p->server) {
		log__error("ring plane: no socket for those who say hello: %s",
			   strerrorname_np(errno));
		ring_plane__free(p);
		return NULL;
	}
	return p;
}

int ring_plane__join(struct ring_plane *p, struct kernel *k)
{
	p->kernel = k;
	p->order = kernel__order(k);
	if (p->o.attach) {
		p->offers = ring_offers__new(k, p->server);
		if (!p->offers)
			return -errno;
	}
	return order__add_feed(p->order, &p->news);
}

int ring_plane__ask(struct ring_plane *p, pid_t pid, const struct ring_probe *probe, bool child)
{
	return p->offers ? ring_offers__ask(p->offers, pid, probe, child) : -ENOTSUP;
}

void ring_plane__free(struct ring_plane *p)
{
	uint64_t key, value;
	size_t pos = 0;

	if (!p)
		return;
	/* First the threads, which use the rest. */
	ring_offers__free(p->offers);
	ring_server__free(p->server);
	for (size_t i = 0; i < p->n; i++)
		ring_guest__free(p->list[i].guest);
	while (hmap__next(&p->allocators, &pos, &key, &value))
		free((void *)(uintptr_t)value);
	hmap__clear(&p->allocators);
	hmap__clear(&p->unable);
	claims__free(p->claims);
	ring_clock__free(p->clock);
	free(p->list);
	free(p->library);
	free(p);
}

const char *ring_plane__address(const struct ring_plane *p)
{
	return ring_server__address(p->server);
}

const char *ring_plane__library(const struct ring_plane *p)
{
	return p->library;
}

void ring_plane__set_root(struct ring_plane *p, pid_t pid)
{
	__atomic_store_n(&p->root, pid, __ATOMIC_RELEASE);
}

/* News: who begins to hand over, when all that was before is told. */

static uint64_t path__hash(const char *s)
{
	uint64_t h = 0;

	for (; *s; s++)
		h = hmap__mix(h, (unsigned char)*s);
	return h;
}

static void text__copy(char *to, size_t room, const char *from)
{
	size_t n = strlen(from);

	memcpy(to, from, n < room ? n : room - 1);
}

/* What is to be told of an allocator, by the path of its file. NULL: no memory. */
static struct rec_allocator *plane__allocator(struct ring_plane *p, const char *path)
{
	uint64_t key = path__hash(path), *known = hmap__find(&p->allocators, key);
	const char *slash = strrchr(path, '/');
	struct rec_allocator *r;
	struct binary b = {0};
	struct stat st;
	int fd;

	if (known)
		return (struct rec_allocator *)(uintptr_t)*known;
	r = calloc(1, sizeof(*r));
	if (!r || hmap__set(&p->allocators, key, (uintptr_t)r)) {
		free(r);
		return NULL;
	}
	r->ino = 1; /* another one is not known: of another mount namespace, or gone */
	/* Only that one offers, and where it is may be no path here. */
	if (p->o.attach)
		text__copy(r->name, sizeof(r->name), "mtalloc");
	fd = p->o.attach ? -1 : file__open_regular(path);
	if (fd >= 0 && !fstat(fd, &st)) {
		r->ino = st.st_ino;
		if (!binary__read(&b, fd, &(struct binary_wanted){0}))
			text__copy(r->name, sizeof(r->name), b.allocator);
		binary__free(&b);
	}
	if (fd >= 0)
		close(fd);
	if (!r->name[0])
		text__copy(r->name, sizeof(r->name), slash ? slash + 1 : path);
	text__copy(r->text, sizeof(r->text), path);
	return r;
}

static void plane__tell(struct ring_plane *p, struct served *s)
{
	struct ring_guest *g = s->guest;
	struct rec_allocator *r = plane__allocator(p, g->hello.text);

	s->told = true;
	if (p->meet)
		p->meet(p->o.ctx, g);
	if (!r)
		return;
	r->h = (struct rec){.kind = REC_ALLOCATOR,
			    .flags = ALLOCATOR_RING,
			    .tgid = (uint32_t)g->pid,
			    .tid = (uint32_t)g->pid,
			    .ts_ns = g->since_ns};
	r->incomplete = !g->from_start;
	p->o.sink(p->o.ctx, &r->h, sizeof(*r));
	log__debug("process %d: %s (%s) serves malloc, handed over in rings", g->pid, r->name,
		   r->text);
}

static void plane__tell_news(struct order_feed *f, struct order *o, uint64_t until_ns)
{
	struct ring_plane *p = (struct ring_plane *)((char *)f - offsetof(struct ring_plane, news));

	(void)o;
	f->next_ns = UINT64_MAX;
	for (size_t i = 0; i < p->n; i++) {
		struct served *s = &p->list[i];

		if (s->told)
			continue;
		if (s->guest->since_ns <= until_ns)
			plane__tell(p, s);
		else if (s->guest->since_ns < f->next_ns)
			f->next_ns = s->guest->since_ns;
	}
}

/* Guests */

static int plane__take(struct ring_plane *p, struct ring_guest *g)
{
	struct served *grown;
	size_t room = p->room ? p->room * 2 : 16;

	/* The one that it had is of an image that is no more. */
	for (size_t i = 0; i < p->n; i++)
		if (p->list[i].guest->pid == g->pid)
			p->list[i].over = true;
	if (!g->segment) {
		log__info("process %d: its allocator's calls cannot be handed over: %s", g->pid,
			  g->hello.text);
		hmap__set(&p->unable, (uint64_t)g->pid, 1);
		claims__unhear(p->claims, g->pid);
		ring_guest__free(g);
		return 0;
	}
	hmap__remove(&p->unable, (uint64_t)g->pid);
	if (p->n == p->room) {
		grown = reallocarray(p->list, room, sizeof(*grown));
		if (!grown) {
			ring_guest__free(g);
			return -ENOMEM;
		}
		p->list = grown;
		p->room = room;
	}
	p->list[p->n++] = (struct served){.guest = g};
	if (g->since_ns < p->news.next_ns)
		p->news.next_ns = g->since_ns;
	return 0;
}

int ring_plane__look(struct ring_plane *p)
{
	struct ring_guest *g = ring_server__guests(p->server), *next;
	int err = 0;

	ring_clock__adjust(p->clock);
	for (; g; g = next) {
		next = g->next;
		if (plane__take(p, g))
			err = -ENOMEM;
	}
	for (size_t i = 0; i < p->n && !err; i++) {
		bool over = p->list[i].over;

		err = segment__look(p->list[i].guest->segment, p->order);
		p->list[i].seen = over;
	}
	return err;
}

bool ring_plane__has(const struct ring_plane *p, pid_t pid)
{
	for (size_t i = 0; i < p->n; i++)
		if (p->list[i].guest->pid == pid)
			return true;
	return false;
}

void ring_plane__go_alone(struct ring_plane *p, void (*meet)(void *ctx, const struct ring_guest *g))
{
	p->meet = meet;
	ring_server__look_closely(p->server);
}

static void notes__add(struct ring_plane_notes *n, pid_t pid, const struct segment_counts *c)
{
	n->malformed += c->malformed;
	if (c->gave_up_ns) {
		n->gave_up++;
		n->gave_up_pid = pid;
		n->gave_up_ns = c->gave_up_ns;
	}
	if (c->late_ms) {
		n->late++;
		n->late_pid = pid;
		n->late_ms = c->late_ms;
	}
}

/* A segment is done with. */
static void plane__retire(struct ring_plane *p, size_t i)
{
	struct ring_guest *g = p->list[i].guest;
	struct segment_counts c;
	struct rec_exit end = {.h = {.kind = REC_EXIT,
				     .tgid = (uint32_t)g->pid,
				     .tid = (uint32_t)g->pid,
				     .flags = EXIT_UNTOLD,
				     .aux = 1,
				     .ts_ns = clock__now()}};

	segment__count(g->segment, &c);
	p->retired_delivered += c.delivered;
	for (unsigned op = 0; op < HEAP_OPS; op++)
		p->retired.lost_ops[op] += c.lost_ops[op];
	notes__add(&p->notes, g->pid, &c);
	if (c.gave_up_ns)
		p->o.gap(p->o.ctx, g->pid);
	segment__leave(g->segment, p->order);
	p->list[i] = p->list[--p->n];
	/* Not if it was an image before the last: that one's is still to come. */
	if (p->meet && pidfd__has_ended(g->pidfd) && !ring_plane__has(p, g->pid))
		p->o.sink(p->o.ctx, &end.h, sizeof(end));
	ring_guest__free(g);
}

void ring_plane__tidy(struct ring_plane *p)
{
	uint64_t now = clock__now();

	for (size_t i = p->n; i-- > 0;)
		if (p->list[i].seen && p->list[i].told &&
		    segment__is_drained(p->list[i].guest->segment))
			plane__retire(p, i);
	if (now < p->next_tidy_ns)
		return;
	p->next_tidy_ns = now + TIDY_NS;
	if (p->offers && now >= p->next_again_ns) {
		p->next_again_ns = now + AGAIN_NS;
		ring_offers__again(p->offers);
	}
	for (size_t i = 0; i < p->n; i++)
		if (pidfd__has_ended(p->list[i].guest->pidfd))
			p->list[i].over = true;
}

void ring_plane__note(struct ring_plane *p, const struct rec *r)
{
	if (r->kind != REC_EXIT)
		return;
	if (p->offers && r->aux)
		ring_offers__forget(p->offers, (pid_t)r->tgid);
	for (size_t i = 0; i < p->n; i++)
		if (p->list[i].guest->pid == (pid_t)r->tgid)
			segment__end_thread(p->list[i].guest->segment, (pid_t)r->tid);
}

const struct rec *ring_plane__own(const struct ring_plane *p, const struct rec *r,
				  union ring_owned *copy)
{
	__u64 *owner;

	if (r->kind == REC_FAULT) {
		if (!(((const struct rec_fault *)r)->owner & OWNER_TICKS))
			return r;
		copy->fault = *(const struct rec_fault *)r;
		owner = &copy->fault.owner;
	} else if (r->kind >= REC_BRK && r->kind <= REC_MPROTECT) {
		if (!(((const struct rec_call *)r)->owner & OWNER_TICKS))
			return r;
		copy->call = *(const struct rec_call *)r;
		owner = &copy->call.owner;
	} else {
		return r;
	}
	*owner = ring_clock__ns(p->clock, *owner & ~OWNER_TICKS);
	return (const struct rec *)copy;
}

bool ring_plane__serves(const struct ring_plane *p)
{
	return p->n > 0;
}

enum ring_word ring_plane__says(const struct ring_plane *p, pid_t pid, uint64_t since_ns)
{
	if (hmap__find(&p->unable, (uint64_t)pid))
		return RING_SAYS_NO;
	return claims__heard(p->claims, pid, since_ns) ? RING_SAYS_YES : RING_SAYS_NOTHING;
}

int ring_plane__claim(struct ring_plane *p, pid_t pid, uint64_t since_ns)
{
	return claims__claim(p->claims, pid, since_ns);
}

void ring_plane__release(struct ring_plane *p, pid_t pid, bool ended)
{
	claims__release(p->claims, pid, ended);
	hmap__remove(&p->unable, (uint64_t)pid);
}

double ring_plane__fill(const struct ring_plane *p)
{
	double most = 0, fill;

	for (size_t i = 0; i < p->n; i++) {
		fill = segment__fill(p->list[i].guest->segment);
		if (fill > most)
			most = fill;
	}
	return most;
}

void ring_plane__counts(const struct ring_plane *p, struct event_counts *sum,
			uint64_t delivered[REC_KINDS])
{
	uint64_t n = p->retired_delivered, lost = 0;

	for (unsigned op = 0; op < HEAP_OPS; op++) {
		sum->lost_ops[op] += p->retired.lost_ops[op];
		lost += p->retired.lost_ops[op];
	}
	for (size_t i = 0; i < p->n; i++) {
		struct segment_counts c;

		segment__count(p->list[i].guest->segment, &c);
		n += c.delivered;
		lost += c.lost;
		for (unsigned op = 0; op < HEAP_OPS; op++)
			sum->lost_ops[op] += c.lost_ops[op];
	}
	delivered[REC_HEAP] += n;
	sum->lost[REC_HEAP] += lost;
	sum->seen[REC_HEAP] += n + lost;
}

void ring_plane__notes(const struct ring_plane *p, struct ring_plane_notes *n)
{
	*n = p->notes;
	for (size_t i = 0; i < p->n; i++) {
		struct segment_counts c;

		segment__count(p->list[i].guest->segment, &c);
		notes__add(n, p->list[i].guest->pid, &c);
	}
}

void ring_plane__tell_gaps(const struct ring_plane *p, pid_t pid)
{
	for (size_t i = 0; i < p->n; i++) {
		const struct ring_guest *g = p->list[i].guest;

		if ((!pid || g->pid == pid) && segment__gave_up(g->segment))
			p->o.gap(p->o.ctx, g->pid);
	}
}

void ring_plane__close(struct ring_plane *p)
{
	for (size_t i = 0; i < p->n; i++)
		segment__close(p->list[i].guest->segment);
	if (p->offers)
		ring_offers__drop(p->offers);
}
