// SPDX-License-Identifier: MIT
/* A thread makes the call and sits the wait out, while the caller looks for the last of the values. */
#include "user/source/map_put.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define LOOK_NS 50000 /* between two looks */

/* Shared by the two; the last one frees it. */
struct put {
	int owners; /* atomic */
	int status; /* atomic; 1: under way, else the call's 0 or -errno */
	int outer;
	uint32_t n;
	uint32_t *keys;
	int *fds; /* copies of our own */
};

static void put__free(struct put *p)
{
	uint32_t i;

	if (__atomic_sub_fetch(&p->owners, 1, __ATOMIC_ACQ_REL))
		return;
	for (i = 0; i < p->n; i++)
		close(p->fds[i]);
	close(p->outer);
	free(p->keys);
	free(p->fds);
	free(p);
}

static struct put *put__new(int outer, const uint32_t *keys, const int *fds, uint32_t n)
{
	struct put *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->owners = 1;
	p->status = 1;
	p->outer = fcntl(outer, F_DUPFD_CLOEXEC, 3);
	p->keys = calloc(n, sizeof(*p->keys));
	p->fds = calloc(n, sizeof(*p->fds));
	if (p->outer < 0 || !p->keys || !p->fds) {
		put__free(p);
		return NULL;
	}
	for (; p->n < n; p->n++) {
		p->keys[p->n] = keys[p->n];
		p->fds[p->n] = fcntl(fds[p->n], F_DUPFD_CLOEXEC, 3);
		if (p->fds[p->n] < 0) {
			put__free(p);
			return NULL;
		}
	}
	return p;
}

static void *put__make(void *arg)
{
	LIBBPF_OPTS(bpf_map_batch_opts, opts);
	struct put *p = arg;
	uint32_t n = p->n;
	int status = bpf_map_update_batch(p->outer, p->keys, p->fds, &n, &opts) ? -errno : 0;

	__atomic_store_n(&p->status, status, __ATOMIC_RELEASE);
	put__free(p);
	return NULL;
}

static bool put__start(struct put *p)
{
	sigset_t all, before;
	pthread_t thread;
	bool started;

	p->owners++;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	started = !pthread_create(&thread, NULL, put__make, p);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (started)
		pthread_detach(thread);
	else
		p->owners--;
	return started;
}

int map_put__all(int outer, const uint32_t *keys, const int *fds, uint32_t n)
{
	LIBBPF_OPTS(bpf_map_batch_opts, opts);
	const struct timespec pause = {.tv_nsec = LOOK_NS};
	struct put *p = n ? put__new(outer, keys, fds, n) : NULL;
	uint32_t id, count = n;
	int status;

	if (!n)
		return 0;
	if (!p || !put__start(p)) {
		if (p)
			put__free(p);
		/* Then we wait. */
		return bpf_map_update_batch(outer, keys, fds, &count, &opts) ? -errno : 0;
	}
	/* They are put in order: when the last one is there, all are. */
	while ((status = __atomic_load_n(&p->status, __ATOMIC_ACQUIRE)) > 0 &&
	       bpf_map_lookup_elem(outer, &keys[n - 1], &id))
		nanosleep(&pause, NULL);
	put__free(p);
	return status < 0 ? status : 0;
}
