// SPDX-License-Identifier: MIT
/* The machine, the kernel's settings that bear on tracing, and our own rights. */
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <mntent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "user/doctor/doctor.h"

/* include/linux/proc_ns.h: part of the kernel's interface since 3.8. */
#define INITIAL_USER_NAMESPACE 0xEFFFFFFDU
#define INITIAL_PID_NAMESPACE 0xEFFFFFFCU

/* By the system call: also without /proc. */
static uint64_t effective_capabilities(void)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {0};

	if (syscall(SYS_capget, &head, data))
		return 0;
	return (uint64_t)data[1].effective << 32 | data[0].effective;
}

static bool in_foreign_user_namespace(void)
{
	struct stat st;

	return !stat("/proc/self/ns/user", &st) && st.st_ino != INITIAL_USER_NAMESPACE;
}

bool exam__has(const struct exam *e, int capability)
{
	return e->capabilities >> capability & 1;
}

void exam__begin(struct exam *e)
{
	memset(e, 0, sizeof(*e));
	if (!in_foreign_user_namespace())
		e->capabilities = effective_capabilities();
	e->may_bpf = exam__has(e, CAP_SYS_ADMIN) ||
		     (exam__has(e, CAP_BPF) && exam__has(e, CAP_PERFMON));
}

/* The first line of a file, without its end. 0 or -errno. */
static int read_line(const char *path, char *line, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = read(fd, line, size - 1);
	if (n < 0) {
		int err = -errno;

		close(fd);
		return err;
	}
	close(fd);
	line[n] = 0;
	line[strcspn(line, "\n")] = 0;
	return 0;
}

/* The first mount of a file system type; false when there is none. */
static bool find_mount(const char *type, char *dir, size_t size)
{
	FILE *mounts = setmntent("/proc/self/mounts", "re");
	struct mntent *m;
	bool found = false;

	if (!mounts)
		return false;
	while (!found && (m = getmntent(mounts))) {
		if (strcmp(m->mnt_type, type) == 0) {
			snprintf(dir, size, "%s", m->mnt_dir);
			found = true;
		}
	}
	endmntent(mounts);
	return found;
}

void probe__arch(struct exam *e, struct check *c)
{
	struct utsname u;

	(void)e;
	uname(&u);
	check__set(c, strcmp(u.machine, "x86_64") ? CHECK_NO : CHECK_OK, "%s", u.machine);
}

void probe__release(struct exam *e, struct check *c)
{
	struct utsname u;

	(void)e;
	uname(&u);
	check__set(c, CHECK_OK, "%s %s", u.sysname, u.release);
}

void probe__permissions(struct exam *e, struct check *c)
{
	static const struct {
		int number;
		const char *name, *follows;
	} wanted[] = {
		{CAP_BPF, "CAP_BPF", NULL},
		{CAP_PERFMON, "CAP_PERFMON", NULL},
		{CAP_SYS_PTRACE, "CAP_SYS_PTRACE",
		 "Other users' processes cannot be attached to; one's own and launched ones can."},
		{CAP_SYS_ADMIN, "CAP_SYS_ADMIN",
		 "Programs and libraries that were deleted or replaced while in use may stay "
		 "without names; the rest works."},
		{CAP_SYS_RESOURCE, "CAP_SYS_RESOURCE",
		 "Hard limits (locked memory, open files) cannot be raised; the limits there are "
		 "usually suffice."},
	};
	char there[100] = "", missing[100] = "";
	size_t i;

	if (in_foreign_user_namespace()) {
		check__set(c, CHECK_NO, "in a user namespace: capabilities do not reach the kernel");
		c->mend = "run it outside the container, or in one without user namespaces";
		return;
	}
	if (e->may_bpf) {
		c->follows = NULL;
		c->mend = "run it as root";
	}
	if (geteuid() == 0)
		c->mend = "root is limited here: give them back where the container or the service "
			  "is configured";
	for (i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
		bool has = exam__has(e, wanted[i].number);
		char *list = has ? there : missing;
		size_t len = strlen(list);

		snprintf(list + len, sizeof(there) - len, " %s", wanted[i].name);
		if (!has && !c->follows)
			c->follows = wanted[i].follows;
	}
	check__set(c,
		   !e->may_bpf ? CHECK_NO :
		   *missing    ? CHECK_PART :
				 CHECK_OK,
		   "%s%s%s", *there ? there + 1 : "", *there && *missing ? "; " : "",
		   *missing ? "missing:" : "");
	if (*missing)
		strncat(c->value, missing, sizeof(c->value) - strlen(c->value) - 1);
}

void probe__pid_namespace(struct exam *e, struct check *c)
{
	struct stat st;

	(void)e;
	if (stat("/proc/self/ns/pid", &st)) {
		check__set(c, CHECK_UNKNOWN, "/proc/self/ns/pid: %s", strerrorname_np(errno));
		c->mend = "mount -t proc proc /proc";
	} else if (st.st_ino == INITIAL_PID_NAMESPACE) {
		check__set(c, CHECK_OK, "the initial one");
	} else {
		check__set(c, CHECK_NO, "one of its own (pid:[%lu])", (unsigned long)st.st_ino);
	}
}

void probe__lockdown(struct exam *e, struct check *c)
{
	char line[128];
	int err = read_line("/sys/kernel/security/lockdown", line, sizeof(line));

	(void)e;
	if (err == -ENOENT)
		check__set(c, CHECK_OK,
			   "no entry in /sys/kernel/security: not in this kernel, or "
			   "securityfs is not mounted");
	else if (err)
		check__set(c, CHECK_UNKNOWN, "/sys/kernel/security/lockdown: %s",
			   strerrorname_np(-err));
	else
		check__set(c, strstr(line, "[confidentiality]") ? CHECK_NO : CHECK_OK, "%s", line);
}

void probe__unprivileged_bpf(struct exam *e, struct check *c)
{
	static const char *const meaning[] = {"0: allowed", "1: off until reboot", "2: off"};
	char line[32];
	int err = read_line("/proc/sys/kernel/unprivileged_bpf_disabled", line, sizeof(line));
	unsigned long n;

	(void)e;
	if (err) {
		check__set(c, CHECK_UNKNOWN, "/proc/sys/kernel/unprivileged_bpf_disabled: %s",
			   strerrorname_np(-err));
		return;
	}
	n = strtoul(line, NULL, 10);
	check__set(c, CHECK_OK, "%s; no matter: tracing programs need the capabilities anyway",
		   n < 3 ? meaning[n] : line);
}

void probe__perf_paranoid(struct exam *e, struct check *c)
{
	char line[32];
	int err = read_line("/proc/sys/kernel/perf_event_paranoid", line, sizeof(line));

	if (err)
		check__set(c, CHECK_UNKNOWN, "/proc/sys/kernel/perf_event_paranoid: %s",
			   strerrorname_np(-err));
	else if (exam__has(e, CAP_SYS_ADMIN))
		check__set(c, CHECK_OK, "%s; no matter: CAP_SYS_ADMIN is there", line);
	else if (exam__has(e, CAP_PERFMON) && strtol(line, NULL, 10) > 2)
		check__set(c, CHECK_UNKNOWN,
			   "%s, where Debian's kernels want CAP_SYS_ADMIN; others do not know that level",
			   line);
	else if (exam__has(e, CAP_PERFMON))
		check__set(c, CHECK_OK, "%s; no matter: CAP_PERFMON is there", line);
	else
		check__set(c, CHECK_NO, "%s, and CAP_PERFMON is not there", line);
}

/* Make a map larger than the limit on locked memory, which is set to nothing for it. */
static int make_unlocked_map(void)
{
	struct rlimit l = {0};
	union bpf_attr a;

	if (getrlimit(RLIMIT_MEMLOCK, &l))
		return errno;
	l.rlim_cur = 0;
	if (setrlimit(RLIMIT_MEMLOCK, &l))
		return errno;
	memset(&a, 0, sizeof(a));
	a.map_type = BPF_MAP_TYPE_ARRAY;
	a.key_size = sizeof(uint32_t);
	a.value_size = 4096;
	a.max_entries = 64;
	/* libbpf would raise the limit first. */
	return syscall(SYS_bpf, BPF_MAP_CREATE, &a, sizeof(a)) < 0 ? errno : 0;
}

void probe__memlock(struct exam *e, struct check *c)
{
	struct rlimit l = {0};
	char limit[48];
	int err;

	getrlimit(RLIMIT_MEMLOCK, &l);
	if (l.rlim_cur == RLIM_INFINITY)
		snprintf(limit, sizeof(limit), "unlimited");
	else
		snprintf(limit, sizeof(limit), "%lu KiB", (unsigned long)(l.rlim_cur / 1024));
	err = run_in_child(make_unlocked_map, NULL, 0);
	if (err == 0)
		check__set(c, CHECK_OK,
			   "limit %s; no matter: BPF memory is accounted to the cgroup", limit);
	else if (!e->may_bpf)
		check__set(c, CHECK_UNKNOWN,
			   "limit %s; whether it binds BPF memory: not permitted "
			   "to try",
			   limit);
	else if (l.rlim_cur == RLIM_INFINITY)
		check__set(c, CHECK_OK, "limit %s", limit);
	else
		check__set(c, CHECK_PART, "limit %s binds BPF memory (%s)", limit,
			   err > 0 ? strerrorname_np(err) : "not tried");
}

void probe__cgroup2(struct exam *e, struct check *c)
{
	char dir[150];

	(void)e;
	if (find_mount("cgroup2", dir, sizeof(dir)))
		check__set(c, CHECK_OK, "mounted on %s", dir);
	else if (access("/proc/self/mounts", R_OK))
		check__set(c, CHECK_UNKNOWN, "/proc/self/mounts: %s", strerrorname_np(errno));
	else
		check__set(c, CHECK_NO, "not mounted");
}

/* linux/fs.h of Linux 6.7 */
struct scan_region {
	uint64_t start, end, categories;
};
struct scan_arg {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
	uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
#define SCAN_IOCTL _IOWR('f', 16, struct scan_arg)
#define SCAN_PRESENT (1 << 3)

void probe__pagemap_scan(struct exam *e, struct check *c)
{
	size_t page = sysconf(_SC_PAGESIZE);
	struct scan_region region = {0};
	struct scan_arg arg = {
		.size = sizeof(arg),
		.vec = (uintptr_t)&region,
		.vec_len = 1,
		.category_mask = SCAN_PRESENT,
		.return_mask = SCAN_PRESENT,
	};
	char *p;
	int fd, n;

	(void)e;
	fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		check__set(c, CHECK_UNKNOWN, "/proc/self/pagemap: %s", strerrorname_np(errno));
		return;
	}
	p = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED) {
		check__set(c, CHECK_UNKNOWN, "mmap: %s", strerrorname_np(errno));
		close(fd);
		return;
	}
	*p = 1;
	arg.start = (uintptr_t)p;
	arg.end = arg.start + page;
	n = ioctl(fd, SCAN_IOCTL, &arg);
	if (n < 0)
		check__set(c, CHECK_NO, "%s", strerrorname_np(errno));
	else if (n == 1 && region.start == arg.start && region.end == arg.end)
		check__set(c, CHECK_OK, "found a resident page");
	else
		check__set(c, CHECK_NO, "did not find a resident page");
	munmap(p, page);
	close(fd);
}

/* A mount that is attached nowhere: it ends with its descriptor. */
static int mount_tracefs_detached(void)
{
	int fs = fsopen("tracefs", FSOPEN_CLOEXEC), mnt, events, err = 0;

	if (fs < 0)
		return -errno;
	if (fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0)) {
		err = -errno;
		close(fs);
		return err;
	}
	mnt = fsmount(fs, FSMOUNT_CLOEXEC, 0);
	if (mnt < 0) {
		err = -errno;
	} else {
		events = openat(mnt, "events", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (events < 0)
			err = -errno;
		else
			close(events);
		close(mnt);
	}
	close(fs);
	return err;
}

void probe__tracefs(struct exam *e, struct check *c)
{
	char dir[150];
	int err;

	if (find_mount("tracefs", dir, sizeof(dir))) {
		check__set(c, CHECK_OK, "mounted on %s", dir);
		return;
	}
	err = mount_tracefs_detached();
	if (err == -EPERM && !exam__has(e, CAP_SYS_ADMIN)) {
		check__set(c, CHECK_UNKNOWN, "not mounted; not permitted to mount it");
	} else if (err) {
		check__set(c, CHECK_NO, "not mounted, and cannot be: %s", strerrorname_np(-err));
	} else {
		check__set(c, CHECK_OK, "not mounted; can be, privately");
	}
}
