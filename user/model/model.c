// SPDX-License-Identifier: MIT
#include "user/model/model.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "user/model/internal.h"

int array__grow(void *array, size_t *room, size_t count, size_t size)
{
	size_t more = *room ? *room * 2 : 16;
	void **a = array, *p;

	if (count < *room)
		return 0;
	p = reallocarray(*a, more, size);
	if (!p)
		return -ENOMEM;
	*a = p;
	*room = more;
	return 0;
}

struct model *model__new(uint64_t start_ns)
{
	struct model *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->start_ns = start_ns;
	m->mapped_every_ns = 1000000;
	return m;
}

static void process__free(struct process *p)
{
	space__clear(&p->space);
	hmap__clear(&p->places);
	process__heap_free(p);
	free(p->pending);
	free((char *)p->r.comm);
	free((char *)p->r.exe);
	free(p);
}

void model__free(struct model *m)
{
	uint64_t key, value;
	size_t i, pos = 0;

	if (!m)
		return;
	for (i = 0; i < m->nprocesses; i++)
		process__free(m->processes[i]);
	for (i = 0; i < m->nfiles; i++)
		free(m->files[i].path);
	free(m->agent);
	for (i = 0; i < m->nplaces; i++) {
		free(m->places[i].steps);
		free(m->places[i].heap);
	}
	model__heap_free(m);
	while (hmap__next(&m->stacks, &pos, &key, &value))
		free((void *)(uintptr_t)value);
	hmap__clear(&m->by_pid);
	hmap__clear(&m->by_vnode);
	hmap__clear(&m->stacks);
	hmap__clear(&m->by_steps);
	free(m->processes);
	free(m->files);
	free(m->places);
	free(m);
}

/* Files */

static uint64_t *model__find_file(struct model *m, uint64_t ino, uint32_t dev, uint64_t *key)
{
	uint64_t *found;

	*key = hmap__mix(ino, dev);
	while ((found = hmap__find(&m->by_vnode, *key))) {
		if (m->files[*found].ino == ino && m->files[*found].dev == dev)
			return found;
		++*key;
	}
	return NULL;
}

static void model__name_file(const struct model *m, struct file *f, const char *path)
{
	f->path = strdup(path);
	f->is_agents = model__is_agents_path(m, path);
}

static uint32_t model__new_file(struct model *m, uint64_t key, uint64_t ino, uint32_t dev,
				const char *path)
{
	if (array__grow(&m->files, &m->files_room, m->nfiles, sizeof(*m->files)) ||
	    hmap__set(&m->by_vnode, key, m->nfiles))
		return NO_FILE;
	m->files[m->nfiles] = (struct file){.ino = ino, .dev = dev};
	if (path)
		model__name_file(m, &m->files[m->nfiles], path);
	return m->nfiles++;
}

uint32_t model__file(struct model *m, uint64_t ino, uint32_t dev, const char *path)
{
	uint64_t key, *found = model__find_file(m, ino, dev, &key);

	if (!found)
		return model__new_file(m, key, ino, dev, path);
	if (!m->files[*found].path && path)
		model__name_file(m, &m->files[*found], path);
	return *found;
}

/* The same by a record, which may tell that the inode is another file's now. */
static uint32_t model__file_again(struct model *m, const struct rec_file *r, const char *path)
{
	uint64_t key, *found = model__find_file(m, r->ino, r->dev, &key);
	uint32_t file;

	if (found && m->files[*found].has_generation && m->files[*found].generation != r->generation)
		file = model__new_file(m, key, r->ino, r->dev, path);
	else
		file = model__file(m, r->ino, r->dev, path);
	if (file != NO_FILE) {
		m->files[file].has_generation = true;
		m->files[file].generation = r->generation;
	}
	return file;
}

uint32_t model__vdso(struct model *m)
{
	return model__file(m, 0, 0, "[vdso]");
}

const char *model__file_path(const struct model *m, uint32_t file)
{
	return file < m->nfiles ? m->files[file].path : NULL;
}

uint64_t model__file_ino(const struct model *m, uint32_t file)
{
	return file < m->nfiles ? m->files[file].ino : 0;
}

uint32_t model__file_dev(const struct model *m, uint32_t file)
{
	return file < m->nfiles ? m->files[file].dev : 0;
}

/* Join the components, which come last first: "true\0bin\0usr\0" is /usr/bin/true. */
static int model__take_file(struct model *m, const struct rec_file *r, size_t len)
{
	size_t used = r->h.aux, end, start, pos = 0;
	char path[FILE_PATH_BYTES + 8];

	if (used > FILE_PATH_BYTES || len < sizeof(*r) - FILE_PATH_BYTES + used)
		return -EBADMSG;
	if (used && r->path[used - 1])
		return -EBADMSG;
	if (r->h.flags & FILE_CUT)
		pos = (size_t)(stpcpy(path, "...") - path);
	for (end = used; end; end = start) {
		start = end - 1;
		while (start && r->path[start - 1])
			start--;
		path[pos++] = '/';
		memcpy(path + pos, r->path + start, end - start - 1);
		pos += end - start - 1;
	}
	path[pos] = '\0';
	return model__file_again(m, r, path) == NO_FILE ? -ENOMEM : 0;
}

/* Processes */

uint64_t model__since_start(const struct model *m, uint64_t ts_ns)
{
	return ts_ns > m->start_ns ? ts_ns - m->start_ns : 0;
}

/* The latest process with a pid, which may have ended. */
static struct process *model__latest(const struct model *m, pid_t pid)
{
	struct process *p = m->last_process;
	uint64_t *i;

	if (p && p->r.pid == pid)
		return p;
	i = hmap__find(&m->by_pid, pid);
	return i ? m->processes[*i] : NULL;
}

struct process *model__live(const struct model *m, pid_t pid)
{
	struct process *p = model__latest(m, pid);

	return p && !p->r.ended ? p : NULL;
}

void model__account(struct model *m, struct process *p)
{
	uint64_t mapped = p->borrows_space ? 0 : p->space.mapped_bytes;
	uint64_t heap = p->borrows_space ? 0 : p->space.heap_bytes;

	m->mapped_bytes += mapped - p->counted_mapped;
	m->heap_bytes += heap - p->counted_heap;
	p->counted_mapped = mapped;
	p->counted_heap = heap;
	if (p->space.agent_bytes && !p->borrows_space) {
		p->r.has_agent = true;
		if (p->space.agent_bytes > p->r.agent.mapped_bytes)
			p->r.agent.mapped_bytes = p->space.agent_bytes;
	}
}

static void process__set_space(struct model *m, struct process *p, bool known)
{
	space__clear(&p->space);
	p->agent_code = p->agent_code_end = 0;
	p->has_space = known;
	p->borrows_space = false;
	model__account(m, p);
}

static void process__end(struct model *m, struct process *p, uint64_t ts_ns)
{
	process__classify_early(m, p);
	process__heap_drop(m, p, false);
	process__set_space(m, p, false);
	process__forget_places(m, p);
	free(p->pending);
	p->pending = NULL;
	p->npending = 0;
	m->nalive -= !p->r.ended;
	p->r.ended = true;
	p->r.end_ns = model__since_start(m, ts_ns);
	p->r.mapped_bytes = 0;
	model__sample_mapped(m, ts_ns);
}

struct process *model__new_process(struct model *m, pid_t pid, pid_t ppid, const char *comm,
				   uint64_t ts_ns)
{
	struct process *p = calloc(1, sizeof(*p)), *before = model__live(m, pid);
	unsigned i;

	if (!p)
		return NULL;
	p->r.comm = strndup(comm, 16);
	if (!p->r.comm || array__grow(&m->processes, &m->processes_room, m->nprocesses, sizeof(p)) ||
	    hmap__set(&m->by_pid, pid, m->nprocesses)) {
		process__free(p);
		return NULL;
	}
	m->processes[m->nprocesses++] = p;
	m->last_process = NULL;
	m->nalive++;
	if (before) /* the pid is in use again: its end was lost */
		process__end(m, before, ts_ns);
	p->r.pid = pid;
	p->r.ppid = ppid;
	p->r.start_ns = model__since_start(m, ts_ns);
	p->r.threads = 1;
	p->r.rss_bytes = p->r.rss_peak_bytes = UNKNOWN;
	p->r.heap.before_blocks = p->r.heap.before_bytes = UNKNOWN;
	p->r.heap.before_at_most = UNKNOWN;
	p->r.agent.resident_bytes = UNKNOWN;
	for (i = 0; i < REGION_CLASSES; i++)
		p->r.regions[i].mappings = p->r.regions[i].bytes = p->r.regions[i].resident_bytes =
			UNKNOWN;
	return p;
}

int model__add_root(struct model *m, pid_t pid, pid_t ppid, const char *comm, const char *exe,
		    bool launched)
{
	struct process *p = model__new_process(m, pid, ppid, comm, m->start_ns);

	if (!p)
		return -ENOMEM;
	p->r.root = true;
	p->waits_for_exec = launched;
	p->r.exe = exe ? strdup(exe) : NULL;
	return 0;
}

int model__meet(struct model *m, pid_t pid, pid_t ppid, const char *comm, const char *exe,
		uint64_t ts_ns)
{
	struct process *p = model__live(m, pid);

	if (!p)
		p = model__new_process(m, pid, ppid, comm, ts_ns);
	if (!p)
		return -ENOMEM;
	process__heap_drop(m, p, true);
	process__set_space(m, p, false);
	p->waits_for_exec = false;
	free((char *)p->r.comm);
	free((char *)p->r.exe);
	p->r.comm = strndup(comm, 16);
	p->r.exe = exe && *exe ? strdup(exe) : NULL;
	return p->r.comm ? 0 : -ENOMEM;
}

/*
 * The process a record is about, made when it was not known (an exact name or cgroup match).
 * Threads that end together race: after the record that says "the last" there may be others' last
 * ones.
 */
static struct process *model__get(struct model *m, const struct rec *r)
{
	struct process *p = model__latest(m, r->tgid);

	if (p && (!p->r.ended || r->kind == REC_EXIT || r->kind == REC_FAULT)) {
		m->last_process = p;
		return p;
	}
	return model__new_process(m, r->tgid, 0, "?", r->ts_ns);
}

int model__snapshot_begin(struct model *m, pid_t pid, uint64_t ts_ns)
{
	struct process *p = model__live(m, pid);

	if (!p)
		return -ESRCH;
	process__set_space(m, p, true);
	p->snapshot_ns = ts_ns;
	return 0;
}

struct process *process__lender(const struct process *p)
{
	struct process *lender = p->borrows_space ? p->parent : NULL;

	return lender && !lender->r.ended && lender->r.execs == p->parent_execs ? lender : NULL;
}

pid_t model__lender(const struct model *m, pid_t pid)
{
	const struct process *p = model__live(m, pid), *lender;

	while (p && (lender = process__lender(p)))
		p = lender;
	return p ? p->r.pid : pid;
}

int model__snapshot_vma(struct model *m, pid_t pid, const struct vma *v)
{
	struct process *p = model__live(m, pid);
	struct vma known = *v;

	if (!p)
		return -ESRCH;
	if (v->kind == VMA_FILE && v->prot & PROT_EXEC && v->file < m->nfiles)
		m->files[v->file].is_code = true;
	known.flags |= VMA_BEFORE;
	if (v->kind == VMA_FILE && model__is_agents_file(m, v->file))
		known.flags |= VMA_AGENT;
	if (space__map(&p->space, &known, 0))
		return -ENOMEM;
	model__account(m, p);
	model__sample_mapped(m, p->snapshot_ns);
	return 0;
}

static int model__take_fork(struct model *m, const struct rec_fork *f)
{
	struct process *p = model__get(m, &f->h), *child;

	if (!p)
		return -ENOMEM;
	if (f->child_tgid == f->h.tgid) {
		p->r.threads++;
		return 0;
	}
	p->r.forks++;
	if (!(f->h.flags & FORK_SHARES_MM))
		space__mark_forked(&p->space);
	child = model__new_process(m, f->child_tgid, f->h.tgid, f->comm, f->h.ts_ns);
	if (!child)
		return -ENOMEM;
	child->r.exe = p->r.exe ? strdup(p->r.exe) : NULL;
	child->has_space = p->has_space;
	child->borrows_space = f->h.flags & FORK_SHARES_MM;
	child->parent = p;
	child->parent_execs = p->r.execs;
	if (space__copy(&child->space, &p->space) ||
	    process__heap_fork(child, p, f->h.flags & FORK_SHARES_MM))
		return -ENOMEM;
	if (!child->borrows_space && space__drop_not_forked(&child->space))
		return -ENOMEM;
	child->agent_code = p->agent_code;
	child->agent_code_end = p->agent_code_end;
	model__account(m, child);
	model__sample_mapped(m, f->h.ts_ns);
	return 0;
}

/* A mapping that execve made; what it is follows from where it is. */
static struct vma exec__vma(struct model *m, const struct rec_exec *e, struct vma v)
{
	if (v.kind == VMA_FILE)
		return v;
	if (v.start <= e->start_stack && e->start_stack < v.end)
		v.kind = VMA_STACK;
	else
		v.kind = v.prot & PROT_WRITE ? VMA_BSS : VMA_SPECIAL;
	if (v.kind == VMA_SPECIAL && v.prot & PROT_EXEC)
		v.file = model__vdso(m);
	return v;
}

static int model__take_exec(struct model *m, const struct rec_exec *e)
{
	struct process *p = model__get(m, &e->h);
	const char *exe;
	size_t i;
	int err = 0;

	if (!p)
		return -ENOMEM;
	process__heap_drop(m, p, true);
	process__is_heard(p);
	process__set_space(m, p, p->npending > 0);
	for (i = 0; i < p->npending && !err; i++) {
		struct vma v = exec__vma(m, e, p->pending[i]);

		err = space__map(&p->space, &v, e->h.ts_ns);
	}
	model__account(m, p);
	model__sample_mapped(m, e->h.ts_ns);
	free(p->pending);
	p->pending = NULL;
	p->npending = 0;
	p->waits_for_exec = false;
	p->r.execs++;
	free((char *)p->r.comm);
	p->r.comm = strndup(e->comm, 16);
	exe = model__file_path(m, model__file(m, e->exe_ino, e->exe_dev, NULL));
	free((char *)p->r.exe);
	p->r.exe = exe ? strdup(exe) : NULL;
	process__classify_early(m, p);
	return p->r.comm ? err : -ENOMEM;
}

static int model__take_vma(struct model *m, const struct rec_vma *r)
{
	struct process *p = model__get(m, &r->h);
	struct vma v = {.start = r->start,
			.end = r->end,
			.offset = r->pgoff,
			.file = NO_FILE,
			.prot = r->prot & 0xf};
	struct vma *pending;

	if (!p)
		return -ENOMEM;
	if (r->ino) {
		v.kind = VMA_FILE;
		v.file = model__file(m, r->ino, r->dev, NULL);
		if (v.file != NO_FILE && r->prot & PROT_EXEC)
			m->files[v.file].is_code = true;
	}
	if (!r->h.aux) {
		p->mmaps[p->next_mmap].tid = r->h.tid;
		p->mmaps[p->next_mmap].file = v.file;
		p->mmaps[p->next_mmap].start = v.start;
		p->next_mmap = (p->next_mmap + 1) % MMAPS_UNDER_WAY;
		return 0;
	}
	pending = reallocarray(p->pending, p->npending + 1, sizeof(v));
	if (!pending)
		return -ENOMEM;
	p->pending = pending;
	p->pending[p->npending++] = v;
	return 0;
}

static int model__take_exit(struct model *m, const struct rec_exit *e)
{
	struct process *p = model__get(m, &e->h);

	if (!p)
		return -ENOMEM;
	model__heap_thread_end(m, e->h.tid);
	p->r.kernel_minflt += e->min_flt;
	p->r.kernel_majflt += e->maj_flt;
	if (!e->h.aux)
		return 0;
	p->r.exit_known = !(e->h.flags & EXIT_UNTOLD);
	p->r.exit_status = e->exit_code;
	process__end(m, p, e->h.ts_ns);
	return 0;
}

static int model__take_rename(struct model *m, const struct rec_rename *n)
{
	struct process *p = model__live(m, n->h.tgid);
	const char *comm;

	if (!p)
		return 0; /* its end came first, or it is yet to be met */
	comm = strndup(n->comm, sizeof(n->comm));
	if (!comm)
		return -ENOMEM;
	free((char *)p->r.comm);
	p->r.comm = comm;
	return 0;
}

static int model__take_stack(struct model *m, const struct rec_stack *r, size_t len)
{
	struct rec_stack *st;
	size_t need = sizeof(*r) - sizeof(r->ip) + r->h.aux * sizeof(r->ip[0]);

	if (!r->h.aux || r->h.aux > STACK_FRAMES || len < need)
		return -EBADMSG;
	if (hmap__find(&m->stacks, r->stack_id))
		return 0;
	st = malloc(need);
	if (!st)
		return -ENOMEM;
	memcpy(st, r, need);
	if (hmap__set(&m->stacks, r->stack_id, (uintptr_t)st)) {
		free(st);
		return -ENOMEM;
	}
	m->nstacks++;
	m->stacks_cut += (r->h.flags & STACK_INCOMPLETE) != 0;
	return 0;
}

const struct rec_stack *model__stack(const struct model *m, uint64_t stack_id)
{
	uint64_t *st = hmap__find(&m->stacks, stack_id);

	return st ? (const struct rec_stack *)(uintptr_t)*st : NULL;
}

/* How long each kind of record must be. */
static const uint16_t record_min_len[REC_ALL_KINDS] = {
	[REC_BRK... REC_MPROTECT] = sizeof(struct rec_call),
	[REC_FAULT] = sizeof(struct rec_fault),
	[REC_FORK] = sizeof(struct rec_fork),
	[REC_EXEC] = sizeof(struct rec_exec),
	[REC_EXIT] = sizeof(struct rec_exit),
	[REC_STACK] = sizeof(struct rec_stack) - sizeof(((struct rec_stack *)0)->ip),
	[REC_VMA] = sizeof(struct rec_vma),
	[REC_FILE] = sizeof(struct rec_file) - FILE_PATH_BYTES,
	[REC_RENAME] = sizeof(struct rec_rename),
	[REC_HEAP] = sizeof(struct rec_heap),
	[REC_HOOK] = sizeof(struct rec_hook),
	[REC_ALLOCATOR] = sizeof(struct rec_allocator),
};

int model__apply(struct model *m, const struct rec *r, size_t len)
{
	struct process *p;

	if (len < sizeof(*r) || r->kind <= REC_NONE || r->kind >= REC_ALL_KINDS ||
	    len < record_min_len[r->kind])
		return -EBADMSG;
	m->last = (struct model_last){.old_size = UNKNOWN};
	switch (r->kind) {
	case REC_HEAP: /* of these there are the most */
		p = model__get(m, r);
		return p ? model__heap(m, p, (const struct rec_heap *)r) : -ENOMEM;
	case REC_FORK:
		return model__take_fork(m, (const struct rec_fork *)r);
	case REC_EXEC:
		return model__take_exec(m, (const struct rec_exec *)r);
	case REC_EXIT:
		return model__take_exit(m, (const struct rec_exit *)r);
	case REC_STACK:
		return model__take_stack(m, (const struct rec_stack *)r, len);
	case REC_VMA:
		return model__take_vma(m, (const struct rec_vma *)r);
	case REC_FILE:
		return model__take_file(m, (const struct rec_file *)r, len);
	case REC_RENAME:
		return model__take_rename(m, (const struct rec_rename *)r);
	case REC_HOOK:
		return model__take_hook(m, (const struct rec_hook *)r);
	}
	p = model__get(m, r);
	if (!p)
		return -ENOMEM;
	if (r->kind == REC_FAULT)
		return model__fault(m, p, (const struct rec_fault *)r);
	if (r->kind == REC_ALLOCATOR)
		return model__take_allocator(m, p, (const struct rec_allocator *)r);
	return model__call(m, p, (const struct rec_call *)r);
}

/* Questions */

const struct model_last *model__last(const struct model *m)
{
	return &m->last;
}

bool model__knows(const struct model *m, pid_t pid)
{
	struct process *p = model__live(m, pid);

	return p && (p->has_space || p->waits_for_exec);
}

const char *model__comm(const struct model *m, pid_t pid)
{
	struct process *p = model__latest(m, pid);

	return p ? p->r.comm : "?";
}

const char *model__exe(const struct model *m, pid_t pid)
{
	struct process *p = model__latest(m, pid);

	return p ? p->r.exe : NULL;
}

const struct vma *model__find(const struct model *m, pid_t pid, uint64_t addr)
{
	struct process *p = model__live(m, pid);

	return p ? space__find(&p->space, addr) : NULL;
}

const struct vma *model__reach(const struct model *m, pid_t pid, uint64_t addr)
{
	struct process *p = model__live(m, pid);

	return p ? space__reach(&p->space, addr) : NULL;
}

enum region_class model__class(const struct model *m, const struct vma *v)
{
	if (v->flags & VMA_AGENT)
		return REGION_AGENT;
	switch ((enum vma_kind)v->kind) {
	case VMA_HEAP:
		return REGION_HEAP;
	case VMA_STACK:
		return REGION_STACK;
	case VMA_BSS:
		return REGION_DATA;
	case VMA_SPECIAL:
		return REGION_OTHER;
	case VMA_ANON:
		return REGION_MMAP;
	case VMA_FILE:
		break;
	}
	if (v->prot & PROT_EXEC)
		return REGION_TEXT;
	if (v->file >= m->nfiles || !m->files[v->file].is_code)
		return REGION_FILE;
	/* A module: its writable part is data, its constants go with the text. */
	return v->flags & VMA_WAS_WRITABLE && !(v->prot & VMA_SHARED) ? REGION_DATA : REGION_TEXT;
}

size_t model__alive(const struct model *m, pid_t *pids, size_t max)
{
	size_t i, n = 0;

	/* It is asked often: of the many that have ended no more are looked at than must be. */
	for (i = 0; n < max && n < m->nalive; i++)
		if (!m->processes[i]->r.ended)
			pids[n++] = m->processes[i]->r.pid;
	return m->nalive;
}

size_t model__processes(const struct model *m, const struct process_report **out, size_t max)
{
	size_t i;

	for (i = 0; i < m->nprocesses && i < max; i++)
		out[i] = &m->processes[i]->r;
	return m->nprocesses;
}

struct process_report *model__process(struct model *m, pid_t pid)
{
	struct process *p = model__live(m, pid);

	return p ? &p->r : NULL;
}

void model__set_exit(struct model *m, pid_t pid, int status, uint64_t peak_bytes)
{
	size_t i;

	for (i = m->nprocesses; i--;) {
		struct process_report *r = &m->processes[i]->r;

		if (r->pid != pid)
			continue;
		if (!r->ended) /* its record was lost: the end of the report is the best guess */
			process__end(m, m->processes[i], m->start_ns);
		r->exit_known = true;
		r->exit_status = status;
		r->rss_peak_bytes = peak_bytes;
		return;
	}
}

void model__add_thread_faults(struct model *m, const struct task_row *row)
{
	struct process *p = model__live(m, row->tgid);

	if (!p)
		return;
	p->r.kernel_minflt += row->min_flt;
	p->r.kernel_majflt += row->maj_flt;
}

void model__sample_mapped(struct model *m, uint64_t ts_ns)
{
	uint64_t t = model__since_start(m, ts_ns);
	struct mapped_point *last = m->nmapped ? &m->mapped[m->nmapped - 1] : NULL;
	size_t i;

	if (last && t < last->t_ns + m->mapped_every_ns) {
		/* The highest value of an interval stands for it. */
		if (m->mapped_bytes > last->mapped_bytes)
			last->mapped_bytes = m->mapped_bytes;
		if (m->heap_bytes > last->heap_bytes)
			last->heap_bytes = m->heap_bytes;
		return;
	}
	if (m->nmapped == MAPPED_POINTS) {
		/* Full: keep every second point, the larger of two. */
		for (i = 0; i < MAPPED_POINTS / 2; i++) {
			struct mapped_point *a = &m->mapped[2 * i], *b = a + 1;

			m->mapped[i] = a->mapped_bytes > b->mapped_bytes ? *a : *b;
			m->mapped[i].t_ns = a->t_ns;
		}
		m->nmapped = MAPPED_POINTS / 2;
		m->mapped_every_ns *= 2;
	}
	m->mapped[m->nmapped++] = (struct mapped_point){t, m->mapped_bytes, m->heap_bytes};
}
