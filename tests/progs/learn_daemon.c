/* SPDX-License-Identifier: MIT */
/* How a daemon is made. */
#include "learn.h"

#include <sched.h>
#include <sys/prctl.h>
#include <sys/stat.h>

static int open_descriptors(void)
{
	int n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void become_a_daemon(void)
{
	pid_t leader;

	learn__say("setsid: a session of its own, without a terminal");
	setsid();
	leader = getpid();
	if (fork() > 0)
		_exit(0); /* who leads a session can get a terminal again, its child cannot */
	while (getppid() == leader)
		sched_yield();
	learn__say("leads its session: %s", getsid(0) == getpid() ? "yes" : "no");
	if (chdir("/")) /* else its directory's file system could not be unmounted */
		_exit(1);
	umask(022);
	close_range(0, ~0U, 0);
	learn__say("chdir, umask, every descriptor closed: %d are open", open_descriptors());
	if (open("/dev/null", O_RDWR) != 0 || dup(0) != 1 || dup(0) != 2)
		_exit(1);
	learn__say("0, 1 and 2 are /dev/null, for whoever prints nevertheless");
}

static void serve(void)
{
	char *memory = map_pages(3, PROT_READ | PROT_WRITE, MAP_PRIVATE);

	write_pages(memory, 3);
	_exit(0);
}

static void learn(void)
{
	/* So that this program can wait for the daemon, which init does else. */
	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	learn__silent = true;
	if (!fork()) {
		become_a_daemon();
		serve();
	}
	while (wait(NULL) > 0)
		continue;
}
