// SPDX-License-Identifier: MIT
#include "user/source/uprobe/attach.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "user/source/uprobe/uprobe_multi.h"
#include "user/util/together.h"

static int link_multi(int prog_fd, const char *path, const uint64_t *offsets, const uint64_t *cookies,
		      const uint64_t *counters, size_t n, uint32_t flags, pid_t pid)
{
	struct uprobe_multi_attr a = {
		.prog_fd = prog_fd,
		.attach_type = TRACE_UPROBE_MULTI,
		.path = (uintptr_t)path,
		.offsets = (uintptr_t)offsets,
		.ref_ctr_offsets = (uintptr_t)counters,
		.cookies = (uintptr_t)cookies,
		.cnt = n,
		.multi_flags = flags,
		.pid = pid,
	};
	int fd = syscall(SYS_bpf, BPF_LINK_CREATE, &a, sizeof(a));

	return fd < 0 ? -errno : fd;
}

/*
 * Asked on a directory, which cannot have probes: a kernel with uprobe_multi says EBADF. The first
 * kernels that had it filtered by thread, not by process; those that do it right look at
 * the process number first, and refuse -1 with EINVAL (Linux 6.10, commit 46ba0e49b642).
 */
bool attach__has_multi(void)
{
	struct bpf_prog_load_opts o = {.sz = sizeof(o), .expected_attach_type = TRACE_UPROBE_MULTI};
	struct bpf_insn nothing[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 0},
		{.code = BPF_JMP | BPF_EXIT},
	};
	int prog = bpf_prog_load(BPF_PROG_TYPE_KPROBE, "memtrace_multi", "GPL", nothing, 2, &o);
	uint64_t offset = 0;
	bool has;

	if (prog < 0)
		return false;
	has = link_multi(prog, "/", &offset, NULL, NULL, 1, 0, 0) == -EBADF &&
	      link_multi(prog, "/", &offset, NULL, NULL, 1, 0, -1) == -EINVAL;
	close(prog);
	return has;
}

static uint64_t hook__cookie(const struct hook *h)
{
	const struct entry_point *e = h->entry;
	const struct family *f = e->family;
	uint64_t cookie = (uint64_t)h->number << 8, reg[OPERANDS];

	for (unsigned i = 0; i < OPERANDS; i++)
		reg[i] = f->arg[i] ? e->site.reg[f->arg[i] - 1] + 1U : 0;
	return cookie | f->op | reg[OPERAND_SIZE] << 20 | reg[OPERAND_COUNT] << 25 |
	       reg[OPERAND_PTR] << 30 | reg[OPERAND_ALIGN] << 35 | (uint64_t)f->result << 40 |
	       (uint64_t)f->align_is_flags << 42 | (uint64_t)entry__by_exits(e) << 43 |
	       (uint64_t)h->no_end << 44;
}

static uint64_t exit__cookie(const struct exit_site *x)
{
	return x->reg | (uint64_t)x->edges << 4 | (uint64_t)x->condition << 8 |
	       (uint64_t)x->words << 16;
}

/* The points of one program, all in one file. */
struct points {
	uint64_t *offsets, *cookies;
	uint64_t *counters; /* where the target looks whether somebody listens; 0: nowhere */
	size_t n, room;
};

static void points__free(struct points *p)
{
	free(p->offsets);
	free(p->cookies);
	free(p->counters);
}

static int points__add(struct points *p, uint64_t offset, uint64_t cookie, uint64_t counter)
{
	uint64_t *grown;

	/* One exit can be that of several functions. */
	for (size_t i = 0; i < p->n; i++)
		if (p->offsets[i] == offset && p->cookies[i] == cookie)
			return 0;
	if (p->n == p->room) {
		p->room = p->room ? 2 * p->room : 64;
		grown = reallocarray(p->offsets, p->room, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		p->offsets = grown;
		grown = reallocarray(p->cookies, p->room, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		p->cookies = grown;
		grown = reallocarray(p->counters, p->room, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		p->counters = grown;
	}
	p->offsets[p->n] = offset;
	p->counters[p->n] = counter;
	p->cookies[p->n++] = cookie;
	return 0;
}

enum role { AT_ENTRY, AT_RETURN, AT_EXIT, AT_ESCAPE, AT_CONTRACT };

static int points__collect(struct points *p, enum role role, const struct hook *h)
{
	const struct entry_point *e = h->entry;
	uint64_t at = e->offset + e->site.offset;
	int err = 0;

	if (!e->family)
		return role == AT_ESCAPE ? points__add(p, at, e->escape, 0) : 0;
	if (entry__is_contract(e))
		return role == AT_CONTRACT ? points__add(p, at, hook__cookie(h), e->semaphore) : 0;
	if (role == AT_ENTRY || (role == AT_RETURN && !entry__by_exits(e) && !h->no_end))
		return points__add(p, at, hook__cookie(h), 0);
	for (size_t i = 0; role == AT_EXIT && i < e->nexits && !err; i++)
		err = points__add(p, e->exits[i].at, exit__cookie(&e->exits[i]), 0);
	return err;
}

static int attachment__keep_fd(struct attachment *a, int fd)
{
	int *grown = reallocarray(a->fds, a->nfds + 1, sizeof(*grown));

	if (!grown) {
		close(fd);
		return -ENOMEM;
	}
	a->fds = grown;
	a->fds[a->nfds++] = fd;
	return 0;
}

static int attachment__keep_link(struct attachment *a, struct bpf_link *link)
{
	struct bpf_link **grown = reallocarray(a->links, a->nlinks + 1, sizeof(*grown));

	if (!grown) {
		bpf_link__destroy(link);
		return -ENOMEM;
	}
	a->links = grown;
	a->links[a->nlinks++] = link;
	return 0;
}

static int attach__multi(struct attachment *a, const struct bpf_program *prog, bool at_return,
			 pid_t pid, const char *path, const struct points *p)
{
	int fd = link_multi(bpf_program__fd(prog), path, p->offsets, p->cookies, p->counters, p->n,
			    at_return ? UPROBE_MULTI_RETURN : 0, pid);

	return fd < 0 ? fd : attachment__keep_fd(a, fd);
}

static int attach__single(struct attachment *a, const struct bpf_program *prog, bool at_return,
			  pid_t pid, const char *path, const struct points *p)
{
	int err = 0;

	for (size_t i = 0; i < p->n && !err; i++) {
		struct bpf_uprobe_opts o = {.sz = sizeof(o),
					    .ref_ctr_offset = p->counters[i],
					    .retprobe = at_return,
					    .bpf_cookie = p->cookies[i]};
		struct bpf_link *link = bpf_program__attach_uprobe_opts(prog, pid ? pid : -1, path,
									p->offsets[i], &o);

		err = link ? attachment__keep_link(a, link) : -errno;
	}
	return err;
}

int attach__hooks(struct attachment *a, const struct attach_programs *programs, pid_t pid,
		  const struct hook *const *hooks, size_t n)
{
	/* A call that is seen to begin must be seen to return: the returns first. */
	const struct {
		enum role role;
		const struct bpf_program *program;
	} order[] = {
		{AT_RETURN, programs->leave},	   {AT_EXIT, programs->exit},
		{AT_ESCAPE, programs->escape},	   {AT_ENTRY, programs->enter},
		{AT_CONTRACT, programs->contract},
	};
	int (*place)(struct attachment *, const struct bpf_program *, bool, pid_t, const char *,
		     const struct points *) = programs->multi ? attach__multi : attach__single;
	char path[64];
	int err = 0;

	/* By descriptor: the file itself, whatever has become of its name. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", hooks[0]->module->fd);
	for (size_t k = 0; k < sizeof(order) / sizeof(order[0]) && !err; k++) {
		struct points p = {0};

		for (size_t i = 0; i < n && !err; i++)
			err = points__collect(&p, order[k].role, hooks[i]);
		if (!err && p.n)
			err = place(a, order[k].program, order[k].role == AT_RETURN, pid, path, &p);
		points__free(&p);
	}
	return err;
}

/* One thing to be closed: a link of perf events, or the descriptor of another. */
struct closing {
	struct bpf_link *link;
	int fd;
};

static void closing__do(void *arg)
{
	struct closing *c = arg;

	if (c->link)
		bpf_link__destroy(c->link);
	else
		close(c->fd);
}

void attach__drop(struct attachment *a)
{
	size_t n = a->nfds + a->nlinks, i;
	struct closing *all = calloc(n, sizeof(*all));
	void **args = calloc(n, sizeof(*args));

	for (i = 0; i < n; i++) {
		struct closing one = {.fd = -1}, *c = all && args ? &all[i] : &one;

		if (i < a->nfds)
			c->fd = a->fds[i];
		else
			c->link = a->links[i - a->nfds];
		if (c == &one)
			closing__do(c);
		else
			args[i] = c;
	}
	if (all && args)
		together__run(closing__do, args, n);
	free(all);
	free(args);
	free(a->fds);
	free(a->links);
	*a = (struct attachment){0};
}
