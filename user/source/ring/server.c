// SPDX-License-Identifier: MIT
#include "user/source/ring/server.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "user/source/process.h"
#include "user/util/log.h"
#include "user/wait.h"

#define BACKLOG 1024
#define CONNECTIONS 256 /* that are under way at a time: the oldest has to go */

struct connection {
	int fd;
	pid_t pid; /* by the kernel's word */
	bool answered;
};

struct ring_server {
	struct ring_server_opts o;
	char address[128 + RING_TOKEN_BYTES];
	char token[RING_TOKEN_BYTES + 1];
	int listener;
	int stop[2]; /* a pipe: closed to end the thread */
	pthread_t thread;
	bool has_thread;
	bool closely;
	pthread_mutex_t lock;
	struct ring_guest *guests, **last; /* under the lock */
	struct connection connections[CONNECTIONS];
	size_t nconnections;
};

static int server__listen(struct ring_server *s)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	unsigned char random[RING_TOKEN_BYTES / 2 + 8];
	int n;

	if (getrandom(random, sizeof(random), 0) != sizeof(random))
		return -errno;
	for (size_t i = 0; i < RING_TOKEN_BYTES / 2; i++)
		snprintf(s->token + 2 * i, 3, "%02x", random[i]);
	n = snprintf(a.sun_path + 1, sizeof(a.sun_path) - 1, "memtrace-%d-%02x%02x%02x%02x",
		     getpid(), random[RING_TOKEN_BYTES / 2], random[RING_TOKEN_BYTES / 2 + 1],
		     random[RING_TOKEN_BYTES / 2 + 2], random[RING_TOKEN_BYTES / 2 + 3]);
	snprintf(s->address, sizeof(s->address), "%s:%s", a.sun_path + 1, s->token);
	s->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (s->listener < 0 ||
	    bind(s->listener, (struct sockaddr *)&a,
		 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n)) ||
	    listen(s->listener, BACKLOG))
		return -errno;
	return 0;
}

static void server__drop(struct ring_server *s, size_t i)
{
	close(s->connections[i].fd);
	s->connections[i] = s->connections[--s->nconnections];
}

static void server__accept(struct ring_server *s)
{
	struct connection *c;
	struct ucred peer;
	socklen_t len = sizeof(peer);
	int fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) || peer.pid <= 0) {
		close(fd);
		return;
	}
	if (s->nconnections == CONNECTIONS)
		server__drop(s, 0);
	c = &s->connections[s->nconnections++];
	*c = (struct connection){.fd = fd, .pid = peer.pid};
}

/* From here on it is looked at; nothing of it is older. */
static void server__enter(struct ring_server *s, struct ring_guest *g)
{
	pthread_mutex_lock(&s->lock);
	g->since_ns = clock__now();
	if (g->segment)
		segment__publish(g->segment);
	*s->last = g;
	s->last = &g->next;
	pthread_mutex_unlock(&s->lock);
}

static struct ring_guest *guest__new(pid_t pid, const struct ring_hello *h)
{
	struct ring_guest *g = calloc(1, sizeof(*g));

	if (!g)
		return NULL;
	g->pid = pid;
	g->hello = *h;
	g->hello.text[sizeof(h->text) - 1] = '\0';
	g->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	return g;
}

void ring_guest__free(struct ring_guest *g)
{
	if (!g)
		return;
	if (g->pidfd >= 0)
		close(g->pidfd);
	segment__free(g->segment);
	free(g->exe);
	free(g->maps);
	free(g);
}

void ring_server__look_closely(struct ring_server *s)
{
	__atomic_store_n(&s->closely, true, __ATOMIC_RELEASE);
}

static void guest__look(struct ring_guest *g)
{
	char exe[PATH_MAX];

	if (process__identify(g->pid, g->comm, &g->ppid, exe, sizeof(exe)))
		return;
	g->exe = exe[0] ? strdup(exe) : NULL;
	g->maps = process__maps(g->pid);
}

static int send_welcome(int fd, const struct ring_welcome *w, int segment)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {.room = {0}};
	struct iovec part = {(void *)w, sizeof(*w)};
	struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1};
	struct cmsghdr *c;

	if (segment >= 0) {
		m.msg_control = &control;
		m.msg_controllen = sizeof(control);
		c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &segment, sizeof(int));
	}
	return sendmsg(fd, &m, MSG_NOSIGNAL) == sizeof(*w) ? 0 : -errno;
}

/* Give the process its segment. */
static void server__welcome(struct ring_server *s, const struct connection *c,
			    const struct ring_hello *h)
{
	struct ring_welcome w = {.magic = RING_MAGIC, .version = RING_VERSION};
	struct ring_guest *g = NULL;
	struct segment *segment = NULL;
	int fd = -1;

	w.err = s->o.announce(s->o.ctx, c->pid, h->call_at);
	if (!w.err) {
		segment = segment__new(&s->o.segment, s->o.clock, &fd);
		g = segment ? guest__new(c->pid, h) : NULL;
		w.err = g ? 0 : -ENOMEM;
	}
	if (w.err) {
		segment__free(segment);
	} else {
		segment__set_owner(segment, c->pid);
		g->segment = segment;
		g->from_start = true;
		if (__atomic_load_n(&s->closely, __ATOMIC_ACQUIRE))
			guest__look(g);
		w.bytes = segment__bytes(segment);
		w.least_bytes = segment__least_bytes(segment);
		/* Before the answer, after which its records may come. */
		server__enter(s, g);
	}
	if (send_welcome(c->fd, &w, w.err ? -1 : fd))
		log__debug("process %d: it cannot be answered: %s", c->pid, strerrorname_np(errno));
	if (fd >= 0)
		close(fd);
}

/* An offer may be old: by now the process has something else of its own under that number. */
static bool fd__is_offer(int fd)
{
	static const char wanted[] = "/memfd:" RING_MEMFD_NAME " (deleted)";
	char link[32], name[sizeof(wanted) + 1];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, name, sizeof(name));
	return n == sizeof(wanted) - 1 && !memcmp(name, wanted, (size_t)n);
}

int ring_server__adopt(struct ring_server *s, pid_t pid, int fd, int64_t call_at,
		       const char *allocator, bool from_start)
{
	struct ring_hello h = {.magic = RING_MAGIC, .version = RING_VERSION, .pid = (uint32_t)pid};
	struct ring_guest *g;
	int err = 0, own;

	strncpy(h.text, allocator, sizeof(h.text) - 1);
	g = guest__new(pid, &h);
	if (!g)
		return -ENOMEM;
	own = g->pidfd < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, g->pidfd, fd, 0);
	if (own < 0)
		err = -errno;
	else if (!fd__is_offer(own))
		err = -EBADF;
	if (!err)
		err = s->o.announce(s->o.ctx, pid, call_at);
	if (!err) {
		g->segment = segment__adopt(&s->o.segment, s->o.clock, own);
		err = g->segment ? 0 : -errno;
	}
	if (own >= 0)
		close(own);
	if (err) {
		ring_guest__free(g);
		return err;
	}
	segment__set_owner(g->segment, pid);
	g->from_start = from_start;
	server__enter(s, g);
	return 0;
}

/* Read what a process says. False: the connection is over. */
static bool server__hear(struct ring_server *s, struct connection *c)
{
	struct ring_hello h;
	ssize_t n = recv(c->fd, &h, sizeof(h), 0);
	struct ring_guest *g;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return true;
	if (n != sizeof(h) || h.magic != RING_MAGIC || h.version != RING_VERSION ||
	    memcmp(h.token, s->token, RING_TOKEN_BYTES))
		return false;
	if (h.kind == RING_HELLO_READY && !c->answered) {
		c->answered = true;
		server__welcome(s, c, &h);
		return true;
	}
	g = h.kind == RING_HELLO_UNABLE ? guest__new(c->pid, &h) : NULL;
	if (g)
		server__enter(s, g);
	return false;
}

static void *server__run(void *arg)
{
	struct ring_server *s = arg;
	struct pollfd fds[CONNECTIONS + 2];
	size_t i, n;

	for (;;) {
		n = s->nconnections;
		fds[0] = (struct pollfd){s->stop[0], POLLIN, 0};
		fds[1] = (struct pollfd){s->listener, POLLIN, 0};
		for (i = 0; i < n; i++)
			fds[i + 2] = (struct pollfd){s->connections[i].fd, POLLIN, 0};
		if (poll(fds, n + 2, -1) < 0 && errno != EINTR)
			break;
		if (fds[0].revents)
			break;
		/* From the last to the first: who goes is replaced by one that has been looked at. */
		for (i = n; i-- > 0;)
			if (fds[i + 2].revents && !server__hear(s, &s->connections[i]))
				server__drop(s, i);
		if (fds[1].revents)
			server__accept(s);
	}
	while (s->nconnections)
		server__drop(s, 0);
	return NULL;
}

struct ring_server *ring_server__new(const struct ring_server_opts *o)
{
	struct ring_server *s = calloc(1, sizeof(*s));
	sigset_t all, before;
	int err;

	if (!s)
		return NULL;
	s->o = *o;
	s->listener = s->stop[0] = s->stop[1] = -1;
	s->last = &s->guests;
	pthread_mutex_init(&s->lock, NULL);
	err = server__listen(s);
	if (!err && pipe2(s->stop, O_CLOEXEC))
		err = -errno;
	if (!err) {
		sigfillset(&all);
		pthread_sigmask(SIG_SETMASK, &all, &before);
		err = -pthread_create(&s->thread, NULL, server__run, s);
		pthread_sigmask(SIG_SETMASK, &before, NULL);
		s->has_thread = !err;
	}
	if (!err)
		return s;
	ring_server__free(s);
	errno = -err;
	return NULL;
}

void ring_server__free(struct ring_server *s)
{
	struct ring_guest *g;

	if (!s)
		return;
	if (s->stop[1] >= 0)
		close(s->stop[1]);
	if (s->has_thread)
		pthread_join(s->thread, NULL);
	if (s->stop[0] >= 0)
		close(s->stop[0]);
	if (s->listener >= 0)
		close(s->listener);
	while ((g = s->guests)) {
		s->guests = g->next;
		ring_guest__free(g);
	}
	pthread_mutex_destroy(&s->lock);
	free(s);
}

const char *ring_server__address(const struct ring_server *s)
{
	return s->address;
}

struct ring_guest *ring_server__guests(struct ring_server *s)
{
	struct ring_guest *g;

	pthread_mutex_lock(&s->lock);
	g = s->guests;
	s->guests = NULL;
	s->last = &s->guests;
	pthread_mutex_unlock(&s->lock);
	return g;
}
