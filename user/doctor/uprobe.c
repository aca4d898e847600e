// SPDX-License-Identifier: MIT
/* Uprobes, tried on a function of our own: placed, hit, counted. */
#include <errno.h>
#include <inttypes.h>
#include <linux/perf_event.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "user/doctor/doctor.h"

#define SELF "/proc/self/exe"
#define PMU "/sys/bus/event_source/devices/uprobe/"
#define HITS 3

/* linux/bpf.h of Linux 6.6 */
#define TRACE_UPROBE_MULTI 48
#define TRACE_UPROBE_SESSION 57 /* 6.13 */
#define SYS_UPROBE 336 /* 6.18: what optimised probes call */
struct uprobe_multi_attr {
	uint32_t prog_fd, target_fd, attach_type, flags;
	uint64_t path, offsets, ref_ctr_offsets, cookies;
	uint32_t cnt, multi_flags, pid;
	uint32_t pad;
};

/* In initialised data, as a semaphore of a program that offers probes is: the kernel wants a
 * mapping of the file. */
static volatile uint16_t semaphore __attribute__((section(".data"))) = 0;

static volatile unsigned hits;

static __attribute__((noinline)) void target(void)
{
	hits++;
}

/* Offset in our file of what lies at addr. 0: not found. */
static uint64_t offset_in_self(const volatile void *addr)
{
	uint64_t at = (uintptr_t)addr, start, end, offset, found = 0;
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[512];

	if (!maps)
		return 0;
	while (!found && fgets(line, sizeof(line), maps))
		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %*s %" SCNx64, &start, &end, &offset) == 3 &&
		    at >= start && at < end)
			found = at - start + offset;
	fclose(maps);
	return found;
}

static int pmu_type(void)
{
	FILE *f = fopen(PMU "type", "re");
	int type;

	if (!f)
		return -errno;
	if (fscanf(f, "%d", &type) != 1)
		type = -EIO;
	fclose(f);
	return type;
}

/* ref_ctr_offset 0: without a semaphore. A descriptor or -errno. */
static int open_uprobe(int type, uint64_t offset, uint64_t ref_ctr_offset, bool at_return)
{
	struct perf_event_attr a = {.size = sizeof(a), .type = type};
	int fd;

	/* As format/ref_ctr_offset and format/retprobe say: bits 32-63, bit 0. */
	a.config = ref_ctr_offset << 32 | at_return;
	a.config1 = (uintptr_t)SELF;
	a.config2 = offset;
	fd = syscall(SYS_perf_event_open, &a, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static void call_target(void)
{
	int i;

	for (i = 0; i < HITS; i++)
		target();
}

static void say_hits(struct check *c, uint64_t counted, unsigned hits_each)
{
	check__set(c, counted == HITS * hits_each ? CHECK_OK : CHECK_NO, "%lu hits counted of %u",
		   (unsigned long)counted, HITS * hits_each);
}

static void try_uprobe(struct exam *e, struct check *c, bool at_return)
{
	uint64_t offset = offset_in_self((void *)target);
	int type = pmu_type(), counter, prog, event = -1;

	if (type < 0) {
		check__set(c, CHECK_NO, PMU "type: %s", strerrorname_np(-type));
		return;
	}
	if (!offset) {
		check__set(c, CHECK_UNKNOWN, "/proc/self/maps does not show our own code");
		return;
	}
	counter = counter__new();
	if (counter < 0) {
		check__fail(e, c, "map", counter);
		return;
	}
	prog = counter__program(counter, BPF_PROG_TYPE_KPROBE, 0, 0);
	if (prog >= 0)
		event = open_uprobe(type, offset, 0, at_return);
	if (prog < 0) {
		check__fail(e, c, "program", prog);
	} else if (event < 0) {
		check__fail(e, c, "event", event);
	} else if (ioctl(event, PERF_EVENT_IOC_SET_BPF, prog)) {
		check__fail(e, c, "attach", -errno);
	} else {
		call_target();
		say_hits(c, counter__read(counter), 1);
	}
	if (event >= 0)
		close(event);
	if (prog >= 0)
		close(prog);
	close(counter);
}

void probe__uprobe(struct exam *e, struct check *c)
{
	try_uprobe(e, c, false);
}

void probe__uretprobe(struct exam *e, struct check *c)
{
	try_uprobe(e, c, true);
}

static int link_uprobe_multi(int prog, uint64_t offset, uint32_t attach_type)
{
	struct uprobe_multi_attr a = {
		.prog_fd = prog,
		.attach_type = attach_type,
		.path = (uintptr_t)SELF,
		.offsets = (uintptr_t)&offset,
		.cnt = 1,
		.pid = getpid(),
	};
	int fd = syscall(SYS_bpf, BPF_LINK_CREATE, &a, sizeof(a));

	return fd < 0 ? -errno : fd;
}

/* hits_each: by one call of the target */
static void try_multi(struct exam *e, struct check *c, uint32_t attach_type, unsigned hits_each)
{
	uint64_t offset = offset_in_self((void *)target);
	int counter, prog, link = -1;

	if (!offset) {
		check__set(c, CHECK_UNKNOWN, "/proc/self/maps does not show our own code");
		return;
	}
	counter = counter__new();
	if (counter < 0) {
		check__fail(e, c, "map", counter);
		return;
	}
	prog = counter__program(counter, BPF_PROG_TYPE_KPROBE, attach_type, 0);
	if (prog >= 0)
		link = link_uprobe_multi(prog, offset, attach_type);
	if (prog < 0) {
		check__fail(e, c, "program", prog);
	} else if (link < 0) {
		check__fail(e, c, "link", link);
	} else {
		call_target();
		say_hits(c, counter__read(counter), hits_each);
	}
	if (link >= 0)
		close(link);
	if (prog >= 0)
		close(prog);
	close(counter);
}

void probe__uprobe_multi(struct exam *e, struct check *c)
{
	try_multi(e, c, TRACE_UPROBE_MULTI, 1);
}

/* Counts at the entry and at the return. */
void probe__uprobe_session(struct exam *e, struct check *c)
{
	try_multi(e, c, TRACE_UPROBE_SESSION, 2);
}

/* Called from anywhere else than an optimised probe it says so: ENXIO, where there are such. */
static int call_uprobe(void)
{
	return syscall(SYS_UPROBE) ? errno : 0;
}

void probe__uprobe_optimised(struct exam *e, struct check *c)
{
	int err = run_in_child(call_uprobe, NULL, 0);

	(void)e;
	if (err == ENXIO)
		check__set(c, CHECK_PART, "a nop of 5 bytes becomes a call");
	else
		check__set(c, CHECK_OK, "no probe is made a call");
}

void probe__usdt_semaphore(struct exam *e, struct check *c)
{
	uint64_t offset = offset_in_self((void *)target), counter = offset_in_self(&semaphore);
	int type = pmu_type(), event;
	uint16_t during;

	if (type < 0 || access(PMU "format/ref_ctr_offset", F_OK)) {
		check__set(c, CHECK_NO, "no " PMU "format/ref_ctr_offset");
		return;
	}
	if (!offset || !counter) {
		check__set(c, CHECK_UNKNOWN, "/proc/self/maps does not show our own code");
		return;
	}
	event = open_uprobe(type, offset, counter, false);
	if (event < 0) {
		check__fail(e, c, "event", event);
		return;
	}
	during = semaphore;
	close(event);
	check__set(c, during == 1 && semaphore == 0 ? CHECK_OK : CHECK_NO,
		   "raised to %u, then lowered to %u", during, semaphore);
}
