/* SPDX-License-Identifier: MIT */
/*
 * What a run waits for: signals that end it, the launched child, its time being
 * up, the next row of a live table.
 */
#ifndef MEMTRACE_WAIT_H
#define MEMTRACE_WAIT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct waiter {
	int signals; /* signalfd of INT, TERM, HUP, QUIT */
	int child; /* pidfd of the launched child, or -1 */
	uint64_t end_ns; /* CLOCK_MONOTONIC, 0: never */
	uint64_t tick_ns, next_tick_ns; /* 0: no ticks */
	int signal; /* the signal that came, 0: none */
	bool signal_was_sent; /* by a process, not typed at the terminal */
};

uint64_t clock__now(void); /* CLOCK_MONOTONIC, ns */

/* Whether a process has ended, also when nobody has collected it yet; fd: a pidfd, -1 if there was none to be had. */
bool pidfd__has_ended(int fd);
bool pid__has_ended(pid_t pid);

/* Block the signals and make the descriptors. pid 0: no child. 0 or -errno. */
int waiter__init(struct waiter *w, pid_t child, uint64_t duration_ns, uint64_t tick_ns);
void waiter__free(struct waiter *w);

enum wait_result { WAIT_TIMEOUT, WAIT_SIGNAL, WAIT_CHILD, WAIT_END, WAIT_TICK };

/* Wait for the first of these, at most timeout_ms. */
enum wait_result waiter__wait(struct waiter *w, int timeout_ms);

#endif /* MEMTRACE_WAIT_H */
