/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/*
 * The few kernel types we read, with the few fields we read of them. CO-RE
 * relocates each access by name, so order, gaps and the rest do not matter and
 * one object serves every kernel with BTF. Names and nesting must be the kernel's.
 */
#ifndef MEMTRACE_KERNEL_TYPES_H
#define MEMTRACE_KERNEL_TYPES_H

#include <linux/bpf.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct {
	int counter;
} atomic_t;

struct pt_regs {
	unsigned long r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di, orig_ax, ip,
		cs, flags, sp, ss;
};

struct thread_info {
	__u32 status;
};

/* Of a task that runs, too: what sets the register in user mode goes through the kernel, or is
 * a thread library that has set it so before. */
struct thread_struct {
	unsigned long fsbase;
};

struct super_block {
	__u32 s_dev;
};

struct inode {
	unsigned long i_ino;
	__u32 i_generation;
	struct super_block *i_sb;
};

struct qstr {
	union {
		struct {
			__u32 hash;
			__u32 len;
		};
	};
	const unsigned char *name;
};

struct dentry {
	struct dentry *d_parent;
	struct qstr d_name;
};

struct vfsmount {
	struct dentry *mnt_root;
};

struct mount {
	struct mount *mnt_parent;
	struct dentry *mnt_mountpoint;
	struct vfsmount mnt;
};

struct path {
	struct vfsmount *mnt;
	struct dentry *dentry;
};

struct file {
	struct path f_path;
	struct inode *f_inode;
};

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};

struct files_struct {
	struct fdtable *fdt;
};

struct xol_area {
	unsigned long vaddr;
};

struct uprobes_state {
	struct xol_area *xol_area;
};

struct sigaction {
	void *sa_handler;
};

struct k_sigaction {
	struct sigaction sa;
};

typedef struct {
	unsigned long pgd;
} pgd_t;

struct mm_struct {
	pgd_t *pgd; /* the topmost page table */
	unsigned long start_code, end_code, start_data, end_data;
	unsigned long start_brk, brk, start_stack;
	unsigned long saved_auxv[48];
	struct file *exe_file;
	struct uprobes_state uprobes_state;
	struct {
		void *vdso;
	} context;
};

/* A uretprobe under way: the return address at `stack` is the kernel's trampoline instead. */
struct return_instance {
	unsigned long stack;
	unsigned long orig_ret_vaddr;
	struct return_instance *next;
};

struct uprobe_task {
	struct return_instance *return_instances;
};

struct vm_area_struct {
	unsigned long vm_start, vm_end;
	const unsigned long vm_flags;
	unsigned long vm_pgoff;
	struct file *vm_file;
};

struct linux_binprm {
	unsigned int secureexec : 1;
};

struct signal_struct {
	atomic_t live;
	int group_exit_code;
};

struct bpf_local_storage;
struct kernel_siginfo;

struct task_struct {
	struct thread_info thread_info;
	unsigned int flags;
	struct mm_struct *mm;
	int exit_code;
	int pid, tgid;
	struct task_struct *real_parent;
	struct task_struct *group_leader;
	unsigned int personality;
	__u64 start_time;
	unsigned long min_flt, maj_flt;
	char comm[16];
	struct files_struct *files;
	struct signal_struct *signal;
	struct uprobe_task *utask;
	struct bpf_local_storage *bpf_storage;
	unsigned long sas_ss_sp, sas_ss_size;
	struct thread_struct thread;
};

struct bpf_iter_meta {
	struct seq_file *seq;
};

struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
};

#pragma clang attribute pop

/* The context of a perf_event program: not relocated, it is laid out for us. */
struct bpf_perf_event_data {
	unsigned long r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di, orig_ax, ip,
		cs, flags, sp, ss;
	__u64 sample_period;
	__u64 addr;
};

/* The context of a uprobe program: pt_regs, whose layout is the kernel's ABI. Not relocated
 * either, because a program must read its context at constant offsets. */
struct uprobe_regs {
	unsigned long r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di, orig_ax, ip,
		cs, flags, sp, ss;
};

#define PF_EXITING 0x00000004 /* task_struct.flags */
#define X32_BIT 0x40000000L /* of a system call's number */
#define TS_COMPAT 0x0002 /* thread_info.status: in a 32-bit system call */
#define CS_OF_64_BITS 0x33 /* pt_regs.cs: of code that can make 32-bit calls all the same */

#define VM_READ 0x1
#define VM_WRITE 0x2
#define VM_EXEC 0x4
#define VM_SHARED 0x8
#define VM_GROWSDOWN 0x100

#define ADDR_NO_RANDOMIZE 0x0040000 /* task_struct.personality */
#define PAGE_SHIFT 12
#define MAX_ERRNO 4095

#endif /* MEMTRACE_KERNEL_TYPES_H */
