// SPDX-License-Identifier: MIT
/* BPF: types, maps, helpers, and programs that attach by themselves. */
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "user/doctor/doctor.h"
#include "user/source/direct.h"
#include "user/source/kernel.h"

#define BTF_FILE "/sys/kernel/btf/vmlinux"

#define INSN(op, dst, src, imm_) \
	((struct bpf_insn){.code = (op), .dst_reg = (dst), .src_reg = (src), .imm = (imm_)})

int counter__new(void)
{
	int fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "mt_doctor", sizeof(uint32_t), sizeof(uint64_t),
				1, NULL);

	return fd < 0 ? -errno : fd;
}

int counter__program(int counter, enum bpf_prog_type type, enum bpf_attach_type attach,
		     uint32_t btf_id)
{
	const struct bpf_insn add_one[] = {
		INSN(BPF_LD | BPF_DW | BPF_IMM, BPF_REG_1, BPF_PSEUDO_MAP_VALUE, counter),
		INSN(0, 0, 0, 0),
		INSN(BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 1),
		INSN(BPF_STX | BPF_DW | BPF_ATOMIC, BPF_REG_1, BPF_REG_0, BPF_ADD),
		INSN(BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0),
		INSN(BPF_JMP | BPF_EXIT, 0, 0, 0),
	};
	struct bpf_prog_load_opts opts = {
		.sz = sizeof(opts),
		.expected_attach_type = attach,
		.attach_btf_id = btf_id,
	};
	int fd = bpf_prog_load(type, "mt_doctor", "Dual MIT/GPL", add_one,
			       sizeof(add_one) / sizeof(add_one[0]), &opts);

	return fd < 0 ? -errno : fd;
}

uint64_t counter__read(int counter)
{
	uint64_t n = 0;
	uint32_t zero = 0;

	return bpf_map_lookup_elem(counter, &zero, &n) ? 0 : n;
}

void probe__btf(struct exam *e, struct check *c)
{
	int err;

	e->btf = btf__load_vmlinux_btf();
	err = -errno;
	if (!e->btf)
		check__set(c, CHECK_NO, "%s: %s", BTF_FILE,
			   access(BTF_FILE, F_OK) ? "not there" : strerrorname_np(-err));
	else
		check__set(c, CHECK_OK, "%u types", btf__type_cnt(e->btf) - 1);
}

void exam__end(struct exam *e)
{
	btf__free(e->btf);
	e->btf = NULL;
}

void probe__ringbuf(struct exam *e, struct check *c)
{
	size_t page = sysconf(_SC_PAGESIZE), size = 16 * page;
	int fd = bpf_map_create(BPF_MAP_TYPE_RINGBUF, "mt_doctor", 0, 0, size, NULL);
	void *p;

	if (fd < 0) {
		check__fail(e, c, "map", -errno);
		return;
	}
	p = mmap(NULL, page + size, PROT_READ, MAP_SHARED, fd, page);
	if (p == MAP_FAILED) {
		check__fail(e, c, "mmap", -errno);
	} else {
		check__set(c, CHECK_OK, "made and mapped");
		munmap(p, page + size);
	}
	close(fd);
}

void probe__task_storage(struct exam *e, struct check *c)
{
	struct bpf_map_create_opts opts = {.sz = sizeof(opts), .map_flags = BPF_F_NO_PREALLOC};
	struct btf *types = btf__new_empty();
	int fd, id;

	if (!types) {
		check__fail(e, c, "types", -errno);
		return;
	}
	id = btf__add_int(types, "int", sizeof(int), BTF_INT_SIGNED);
	if (id < 0 || btf__load_into_kernel(types)) {
		check__fail(e, c, "types", -errno);
		btf__free(types);
		return;
	}
	opts.btf_fd = btf__fd(types);
	opts.btf_key_type_id = id;
	opts.btf_value_type_id = id;
	fd = bpf_map_create(BPF_MAP_TYPE_TASK_STORAGE, "mt_doctor", sizeof(int), sizeof(int), 0,
			    &opts);
	if (fd < 0) {
		check__fail(e, c, "map", -errno);
	} else {
		check__set(c, CHECK_OK, "made");
		close(fd);
	}
	btf__free(types);
}

/* Load and attach the counting program to a BTF tracepoint. A descriptor or -errno. */
static int attach_tracepoint(const struct exam *e, int counter, const char *name)
{
	char type[64];
	int id, prog, fd;

	snprintf(type, sizeof(type), "btf_trace_%s", name);
	id = btf__find_by_name_kind(e->btf, type, BTF_KIND_TYPEDEF);
	if (id < 0)
		return -ENOENT;
	prog = counter__program(counter, BPF_PROG_TYPE_TRACING, BPF_TRACE_RAW_TP, id);
	if (prog < 0)
		return prog;
	fd = bpf_raw_tracepoint_open(NULL, prog);
	if (fd < 0)
		fd = -errno;
	close(prog);
	return fd;
}

/* What fires the tracepoints of interest, the exec one excepted. */
static void make_events(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		touch_fresh_pages(1);
		_exit(0);
	}
	if (pid > 0)
		waitpid(pid, NULL, 0);
	touch_fresh_pages(1);
}

#define TRACEPOINTS_MAX 8

/* All of `names` (the list ends with a NULL) attach, and count something. */
static void try_tracepoints(struct exam *e, struct check *c, const char *const *names)
{
	int fds[TRACEPOINTS_MAX], n = 0, counter, err = 0;
	uint64_t fired;

	if (!e->btf) {
		check__set(c, CHECK_UNKNOWN, "not tried without BTF");
		return;
	}
	counter = counter__new();
	if (counter < 0) {
		check__fail(e, c, "map", counter);
		return;
	}
	while (n < TRACEPOINTS_MAX && names[n] && !err) {
		fds[n] = attach_tracepoint(e, counter, names[n]);
		if (fds[n] < 0)
			err = fds[n];
		else
			n++;
	}
	if (err) {
		check__fail(e, c, names[n], err);
	} else {
		make_events();
		fired = counter__read(counter);
		check__set(c, fired ? CHECK_OK : CHECK_NO, "%d attached, %s", n,
			   fired ? "firing" : "but none fired");
	}
	while (n > 0)
		close(fds[--n]);
	close(counter);
}

void probe__tp_btf(struct exam *e, struct check *c)
{
	static const char *const names[] = {"sys_enter",	  "sys_exit",
					    "sched_process_fork", "sched_process_exec",
					    "sched_process_exit", NULL};

	try_tracepoints(e, c, names);
}

void probe__page_fault(struct exam *e, struct check *c)
{
	static const char *const names[] = {"page_fault_user", "page_fault_kernel", NULL};

	try_tracepoints(e, c, names);
}

/* Run an iterator over all threads to its end. 0 or -errno. */
static int iterate(int prog)
{
	int link = bpf_link_create(prog, 0, BPF_TRACE_ITER, NULL), fd, err = 0;
	char buf[64];
	ssize_t n;

	if (link < 0)
		return -errno;
	fd = bpf_iter_create(link);
	if (fd < 0) {
		err = -errno;
	} else {
		while ((n = read(fd, buf, sizeof(buf))) > 0 || (n < 0 && errno == EAGAIN))
			;
		err = n < 0 ? -errno : 0;
		close(fd);
	}
	close(link);
	return err;
}

void probe__task_iter(struct exam *e, struct check *c)
{
	int id, counter, prog, err;
	uint64_t threads;

	if (!e->btf) {
		check__set(c, CHECK_UNKNOWN, "not tried without BTF");
		return;
	}
	id = btf__find_by_name_kind(e->btf, "bpf_iter_task", BTF_KIND_FUNC);
	if (id < 0) {
		check__set(c, CHECK_NO, "not in this kernel");
		return;
	}
	counter = counter__new();
	if (counter < 0) {
		check__fail(e, c, "map", counter);
		return;
	}
	prog = counter__program(counter, BPF_PROG_TYPE_TRACING, BPF_TRACE_ITER, id);
	err = prog < 0 ? prog : iterate(prog);
	threads = counter__read(counter);
	if (err)
		check__fail(e, c, prog < 0 ? "program" : "iteration", err);
	else if (!threads)
		check__set(c, CHECK_NO, "found no thread");
	else /* one call more, without a task, at the end */
		check__set(c, CHECK_OK, "walked %lu threads", (unsigned long)threads - 1);
	if (prog >= 0)
		close(prog);
	close(counter);
}

/* By a raw tracepoint, the type whose helpers libbpf can tell that is next to ours. */
static void try_helper(struct exam *e, struct check *c, enum bpf_func_id helper)
{
	int there;

	if (!e->may_bpf) {
		check__fail(e, c, "program", -EPERM);
		return;
	}
	there = libbpf_probe_bpf_helper(BPF_PROG_TYPE_RAW_TRACEPOINT, helper, NULL);
	if (there < 0)
		check__fail(e, c, "program", there);
	else
		check__set(c, there ? CHECK_OK : CHECK_NO, "%s", there ? "there" : "not there");
}

void probe__bpf_loop(struct exam *e, struct check *c)
{
	try_helper(e, c, BPF_FUNC_loop);
}

void probe__find_vma(struct exam *e, struct check *c)
{
	try_helper(e, c, BPF_FUNC_find_vma);
}

void probe__fentry(struct exam *e, struct check *c)
{
	/* Made for such tests: nothing else calls it. */
	static const char function[] = "bpf_fentry_test1";
	int id, counter, prog, fd = -1;

	id = e->btf ? btf__find_by_name_kind(e->btf, function, BTF_KIND_FUNC) : -ENOENT;
	if (id < 0) {
		check__set(c, CHECK_UNKNOWN, "not tried: BTF has no %s", function);
		return;
	}
	counter = counter__new();
	if (counter < 0) {
		check__fail(e, c, "map", counter);
		return;
	}
	prog = counter__program(counter, BPF_PROG_TYPE_TRACING, BPF_TRACE_FENTRY, id);
	if (prog < 0) {
		check__fail(e, c, "load", prog);
	} else {
		fd = bpf_raw_tracepoint_open(NULL, prog);
		if (fd < 0)
			check__fail(e, c, "attach", -errno);
		else
			check__set(c, CHECK_OK, "attached to %s", function);
	}
	if (fd >= 0)
		close(fd);
	if (prog >= 0)
		close(prog);
	close(counter);
}

static void drop_record(void *ctx, const struct rec *r, size_t len)
{
	(void)ctx;
	(void)r;
	(void)len;
}

#define SAMPLE (512UL << 10) /* bytes; the machine's heaps are only ever sampled */

/* heap: with all that the heap planes add. */
static int start_and_stop(enum kernel_mode mode, bool heap)
{
	struct kernel_opts o = {.mode = mode,
				.follow = true,
				.sink = drop_record,
				.heap = heap,
				.ring = heap && mode == KERNEL_PIDS,
				.sample_bytes = heap && mode == KERNEL_MACHINE ? SAMPLE : 0};
	int status = 0;
	struct kernel *k = kernel__new(&o, &status);

	kernel__free(k);
	return k ? 0 : status;
}

static int start_exact(void)
{
	return start_and_stop(KERNEL_PIDS, false);
}

static int start_heap(void)
{
	return start_and_stop(KERNEL_PIDS, true);
}

static int start_machine(void)
{
	return start_and_stop(KERNEL_MACHINE, false);
}

static int start_machine_heap(void)
{
	return start_and_stop(KERNEL_MACHINE, true);
}

static void try_own_programs(struct exam *e, struct check *c, int (*start)(void))
{
	char said[sizeof(c->value)];
	int status;

	if (!e->may_bpf) {
		check__fail(e, c, "programs", -EPERM);
		return;
	}
	status = run_in_child(start, said, sizeof(said));
	if (status == 0)
		check__set(c, CHECK_OK, "loaded and attached");
	else if (status < 0)
		check__set(c, CHECK_UNKNOWN, "a child process for it: %s", strerrorname_np(-status));
	else
		check__set(c, CHECK_NO, "%s", *said ? said : "failed");
}

void probe__programs(struct exam *e, struct check *c)
{
	try_own_programs(e, c, start_exact);
}

#define NOT_FOUND 100 /* none of the exit statuses */

static int start_direct(void)
{
	struct kernel_opts o = {.mode = KERNEL_PIDS, .follow = true, .sink = drop_record};
	int status = 0;
	struct kernel *k = kernel__new(&o, &status);

	if (k)
		status = kernel__reads_directly(k) ? 0 : NOT_FOUND;
	kernel__free(k);
	return status;
}

void probe__direct_reads(struct exam *e, struct check *c)
{
	int status;

	if (!e->btf || !e->may_bpf) {
		check__set(c, CHECK_UNKNOWN,
			   e->btf ? "not permitted to try" : "not tried without BTF");
		return;
	}
	if (!direct__is_possible()) {
		check__set(c, CHECK_NO, "no bpf_rdonly_cast() in this kernel");
		return;
	}
	status = run_in_child(start_direct, NULL, 0);
	if (status == 0) {
		check__set(c, CHECK_OK, "found the kernel's mapping of memory");
	} else if (status == NOT_FOUND) {
		check__set(c, CHECK_NO, "the kernel's mapping of memory was not found");
		c->mend = NULL;
	} else {
		check__set(c, CHECK_UNKNOWN, "not tried: our programs do not start here");
	}
}

void probe__heap_programs(struct exam *e, struct check *c)
{
	try_own_programs(e, c, start_heap);
}

void probe__machine_programs(struct exam *e, struct check *c)
{
	try_own_programs(e, c, start_machine);
}

void probe__machine_heap_programs(struct exam *e, struct check *c)
{
	try_own_programs(e, c, start_machine_heap);
}
