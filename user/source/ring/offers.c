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
#include <unistd.h>

#include "lib/trace/ring.h"
#include "user/util/log.h"

#define PATH_BYTES 128

struct asked {
	pid_t pid;
	struct bpf_link *link, *wake;
	bool answered;
	char name[PATH_BYTES]; /* of the module */
};

struct ring_offers {
	struct ring_server *server;
	struct bpf_program *program;
	struct ring_buffer *buffer;
	pthread_t thread;
	bool has_thread;
	pthread_mutex_t lock; /* of the list: the thread looks there for names */
	struct asked *list;
	size_t n, room;
};

static int offers__take(void *ctx, void *data, size_t size)
{
	struct ring_offers *o = ctx;
	const struct ring_offer *r = data;
	char name[PATH_BYTES] = "";
	int err;

	if (size < sizeof(*r))
		return 0;
	pthread_mutex_lock(&o->lock);
	for (size_t i = 0; i < o->n; i++)
		if (o->list[i].pid == (pid_t)r->tgid) {
			memcpy(name, o->list[i].name, sizeof(name));
			o->list[i].answered = true;
		}
	pthread_mutex_unlock(&o->lock);
	if (!name[0])
		return 0;
	err = ring_server__adopt(o->server, (pid_t)r->tgid, r->fd, r->call_at, name);
	/* It is offered until the answer has been seen. */
	if (err && err != -EEXIST)
		log__warn("process %u: its allocator's memory cannot be taken: %s", r->tgid,
			  strerrorname_np(-err));
	return 0;
}

static void *offers__run(void *arg)
{
	struct ring_offers *o = arg;
	int state;

	while (ring_buffer__poll(o->buffer, -1) >= 0 || errno == EINTR) {
		pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
		pthread_setcancelstate(state, NULL);
	}
	return NULL;
}

struct ring_offers *ring_offers__new(struct kernel *k, struct ring_server *s)
{
	struct ring_offers *o = calloc(1, sizeof(*o));
	sigset_t all, before;
	int map, err;

	if (!o)
		return NULL;
	o->server = s;
	pthread_mutex_init(&o->lock, NULL);
	kernel__offers(k, &o->program, &map);
	o->buffer = ring_buffer__new(map, offers__take, o, NULL);
	if (!o->buffer) {
		err = errno;
		ring_offers__free(o);
		errno = err;
		return NULL;
	}
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = pthread_create(&o->thread, NULL, offers__run, o);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	o->has_thread = !err;
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

static void offers__remove(struct ring_offers *o, size_t i)
{
	/* Who listens to the allocator's other probes is told from us by the difference. */
	bpf_link__destroy(o->list[i].wake);
	bpf_link__destroy(o->list[i].link);
	pthread_mutex_lock(&o->lock);
	o->list[i] = o->list[--o->n];
	pthread_mutex_unlock(&o->lock);
}

/* A probe, whose semaphore is raised with it; quiet: it tells nothing. 0 or -errno. */
static int offers__place(struct ring_offers *o, pid_t pid, const char *path, uint64_t offset,
			 uint64_t semaphore, bool quiet, struct bpf_link **link)
{
	struct bpf_uprobe_opts opts = {
		.sz = sizeof(opts), .ref_ctr_offset = semaphore, .bpf_cookie = quiet};

	*link = bpf_program__attach_uprobe_opts(o->program, pid, path, offset, &opts);
	return *link ? 0 : -errno;
}

int ring_offers__ask(struct ring_offers *o, pid_t pid, const struct ring_probe *probe)
{
	struct asked *grown, *a;
	char path[64];
	int err;

	ring_offers__forget(o, pid);
	if (process__filters(pid))
		return -EPERM;
	if (o->n == o->room) {
		pthread_mutex_lock(&o->lock);
		grown = reallocarray(o->list, 2 * o->room + 8, sizeof(*grown));
		if (grown) {
			o->list = grown;
			o->room = 2 * o->room + 8;
		}
		pthread_mutex_unlock(&o->lock);
		if (!grown)
			return -ENOMEM;
	}
	process__release(pid);
	/* Named before it can answer. */
	pthread_mutex_lock(&o->lock);
	a = &o->list[o->n++];
	*a = (struct asked){.pid = pid};
	snprintf(a->name, sizeof(a->name), "%s", probe->name);
	pthread_mutex_unlock(&o->lock);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", probe->file);
	a = &o->list[o->n - 1];
	err = offers__place(o, pid, path, probe->offset, probe->semaphore, false, &a->link);
	if (!err && probe->wake)
		err = offers__place(o, pid, path, probe->wake, probe->wake_semaphore, true, &a->wake);
	if (err)
		offers__remove(o, o->n - 1);
	return err;
}

void ring_offers__again(struct ring_offers *o)
{
	for (size_t i = 0; i < o->n; i++) {
		bool answered;

		pthread_mutex_lock(&o->lock);
		answered = o->list[i].answered;
		pthread_mutex_unlock(&o->lock);
		if (!answered)
			process__release(o->list[i].pid);
	}
}

void ring_offers__forget(struct ring_offers *o, pid_t pid)
{
	for (size_t i = o->n; i-- > 0;)
		if (o->list[i].pid == pid)
			offers__remove(o, i);
}

void ring_offers__drop(struct ring_offers *o)
{
	while (o->n)
		offers__remove(o, o->n - 1);
}
