// SPDX-License-Identifier: MIT
/* `memtrace doctor`: the table of what is tried, in the order of the answer. */
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdarg.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "user/doctor/doctor.h"
#include "user/options.h"
#include "user/output.h"
#include "user/util/log.h"

struct probe {
	const char *id, *name;
	bool required;
	probe_fn *try;
	const char *follows, *mend; /* when it is missing */
};

#define NO_TRACING "memtrace cannot trace here."
#define NEWER_KERNEL "boot a newer kernel: Debian 12's 6.1 has it"
#define SINCE_5_17 "boot a kernel from 5.17 on, as Debian 12's 6.1"
#define NO_UPROBES \
	"Calls into an allocator are not seen by --heap=uprobe; --heap=ring does without."

static const struct probe probes[] = {
	{"arch", "architecture", true, probe__arch,
	 "memtrace knows the system calls and page-fault tracepoints of x86-64 only.", NULL},
	{"kernel", "kernel", false, probe__release, NULL, NULL},
	{"permissions", "permissions", true, probe__permissions,
	 "No BPF program can be loaded: neither calls nor faults are seen.",
	 "run it as root, or: setcap cap_bpf,cap_perfmon,cap_sys_ptrace+ep memtrace"},
	{"pid_namespace", "pid namespace", true, probe__pid_namespace,
	 "The kernel reports other process numbers than those seen here.",
	 "run memtrace on the host, or in the container with the host's numbers (--pid=host)"},
	{"lockdown", "lockdown", false, probe__lockdown,
	 "Confidentiality mode forbids BPF programs to read kernel memory: " NO_TRACING,
	 "boot with lockdown=integrity or none"},
	{"unprivileged_bpf", "unprivileged bpf", false, probe__unprivileged_bpf, NULL, NULL},
	{"perf_event_paranoid", "perf paranoid", false, probe__perf_paranoid,
	 "Page faults cannot be counted without it; they need CAP_PERFMON at any setting.",
	 "run it as root, or: setcap cap_bpf,cap_perfmon,cap_sys_ptrace+ep memtrace"},
	{"memlock", "memlock", false, probe__memlock,
	 "Ring buffers count as locked memory; a large --buffer may be refused.",
	 "ulimit -l unlimited, or a kernel from 5.11 on"},
	{"btf", "BTF", true, probe__btf,
	 "Programs cannot be fitted to this kernel's structures: " NO_TRACING,
	 "use a kernel built with CONFIG_DEBUG_INFO_BTF=y (Debian's are)"},
	{"ringbuf", "ring buffer", true, probe__ringbuf,
	 "Events have no way out of the kernel: " NO_TRACING, NEWER_KERNEL},
	{"task_storage", "task storage", true, probe__task_storage,
	 "Threads to trace cannot be marked: " NO_TRACING, NEWER_KERNEL},
	{"tp_btf", "BTF tracepoints", true, probe__tp_btf,
	 "System calls, fork, exec and exit are not seen: " NO_TRACING,
	 "use a kernel with CONFIG_BPF_EVENTS=y, CONFIG_FTRACE_SYSCALLS=y and BTF"},
	{"page_fault", "fault tracepoints", true, probe__page_fault,
	 "When a fault began and what the access was are not seen: " NO_TRACING,
	 "use an x86-64 kernel with CONFIG_TRACING=y"},
	{"task_iter", "task iterator", true, probe__task_iter,
	 "The threads that a process already has cannot be found: " NO_TRACING, NEWER_KERNEL},
	{"bpf_loop", "bpf_loop", true, probe__bpf_loop,
	 "Stacks and file paths cannot be read: " NO_TRACING, SINCE_5_17},
	{"bpf_find_vma", "bpf_find_vma", true, probe__find_vma,
	 "The mappings of a new image cannot be read: " NO_TRACING, SINCE_5_17},
	{"perf_faults", "fault events", true, probe__perf_faults,
	 "Page faults cannot be counted exactly: " NO_TRACING,
	 "use a kernel with CONFIG_PERF_EVENTS=y and CONFIG_BPF_EVENTS=y"},
	{"programs", "own programs", true, probe__programs, NO_TRACING,
	 "`memtrace -v -- true` prints the kernel's words on it"},
	{"direct_reads", "direct reads", false, probe__direct_reads,
	 "Stacks are read by copies: a call of malloc seen by a uprobe takes the program some 15 to 20 % "
	 "longer. Nothing else follows.",
	 "a kernel from 6.2 on can have it"},
	{"heap_programs", "heap programs", false, probe__heap_programs,
	 "Calls of malloc are not seen; --heap=none leaves them out, and all else works.",
	 "`memtrace -v -- true` prints the kernel's words on it"},
	{"machine_programs", "own programs, -a", false, probe__machine_programs,
	 "-a does not work; -p PID and -- CMD do.",
	 "`memtrace -v -a -d 1` prints the kernel's words on it"},
	{"machine_heap", "heap programs, -a", false, probe__machine_heap_programs,
	 "-a --sample does not work; -a without it does.",
	 "`memtrace -v -a --sample 512K -d 1` prints the kernel's words on it"},
	{"inherit_thread", "inherit_thread", false, probe__inherit_thread,
	 "--no-follow does not work; without it all does.", "boot a kernel from 5.13 on"},
	{"cgroup2", "cgroup v2", false, probe__cgroup2, "--cgroup does not work; --comm does.",
	 "mount -t cgroup2 none DIR"},
	{"pagemap_scan", "PAGEMAP_SCAN", false, probe__pagemap_scan,
	 "Nothing now: resident pages are read from smaps.", NULL},
	{"tracefs", "tracefs", false, probe__tracefs, "Nothing: memtrace does without it.", NULL},
	{"uprobe", "uprobes", false, probe__uprobe, NO_UPROBES,
	 "use a kernel with CONFIG_UPROBE_EVENTS=y"},
	{"uretprobe", "return probes", false, probe__uretprobe, NO_UPROBES,
	 "use a kernel with CONFIG_UPROBE_EVENTS=y"},
	{"uprobe_multi", "uprobe_multi", false, probe__uprobe_multi,
	 "Each probe is an event of its own: attaching and detaching take longer.",
	 "a kernel from 6.10 on has it"},
	{"uprobe_session", "uprobe sessions", false, probe__uprobe_session,
	 "Nothing now: entry and return have a probe each.", NULL},
	{"uprobe_optimised", "optimised uprobe", false, probe__uprobe_optimised,
	 "A probe on a nop of 5 bytes becomes a call, which overwrites the red zone of the code there: "
	 "programs' own probes (otel_memory) that are such nops are left alone.",
	 NULL},
	{"usdt_semaphore", "USDT semaphores", false, probe__usdt_semaphore,
	 "Programs' own probes that wait for a listener stay silent under --heap=contract.",
	 "use a kernel from 4.20 on"},
	{"kprobe", "kprobes", false, probe__kprobe, "Nothing: memtrace does without them.", NULL},
	{"fentry", "fentry", false, probe__fentry, "Nothing: memtrace does without it.", NULL},
};

#define PROBES (sizeof(probes) / sizeof(probes[0]))

void check__set(struct check *c, enum check_status status, const char *fmt, ...)
{
	va_list ap;

	c->status = status;
	va_start(ap, fmt);
	vsnprintf(c->value, sizeof(c->value), fmt, ap);
	va_end(ap);
	if (status == CHECK_UNKNOWN) {
		c->follows = NULL;
		c->mend = NULL;
	}
}

void check__fail(const struct exam *e, struct check *c, const char *what, int err)
{
	bool refused = err == -EPERM || err == -EACCES;

	if (refused && !e->may_bpf)
		check__set(c, CHECK_UNKNOWN, "not permitted to try");
	else if (refused && !exam__has(e, CAP_SYS_ADMIN))
		check__set(c, CHECK_UNKNOWN, "%s: %s, perhaps for want of CAP_SYS_ADMIN", what,
			   strerrorname_np(-err));
	else
		check__set(c, CHECK_NO, "%s: %s", what, strerrorname_np(-err));
}

/* The first line from fd, without memtrace's own name before it. */
static void take_line(int fd, char *said, size_t size)
{
	static const char name[] = "memtrace: ";
	size_t len = 0;
	char rest[512];
	ssize_t n;

	while (len + 1 < size && (n = read(fd, said + len, size - 1 - len)) > 0)
		len += n;
	said[len] = 0;
	/* What does not fit is read all the same: the child must not wait for us. */
	while (read(fd, rest, sizeof(rest)) > 0)
		;
	said[strcspn(said, "\n")] = 0;
	if (strncmp(said, name, strlen(name)) == 0)
		memmove(said, said + strlen(name), strlen(said) - strlen(name) + 1);
}

int run_in_child(int (*fn)(void), char *said, size_t size)
{
	char unused[1];
	int out[2], status, err;
	pid_t pid;

	if (pipe2(out, O_CLOEXEC))
		return -errno;
	pid = fork();
	if (pid < 0) {
		err = -errno;
		close(out[0]);
		close(out[1]);
		return err;
	}
	if (pid == 0) {
		dup2(out[1], STDERR_FILENO);
		_exit(fn());
	}
	close(out[1]);
	if (said)
		take_line(out[0], said, size);
	else
		take_line(out[0], unused, sizeof(unused));
	close(out[0]);
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -ECHILD;
}

static void examine(struct check *checks)
{
	struct exam e;
	size_t i;

	libbpf_set_print(NULL);
	exam__begin(&e);
	for (i = 0; i < PROBES; i++) {
		const struct probe *p = &probes[i];

		checks[i] = (struct check){
			.id = p->id,
			.name = p->name,
			.required = p->required,
			.follows = p->follows,
			.mend = p->mend,
		};
		p->try(&e, &checks[i]);
	}
	exam__end(&e);
}

int doctor__run(const struct options *o)
{
	struct check checks[PROBES];
	struct output out;
	int err;

	/* First: an unwritable output is known before anything is tried. */
	if (output__open(&out, o->json_path))
		return EXIT_FAIL;
	examine(checks);
	err = o->json ? checks__json(out.file, checks, PROBES) :
			checks__text(out.file, isatty(fileno(out.file)), checks, PROBES);
	if (!err)
		err = output__commit(&out);
	else if (err != -EPIPE)
		log__error("%s: cannot write it: %s", out.path ? out.path : "standard output",
			   strerror(-err));
	output__close(&out);
	if (err)
		return EXIT_FAIL;
	return checks__kernel_plane(checks, PROBES) ? EXIT_OK : EXIT_UNABLE;
}
