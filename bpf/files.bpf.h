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

struct vnode_key {
	__u64 ino;
	__u32 dev;
	__u32 pad;
};

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
	if (d == root || d == parent) {
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

/* Identify f, and send its path if that has not been done. zero: thread_state.zero. */
static __always_inline void file__announce(void *ring, struct task_struct *t, struct file *f,
					   __u64 *ino, __u32 *dev, __u32 zero)
{
	struct vnode_key key = {};
	struct rec_file *r;
	__u32 one = 1;

	key.ino = BPF_CORE_READ(f, f_inode, i_ino);
	key.dev = BPF_CORE_READ(f, f_inode, i_sb, s_dev);
	*ino = key.ino;
	*dev = key.dev;
	if (bpf_map_lookup_elem(&files_sent, &key))
		return;
	r = record__reserve(ring, REC_FILE, sizeof(*r));
	if (!r)
		return;
	record__head(&r->h, REC_FILE, t, bpf_ktime_get_ns());
	r->ino = key.ino;
	r->dev = key.dev;
	r->pad = 0;
	file__path(r, f, zero);
	record__send(r);
	bpf_map_update_elem(&files_sent, &key, &one, BPF_ANY);
}

/* The file mapping that mmap call c made: from its arguments and its descriptor. */
static __always_inline void vma__of_mmap(void *ring, struct task_struct *t, struct rec_call *c,
					 __u32 zero)
{
	struct fdtable *fdt = BPF_CORE_READ(t, files, fdt);
	__u64 fd = c->arg[4];
	struct file **table, *f = NULL;
	struct rec_vma *r;
	__u64 ino;
	__u32 dev;

	if (fd >= BPF_CORE_READ(fdt, max_fds))
		return;
	table = BPF_CORE_READ(fdt, fd);
	if (bpf_probe_read_kernel(&f, sizeof(f), table + fd) || !f)
		return;
	file__announce(ring, t, f, &ino, &dev, zero);
	r = record__reserve(ring, REC_VMA, sizeof(*r));
	if (!r)
		return;
	/* Just before the call itself, which then finds its file. */
	record__head(&r->h, REC_VMA, t, c->h.ts_ns - 1);
	r->start = c->ret;
	r->end = c->ret + ((c->arg[1] + (1UL << PAGE_SHIFT) - 1) >> PAGE_SHIFT << PAGE_SHIFT);
	r->pgoff = c->arg[5];
	r->ino = ino;
	r->dev = dev;
	r->prot = (c->arg[2] & 7) | ((c->arg[3] & 1) ? VMA_SHARED : 0);
	record__send(r);
}

#define EXEC_STARTS 4

struct vma_walk {
	__u64 start[EXEC_STARTS]; /* addresses in the first mapping of each run */
	__u32 next; /* of start[] */
	__u32 zero; /* thread_state.zero */
	__u64 addr; /* where the next mapping of the run would be; 0: at its end */
};

static long vma__found(struct task_struct *t, struct vm_area_struct *vma, struct vma_walk *w)
{
	struct file *f = vma->vm_file;
	unsigned long flags = vma->vm_flags;
	struct rec_vma *r;
	void *ring = ring__get();
	__u64 ino = 0;
	__u32 dev = 0;

	w->addr = vma->vm_end;
	if (!ring)
		return 0;
	if (f)
		file__announce(ring, t, f, &ino, &dev, w->zero);
	r = record__reserve(ring, REC_VMA, sizeof(*r));
	if (!r)
		return 0;
	record__head(&r->h, REC_VMA, t, bpf_ktime_get_ns());
	r->h.aux = 1;
	r->start = vma->vm_start;
	r->end = vma->vm_end;
	r->pgoff = vma->vm_pgoff << PAGE_SHIFT;
	r->ino = ino;
	r->dev = dev;
	r->prot = (flags & (VM_READ | VM_WRITE | VM_EXEC)) | (flags & VM_SHARED ? VMA_SHARED : 0) |
		  (flags & VM_GROWSDOWN ? VMA_GROWSDOWN : 0);
	record__send(r);
	return 0;
}

/* Send the mapping at w->addr, or at the beginning of the next run. */
static long vma__step(__u32 i, struct vma_walk *w)
{
	__u64 addr = w->addr;

	if (!addr) {
		if (w->next >= EXEC_STARTS)
			return 1;
		addr = w->start[w->next++];
	}
	w->addr = 0;
	if (addr)
		bpf_find_vma(bpf_get_current_task_btf(), addr, vma__found, w, 0);
	return 0;
}

#define EXEC_VMAS 48 /* program, interpreter, vdso and stack have about 15 */

#endif /* MEMTRACE_FILES_BPF_H */
