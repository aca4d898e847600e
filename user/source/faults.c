// SPDX-License-Identifier: MIT
#include "user/source/faults.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "user/source/privilege.h"
#include "user/util/hmap.h"
#include "user/util/log.h"

struct fault_events {
	int *fds;
	size_t count, room;
};

struct fault_events *faults__new(void)
{
	return calloc(1, sizeof(struct fault_events));
}

void faults__close(struct fault_events *f)
{
	while (f && f->count)
		close(f->fds[--f->count]);
}

void faults__free(struct fault_events *f)
{
	if (!f)
		return;
	faults__close(f);
	free(f->fds);
	free(f);
}

static int faults__keep(struct fault_events *f, int fd)
{
	if (f->count == f->room) {
		size_t room = f->room ? f->room * 2 : 16;
		int *fds = reallocarray(f->fds, room, sizeof(*fds));

		if (!fds) {
			close(fd);
			return -ENOMEM;
		}
		f->fds = fds;
		f->room = room;
	}
	f->fds[f->count++] = fd;
	return 0;
}

static int faults__open_one(struct fault_events *f, struct perf_event_attr *a, int config,
			    pid_t tid, int cpu, int prog_fd)
{
	int fd;

	a->config = config;
	fd = syscall(SYS_perf_event_open, a, tid, cpu, -1, PERF_FLAG_FD_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (ioctl(fd, PERF_EVENT_IOC_SET_BPF, prog_fd)) {
		int err = -errno;

		close(fd);
		return err;
	}
	/* Opened disabled, so that it never fires without its program. */
	if (!a->enable_on_exec && ioctl(fd, PERF_EVENT_IOC_ENABLE, 0)) {
		int err = -errno;

		close(fd);
		return err;
	}
	return faults__keep(f, fd);
}

static int faults__open_pair(struct fault_events *f, struct perf_event_attr *a, pid_t tid, int cpu,
			     int minor_prog_fd, int major_prog_fd)
{
	int err = faults__open_one(f, a, PERF_COUNT_SW_PAGE_FAULTS_MIN, tid, cpu, minor_prog_fd);

	return err ? err :
		     faults__open_one(f, a, PERF_COUNT_SW_PAGE_FAULTS_MAJ, tid, cpu, major_prog_fd);
}

static struct perf_event_attr fault_attr(void)
{
	return (struct perf_event_attr){
		.type = PERF_TYPE_SOFTWARE,
		.size = sizeof(struct perf_event_attr),
		.sample_period = 1,
		.disabled = 1,
	};
}

/* Level 3 is Debian's and its children's own: CAP_PERFMON is not enough there. */
static bool perf_wants_admin(void)
{
	FILE *f = fopen("/proc/sys/kernel/perf_event_paranoid", "re");
	int level = 0;

	if (f && fscanf(f, "%d", &level) != 1)
		level = 0;
	if (f)
		fclose(f);
	return level > 2 && !privilege__has(CAP_SYS_ADMIN);
}

static void explain(pid_t pid, int err)
{
	if ((err == -EACCES || err == -EPERM) && perf_wants_admin())
		log__error("process %d: not permitted to count its page faults: "
			   "kernel.perf_event_paranoid is above 2, where some kernels want "
			   "CAP_SYS_ADMIN; give that, or: sysctl kernel.perf_event_paranoid=2",
			   pid);
	else if (err == -EMFILE || err == -ENFILE)
		log__error("process %d: too many threads for our file descriptors (two for each); raise "
			   "`ulimit -n`",
			   pid);
	else if (err == -EACCES || err == -EPERM)
		log__error("process %d: not permitted to count its page faults: CAP_PERFMON, and "
			   "CAP_SYS_PTRACE for another user's process, are needed",
			   pid);
	else
		log__error("process %d: cannot count its page faults: %s", pid,
			   strerrorname_np(-err));
}

/* One pass over /proc/PID/task: open for threads not in `known`. Returns how many were new, or -errno. */
static int faults__scan(struct fault_events *f, struct perf_event_attr *a, pid_t pid,
			struct hmap *known, int minor_prog_fd, int major_prog_fd)
{
	char path[64];
	struct dirent *e;
	int added = 0, err = 0;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	d = opendir(path);
	if (!d)
		return -errno;
	while (!err && (e = readdir(d))) {
		pid_t tid = atoi(e->d_name);

		if (tid <= 0 || hmap__find(known, tid))
			continue;
		err = faults__open_pair(f, a, tid, -1, minor_prog_fd, major_prog_fd);
		if (err == -ESRCH) /* the thread has ended meanwhile */
			err = 0;
		else if (!err)
			added++;
		if (!err)
			err = hmap__set(known, tid, 1);
	}
	closedir(d);
	return err ? err : added;
}

int faults__open_process(struct fault_events *f, pid_t pid, bool on_exec, bool follow,
			 int minor_prog_fd, int major_prog_fd)
{
	struct perf_event_attr a = fault_attr();
	struct hmap known = {0};
	int n;

	a.inherit = 1;
	a.inherit_thread = !follow;
	a.enable_on_exec = on_exec;
	/* Until a pass finds nothing new. Threads created by those already open inherit: both would
	 * fire, and the BPF program takes one. */
	do
		n = faults__scan(f, &a, pid, &known, minor_prog_fd, major_prog_fd);
	while (n > 0);
	hmap__clear(&known);
	if (n == -ENOENT)
		n = -ESRCH;
	if (n && n != -ESRCH)
		explain(pid, n);
	return n;
}

/* Online CPUs as sysfs lists them: "0-3,8". */
int faults__open_cpus(struct fault_events *f, int minor_prog_fd, int major_prog_fd)
{
	struct perf_event_attr a = fault_attr();
	FILE *list = fopen("/sys/devices/system/cpu/online", "re");
	int from, to, err = 0;
	char sep = ',';

	if (!list)
		return -errno;
	while (!err && sep == ',' && fscanf(list, "%d", &from) == 1) {
		to = from;
		if (fscanf(list, "%c", &sep) != 1)
			sep = 0;
		if (sep == '-' && (fscanf(list, "%d", &to) != 1 || fscanf(list, "%c", &sep) != 1))
			sep = 0;
		for (; from <= to && !err; from++)
			err = faults__open_pair(f, &a, -1, from, minor_prog_fd, major_prog_fd);
	}
	fclose(list);
	if (err)
		log__error("page fault events: cannot be opened for all CPUs: %s (CAP_PERFMON is needed)",
			   strerrorname_np(-err));
	return err;
}
