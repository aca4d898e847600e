/* SPDX-License-Identifier: MIT */
/*
 * launch FD PRELOAD COMMAND [ARGUMENT]... runs a command with PRELOAD (or "-")
 * as LD_PRELOAD, waits for it and writes what it took to descriptor FD, as one
 * JSON object: wall time, and for the whole of its process tree CPU time, faults and
 * the peak RSS of the largest process.
 *
 * A program of its own because the kernel counts the pages a process had before it
 * called exec into its peak: a small parent makes that nothing, an interpreter would
 * hide every small program.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long long now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static long long us(struct timeval t)
{
	return t.tv_sec * 1000000LL + t.tv_usec;
}

static int run(const char *preload, char **command)
{
	if (strcmp(preload, "-") && setenv("LD_PRELOAD", preload, 1))
		return 125;
	execvp(command[0], command);
	dprintf(2, "launch: %s: %s\n", command[0], strerror(errno));
	return 127;
}

int main(int argc, char **argv)
{
	struct rusage usage;
	long long from;
	int fd, status;
	pid_t pid;

	if (argc < 4) {
		dprintf(2, "usage: launch FD PRELOAD COMMAND [ARGUMENT]...\n");
		return 2;
	}
	fd = atoi(argv[1]);
	if (fcntl(fd, F_SETFD, FD_CLOEXEC)) {
		dprintf(2, "launch: descriptor %s: %s\n", argv[1], strerror(errno));
		return 2;
	}
	from = now_ns();
	pid = fork();
	if (pid < 0) {
		dprintf(2, "launch: fork: %s\n", strerror(errno));
		return 125;
	}
	if (!pid)
		_exit(run(argv[2], argv + 3));
	while (wait4(pid, &status, 0, &usage) < 0)
		if (errno != EINTR)
			return 125;
	from = now_ns() - from;
	if (dprintf(fd,
		    "{\"wall_ns\":%lld,\"user_us\":%lld,\"system_us\":%lld,\"rss_bytes\":%lld,"
		    "\"minor\":%ld,\"major\":%ld,\"status\":%d}\n",
		    from, us(usage.ru_utime), us(usage.ru_stime), usage.ru_maxrss * 1024LL,
		    usage.ru_minflt, usage.ru_majflt, status) < 0)
		return 125;
	return 0;
}
