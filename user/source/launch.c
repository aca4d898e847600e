// SPDX-License-Identifier: MIT
#include "user/source/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/trace/ring.h"
#include "user/options.h"
#include "user/util/log.h"

/* What a command inherits that we have changed for ourselves. */
struct inherited {
	struct rlimit files;
	struct sigaction pipe;
	sigset_t mask;
};

static struct inherited original;

__attribute__((constructor)) static void inherited__remember(void)
{
	getrlimit(RLIMIT_NOFILE, &original.files);
	sigaction(SIGPIPE, NULL, &original.pipe);
	sigprocmask(SIG_SETMASK, NULL, &original.mask);
}

static int become(const char *user)
{
	struct passwd *pw = getpwnam(user);

	if (!pw)
		return ENOENT;
	if (initgroups(pw->pw_name, pw->pw_gid) || setgid(pw->pw_gid) || setuid(pw->pw_uid))
		return errno;
	setenv("HOME", pw->pw_dir, 1);
	setenv("USER", pw->pw_name, 1);
	setenv("LOGNAME", pw->pw_name, 1);
	return 0;
}

/* Before what the user preloads himself: the allocator may be among that. */
static int preload(const char *library, const char *ring_address)
{
	const char *others = getenv("LD_PRELOAD");
	char *all;

	if (asprintf(&all, "%s%s%s", library, others && *others ? ":" : "", others ? others : "") < 0)
		return ENOMEM;
	if (setenv("LD_PRELOAD", all, 1) || setenv(RING_ENV, ring_address, 1))
		return errno;
	return 0;
}

struct orders {
	char **argv;
	const char *user, *preload, *ring_address;
};

static _Noreturn void child(struct launch *l, int go, int error, const struct orders *o)
{
	int err = 0;
	char byte = 0;

	close(l->go);
	close(l->error);
	/* A tracer that dies before it lets us go closes the pipe: then nothing runs. */
	while (read(go, &byte, 1) < 0 && errno == EINTR)
		;
	close(go);
	if (byte != 'g')
		_exit(EXIT_OWN_FAILURE);
	setrlimit(RLIMIT_NOFILE, &original.files);
	sigaction(SIGPIPE, &original.pipe, NULL);
	sigprocmask(SIG_SETMASK, &original.mask, NULL);
	if (o->user)
		err = become(o->user);
	if (!err && o->preload)
		err = preload(o->preload, o->ring_address);
	if (!err) {
		execvp(o->argv[0], o->argv);
		err = errno;
	}
	if (write(error, &err, sizeof(err)) < 0)
		_exit(EXIT_OWN_FAILURE);
	_exit(err == ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE);
}

int launch__prepare(struct launch *l, char **argv, const char *user, const char *preload,
		    const char *ring_address)
{
	const struct orders orders = {argv, user, preload, ring_address};
	int go[2], error[2], err;
	struct rusage own;

	if (user && !getpwnam(user)) {
		log__error("user %s: no such user", user);
		return -ENOENT;
	}
	if (user && geteuid()) {
		log__error("user %s: only root can run a command as another user", user);
		return -EPERM;
	}
	if (pipe2(go, O_CLOEXEC))
		return -errno;
	if (pipe2(error, O_CLOEXEC)) {
		err = -errno;
		close(go[0]);
		close(go[1]);
		return err;
	}
	l->own_peak_kb = getrusage(RUSAGE_SELF, &own) ? 0 : own.ru_maxrss;
	l->go = go[1];
	l->error = error[0];
	l->pid = fork();
	if (!l->pid)
		child(l, go[0], error[1], &orders);
	err = l->pid < 0 ? -errno : 0;
	close(go[0]);
	close(error[1]);
	if (err) {
		log__error("cannot fork: %s", strerror(-err));
		close(l->go);
		close(l->error);
	}
	return err;
}

int launch__go(struct launch *l, const char *command)
{
	int err = 0;
	ssize_t n;

	/* If the child has gone, its end of the pipe says so below. */
	if (write(l->go, "g", 1) < 0)
		log__debug("%s: it was killed before it could begin", command);
	close(l->go);
	l->go = -1;
	do
		n = read(l->error, &err, sizeof(err));
	while (n < 0 && errno == EINTR);
	close(l->error);
	l->error = -1;
	if (n != sizeof(err))
		return 0;
	waitpid(l->pid, NULL, 0);
	l->pid = 0;
	log__error("%s: %s", command, err == ENOENT ? "command not found" : strerror(err));
	return err == ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE;
}

void launch__cancel(struct launch *l)
{
	if (l->go >= 0)
		close(l->go);
	if (l->error >= 0)
		close(l->error);
	if (l->pid > 0)
		waitpid(l->pid, NULL, 0);
}
