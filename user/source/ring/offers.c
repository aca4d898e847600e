// SPDX-License-Identifier: MIT
#include "user/source/ring/offers.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "lib/trace/ring.h"
#include "user/source/process.h"
#include "user/util/log.h"

#define PATH_BYTES 128

/* A probe that is to be placed, in the file of fd. */
struct place {
	int fd;
	uint64_t offset, semaphore, wake, wake_semaphore;
};

struct asked {
	pid_t pid;
	uint64_t serial;
	struct bpf_link *link, *wake; /* not yet, of a child */
	bool adopted; /* its memory is taken, or about to be */
	char name[PATH_BYTES]; /* of the module */
};

/* What takes the kernel tens of milliseconds, in which rings would fill, is done by a thread. */
struct job {
	struct job *next;
	/* Probes for this process; */
	pid_t pid;
	uint64_t serial;
	struct place place;
	/* or those that are to go. */
	struct bpf_link *link, *wake;
};

struct ring_offers {
	struct ring_server *server;
	struct bpf_program *program;
	struct ring_buffer *buffer;
	pthread_t thread, worker;
	bool has_thread, has_worker, ends;
	pthread_mutex_t lock; /* of all that follows */
	pthread_cond_t news;
	struct asked *list;
	size_t n, room;
	uint64_t serial;
	char last_name[PATH_BYTES];
	struct job *jobs, **last_job;
};

static struct asked *offers__find(const struct ring_offers *o, pid_t pid)
{
	for (size_t i = 0; i < o->n; i++)
		if (o->list[i].pid == pid)
			return &o->list[i];
	return NULL;
}

/* NULL: no memory. */
static struct asked *offers__enter(struct ring_offers *o, pid_t pid, const char *name)
{
	struct asked *grown, *a;

	if (o->n == o->room) {
		grown = reallocarray(o->list, 2 * o->room + 8, sizeof(*grown));
		if (!grown)
			return NULL;
		o->list = grown;
		o->room = 2 * o->room + 8;
	}
	a = &o->list[o->n++];
	*a = (struct asked){.pid = pid, .serial = ++o->serial};
	snprintf(a->name, sizeof(a->name), "%s", name);
	memcpy(o->last_name, a->name, sizeof(o->last_name));
	return a;
}

/* Who offers; NULL: no memory. A child is heard of before it is asked: its module is its parent's. */
static struct asked *offers__hear(struct ring_offers *o, pid_t pid, pid_t parent)
{
	struct asked *a = offers__find(o, pid), *of;

	if (a)
		return a;
	of = offers__find(o, parent);
	return offers__enter(o, pid, of ? of->name : o->last_name);
}

static int offers__take(void *ctx, void *data, size_t size)
{
	struct ring_offers *o = ctx;
	const struct ring_offer *r = data;
	char name[PATH_BYTES] = "", comm[17], exe[2];
	struct asked *a;
	pid_t pid, parent = 0;
	bool known, before = false;
	int err;

	if (size < sizeof(*r))
		return 0;
	pid = (pid_t)r->tgid;
	pthread_mutex_lock(&o->lock);
	known = offers__find(o, pid);
	pthread_mutex_unlock(&o->lock);
	if (!known && process__identify(pid, comm, &parent, exe, sizeof(exe)))
		return 0;
	pthread_mutex_lock(&o->lock);
	a = offers__hear(o, pid, parent);
	if (a) {
		memcpy(name, a->name, sizeof(name));
		before = a->adopted;
		a->adopted = true;
	}
	pthread_mutex_unlock(&o->lock);
	/* It is offered until the answer has been seen. */
	if (!a || (before && r->from_start))
		return 0;
	err = ring_server__adopt(o->server, pid, r->fd, r->call_at, name, r->from_start);
	if (!err)
		return 0;
	pthread_mutex_lock(&o->lock);
	a = offers__find(o, pid);
	if (a)
		a->adopted = before;
	pthread_mutex_unlock(&o->lock);
	/* Not open any more: it was answered, or did not wait for so long, and offers again later. */
	if (err == -EBADF)
		log__debug("process %d: its allocator's memory was offered, and is no more", pid);
	else if (err != -EEXIST)
		log__warn("process %d: its allocator's memory cannot be taken: %s", pid,
			  strerrorname_np(-err));
	return 0;
}

static void *offers__run(void *arg)
{
	struct ring_offers *o = arg;
	int state;

	/* Programs wait for this thread, on a busy machine too, and not for long. What it does is short. Where
	 * that is not permitted it is as the others. */
	setpriority(PRIO_PROCESS, 0, -20);
	while (ring_buffer__poll(o->buffer, -1) >= 0 || errno == EINTR) {
		pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
		pthread_setcancelstate(state, NULL);
	}
	return NULL;
}

/* A probe, whose semaphore is raised with it; quiet: it tells nothing. 0 or -errno. */
static int offers__place_one(struct ring_offers *o, pid_t pid, const char *path, uint64_t offset,
			     uint64_t semaphore, bool quiet, struct bpf_link **link)
{
	struct bpf_uprobe_opts opts = {
		.sz = sizeof(opts), .ref_ctr_offset = semaphore, .bpf_cookie = quiet};

	*link = bpf_program__attach_uprobe_opts(o->program, pid, path, offset, &opts);
	return *link ? 0 : -errno;
}

/* Who listens to the allocator's other probes is told from us by the difference: so the wake goes first. */
static void links__destroy(struct bpf_link *link, struct bpf_link *wake)
{
	bpf_link__destroy(wake);
	bpf_link__destroy(link);
}

static int offers__place(struct ring_offers *o, pid_t pid, const struct place *p,
			 struct bpf_link **link, struct bpf_link **wake)
{
	char path[64];
	int err;

	*wake = NULL;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", p->fd);
	err = offers__place_one(o, pid, path, p->offset, p->semaphore, false, link);
	if (!err && p->wake)
		err = offers__place_one(o, pid, path, p->wake, p->wake_semaphore, true, wake);
	if (err) {
		links__destroy(*link, NULL);
		*link = NULL;
	}
	return err;
}

/* Under the lock. What can no more be done is left out: it ends with the program. */
static void offers__give_job(struct ring_offers *o, const struct job *j)
{
	struct job *made = malloc(sizeof(*made));

	if (!made)
		return;
	*made = *j;
	made->next = NULL;
	*o->last_job = made;
	o->last_job = &made->next;
	pthread_cond_signal(&o->news);
}

static void offers__do(struct ring_offers *o, struct job *j)
{
	struct asked *a;
	int err;

	if (j->pid) {
		err = offers__place(o, j->pid, &j->place, &j->link, &j->wake);
		if (err)
			log__debug("process %d: it has no probes of its own: %s", j->pid,
				   strerrorname_np(-err));
		pthread_mutex_lock(&o->lock);
		a = offers__find(o, j->pid);
		if (a && a->serial == j->serial) {
			/* Of its image before an exec it may have others. */
			struct bpf_link *link = a->link, *wake = a->wake;

			a->link = j->link;
			a->wake = j->wake;
			j->link = link;
			j->wake = wake;
		}
		pthread_mutex_unlock(&o->lock);
	}
	links__destroy(j->link, j->wake);
}

static void *offers__work(void *arg)
{
	struct ring_offers *o = arg;
	struct job *j;

	pthread_mutex_lock(&o->lock);
	while (!o->ends || o->jobs) {
		j = o->jobs;
		if (!j) {
			pthread_cond_wait(&o->news, &o->lock);
			continue;
		}
		o->jobs = j->next;
		if (!o->jobs)
			o->last_job = &o->jobs;
		pthread_mutex_unlock(&o->lock);
		/* Nobody waits for probes any more. */
		if (!j->pid || !__atomic_load_n(&o->ends, __ATOMIC_RELAXED))
			offers__do(o, j);
		free(j);
		pthread_mutex_lock(&o->lock);
	}
	pthread_mutex_unlock(&o->lock);
	return NULL;
}

static int start_thread(pthread_t *thread, void *(*run)(void *), struct ring_offers *o)
{
	sigset_t all, before;
	int err;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = pthread_create(thread, NULL, run, o);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return err;
}

struct ring_offers *ring_offers__new(struct kernel *k, struct ring_server *s)
{
	struct ring_offers *o = calloc(1, sizeof(*o));
	int map, err;

	if (!o)
		return NULL;
	o->server = s;
	o->last_job = &o->jobs;
	pthread_mutex_init(&o->lock, NULL);
	pthread_cond_init(&o->news, NULL);
	kernel__offers(k, &o->program, &map);
	o->buffer = ring_buffer__new(map, offers__take, o, NULL);
	err = o->buffer ? start_thread(&o->thread, offers__run, o) : errno;
	o->has_thread = !err;
	if (!err) {
		err = start_thread(&o->worker, offers__work, o);
		o->has_worker = !err;
	}
	if (!err)
		return o;
	ring_offers__free(o);
	errno = err;
	return NULL;
}

void ring_offers__free(struct ring_offers *o)
{
	if (!o)
		return;
	if (o->has_thread) {
		pthread_cancel(o->thread);
		pthread_join(o->thread, NULL);
	}
	ring_offers__drop(o);
	ring_buffer__free(o->buffer);
	pthread_cond_destroy(&o->news);
	pthread_mutex_destroy(&o->lock);
	free(o->list);
	free(o);
}

/*
 * Memory that a memtrace before us has left behind: if the process has not called its allocator since
 * that was killed, it does not know yet. Tell it to ask anew.
 */
static void process__release(pid_t pid)
{
	char path[64], line[512];
	uint64_t start, end;
	FILE *maps;

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	maps = fopen(path, "re");
	while (maps && fgets(line, sizeof(line), maps)) {
		struct ring_header *h;
		int fd;

		if (!strstr(line, "/memfd:" RING_MEMFD_NAME) ||
		    sscanf(line, "%" SCNx64 "-%" SCNx64, &start, &end) != 2)
			continue;
		snprintf(path, sizeof(path), "/proc/%d/map_files/%" PRIx64 "-%" PRIx64, pid, start,
			 end);
		fd = open(path, O_RDWR | O_CLOEXEC);
		if (fd < 0)
			continue;
		h = mmap(NULL, sizeof(*h), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		close(fd);
		if (h == MAP_FAILED)
			continue;
		__atomic_store_n(&h->closed, RING_CLOSED_ANEW, __ATOMIC_RELEASE);
		munmap(h, sizeof(*h));
	}
	if (maps)
		fclose(maps);
}

/* A process that filters its system calls could be killed for those that this takes. */
static bool process__filters(pid_t pid)
{
	char path[64], line[256];
	unsigned mode = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "Seccomp: %u", &mode) == 1)
			break;
	if (f)
		fclose(f);
	return mode != 0;
}

/* Under the lock: its probes go as soon as may be. */
static void offers__remove(struct ring_offers *o, struct asked *a)
{
	if (a->link)
		offers__give_job(o, &(struct job){.link = a->link, .wake = a->wake});
	*a = o->list[--o->n];
}

int ring_offers__ask(struct ring_offers *o, pid_t pid, const struct ring_probe *probe, bool child)
{
	struct place place = {probe->file, probe->offset, probe->semaphore, probe->wake,
			      probe->wake_semaphore};
	struct bpf_link *link = NULL, *wake = NULL;
	struct asked *a;
	uint64_t serial;
	int err;

	if (process__filters(pid))
		return -EPERM;
	if (!child)
		process__release(pid);
	/* Named before it can answer. */
	pthread_mutex_lock(&o->lock);
	a = offers__find(o, pid);
	if (a && !child) {
		offers__remove(o, a);
		a = NULL;
	}
	a = a ?: offers__enter(o, pid, probe->name);
	serial = a ? a->serial : 0;
	if (a && child)
		offers__give_job(o, &(struct job){.pid = pid, .serial = serial, .place = place});
	pthread_mutex_unlock(&o->lock);
	if (!a || child)
		return a ? 0 : -ENOMEM;
	err = offers__place(o, pid, &place, &link, &wake);
	pthread_mutex_lock(&o->lock);
	a = offers__find(o, pid);
	a->link = link;
	a->wake = wake;
	if (err)
		offers__remove(o, a);
	pthread_mutex_unlock(&o->lock);
	return err;
}

void ring_offers__again(struct ring_offers *o)
{
	size_t i = 0;
	pid_t pid;

	do {
		pid = 0;
		pthread_mutex_lock(&o->lock);
		while (i < o->n && !pid) {
			pid = o->list[i].adopted ? 0 : o->list[i].pid;
			i++;
		}
		pthread_mutex_unlock(&o->lock);
		if (pid)
			process__release(pid);
	} while (pid);
}

void ring_offers__forget(struct ring_offers *o, pid_t pid)
{
	struct asked *a;

	pthread_mutex_lock(&o->lock);
	a = offers__find(o, pid);
	if (a)
		offers__remove(o, a);
	pthread_mutex_unlock(&o->lock);
}

void ring_offers__drop(struct ring_offers *o)
{
	struct asked *list;
	size_t n;

	pthread_mutex_lock(&o->lock);
	__atomic_store_n(&o->ends, true, __ATOMIC_RELAXED);
	pthread_cond_signal(&o->news);
	pthread_mutex_unlock(&o->lock);
	if (o->has_worker)
		pthread_join(o->worker, NULL);
	o->has_worker = false;
	/* Whoever still offers is heard, meanwhile. */
	pthread_mutex_lock(&o->lock);
	list = o->list;
	n = o->n;
	o->list = NULL;
	o->n = o->room = 0;
	pthread_mutex_unlock(&o->lock);
	for (size_t i = 0; i < n; i++)
		links__destroy(list[i].link, list[i].wake);
	free(list);
}
