// SPDX-License-Identifier: MIT
/*
 * A flood of events for a memtrace that runs: malloc and free of blocks of 16 to 1,024 bytes, 1,000 alive in each
 * thread, at 64 places ten frames deep, in the name of a process that it traces by uprobes.
 *
 *   flood MEMTRACE-PID TARGET-PID EVENTS-A-SECOND SECONDS [THREADS]
 *
 * No program makes a million calls a second through uprobes, on two processors. So this has a BPF program
 * write the records, to memtrace's own rings with memtrace's own counters: from there on all is as it ever
 * is. Whoever has been held up makes up for it by as many more. Prints what was done, and the lost among it.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <pthread.h>
#include <sched.h>

#include "tests/bench/bench.h"
#include "tests/bench/flood/flood.h"

#include "flood.skel.h"

#define NAP_NS 500000
#define RUN_PAIRS 10000 /* at most, in one run */

struct writer {
	pthread_t thread;
	unsigned which;
	double rate, seconds, cpu; /* rate: pairs a second */
};

static struct flood_bpf *skel;

/* The map of this name that a process has open. */
static int map_of(int pid, const char *name)
{
	char path[64], line[128];
	struct dirent *e;
	int found = -1;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/fdinfo", pid);
	d = opendir(path);
	while (d && found < 0 && (e = readdir(d))) {
		char file[sizeof(path) + sizeof(e->d_name) + 1];
		unsigned id = 0;
		FILE *f;

		snprintf(file, sizeof(file), "%s/%s", path, e->d_name);
		f = fopen(file, "re");
		while (f && fgets(line, sizeof(line), f))
			if (sscanf(line, "map_id: %u", &id) == 1)
				break;
		if (f)
			fclose(f);
		if (id) {
			struct bpf_map_info info = {0};
			__u32 size = sizeof(info);
			int fd = bpf_map_get_fd_by_id(id);

			if (fd >= 0 && !bpf_obj_get_info_by_fd(fd, &info, &size) &&
			    !strcmp(info.name, name))
				found = fd;
			else if (fd >= 0)
				close(fd);
		}
	}
	if (d)
		closedir(d);
	if (found < 0)
		prog__die(name);
	return found;
}

static void *work(void *arg)
{
	struct writer *w = arg;
	struct flood_share *s = &skel->bss->shares[w->which];
	__u64 args[1] = {w->which};
	struct bpf_test_run_opts run = {
		.sz = sizeof(run), .ctx_in = args, .ctx_size_in = sizeof(args)};
	double from = bench__clock(CLOCK_MONOTONIC), passed, due;
	cpu_set_t cpu;

	CPU_ZERO(&cpu);
	CPU_SET(w->which % sysconf(_SC_NPROCESSORS_ONLN), &cpu);
	sched_setaffinity(0, sizeof(cpu), &cpu);
	do {
		passed = bench__clock(CLOCK_MONOTONIC) - from;
		due = w->rate * (passed < w->seconds ? passed : w->seconds) - (double)s->pairs;
		s->next = due < 0 ? 0 : due > RUN_PAIRS ? RUN_PAIRS : (__u32)due;
		if (s->next && bpf_prog_test_run_opts(bpf_program__fd(skel->progs.flood), &run))
			prog__die("BPF_PROG_RUN");
		if (due < RUN_PAIRS)
			nanosleep(&(struct timespec){.tv_nsec = NAP_NS}, NULL);
	} while (passed < w->seconds || due > RUN_PAIRS);
	w->cpu = bench__clock(CLOCK_THREAD_CPUTIME_ID);
	return NULL;
}

int main(int argc, char **argv)
{
	struct writer writers[FLOOD_THREADS] = {0};
	unsigned long threads = prog__number(argc, argv, 5, 2);
	unsigned long written = 0, lost = 0;
	int tracer, target;
	double from, cpu = 0;

	if (argc < 5 || !threads || threads > FLOOD_THREADS)
		prog__die("flood MEMTRACE-PID TARGET-PID EVENTS-A-SECOND SECONDS [THREADS]");
	tracer = (int)prog__number(argc, argv, 1, 0);
	target = (int)prog__number(argc, argv, 2, 0);
	skel = flood_bpf__open();
	if (!skel || bpf_map__reuse_fd(skel->maps.rings, map_of(tracer, "rings")) ||
	    bpf_map__reuse_fd(skel->maps.counts, map_of(tracer, "counts")) || flood_bpf__load(skel))
		prog__die("the BPF program");
	from = bench__clock(CLOCK_MONOTONIC);
	for (unsigned i = 0; i < threads; i++) {
		skel->bss->shares[i] = (struct flood_share){
			.tgid = (__u32)target,
			.tid = (__u32)target + i,
			.ring = i % bpf_map__max_entries(skel->maps.rings),
			.base = 0x10000000ULL + ((__u64)i << 24),
			.stack = 1 + (__u64)i * FLOOD_STACKS,
			.code = 0x400000,
		};
		writers[i] = (struct writer){
			.which = i,
			.rate = (double)prog__number(argc, argv, 3, 1000000) / 2 / (double)threads,
			.seconds = (double)prog__number(argc, argv, 4, 30),
		};
		if (pthread_create(&writers[i].thread, NULL, work, &writers[i]))
			prog__die("pthread_create");
	}
	for (unsigned i = 0; i < threads; i++) {
		pthread_join(writers[i].thread, NULL);
		cpu += writers[i].cpu;
		written += skel->bss->shares[i].written;
		lost += skel->bss->shares[i].lost;
	}
	prog__print("{\"seconds\":%.6f,\"cpu\":%.6f,\"count\":%lu,\"lost\":%lu}\n",
		    bench__clock(CLOCK_MONOTONIC) - from, cpu, written, lost);
	flood_bpf__destroy(skel);
	return 0;
}
