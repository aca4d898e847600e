// SPDX-License-Identifier: MIT
#include "user/source/kernel.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "memtrace.skel.h"
#include "user/options.h"
#include "user/source/direct.h"
#include "user/source/faults.h"
#include "user/source/lanes.h"
#include "user/source/map_put.h"
#include "user/source/privilege.h"
#include "user/source/programs.h"
#include "user/source/rings.h"
#include "user/source/unwind.h"
#include "user/source/uprobe/attach.h"
#include "user/source/uprobe/uprobe_multi.h"
#include "user/util/log.h"

#define RINGS_DEFAULT (8UL << 20) /* bytes, all rings together */
#define LANES_DEFAULT (1UL << 18) /* fault records, all lanes together: about 200 ms of a storm */
#define LANE_LEAST 8192 /* by default, on a machine of very many CPUs */
#define HEAP_RINGS_DEFAULT \
	(64UL << 20) /* the same with a heap plane: 0.8 s of a million calls a second */
#define MACHINE_RING (4UL << 20) /* samples of the whole machine: 58,000 */
#define SAMPLED_BLOCKS 1048576 /* that may live at once */
#define RINGS_MAX 8
#define MACHINE_PROCESSES 16384
#define RING_PROCESSES 16384 /* with a ring plane, at the same time */

/* A record's time is taken before its place in a ring, so it may come this much later than
 * records of its time. Interrupted or preempted longer: order__late counts it. */
#define SLACK_NS 2000000
#define IDENTIFY_TRIES 1000
#define IDENTIFY_PAUSE_NS 100000

struct kernel {
	struct memtrace_bpf *skel;
	enum kernel_mode mode;
	bool follow;
	bool heap, multi, has_cast;
	struct lanes *lanes; /* of faults, one a CPU; NULL in KERNEL_MACHINE */
	unsigned ncpus;
	size_t lane_records;
	struct ring_reader *rings[RINGS_MAX]; /* of all else */
	int ring_fds[RINGS_MAX];
	unsigned nrings;
	size_t ring_bytes;
	struct order *order;
	uint64_t poll_ns; /* when the present poll began */
	uint64_t clean_ns[RINGS_MAX]; /* all records up to this time have been read */
	uint64_t delivered[REC_KINDS];
	struct fault_events *faults;
	struct unwind *unwind; /* NULL in KERNEL_MACHINE */
	int cgroup_fd;
};

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

/* libbpf's own words: only under -v, they come before ours. */
static int print_libbpf(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	if (log__level() < LOG_VERBOSE || level == LIBBPF_DEBUG)
		return 0;
	return vfprintf(stderr, fmt, ap);
}

static size_t power_of_two_below(size_t n)
{
	size_t p = 1;

	while (p * 2 <= n)
		p *= 2;
	return p;
}

/* How many rings and lanes of what size: powers of two. bytes: all together, 0 for the default. */
static void kernel__size_buffers(struct kernel *k, size_t bytes)
{
	size_t page = sysconf(_SC_PAGESIZE), rings = bytes   ? bytes / 2 :
						     k->heap ? HEAP_RINGS_DEFAULT :
							       RINGS_DEFAULT;
	size_t records = bytes ? bytes / 2 / sizeof(struct rec_fault) : LANES_DEFAULT;

	k->ncpus = libbpf_num_possible_cpus();
	k->nrings = power_of_two_below(k->ncpus < RINGS_MAX ? k->ncpus : RINGS_MAX);
	while (k->nrings > 1 && rings / k->nrings < page * 16)
		k->nrings /= 2;
	k->ring_bytes = power_of_two_below(rings / k->nrings);
	if (k->ring_bytes < page)
		k->ring_bytes = page;
	records /= k->ncpus;
	if (!bytes && records < LANE_LEAST)
		records = LANE_LEAST;
	k->lane_records = records ? power_of_two_below(records) : 1;
	if (k->mode == KERNEL_MACHINE) {
		k->ring_bytes = !k->heap ? page : bytes ? power_of_two_below(bytes) : MACHINE_RING;
		k->nrings = 1;
		k->lane_records = 1;
	}
}

static int kernel__make_buffers(struct kernel *k)
{
	uint32_t keys[RINGS_MAX];
	unsigned i;
	int err;

	for (i = 0; i < k->nrings; i++) {
		int fd = bpf_map_create(BPF_MAP_TYPE_RINGBUF, "memtrace_ring", 0, 0, k->ring_bytes,
					NULL);

		if (fd < 0)
			return -errno;
		keys[i] = i;
		k->ring_fds[i] = fd;
		k->rings[i] = ring__open(fd, k->ring_bytes);
		if (!k->rings[i])
			return -errno;
	}
	err = map_put__all(bpf_map__fd(k->skel->maps.rings), keys, k->ring_fds, k->nrings);
	if (err)
		return err;
	if (k->mode == KERNEL_MACHINE)
		return 0;
	k->lanes = lanes__open(bpf_map__fd(k->skel->maps.fault_lanes), k->ncpus, k->lane_records);
	return k->lanes ? 0 : -errno;
}

/* Which programs a mode needs. */
static void kernel__choose_programs(struct kernel *k, bool ring)
{
	struct bpf_program *p;

	bpf_object__for_each_program(p, k->skel->obj)
	{
		bool machine = !strncmp(bpf_program__name(p), "machine_", strlen("machine_"));

		bool heap = !strncmp(bpf_program__name(p), "heap_", strlen("heap_"));
		bool offer = !strncmp(bpf_program__name(p), "offer_", strlen("offer_"));

		/* What cuts a call short matters to the owners of kernel events alone. */
		if (k->mode == KERNEL_MACHINE && heap)
			machine = strcmp(bpf_program__name(p), "heap_escape") &&
				  strcmp(bpf_program__name(p), "heap_signal") &&
				  strcmp(bpf_program__name(p), "heap_contract");
		bpf_program__set_autoload(p, machine == (k->mode == KERNEL_MACHINE) &&
						     (!heap || k->heap) && (!offer || ring));
		if (heap && k->multi && !strcmp(bpf_program__section_name(p), "uprobe"))
			bpf_program__set_expected_attach_type(p, TRACE_UPROBE_MULTI);
	}
}

static void kernel__configure(struct kernel *k, const struct kernel_opts *o)
{
	struct memtrace_bpf__rodata *c = k->skel->rodata;

	c->cfg_mode = o->mode;
	c->cfg_follow = o->follow;
	c->cfg_match_cgroup = o->cgroup != NULL;
	c->cfg_own_tgid = getpid();
	c->cfg_ring_mask = k->nrings - 1;
	if (o->comm)
		strncpy((char *)c->cfg_comm, o->comm, sizeof(c->cfg_comm) - 1);
	c->cfg_lane_mask = k->lane_records - 1;
	c->cfg_sample_bytes = o->sample_bytes;
	bpf_map__set_max_entries(k->skel->maps.sampled, o->sample_bytes ? SAMPLED_BLOCKS : 1);
	c->cfg_cast = k->has_cast;
	c->cfg_direct = o->mode != KERNEL_MACHINE && c->cfg_cast;
	c->cfg_ring = o->ring;
	if (o->ring)
		bpf_map__set_max_entries(k->skel->maps.ring_calls, RING_PROCESSES);
	if (!k->heap)
		bpf_map__set_max_entries(k->skel->maps.heap_hooks, 1);
	if (!k->heap)
		bpf_map__set_max_entries(k->skel->maps.contract_hooks, 1);
	bpf_map__set_max_entries(k->skel->maps.rings, k->nrings);
	bpf_map__set_max_entries(k->skel->maps.fault_lanes, k->ncpus);
	bpf_map__set_value_size(k->skel->maps.fault_lanes, lanes__value_size(k->lane_records));
	if (o->mode == KERNEL_MACHINE) {
		bpf_map__set_max_entries(k->skel->maps.machine, MACHINE_PROCESSES);
		bpf_map__set_max_entries(k->skel->maps.stacks_sent, 1);
		bpf_map__set_max_entries(k->skel->maps.files_sent, 1);
		bpf_map__set_max_entries(k->skel->maps.code, 1);
		bpf_map__set_max_entries(k->skel->maps.unwind_files, 1);
		bpf_map__set_max_entries(k->skel->maps.unwind_wanted, 1);
		bpf_map__set_max_entries(k->skel->maps.unwind_tables, 1);
	} else {
		bpf_map__set_max_entries(k->skel->maps.machine, 1);
		bpf_map__set_max_entries(k->skel->maps.machine_brk, 1);
	}
}

/* Attach every loaded program that attaches by itself; perf events and iterators are opened elsewhere. */
static int kernel__attach(struct kernel *k)
{
	struct bpf_object_skeleton *s = k->skel->skeleton;
	int i;

	for (i = 0; i < s->prog_cnt; i++) {
		struct bpf_program *p = *s->progs[i].prog;

		if (!bpf_program__autoload(p) || strncmp(bpf_program__section_name(p), "tp_btf/", 7))
			continue;
		*s->progs[i].link = bpf_program__attach(p);
		if (!*s->progs[i].link) {
			int err = -errno;

			log__error("program %s: failed to attach to %s: %s", bpf_program__name(p),
				   bpf_program__section_name(p) + 7, strerrorname_np(-err));
			return err;
		}
	}
	return 0;
}

static int kernel__use_cgroup(struct kernel *k, const char *path)
{
	uint32_t zero = 0;

	k->cgroup_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (k->cgroup_fd < 0) {
		int err = -errno;

		log__error("cgroup %s: cannot open it: %s", path, strerror(-err));
		return err;
	}
	if (bpf_map_update_elem(bpf_map__fd(k->skel->maps.match_cgroup), &zero, &k->cgroup_fd,
				BPF_ANY)) {
		int err = -errno;

		log__error("cgroup %s: not a directory of the version 2 hierarchy (%s); "
			   "`mount -t cgroup2` shows where that is",
			   path, strerrorname_np(-err));
		return err;
	}
	return 0;
}

/* Descriptors: two for each thread of a target. */
static void raise_descriptor_limit(void)
{
	struct rlimit l;

	if (!getrlimit(RLIMIT_NOFILE, &l) && l.rlim_cur < l.rlim_max) {
		l.rlim_cur = l.rlim_max;
		setrlimit(RLIMIT_NOFILE, &l);
	}
}

static int kernel__load(struct kernel *k, const struct kernel_opts *o)
{
	int err;

	libbpf_set_print(print_libbpf);
	k->has_cast = direct__is_possible();
	k->skel = programs__open(k->has_cast);
	if (!k->skel) {
		err = -errno;
		log__error("BPF object: cannot be opened: %s", strerrorname_np(-err));
		return err;
	}
	k->multi = k->heap && attach__has_multi();
	kernel__size_buffers(k, o->buffer_bytes);
	kernel__choose_programs(k, o->ring);
	kernel__configure(k, o);
	err = memtrace_bpf__load(k->skel);
	if (err == -EMFILE) {
		log__error("too few file descriptors for our programs and maps; raise `ulimit -n`");
		return err;
	}
	if (err == -ENOMEM) {
		log__error("BPF programs and maps: not enough memory for them, in the machine or in "
			   "memtrace's cgroup: raise the cgroup's limit, or make --buffer smaller");
		return err;
	}
	if (err) {
		log__error("BPF programs: the kernel refused to load them: %s; `memtrace doctor` "
			   "shows what is missing, `memtrace -v` the kernel's words",
			   strerrorname_np(-err));
		return err;
	}
	direct__search(k->skel);
	err = kernel__make_buffers(k);
	if (err) {
		log__error("buffers for events (%zu bytes a ring, %zu faults a CPU): %s",
			   k->ring_bytes, k->lane_records, strerrorname_np(-err));
		return err;
	}
	k->order = order__new(k->nrings + k->ncpus, o->sink, o->sink_ctx);
	if (!k->order)
		return -ENOMEM;
	return o->cgroup ? kernel__use_cgroup(k, o->cgroup) : 0;
}

/* Run an iterator program to its end; what it writes goes to fn, in whole rows. */
static int kernel__iterate(struct bpf_program *prog, size_t row_bytes,
			   void (*fn)(void *ctx, const struct task_row *row), void *ctx)
{
	struct bpf_link *link = bpf_program__attach_iter(prog, NULL);
	char buf[64 * sizeof(struct task_row)];
	size_t have = 0, i;
	ssize_t n;
	int fd, err;

	if (!link)
		return -errno;
	fd = bpf_iter_create(bpf_link__fd(link));
	if (fd < 0) {
		err = -errno;
		bpf_link__destroy(link);
		return err;
	}
	while ((n = read(fd, buf + have, sizeof(buf) - have)) > 0 || (n < 0 && errno == EAGAIN)) {
		if (n < 0)
			continue;
		have += n;
		for (i = 0; row_bytes && i + row_bytes <= have; i += row_bytes)
			fn(ctx, (const struct task_row *)(buf + i));
		have -= i;
		memmove(buf, buf + i, have);
	}
	err = n < 0 ? -errno : 0;
	close(fd);
	bpf_link__destroy(link);
	return err;
}

/*
 * The program may not wait for the process's list of mappings: while that is being changed (by a thread
 * of ours that begins or ends, too) it has no answer. Then it is asked again: what is not known
 * before tracing begins is missing in the first stacks.
 */
static int kernel__identify(void *ctx, pid_t pid, uint64_t addr, struct vnode_key *key)
{
	static const struct timespec pause = {.tv_nsec = IDENTIFY_PAUSE_NS};
	unsigned tries = IDENTIFY_TRIES;
	struct kernel *k = ctx;
	struct memtrace_bpf__bss *b = k->skel->bss;
	int err;

	b->probe_tgid = pid;
	b->probe_addr = addr;
	do {
		b->probe_answer = 0;
		err = kernel__iterate(k->skel->progs.identify_code, 0, NULL, NULL);
		if (err)
			return err;
	} while (b->probe_answer == PROBE_BUSY && tries-- && !nanosleep(&pause, NULL));
	if (b->probe_answer != PROBE_FOUND)
		return b->probe_answer == PROBE_BUSY ? -EBUSY : -ENOENT;
	*key = (struct vnode_key){b->probe_ino, b->probe_dev, b->probe_generation};
	return 0;
}

static int kernel__make_unwind(struct kernel *k)
{
	struct unwind_maps maps = {
		.files = bpf_map__fd(k->skel->maps.unwind_files),
		.wanted = bpf_map__fd(k->skel->maps.unwind_wanted),
		.tables = bpf_map__fd(k->skel->maps.unwind_tables),
		.generation = (uint64_t *)&k->skel->data->code_generation,
		.wake = bpf_map__fd(k->skel->maps.unwind_wake),
		.identify = kernel__identify,
		.ctx = k,
	};

	if (k->mode == KERNEL_MACHINE)
		return 0;
	k->unwind = unwind__new(&maps);
	return k->unwind ? 0 : -ENOMEM;
}

static int kernel__start_mode(struct kernel *k)
{
	struct memtrace_bpf *s = k->skel;
	int err = 0;

	if (k->mode == KERNEL_PIDS)
		return 0;
	if (k->mode == KERNEL_MACHINE) {
		err = kernel__iterate(s->progs.machine_breaks, 0, NULL, NULL);
		if (err)
			log__error("task iterator: %s", strerrorname_np(-err));
		else
			err = faults__open_cpus(k->faults, bpf_program__fd(s->progs.machine_minor),
						bpf_program__fd(s->progs.machine_major));
	} else {
		err = faults__open_cpus(k->faults, bpf_program__fd(s->progs.fault_minor),
					bpf_program__fd(s->progs.fault_major));
	}
	return err;
}

struct kernel *kernel__new(const struct kernel_opts *o, int *status)
{
	struct kernel *k;
	int err;

	*status = EXIT_UNABLE;
	if (privilege__check())
		return NULL;
	k = calloc(1, sizeof(*k));
	if (!k)
		return NULL;
	k->mode = o->mode;
	k->follow = o->follow;
	k->heap = o->heap;
	k->cgroup_fd = -1;
	memset(k->ring_fds, -1, sizeof(k->ring_fds));
	raise_descriptor_limit();
	k->faults = faults__new();
	err = k->faults ? kernel__load(k, o) : -ENOMEM;
	if (!err)
		err = kernel__make_unwind(k);
	if (!err)
		err = kernel__attach(k);
	if (!err)
		err = kernel__start_mode(k);
	if (!err)
		return k;
	if (err == -ENOMEM || err == -ENOENT || err == -EBADF || err == -ENOTDIR)
		*status = EXIT_FAIL;
	kernel__free(k);
	return NULL;
}

struct kernel *kernel__none(const struct kernel_opts *o)
{
	struct kernel *k = calloc(1, sizeof(*k));

	if (!k)
		return NULL;
	k->mode = o->mode;
	k->cgroup_fd = -1;
	memset(k->ring_fds, -1, sizeof(k->ring_fds));
	k->order = order__new(1, o->sink, o->sink_ctx);
	if (k->order)
		return k;
	kernel__free(k);
	return NULL;
}

void kernel__free(struct kernel *k)
{
	unsigned i;

	if (!k)
		return;
	faults__free(k->faults);
	lanes__close(k->lanes);
	for (i = 0; i < RINGS_MAX; i++) {
		ring__close(k->rings[i]);
		if (k->ring_fds[i] >= 0)
			close(k->ring_fds[i]);
	}
	unwind__free(k->unwind);
	memtrace_bpf__destroy(k->skel);
	order__free(k->order);
	if (k->cgroup_fd >= 0)
		close(k->cgroup_fd);
	free(k);
}

int kernel__add(struct kernel *k, pid_t pid, bool launched)
{
	uint32_t key = pid, wait = launched;
	uint64_t before;
	int err;

	if (!k->skel)
		return 0;
	if (!launched && k->unwind)
		unwind__add_process(k->unwind, pid);
	if (bpf_map_update_elem(bpf_map__fd(k->skel->maps.roots), &key, &wait, BPF_ANY))
		return -errno;
	/* A thread that is created meanwhile by one not yet marked is found by the next round. */
	do {
		before = k->skel->bss->marked;
		err = kernel__iterate(k->skel->progs.mark_threads, 0, NULL, NULL);
		if (err) {
			log__error("process %d: cannot mark its threads: %s", pid,
				   strerrorname_np(-err));
			return err;
		}
	} while (k->skel->bss->marked != before);
	err = faults__open_process(k->faults, pid, launched, k->follow,
				   bpf_program__fd(k->skel->progs.fault_minor),
				   bpf_program__fd(k->skel->progs.fault_major));
	if (!err)
		err = kernel__iterate(k->skel->progs.arm_threads, 0, NULL, NULL);
	bpf_map_delete_elem(bpf_map__fd(k->skel->maps.roots), &key);
	return err;
}

void kernel__expect(struct kernel *k, const char *command)
{
	if (k->unwind)
		unwind__add_command(k->unwind, command);
}

int kernel__reopen(struct kernel *k, pid_t pid)
{
	if (k->mode != KERNEL_PIDS || !k->skel)
		return 0;
	return faults__open_process(k->faults, pid, false, k->follow,
				    bpf_program__fd(k->skel->progs.fault_minor),
				    bpf_program__fd(k->skel->progs.fault_major));
}

void kernel__begin_poll(struct kernel *k)
{
	k->poll_ns = now_ns();
}

int kernel__poll(struct kernel *k, bool last)
{
	uint64_t now, until = k->poll_ns - SLACK_NS;
	unsigned i;
	int err;

	/* The faults first: the stacks they name went into a ring before they came, and are then read. */
	err = k->lanes ? lanes__read(k->lanes, k->order, k->nrings, k->delivered) : 0;
	if (err)
		return err;
	for (i = 0; i < k->nrings; i++) {
		int clean;

		now = now_ns();
		clean = ring__read(k->rings[i], k->order, i, k->delivered);
		if (clean < 0)
			return clean;
		if (clean)
			k->clean_ns[i] = now - SLACK_NS;
		if (k->clean_ns[i] < until)
			until = k->clean_ns[i];
	}
	err = order__release(k->order, last ? UINT64_MAX : until);
	for (i = 0; i < k->nrings && !err; i++)
		ring__consume(k->rings[i]);
	if (!err && k->lanes)
		lanes__consume(k->lanes);
	return err;
}

/* Detach the programs of a section prefix. */
static void kernel__detach_section(struct kernel *k, const char *prefix)
{
	struct bpf_object_skeleton *s = k->skel->skeleton;
	int i;

	for (i = 0; i < s->prog_cnt; i++) {
		if (strncmp(bpf_program__section_name(*s->progs[i].prog), prefix, strlen(prefix)))
			continue;
		bpf_link__destroy(*s->progs[i].link);
		*s->progs[i].link = NULL;
	}
}

void kernel__detach(struct kernel *k)
{
	if (!k->skel)
		return;
	/*
	 * The calls before the faults: they also note the kernel's fault counts, which must not run
	 * ahead of the faults seen. What tells the access of a fault goes last.
	 */
	kernel__detach_section(k, "tp_btf/sys_");
	k->skel->bss->closing = 1;
	faults__close(k->faults);
	kernel__detach_section(k, "tp_btf/");
}

bool kernel__reads_directly(const struct kernel *k)
{
	return k->skel && k->skel->bss->direct_base;
}

double kernel__fill(const struct kernel *k)
{
	double most = k->lanes ? lanes__fill(k->lanes) : 0, fill;
	unsigned i;

	for (i = 0; i < k->nrings; i++) {
		fill = (double)ring__waiting(k->rings[i]) / k->ring_bytes;
		if (fill > most)
			most = fill;
	}
	return most;
}

int kernel__counts(struct kernel *k, struct event_counts *sum, uint64_t delivered[REC_KINDS])
{
	int cpus = libbpf_num_possible_cpus(), i;
	struct event_counts *per_cpu;
	uint32_t zero = 0;
	size_t j;

	memset(sum, 0, sizeof(*sum));
	memcpy(delivered, k->delivered, sizeof(k->delivered));
	if (!k->skel)
		return 0;
	if (cpus < 0)
		return cpus;
	per_cpu = calloc(cpus, sizeof(*per_cpu));
	if (!per_cpu)
		return -ENOMEM;
	if (bpf_map_lookup_elem(bpf_map__fd(k->skel->maps.counts), &zero, per_cpu)) {
		free(per_cpu);
		return -errno;
	}
	for (i = 0; i < cpus; i++)
		for (j = 0; j < sizeof(*sum) / sizeof(__u64); j++)
			((__u64 *)sum)[j] += ((__u64 *)&per_cpu[i])[j];
	free(per_cpu);
	return 0;
}

int kernel__threads(struct kernel *k, void (*fn)(void *ctx, const struct task_row *row), void *ctx)
{
	if (k->mode == KERNEL_MACHINE || !k->skel)
		return 0;
	return kernel__iterate(k->skel->progs.list_threads, sizeof(struct task_row), fn, ctx);
}

static void machine_row__sum(struct machine_row *sum, const struct machine_row *per_cpu, int cpus)
{
	const size_t words = offsetof(struct machine_row, comm_ns) / sizeof(__u64);
	size_t j;
	int i;

	memset(sum, 0, sizeof(*sum));
	for (i = 0; i < cpus; i++) {
		for (j = 0; j < words; j++)
			((__u64 *)sum)[j] += ((const __u64 *)&per_cpu[i])[j];
		if (per_cpu[i].comm_ns > sum->comm_ns) {
			sum->comm_ns = per_cpu[i].comm_ns;
			memcpy(sum->comm, per_cpu[i].comm, sizeof(sum->comm));
		}
	}
}

int kernel__machine(struct kernel *k,
		    void (*fn)(void *ctx, pid_t pid, const struct machine_row *row, bool ended),
		    void *ctx)
{
	int cpus = libbpf_num_possible_cpus(), fd = bpf_map__fd(k->skel->maps.machine), err;
	uint32_t keys[2], *key = NULL;
	struct machine_row *per_cpu, sum;
	bool ended = false;

	if (cpus < 0)
		return cpus;
	per_cpu = calloc(cpus, sizeof(*per_cpu));
	if (!per_cpu)
		return -ENOMEM;
	/* Deleting the key one stands on would start the walk anew: delete the one before. */
	while (!bpf_map_get_next_key(fd, key, &keys[1])) {
		if (ended)
			bpf_map_delete_elem(fd, &keys[0]);
		keys[0] = keys[1];
		key = &keys[0];
		ended = kill(keys[0], 0) && errno == ESRCH;
		if (bpf_map_lookup_elem(fd, key, per_cpu))
			continue;
		machine_row__sum(&sum, per_cpu, cpus);
		fn(ctx, keys[0], &sum, ended);
	}
	err = errno == ENOENT ? 0 : -errno;
	if (ended)
		bpf_map_delete_elem(fd, &keys[0]);
	free(per_cpu);
	return err;
}

void kernel__heap_programs(const struct kernel *k, struct attach_programs *p)
{
	p->enter = k->skel->progs.heap_enter;
	p->leave = k->skel->progs.heap_leave;
	p->exit = k->skel->progs.heap_exit;
	p->contract = k->skel->progs.heap_contract;
	p->escape = k->skel->progs.heap_escape;
	p->multi = k->multi;
}

void kernel__close_heap(struct kernel *k)
{
	__atomic_store_n(&k->skel->bss->heap_closed, 1, __ATOMIC_RELEASE);
}

int kernel__set_contract(struct kernel *k, uint32_t hook, const struct contract_args *args)
{
	int fd = bpf_map__fd(k->skel->maps.contract_hooks);

	return bpf_map_update_elem(fd, &hook, args, BPF_ANY) ? -errno : 0;
}

void kernel__forget_block(struct kernel *k, pid_t pid, uint64_t addr)
{
	struct {
		uint64_t addr;
		uint32_t tgid, pad;
	} key = {addr, pid, 0};

	bpf_map_delete_elem(bpf_map__fd(k->skel->maps.sampled), &key);
}

int kernel__set_code(struct kernel *k, uint32_t hook, const struct hook_code *code)
{
	return bpf_map_update_elem(bpf_map__fd(k->skel->maps.heap_code), &hook, code, BPF_ANY) ?
		       -errno :
		       0;
}

int kernel__hook_counts(struct kernel *k, struct heap_hook_counts *counts, size_t n)
{
	int cpus = libbpf_num_possible_cpus(), fd = bpf_map__fd(k->skel->maps.heap_hooks), err = 0;
	struct heap_hook_counts *per_cpu;

	if (cpus < 0)
		return cpus;
	per_cpu = calloc(cpus, sizeof(*per_cpu));
	if (!per_cpu)
		return -ENOMEM;
	for (uint32_t i = 0; i < n && !err; i++) {
		counts[i] = (struct heap_hook_counts){0};
		err = bpf_map_lookup_elem(fd, &i, per_cpu) ? -errno : 0;
		for (int cpu = 0; cpu < cpus && !err; cpu++) {
			counts[i].hits += per_cpu[cpu].hits;
			counts[i].nested += per_cpu[cpu].nested;
			counts[i].ignored += per_cpu[cpu].ignored;
			counts[i].lost += per_cpu[cpu].lost;
		}
	}
	free(per_cpu);
	return err;
}

uint64_t kernel__late(const struct kernel *k)
{
	return order__late(k->order);
}

struct order *kernel__order(struct kernel *k)
{
	return k->order;
}

int kernel__ring_calls(struct kernel *k, pid_t pid, int64_t call_at)
{
	uint32_t key = (uint32_t)pid;

	if (!k->skel)
		return 0;
	if (bpf_map_update_elem(bpf_map__fd(k->skel->maps.ring_calls), &key, &call_at, BPF_ANY))
		return -errno;
	return 0;
}

void kernel__offers(const struct kernel *k, struct bpf_program **program, int *map)
{
	*program = k->skel->progs.offer_segment;
	*map = bpf_map__fd(k->skel->maps.ring_offers);
}
