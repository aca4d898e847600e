// SPDX-License-Identifier: MIT
#include "user/util/together.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>

#define AT_ONCE 64

struct job {
	void (*fn)(void *arg);
	void *arg;
	pthread_t thread;
	bool started;
};

static void *job__run(void *arg)
{
	struct job *j = arg;

	j->fn(j->arg);
	return NULL;
}

void together__run(void (*fn)(void *arg), void *const *args, size_t n)
{
	struct job jobs[AT_ONCE];
	sigset_t all, before;
	size_t done = 0, count, i;

	/* Signals are for the thread that waits for them. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	for (; done < n; done += count) {
		count = n - done < AT_ONCE ? n - done : AT_ONCE;
		/* The last one here: a single call makes no thread. */
		for (i = 0; i < count; i++) {
			jobs[i] = (struct job){.fn = fn, .arg = args[done + i]};
			jobs[i].started = i + 1 < count &&
					  !pthread_create(&jobs[i].thread, NULL, job__run, &jobs[i]);
			if (!jobs[i].started)
				job__run(&jobs[i]);
		}
		for (i = 0; i < count; i++)
			if (jobs[i].started)
				pthread_join(jobs[i].thread, NULL);
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}
