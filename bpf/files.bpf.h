/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/*
 * Files behind mappings, and the mappings of a new image, told as they come
 * to be: a short-lived process is gone before anyone can read its /proc/PID/maps.
 */
#ifndef MEMTRACE_FILES_BPF_H
#define MEMTRACE_FILES_BPF_H

#include "bpf/stack.bpf.h"

#define PATH_DEPTH 32
#define NAME_BYTES 255

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct vnode_key);
	__type(value, __u32);
} files_sent SEC(".maps");

struct path_walk {
	struct rec_file *r;
	struct dentry *d;
	struct mount *m;
	__u32 pos;
	__u32 flags;
};

/* One step up; 1 ends the walk. */
static long path__step(__u32 i, struct path_walk *w)
{
	struct dentry *d = w->d, *parent = BPF_CORE_READ(d, d_parent), *root;
	struct mount *m = w->m, *up;
	const unsigned char *name;
	__u32 pos = w->pos;
	long got;

	root = BPF_CORE_READ(m, mnt.mnt_root);
	/* What is in no directory, such as a memfd, has a name all the same; that is all. */
	if (d == root || (d == parent && pos)) {
		up = BPF_CORE_READ(m, mnt_parent);
		if (up == m || d != root) {
			w->flags = 0;
			return 1;
		}
		w->d = BPF_CORE_READ(m, mnt_mountpoint);
		w->m = up;
		return 0;
	}
	name = BPF_CORE_READ(d, d_name.name);
	/* Linux 6.1's verifier forgets the bound of a value that is kept on the stack meanwhile. */
	barrier_var(pos);
	if (pos > FILE_PATH_BYTES - NAME_BYTES - 1)
		return 1;
	got = bpf_probe_read_kernel_str(&w->r->path[pos], NAME_BYTES + 1, name);
	if (got <= 0)
		return 1;
	w->pos = pos + got;
	w->d = parent;
	return 0;
}

/* Write the components of f's path into r->path, the last first. */
static __always_inline void file__path(struct rec_file *r, struct file *f, __u32 zero)
{
	struct vfsmount *vfs = BPF_CORE_READ(f, f_path.mnt);
	struct path_walk w = {.r = r, .pos = zero, .flags = FILE_CUT};

	w.d = BPF_CORE_READ(f, f_path.dentry);
	w.m = (void *)vfs - bpf_core_field_offset(struct mount, mnt);
	bpf_loop(PATH_DEPTH, path__step, &w, 0);
	r->h.flags = w.flags;
	r->h.aux = w.pos;
}

/*
 * Send the path (as of time ts) of a file, the address of a struct file, if that has not been done,
 * and say which it is. zero: thread_state.zero. A function of its own to the verifier: a path has
 * many ways to go.
 */
__noinline int file__announce(__u64 file, __u64 ts, struct vnode_key *which, __u32 zero)
{
	struct vnode_key key = {}; /* before Linux 6.2 a map takes no key from a caller's stack */
	void *ring = ring__get();
	struct rec_file *r;
	__u32 one = 1;

	if (!which || !ring)
		return 0;
	file__key((struct file *)file, &key);
	*which = key;
	if (bpf_map_lookup_elem(&files_sent, &key))
		return 0;
	r = record__reserve(ring, REC_FILE, sizeof(*r));
	if (!r)
		return 0;
	record__head(&r->h, REC_FILE, bpf_get_current_task_btf(), ts);
	r->ino = key.ino;
	r->dev = key.dev;
	r->generation = key.generation;
	file__path(r, (struct file *)file, zero);
	record__send(r);
	bpf_map_update_elem(&files_sent, &key, &one, BPF_ANY);
	return 0;
}

/* The address of its struct file, 0: it has none. A number to the verifier. */
static __always_inline __u64 vma__file(struct vm_area_struct *vma)
{
	__u64 file = 0;

	bpf_core_read(&file, sizeof(file), &vma->vm_file);
	return file;
}

/* Where an mmap has put code. */
struct code_place {
	__u64 start, end, offset;
	__u32 entered;
};

static long code__of_mapping(struct task_struct *t, struct vm_area_struct *vma, struct code_place *p)
{
	__u64 file = vma__file(vma);

	if (file) {
		code__mapped(file, p->start, p->end, p->offset);
		p->entered = 1;
	}
	return 0;
}

/*
 * Mmap call c has mapped code of a file. What is mapped may be another file than the
 * descriptor's (overlayfs hands the mapping to the file that lies below), and that
 * is the one which a walk finds at an address, so the mapping itself is asked. It cannot be
 * while its list is being changed: then the descriptor's file has to do.
 */
static __always_inline void code__of_mmap(struct task_struct *t, struct rec_call *c, __u64 file)
{
	struct code_place p = {c->ret, c->ret + c->arg[1], c->arg[5]};

	bpf_find_vma(t, p.start, code__of_mapping, &p, 0);
	if (!p.entered)
		code__mapped(file, p.start, p.end, p.offset);
}

/* The file mapping that mmap call c made: from its arguments and its descriptor. */
static __always_inline void vma__of_mmap(void *ring, struct task_struct *t, struct rec_call *c,
					 __u32 zero)
{
	struct fdtable *fdt = BPF_CORE_READ(t, files, fdt);
	__u64 fd = c->arg[4], file = 0;
	struct vnode_key key = {};
	struct file **table;
	struct rec_vma *r;

	if (fd >= BPF_CORE_READ(fdt, max_fds))
		return;
	table = BPF_CORE_READ(fdt, fd);
	if (bpf_probe_read_kernel(&file, sizeof(file), table + fd) || !file)
		return;
	if (c->arg[2] & VM_EXEC)
		code__of_mmap(t, c, file);
	file__announce(file, c->h.ts_ns - 2, &key, zero);
	r = record__reserve(ring, REC_VMA, sizeof(*r));
	if (!r)
		return;
	/* Behind its file, before the call itself, which then finds it. */
	record__head(&r->h, REC_VMA, t, c->h.ts_ns - 1);
	r->start = c->ret;
	r->end = c->ret + ((c->arg[1] + (1UL << PAGE_SHIFT) - 1) >> PAGE_SHIFT << PAGE_SHIFT);
	r->pgoff = c->arg[5];
	r->ino = key.ino;
	r->dev = key.dev;
	r->prot = (c->arg[2] & 7) | ((c->arg[3] & 1) ? VMA_SHARED : 0);
	record__send(r);
}

#define EXEC_STARTS 4

struct vma_walk {
	/* The first address of each run of mappings, and up to where there may be gaps in it. */
	__u64 start[EXEC_STARTS], limit[EXEC_STARTS];
	__u32 next; /* of start[] */
	__u32 zero; /* thread_state.zero */
	__u64 addr; /* where to look; 0: the run is over */
	__u64 until; /* the limit of this run */
	__u64 found; /* the end of the mapping found */
	__u64 auxv; /* where the auxiliary vector is kept */
	__u32 narrow; /* 1: it is of 32-bit words */
};

static long vma__found(struct task_struct *t, struct vm_area_struct *vma, struct vma_walk *w)
{
	__u64 file = vma__file(vma);
	unsigned long flags = vma->vm_flags;
	struct rec_vma *r;
	void *ring = ring__get();
	struct vnode_key key = {};

	w->found = vma->vm_end;
	if (!ring)
		return 0;
	if (file) {
		if (flags & VM_EXEC)
			code__mapped(file, vma->vm_start, vma->vm_end, vma->vm_pgoff << PAGE_SHIFT);
		file__announce(file, bpf_ktime_get_ns(), &key, w->zero);
	}
	r = record__reserve(ring, REC_VMA, sizeof(*r));
	if (!r)
		return 0;
	record__head(&r->h, REC_VMA, t, bpf_ktime_get_ns());
	r->h.aux = 1;
	r->start = vma->vm_start;
	r->end = vma->vm_end;
	r->pgoff = vma->vm_pgoff << PAGE_SHIFT;
	r->ino = key.ino;
	r->dev = key.dev;
	r->prot = (flags & (VM_READ | VM_WRITE | VM_EXEC)) | (flags & VM_SHARED ? VMA_SHARED : 0) |
		  (flags & VM_GROWSDOWN ? VMA_GROWSDOWN : 0);
	record__send(r);
	return 0;
}

/* Send the mapping at w->addr, if there is one, and go on behind it. */
static long vma__step(__u32 i, struct vma_walk *w)
{
	__u64 addr = w->addr;

	if (!addr) {
		if (w->next >= EXEC_STARTS)
			return 1;
		addr = w->start[w->next];
		w->until = w->limit[w->next];
		w->next++;
		if (!addr) {
			w->addr = 0;
			return 0;
		}
	}
	w->found = 0;
	bpf_find_vma(bpf_get_current_task_btf(), addr, vma__found, w, 0);
	if (w->found)
		w->addr = w->found;
	else /* a gap: a page on, as long as the run is not over */
		w->addr = addr < w->until ? addr + (1UL << PAGE_SHIFT) : 0;
	return 0;
}

/* Mappings and pages of gaps between them: enough for eight gaps of 2 MiB alignment. */
#define EXEC_STEPS 4608

#endif /* MEMTRACE_FILES_BPF_H */
