// SPDX-License-Identifier: MIT
#include "user/wait.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

uint64_t clock__now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

int waiter__init(struct waiter *w, pid_t child, uint64_t duration_ns, uint64_t tick_ns)
{
	uint64_t now = clock__now();
	static const int ends[] = {SIGINT, SIGTERM}, sometimes[] = {SIGHUP, SIGQUIT};
	struct sigaction action;
	sigset_t set;
	size_t i;

	*w = (struct waiter){.signals = -1, .child = -1};
	sigemptyset(&set);
	for (i = 0; i < sizeof(ends) / sizeof(*ends); i++)
		sigaddset(&set, ends[i]);
	/* nohup: ignored when we began, ignored further on. Not so SIGINT, which shells ignore for
	 * every background job of a script: it is how such a script asks for the report. */
	for (i = 0; i < sizeof(sometimes) / sizeof(*sometimes); i++)
		if (!sigaction(sometimes[i], NULL, &action) && action.sa_handler != SIG_IGN)
			sigaddset(&set, sometimes[i]);
	if (sigprocmask(SIG_BLOCK, &set, NULL))
		return -errno;
	w->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (w->signals < 0)
		return -errno;
	if (child) {
		w->child = syscall(SYS_pidfd_open, child, 0);
		if (w->child < 0) {
			int err = -errno;

			waiter__free(w);
			return err;
		}
	}
	w->end_ns = duration_ns ? now + duration_ns : 0;
	w->tick_ns = tick_ns;
	w->next_tick_ns = tick_ns ? now + tick_ns : 0;
	return 0;
}

void waiter__free(struct waiter *w)
{
	if (w->signals >= 0)
		close(w->signals);
	if (w->child >= 0)
		close(w->child);
	w->signals = w->child = -1;
}

static int milliseconds_until(uint64_t ns, uint64_t now)
{
	uint64_t ms = ns > now ? (ns - now + 999999) / 1000000 : 0;

	return ms < 3600000 ? (int)ms : 3600000;
}

enum wait_result waiter__wait(struct waiter *w, int timeout_ms)
{
	struct pollfd fds[2] = {{w->signals, POLLIN, 0}, {w->child, POLLIN, 0}};
	uint64_t now = clock__now();
	struct signalfd_siginfo info;

	if (w->end_ns && milliseconds_until(w->end_ns, now) < timeout_ms)
		timeout_ms = milliseconds_until(w->end_ns, now);
	if (w->next_tick_ns && milliseconds_until(w->next_tick_ns, now) < timeout_ms)
		timeout_ms = milliseconds_until(w->next_tick_ns, now);
	poll(fds, 2, timeout_ms);
	if (read(w->signals, &info, sizeof(info)) == sizeof(info)) {
		w->signal = info.ssi_signo;
		w->signal_was_sent = info.ssi_code <= 0;
		return WAIT_SIGNAL;
	}
	now = clock__now();
	if (fds[1].revents) {
		close(w->child);
		w->child = -1;
		return WAIT_CHILD;
	}
	if (w->end_ns && now >= w->end_ns)
		return WAIT_END;
	if (w->next_tick_ns && now >= w->next_tick_ns) {
		w->next_tick_ns = now + w->tick_ns;
		return WAIT_TICK;
	}
	return WAIT_TIMEOUT;
}

bool pidfd__has_ended(int fd)
{
	struct pollfd p = {fd, POLLIN, 0};

	return fd < 0 || (poll(&p, 1, 0) == 1 && p.revents);
}

bool pid__has_ended(pid_t pid)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	bool ended = fd < 0 ? errno == ESRCH : pidfd__has_ended(fd);

	if (fd >= 0)
		close(fd);
	return ended;
}
