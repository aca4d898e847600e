/* SPDX-License-Identifier: MIT */
/*
 * Three threads that are inside the kernel while a tracer attaches: in a madvise call, in a page
 * fault, and in a read(2) into untouched memory. The first two are held by a userfaultfd and let go
 * in the phase. Arguments: pages of the madvise call, pages of the read. Prints the faults of the
 * phase less those that the madvise call brought in. Exit status 77: no userfaultfd here.
 */
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sys/ioctl.h>

#include "prog.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#define AGAIN 3 /* madvise calls after the one that was under way */

static unsigned long advised, pages;
static char *held, *buffer; /* held: `advised` pages and then the one of the fault */
static int pipe_fds[2];
static long tids[3];
static struct prog_faults populated; /* by the madvise call: not by exception */
static pthread_barrier_t begun;

static struct prog_faults thread_faults(void)
{
	struct rusage usage;

	if (getrusage(RUSAGE_THREAD, &usage))
		prog__die("getrusage");
	return (struct prog_faults){(unsigned long)usage.ru_minflt, (unsigned long)usage.ru_majflt};
}

static void begin(void *arg)
{
	*(long *)arg = prog__gettid();
	pthread_barrier_wait(&begun);
}

/* A thread that ended would make calls of its own. */
static void finish(void)
{
	for (;;)
		pause();
}

static void *advise(void *arg)
{
	struct prog_faults from, to = thread_faults();

	begin(arg);
	from = thread_faults();
	if (madvise(held, advised * PROG_PAGE, MADV_POPULATE_WRITE))
		prog__die("MADV_POPULATE_WRITE");
	to = thread_faults();
	populated = (struct prog_faults){to.minor - from.minor, to.major - from.major};
	for (int i = 0; i < AGAIN; i++)
		if (madvise(held, PROG_PAGE, MADV_NORMAL))
			prog__die("MADV_NORMAL");
	finish();
	return NULL;
}

static void *fault(void *arg)
{
	begin(arg);
	*(volatile char *)(held + advised * PROG_PAGE) = 1;
	finish();
	return NULL;
}

static void *receive(void *arg)
{
	size_t left = pages * PROG_PAGE;
	char *p = buffer;
	ssize_t n;

	begin(arg);
	for (; left; left -= (size_t)n, p += n) {
		n = read(pipe_fds[0], p, left);
		if (n <= 0)
			prog__die("read");
	}
	finish();
	return NULL;
}

/* Hold all who touch the pages at `held`. */
static int hold(void)
{
	struct uffdio_register range = {
		.range = {(unsigned long)held, (advised + 1) * PROG_PAGE},
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	struct uffdio_api api = {.api = UFFD_API};
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api) || ioctl(fd, UFFDIO_REGISTER, &range))
		_exit(77);
	return fd;
}

/* Wait until one of them is held. */
static void await_held(int fd)
{
	struct uffd_msg msg;

	if (read(fd, &msg, sizeof(msg)) != sizeof(msg) || msg.event != UFFD_EVENT_PAGEFAULT)
		prog__die("userfaultfd");
}

/* Wait until a thread sleeps in a system call. */
static void await_call(long tid, long call)
{
	char path[64], now[64];
	long got = -1;

	snprintf(path, sizeof(path), "/proc/self/task/%ld/syscall", tid);
	while (got != call) {
		int fd = open(path, O_RDONLY);
		ssize_t n = fd < 0 ? -1 : read(fd, now, sizeof(now) - 1);

		if (n <= 0)
			prog__die(path);
		close(fd);
		now[n] = '\0';
		if (sscanf(now, "%ld", &got) != 1)
			got = -1; /* it is running */
	}
}

static void release(int fd)
{
	struct uffdio_zeropage zero = {.range = {(unsigned long)held, (advised + 1) * PROG_PAGE}};

	if (ioctl(fd, UFFDIO_ZEROPAGE, &zero))
		prog__die("UFFDIO_ZEROPAGE");
}

int main(int argc, char **argv)
{
	static void *(*const work[3])(void *) = {advise, fault, receive};
	struct prog_faults from, to;
	pthread_t thread[3];
	char *source;
	int fd;

	prog__start(&argc, &argv);
	advised = prog__number(argc, argv, 1, 4);
	pages = prog__number(argc, argv, 2, 4);
	held = prog__pages(advised + 1);
	buffer = prog__pages(pages);
	source = prog__pages(pages);
	prog__write_pages(source, pages);
	pthread_barrier_init(&begun, NULL, 4);
	fd = hold();
	if (pipe(pipe_fds))
		prog__die("pipe");
	for (int i = 0; i < 3; i++)
		if (pthread_create(&thread[i], NULL, work[i], &tids[i]))
			prog__die("pthread_create");
	pthread_barrier_wait(&begun);
	await_held(fd);
	await_held(fd);
	await_call(tids[2], SYS_read);
	prog__ready();
	from = prog__faults();
	release(fd);
	if (write(pipe_fds[1], source, pages * PROG_PAGE) != (ssize_t)(pages * PROG_PAGE))
		prog__die("write");
	/* Where they take no fault any more: the first one to pause() takes one for its code. */
	for (int i = 0; i < 3; i++)
		await_call(tids[i], SYS_pause);
	to = prog__faults();
	prog__print("{\"minflt\":%lu,\"majflt\":%lu,\"again\":%d}\n",
		    to.minor - from.minor - populated.minor,
		    to.major - from.major - populated.major, AGAIN);
	prog__end();
	return 0;
}
