// SPDX-License-Identifier: MIT
/*
 * What the hooks cost by themselves: floor [SECONDS]
 *
 * The programs of floor.bpf.c, step by step, on a process that does what the benchmarks
 * `loop` and `storm` do, and beside one (nothing of it is traced, only hooked). They are put on and
 * taken off for each short phase, all steps in turn, so that what drifts falls out of the
 * medians. Whatever a tracer with these hooks does, it costs more than this.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/perf_event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "floor.skel.h"

#define PAGE 4096UL
#define LOOP_TURNS 3000
#define STORM_PAGES 8192
#define STORM_CHUNK 4096UL
#define ROUNDS_MAX 4000
#define HOOKS 4 /* call entered, call left, fault, fault served */

/* Beside it: hooked as a process is that is not the target. */
static const struct step {
	const char *name, *said;
	bool beside;
} steps[] = {
	{NULL, "nothing", false},
	{"empty", "not the target, programs empty", true},
	{"empty", "the target, programs empty", false},
	{"state", "... that find the thread's state", false},
	{"time", "... and take the time", false},
	{"record", "... and write a record", false},
	{"stack", "... and read 64 bytes of stack", false},
};
#define STEPS (sizeof(steps) / sizeof(steps[0]))

struct hooked {
	struct bpf_link *link[HOOKS];
	int fd[2];
};

static double sample[STEPS][ROUNDS_MAX];

static void die(const char *what)
{
	fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
	exit(1);
}

static double clock_ns(clockid_t clock)
{
	struct timespec t;

	if (clock_gettime(clock, &t))
		die("clock_gettime");
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static char *map(size_t bytes)
{
	char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		die("mmap");
	return p;
}

static long loop(long turns)
{
	for (long i = 0; i < turns; i++) {
		char *p = map(PAGE);

		*(volatile char *)p = 1;
		munmap(p, PAGE);
	}
	return turns;
}

static long storm(long pages)
{
	for (long i = 0; i < pages; i += STORM_CHUNK) {
		char *p = map(STORM_CHUNK * PAGE);

		madvise(p, STORM_CHUNK * PAGE, MADV_NOHUGEPAGE);
		for (size_t k = 0; k < STORM_CHUNK; k++)
			*(volatile char *)(p + k * PAGE) = 1;
		munmap(p, STORM_CHUNK * PAGE);
	}
	return pages;
}

/* The process under the hooks: a phase for each byte it reads, answered with its CPU ns per operation. */
static void work(int in, int out, long (*phase)(long), long count)
{
	double ns;
	char c;

	while (read(in, &c, 1) == 1) {
		phase(count / 8);
		ns = clock_ns(CLOCK_THREAD_CPUTIME_ID);
		count = phase(count);
		ns = (clock_ns(CLOCK_THREAD_CPUTIME_ID) - ns) / (double)count;
		if (write(out, &ns, sizeof(ns)) != sizeof(ns))
			_exit(1);
	}
	_exit(0);
}

static struct bpf_program *program(const struct floor_bpf *skel, const char *kind, const char *step)
{
	char name[64];
	struct bpf_program *p;

	snprintf(name, sizeof(name), "%s_%s", kind, step);
	p = bpf_object__find_program_by_name(skel->obj, name);
	if (!p)
		die(name);
	return p;
}

static int open_event(pid_t pid, int config, const struct bpf_program *prog)
{
	struct perf_event_attr a = {
		.type = PERF_TYPE_SOFTWARE,
		.size = sizeof(a),
		.config = config,
		.sample_period = 1,
		.inherit = 1,
	};
	int fd = syscall(SYS_perf_event_open, &a, pid, -1, -1, PERF_FLAG_FD_CLOEXEC);

	if (fd < 0 || ioctl(fd, PERF_EVENT_IOC_SET_BPF, bpf_program__fd(prog)))
		die("fault event");
	return fd;
}

static void hook(struct hooked *h, const struct floor_bpf *skel, const struct step *s, pid_t pid)
{
	static const char *const kind[] = {"enter", "exit", "fault"};
	pid_t of = s->beside ? getpid() : pid;

	memset(h, 0, sizeof(*h));
	h->fd[0] = h->fd[1] = -1;
	if (!s->name)
		return;
	for (size_t i = 0; i < sizeof(kind) / sizeof(kind[0]); i++) {
		h->link[i] = bpf_program__attach(program(skel, kind[i], s->name));
		if (!h->link[i])
			die("attach");
	}
	h->fd[0] = open_event(of, PERF_COUNT_SW_PAGE_FAULTS_MIN, program(skel, "served", s->name));
	h->fd[1] = open_event(of, PERF_COUNT_SW_PAGE_FAULTS_MAJ, program(skel, "served", s->name));
}

static void unhook(struct hooked *h)
{
	for (size_t i = 0; i < HOOKS; i++)
		bpf_link__destroy(h->link[i]);
	for (size_t i = 0; i < 2; i++)
		if (h->fd[i] >= 0)
			close(h->fd[i]);
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void measure(const struct floor_bpf *skel, const char *name, long (*phase)(long), long count,
		    double seconds)
{
	double until = clock_ns(CLOCK_MONOTONIC) + seconds * 1e9, none, ns;
	int in[2], out[2];
	size_t rounds, k, i;
	pid_t pid;

	if (pipe(in) || pipe(out))
		die("pipe");
	pid = fork();
	if (pid < 0)
		die("fork");
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(in[1]);
		work(in[0], out[1], phase, count);
	}
	close(in[0]);
	close(out[1]);
	for (rounds = 0; rounds < ROUNDS_MAX && clock_ns(CLOCK_MONOTONIC) < until; rounds++)
		for (k = 0; k < STEPS; k++) {
			struct hooked h;

			i = rounds & 1 ? STEPS - 1 - k : k;
			hook(&h, skel, &steps[i], pid);
			if (write(in[1], "", 1) != 1 || read(out[0], &ns, sizeof(ns)) != sizeof(ns))
				die("the process that is measured");
			sample[i][rounds] = ns;
			unhook(&h);
		}
	close(in[1]);
	close(out[0]);
	waitpid(pid, NULL, 0);
	printf("%-34s %10s %8s %7s   medians of %zu\n", name, "ns/op", "+ns/op", "ratio", rounds);
	for (i = 0, none = 0; i < STEPS; i++) {
		qsort(sample[i], rounds, sizeof(double), compare);
		ns = sample[i][rounds / 2];
		if (!i)
			none = ns;
		printf("  %-32s %10.0f %+8.0f %7.3f\n", steps[i].said, ns, ns - none, ns / none);
	}
}

int main(int argc, char **argv)
{
	double seconds = argc > 1 ? atof(argv[1]) : 25;
	struct floor_bpf *skel = floor_bpf__open();

	if (seconds <= 0) {
		fprintf(stderr, "usage: floor [SECONDS for each of two]\n");
		return 2;
	}
	if (!skel || bpf_map__set_max_entries(skel->maps.lanes, libbpf_num_possible_cpus()) ||
	    floor_bpf__load(skel))
		die("BPF programs");
	measure(skel, "storm, one thread; a page", storm, STORM_PAGES, seconds);
	measure(skel, "loop of 1 page; a turn", loop, LOOP_TURNS, seconds);
	floor_bpf__destroy(skel);
	return 0;
}
