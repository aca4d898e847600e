// SPDX-License-Identifier: MIT
/* Perf events with a BPF program attached: page faults of a thread, and kprobes. */
#include <errno.h>
#include <linux/perf_event.h>
#include <pthread.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "user/doctor/doctor.h"

#define PAGES 64

void touch_fresh_pages(size_t pages)
{
	size_t page = sysconf(_SC_PAGESIZE), i;
	volatile char *p =
		mmap(NULL, pages * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return;
	madvise((void *)p, pages * page, MADV_NOHUGEPAGE);
	for (i = 0; i < pages; i++)
		p[i * page] = 1;
	munmap((void *)p, pages * page);
}

/* For this thread, with the program attached and running. A descriptor or -errno. */
static int open_fault_event(int config, int prog, bool inherit_thread)
{
	struct perf_event_attr a = {
		.type = PERF_TYPE_SOFTWARE,
		.size = sizeof(a),
		.config = config,
		.sample_period = 1,
		.disabled = 1,
		.inherit = 1,
		.inherit_thread = inherit_thread,
	};
	int fd = syscall(SYS_perf_event_open, &a, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (ioctl(fd, PERF_EVENT_IOC_SET_BPF, prog) || ioctl(fd, PERF_EVENT_IOC_ENABLE, 0)) {
		int err = -errno;

		close(fd);
		return err;
	}
	return fd;
}

static void *touch_in_thread(void *unused)
{
	(void)unused;
	touch_fresh_pages(PAGES);
	return NULL;
}

static void touch_in_other_thread(void)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, touch_in_thread, NULL) == 0)
		pthread_join(thread, NULL);
}

static uint64_t own_faults(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return u.ru_minflt + u.ru_majflt;
}

struct fault_trial {
	uint64_t counted, happened; /* by the program, by the kernel */
};

/*
 * Touch pages by `touch` under both events. 0 or -errno, what failed in *what. It is done
 * twice and counted once: the first round takes the faults of our own code and data.
 */
static int try_faults(bool inherit_thread, void (*touch)(void), struct fault_trial *t,
		      const char **what)
{
	int counter = counter__new(), prog = -1, minor = -1, major = -1, round, err = 0;
	uint64_t counted, happened;

	*what = "map";
	if (counter < 0)
		return counter;
	*what = "program";
	prog = counter__program(counter, BPF_PROG_TYPE_PERF_EVENT, 0, 0);
	if (prog < 0) {
		err = prog;
	} else {
		*what = "event";
		minor = open_fault_event(PERF_COUNT_SW_PAGE_FAULTS_MIN, prog, inherit_thread);
		major = open_fault_event(PERF_COUNT_SW_PAGE_FAULTS_MAJ, prog, inherit_thread);
		err = minor < 0 ? minor : major < 0 ? major : 0;
	}
	for (round = 0; round < 2 && !err; round++) {
		happened = own_faults();
		counted = counter__read(counter);
		touch();
		t->counted = counter__read(counter) - counted;
		t->happened = own_faults() - happened;
	}
	if (major >= 0)
		close(major);
	if (minor >= 0)
		close(minor);
	if (prog >= 0)
		close(prog);
	close(counter);
	return err;
}

static void touch_here(void)
{
	touch_fresh_pages(PAGES);
}

void probe__perf_faults(struct exam *e, struct check *c)
{
	struct fault_trial t;
	const char *what;
	int err = try_faults(false, touch_here, &t, &what);

	if (err)
		check__fail(e, c, what, err);
	else
		check__set(c, t.counted && t.counted == t.happened ? CHECK_OK : CHECK_NO,
			   "%lu faults counted of %lu", (unsigned long)t.counted,
			   (unsigned long)t.happened);
}

void probe__inherit_thread(struct exam *e, struct check *c)
{
	struct fault_trial t;
	const char *what;
	int err = try_faults(true, touch_in_other_thread, &t, &what);

	/* The new thread's start takes a fault or two before and after it is its own. */
	if (err)
		check__fail(e, c, what, err);
	else
		check__set(c, t.counted >= PAGES ? CHECK_OK : CHECK_NO, "%lu faults counted of %lu",
			   (unsigned long)t.counted, (unsigned long)t.happened);
}

void probe__kprobe(struct exam *e, struct check *c)
{
	static const char path[] = "/sys/bus/event_source/devices/kprobe/type";
	static const char function[] = "do_exit";
	struct perf_event_attr a = {.size = sizeof(a)};
	FILE *f = fopen(path, "re");
	int type, fd;

	if (!f || fscanf(f, "%d", &type) != 1) {
		check__set(c, CHECK_NO, "not in this kernel (no %s)", path);
		if (f)
			fclose(f);
		return;
	}
	fclose(f);
	a.type = type;
	a.config1 = (uintptr_t)function;
	fd = syscall(SYS_perf_event_open, &a, -1, 0, -1, PERF_FLAG_FD_CLOEXEC);
	if (fd < 0) {
		check__fail(e, c, "event", -errno);
		return;
	}
	check__set(c, CHECK_OK, "placed on %s", function);
	close(fd);
}
