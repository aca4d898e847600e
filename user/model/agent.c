// SPDX-License-Identifier: MIT
/*
 * What is memtrace's own within a process that hands its allocator's calls over (lib/trace/ring.h), told
 * by what it is and not by when it happened:
 *
 * - A mapping is its own if it is of the preloaded library's file or of a segment's memory, or was
 *   put over such a one (the loader puts the library's bss over what it mapped of the file).
 * - A call is, if it makes such a mapping or is about one, or was made by the library's code, or is a
 *   producer's that says so (CALL_OF_PRODUCER).
 * - A fault is, if it is on such a mapping, or was taken by the library's code. Not on a stack, though:
 *   that is the thread's, and what its function calls next would have touched the page.
 *
 * What is left to the program: pages of other libraries that the loader looks the agent's names up
 * in, or that libc's functions touch when the agent calls them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "user/model/internal.h"

/* Memory that has no path but this name: the collector's, and what mtalloc offers. */
static const char *const segments[] = {"memfd:memtrace_ring", "memfd:mtalloc-ring"};

bool model__is_agents_path(const struct model *m, const char *path)
{
	static const char gone[] = " (deleted)";
	size_t n = strlen(path), i;

	if (m->agent && !strcmp(path, m->agent))
		return true;
	if (n >= sizeof(gone) && !strcmp(path + n - (sizeof(gone) - 1), gone))
		n -= sizeof(gone) - 1;
	for (i = 0; i < sizeof(segments) / sizeof(segments[0]); i++)
		if (n == strlen(segments[i]) + 1 && path[0] == '/' &&
		    !memcmp(path + 1, segments[i], n - 1))
			return true;
	return false;
}

uint32_t process__mmap_file(const struct process *p, const struct rec_call *c)
{
	unsigned i;

	for (i = 0; i < MMAPS_UNDER_WAY; i++)
		if (p->mmaps[i].tid == c->h.tid && p->mmaps[i].start == (uint64_t)c->ret)
			return p->mmaps[i].file;
	return NO_FILE;
}

static bool process__is_agents_code(const struct process *p, uint64_t ip)
{
	return ip >= p->agent_code && ip < p->agent_code_end;
}

static bool process__is_agents_memory(const struct process *p, uint64_t addr)
{
	const struct vma *v = p->space.agent_bytes ? space__find(&p->space, addr) : NULL;

	return v && v->flags & VMA_AGENT;
}

bool process__is_agents_call(const struct model *m, const struct process *p, const struct rec_call *c)
{
	uint32_t file;

	/* A system call's instruction is the one before. */
	if (process__is_agents_code(p, c->ip - 1))
		return true;
	if (c->arg[5] == CALL_OF_PRODUCER &&
	    (c->h.kind == REC_MADVISE || (c->h.kind == REC_MMAP && c->arg[3] & MAP_ANONYMOUS)))
		return true;
	switch (c->h.kind) {
	case REC_BRK:
		return false;
	case REC_MMAP:
		if (c->arg[3] & MAP_FIXED && process__is_agents_memory(p, c->arg[0]))
			return true;
		file = c->arg[3] & MAP_ANONYMOUS ? NO_FILE : process__mmap_file(p, c);
		return model__is_agents_file(m, file);
	default:
		return process__is_agents_memory(p, c->arg[0]);
	}
}

bool process__is_agents_fault(const struct process *p, const struct rec_fault *f, const struct vma *v)
{
	if (v && v->flags & VMA_AGENT)
		return true;
	/* Of a fault that a system call took, the instruction is the one behind the call. */
	return (process__is_agents_code(p, f->ip) ||
		(f->h.flags & FAULT_KERNEL && process__is_agents_code(p, f->ip - 1))) &&
	       !(v && v->kind == VMA_STACK);
}

bool model__is_agents(const struct model *m, const struct rec *r)
{
	const struct process *p = model__live(m, r->tgid);
	const struct rec_fault *f = (const struct rec_fault *)r;

	if (!p)
		return false;
	if (r->kind == REC_FAULT)
		return process__is_agents_fault(p, f, f->ip ? space__find(&p->space, f->addr) : NULL);
	return r->kind >= REC_BRK && r->kind <= REC_MPROTECT &&
	       process__is_agents_call(m, p, (const struct rec_call *)r);
}

bool model__is_agents_file(const struct model *m, uint32_t file)
{
	return file < m->nfiles && m->files[file].is_agents;
}

int model__set_agent(struct model *m, const char *path)
{
	free(m->agent);
	m->agent = strdup(path);
	return m->agent ? 0 : -ENOMEM;
}

uint64_t model__agents_bytes(const struct model *m, pid_t pid, uint64_t start, uint64_t end,
			     const struct vma **other)
{
	const struct process *p = model__live(m, pid);

	*other = NULL;
	return p ? space__agents(&p->space, start, end, other) : 0;
}
