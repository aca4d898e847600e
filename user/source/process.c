// SPDX-License-Identifier: MIT
#include "user/source/process.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "user/source/pagemap.h"
#include "user/source/privilege.h"
#include "user/util/log.h"

static FILE *proc_open(pid_t pid, const char *name)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	return fopen(path, "re");
}

/* The fields of /proc/PID/stat that follow the name, which may hold anything. */
static int process__stat(pid_t pid, char comm[17], char *state, pid_t *ppid, unsigned *flags)
{
	FILE *f = proc_open(pid, "stat");
	char buf[1024], *open_paren, *close_paren;
	size_t n;

	if (!f)
		return errno == ENOENT ? -ESRCH : -errno;
	n = fread(buf, 1, sizeof(buf) - 1, f);
	fclose(f);
	buf[n] = '\0';
	open_paren = strchr(buf, '(');
	close_paren = strrchr(buf, ')');
	if (!n || !open_paren || !close_paren)
		return -ESRCH;
	*close_paren = '\0';
	snprintf(comm, 17, "%s", open_paren + 1);
	if (sscanf(close_paren + 1, " %c %d %*d %*d %*d %*d %u", state, ppid, flags) != 3)
		return -EINVAL;
	return 0;
}

/* The process that a thread belongs to, 0 when there is none. */
static pid_t process__of_thread(pid_t tid)
{
	FILE *f = proc_open(tid, "status");
	char line[256];
	pid_t tgid = 0;

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "Tgid: %d", &tgid) == 1)
			break;
	if (f)
		fclose(f);
	return tgid;
}

static bool process__has_other_threads(pid_t pid)
{
	char path[64];
	struct stat st;

	/* "." and "..", the process's own thread, and the others. */
	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	return !stat(path, &st) && st.st_nlink > 3;
}

#define KERNEL_THREAD 0x00200000 /* PF_KTHREAD */

int process__check(pid_t pid)
{
	char comm[17], state;
	unsigned flags;
	pid_t ppid, tgid;
	FILE *maps;
	int err = process__stat(pid, comm, &state, &ppid, &flags);

	if (err) {
		if (err == -ESRCH)
			log__error("process %d: no such process", pid);
		else
			log__error("process %d: %s", pid, strerror(-err));
		return err;
	}
	tgid = process__of_thread(pid);
	if (pid == getpid())
		log__error("process %d: that is memtrace itself", pid);
	else if (flags & KERNEL_THREAD)
		log__error("process %d (%s): a kernel thread, which has no memory of its own", pid,
			   comm);
	else if (state == 'Z' && process__has_other_threads(pid))
		log__error("process %d (%s): its first thread has ended and others go on, so that its "
			   "mappings are not to be had; launch it with memtrace instead",
			   pid, comm);
	else if (state == 'Z' || state == 'X')
		log__error("process %d (%s): it has ended already (a zombie that its parent %d has not "
			   "collected)",
			   pid, comm, ppid);
	else if (tgid && tgid != pid)
		log__error("process %d (%s): a thread of process %d; trace that one, with all its threads",
			   pid, comm, tgid);
	else
		goto readable;
	return -EINVAL;
readable:
	maps = proc_open(pid, "maps");
	if (maps && fgetc(maps) == EOF && ferror(maps)) {
		fclose(maps);
		maps = NULL;
	}
	if (!maps) {
		err = -errno;
		if (err == -EACCES || err == -EPERM)
			log__error("process %d (%s): not permitted to look into it: %s", pid, comm,
				   privilege__has(CAP_SYS_PTRACE) ?
					   "memtrace has CAP_SYS_PTRACE, but not over this process "
					   "(it belongs to another user namespace, or a security "
					   "module forbids it)" :
					   "another user's, needs CAP_SYS_PTRACE (run memtrace as "
					   "root)");
		else
			log__error("process %d (%s): %s", pid, comm, strerror(-err));
		return err;
	}
	fclose(maps);
	return 0;
}

int process__identify(pid_t pid, char comm[17], pid_t *ppid, char *exe, size_t exe_size)
{
	char path[64], state;
	unsigned flags;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/exe", pid);
	n = readlink(path, exe, exe_size - 1);
	exe[n < 0 ? 0 : n] = '\0';
	return process__stat(pid, comm, &state, ppid, &flags);
}

unsigned process__threads(pid_t pid)
{
	FILE *f = proc_open(pid, "status");
	unsigned threads = 0;
	char line[256];

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "Threads: %u", &threads) == 1)
			break;
	if (f)
		fclose(f);
	return threads;
}

/* One line of maps or smaps' headers: a mapping and its path. */
struct maps_line {
	struct vma vma;
	uint64_t ino;
	uint32_t dev;
	char path[4096 + 16];
};

/* Device numbers as the kernel has them (MKDEV of include/linux/kdev_t.h), as in struct rec_vma. */
static uint32_t kernel_dev(unsigned major, unsigned minor)
{
	return major << 20 | minor;
}

static bool maps_line__parse(const char *line, struct maps_line *l)
{
	unsigned major, minor;
	char prot[5];
	int pos = 0;
	size_t n;

	memset(&l->vma, 0, sizeof(l->vma));
	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %x:%x %" SCNu64 " %n", &l->vma.start,
		   &l->vma.end, prot, &l->vma.offset, &major, &minor, &l->ino, &pos) < 7)
		return false;
	l->dev = kernel_dev(major, minor);
	l->vma.prot = (prot[0] == 'r' ? PROT_READ : 0) | (prot[1] == 'w' ? PROT_WRITE : 0) |
		      (prot[2] == 'x' ? PROT_EXEC : 0) | (prot[3] == 's' ? VMA_SHARED : 0);
	l->vma.file = NO_FILE;
	snprintf(l->path, sizeof(l->path), "%s", line + pos);
	n = strcspn(l->path, "\n");
	l->path[n] = '\0';
	return true;
}

/* What kind of mapping a line shows; before: the one before it, for a module's bss. */
static void maps_line__classify(struct maps_line *l, const struct maps_line *before, struct model *m)
{
	struct vma *v = &l->vma;

	if (l->ino) {
		v->kind = VMA_FILE;
		v->file = model__file(m, l->ino, l->dev, l->path);
		if (model__is_agents_file(m, v->file))
			v->flags |= VMA_AGENT;
	} else if (!strcmp(l->path, "[heap]")) {
		v->kind = VMA_HEAP;
	} else if (!strncmp(l->path, "[stack", 6)) {
		v->kind = VMA_STACK;
	} else if (!strcmp(l->path, "[vdso]")) {
		v->kind = VMA_SPECIAL;
		v->file = model__vdso(m);
		v->offset = 0;
	} else if (!strncmp(l->path, "[anon:", 6) || !l->path[0]) {
		v->kind = VMA_ANON;
		if (before->ino && before->vma.end == v->start && before->vma.prot & PROT_WRITE &&
		    v->prot & PROT_WRITE)
			v->kind = VMA_BSS;
	} else {
		v->kind = VMA_SPECIAL;
	}
}

static int process__read_maps(struct model *m, pid_t pid, FILE *f, uint64_t ts_ns,
			      void (*code)(void *ctx, pid_t pid, const struct vma *v), void *ctx)
{
	struct maps_line *l = calloc(2, sizeof(*l)), *now, *before, *swap;
	char *line = NULL;
	size_t room = 0;
	int err;

	if (!l)
		return -ENOMEM;
	now = l;
	before = l + 1;
	err = model__snapshot_begin(m, pid, ts_ns);
	while (!err && getline(&line, &room, f) > 0) {
		if (!maps_line__parse(line, now))
			continue;
		maps_line__classify(now, before, m);
		err = model__snapshot_vma(m, pid, &now->vma);
		if (!err && now->vma.kind == VMA_FILE && now->vma.prot & PROT_EXEC)
			code(ctx, pid, &now->vma);
		swap = now;
		now = before;
		before = swap;
	}
	free(line);
	free(l);
	return err;
}

int process__snapshot(struct model *m, pid_t pid,
		      void (*code)(void *ctx, pid_t pid, const struct vma *v), void *ctx)
{
	FILE *f = proc_open(pid, "maps");
	struct timespec t;
	int err;

	if (!f)
		return errno == ENOENT ? -ESRCH : -errno;
	/* The time before reading: what happens while we read is applied again, and changes nothing. */
	clock_gettime(CLOCK_MONOTONIC, &t);
	err = process__read_maps(m, pid, f, t.tv_sec * 1000000000ULL + t.tv_nsec, code, ctx);
	fclose(f);
	return err;
}

char *process__maps(pid_t pid)
{
	FILE *f = proc_open(pid, "maps"), *copy;
	char part[4096], *text = NULL;
	size_t size, n;

	if (!f)
		return NULL;
	copy = open_memstream(&text, &size);
	while (copy && (n = fread(part, 1, sizeof(part), f)) > 0)
		fwrite(part, 1, n, copy);
	fclose(f);
	if (!copy || !fclose(copy))
		return text;
	free(text);
	return NULL;
}

int process__snapshot_text(struct model *m, pid_t pid, const char *maps, uint64_t ts_ns,
			   void (*code)(void *ctx, pid_t pid, const struct vma *v), void *ctx)
{
	FILE *f = *maps ? fmemopen((void *)maps, strlen(maps), "r") : NULL;
	int err;

	if (!f)
		return -ESRCH;
	err = process__read_maps(m, pid, f, ts_ns, code, ctx);
	fclose(f);
	return err;
}

int process__find_mapping(struct model *m, pid_t pid, uint64_t addr)
{
	struct maps_line *l = calloc(2, sizeof(*l));
	FILE *f = l ? proc_open(pid, "maps") : NULL;
	int err = l ? f ? -ENOENT : -ESRCH : -ENOMEM;
	char *line = NULL;
	size_t room = 0;

	while (f && err == -ENOENT && getline(&line, &room, f) > 0) {
		if (!maps_line__parse(line, l) || addr < l->vma.start || addr >= l->vma.end)
			continue;
		/* Behind no mapping that could make it a module's bss: that one would be known. */
		maps_line__classify(l, l + 1, m);
		err = model__snapshot_vma(m, pid, &l->vma);
	}
	free(line);
	if (f)
		fclose(f);
	free(l);
	return err;
}

static void region__add(struct region_stats *r, uint64_t bytes, uint64_t resident)
{
	if (r->mappings == UNKNOWN)
		r->mappings = r->bytes = r->resident_bytes = 0;
	r->mappings++;
	r->bytes += bytes;
	r->resident_bytes += resident;
}

uint64_t process__rss(pid_t pid)
{
	uint64_t rss = UNKNOWN, pages;
	FILE *f = proc_open(pid, "statm");

	if (f && fscanf(f, "%*u %" SCNu64, &pages) == 1)
		rss = pages * sysconf(_SC_PAGESIZE);
	if (f)
		fclose(f);
	return rss;
}

/* The figures that the kernel keeps itself. */
static void process__own_figures(pid_t pid, struct process_report *p)
{
	FILE *f = proc_open(pid, "smaps_rollup");
	char line[256];
	uint64_t kb;

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "Rss: %" SCNu64, &kb) == 1)
			p->rss_bytes = kb * 1024;
	if (f)
		fclose(f);
	f = proc_open(pid, "status");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "VmHWM: %" SCNu64, &kb) == 1)
			p->rss_peak_bytes = kb * 1024;
	if (f)
		fclose(f);
}

/* To whom the resident bytes of a mapping belong. */
struct owners {
	struct resident *resident;
	enum region_class class;
	struct pagemap *pages;
	/* Of a mapping that is the agent's in part: the kernel joins its data with what lies behind. */
	const struct model *model;
	pid_t pid;
	uint64_t agents, agents_resident;
};

static void owners__pages(void *ctx, uint64_t start, uint64_t end)
{
	struct owners *o = ctx;

	resident__pages(o->resident, o->class, start, end);
}

static void owners__agents_pages(void *ctx, uint64_t start, uint64_t end)
{
	struct owners *o = ctx;
	const struct vma *other;

	o->agents_resident += model__agents_bytes(o->model, o->pid, start, end, &other);
}

/* A line of smaps begins: what mapping it is. known: as the model has it, or NULL. */
static void owners__classify(struct owners *o, struct process_report *p, const struct vma *v,
			     const struct vma *known)
{
	const struct vma *other;

	o->agents = model__agents_bytes(o->model, o->pid, v->start, v->end, &other);
	if (!known && v->flags & VMA_AGENT)
		o->agents = v->end - v->start;
	if (o->agents == v->end - v->start)
		known = NULL;
	else if (o->agents)
		known = other;
	o->class = o->agents && !known ? REGION_AGENT : model__class(o->model, known ? known : v);
	o->agents_resident = 0;
	if (o->class != REGION_AGENT)
		region__add(&p->regions[o->class], v->end - v->start - o->agents, 0);
}

/* And so much of it is resident. */
static void owners__count(struct owners *o, struct process_report *p, const struct vma *v,
			  uint64_t bytes)
{
	if (o->class == REGION_AGENT)
		o->agents_resident = bytes;
	else if (o->agents && o->pages)
		pagemap__each(o->pages, v->start, v->end, bytes, owners__agents_pages, o);
	if (o->agents)
		p->agent.resident_bytes += o->agents_resident;
	if (o->class != REGION_AGENT)
		p->regions[o->class].resident_bytes += bytes - o->agents_resident;
}

static void owners__mapping(struct owners *o, const struct vma *v, uint64_t bytes)
{
	if (!o->resident || !bytes)
		return;
	if (!o->pages || (!resident__wants_pages(o->class) && o->agents_resident == 0) ||
	    o->class == REGION_AGENT ||
	    pagemap__each(o->pages, v->start, v->end, bytes, owners__pages, o))
		resident__sum(o->resident, o->class, bytes);
}

int process__residency(struct model *m, pid_t pid, struct process_report *p)
{
	struct maps_line *l = calloc(2, sizeof(*l)), *now, *before, *swap;
	struct owners o = {.class = REGION_UNKNOWN, .model = m, .pid = pid};
	FILE *f = proc_open(pid, "smaps");
	const struct vma *known;
	char *line = NULL;
	size_t room = 0, i;
	uint64_t kb;

	if (!l || !f) {
		free(l);
		if (f)
			fclose(f);
		return f ? -ENOMEM : -ESRCH;
	}
	now = l;
	before = l + 1;
	if (model__has_heap(m)) {
		o.resident = model__resident_begin(m, pid);
		o.pages = pagemap__open(pid);
	}
	for (i = 0; i < REGION_CLASSES; i++)
		p->regions[i].mappings = p->regions[i].bytes = p->regions[i].resident_bytes = 0;
	p->agent.resident_bytes = 0;
	while (getline(&line, &room, f) > 0) {
		if (sscanf(line, "Rss: %" SCNu64, &kb) == 1) {
			owners__count(&o, p, &before->vma, kb * 1024);
			owners__mapping(&o, &before->vma, kb * 1024);
			continue;
		}
		if (!isxdigit((unsigned char)line[0]) || !maps_line__parse(line, now))
			continue;
		/* The model saw how a mapping came to be and knows better than its line can tell. */
		maps_line__classify(now, before, m);
		known = model__find(m, pid, now->vma.start);
		owners__classify(&o, p, &now->vma, known);
		swap = now;
		now = before;
		before = swap;
	}
	free(line);
	fclose(f);
	free(l);
	process__own_figures(pid, p);
	resident__end(o.resident, p->rss_bytes);
	pagemap__close(o.pages);
	return p->rss_bytes == UNKNOWN ? -ESRCH : 0;
}

int process__each(void (*fn)(void *ctx, pid_t pid), void *ctx)
{
	DIR *d = opendir("/proc");
	struct dirent *e;

	if (!d)
		return -errno;
	while ((e = readdir(d)))
		if (isdigit((unsigned char)e->d_name[0]))
			fn(ctx, atoi(e->d_name));
	closedir(d);
	return 0;
}
