// SPDX-License-Identifier: MIT
#include "user/source/ring/claims.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "user/util/hmap.h"
#include "user/wait.h"

struct claims {
	pthread_mutex_t lock;
	struct hmap heard; /* pid -> when */
	struct hmap claimed; /* pids */
};

struct claims *claims__new(void)
{
	struct claims *c = calloc(1, sizeof(*c));

	if (c)
		pthread_mutex_init(&c->lock, NULL);
	return c;
}

void claims__free(struct claims *c)
{
	if (!c)
		return;
	hmap__clear(&c->heard);
	hmap__clear(&c->claimed);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

bool claims__hello(struct claims *c, pid_t pid)
{
	bool may;

	pthread_mutex_lock(&c->lock);
	may = !hmap__find(&c->claimed, (uint64_t)pid) &&
	      !hmap__set(&c->heard, (uint64_t)pid, clock__now());
	pthread_mutex_unlock(&c->lock);
	return may;
}

static bool claims__has_heard(const struct claims *c, pid_t pid, uint64_t since_ns)
{
	uint64_t *when = hmap__find(&c->heard, (uint64_t)pid);

	return when && *when >= since_ns;
}

bool claims__heard(struct claims *c, pid_t pid, uint64_t since_ns)
{
	bool heard;

	pthread_mutex_lock(&c->lock);
	heard = claims__has_heard(c, pid, since_ns);
	pthread_mutex_unlock(&c->lock);
	return heard;
}

int claims__claim(struct claims *c, pid_t pid, uint64_t since_ns)
{
	int err = -EEXIST;

	pthread_mutex_lock(&c->lock);
	if (!claims__has_heard(c, pid, since_ns))
		err = hmap__set(&c->claimed, (uint64_t)pid, 1);
	pthread_mutex_unlock(&c->lock);
	return err;
}

void claims__unhear(struct claims *c, pid_t pid)
{
	pthread_mutex_lock(&c->lock);
	hmap__remove(&c->heard, (uint64_t)pid);
	pthread_mutex_unlock(&c->lock);
}

void claims__release(struct claims *c, pid_t pid, bool ended)
{
	pthread_mutex_lock(&c->lock);
	hmap__remove(&c->claimed, (uint64_t)pid);
	if (ended)
		hmap__remove(&c->heard, (uint64_t)pid);
	pthread_mutex_unlock(&c->lock);
}
