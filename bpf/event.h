/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/*
 * The records that the BPF programs hand to the collector, and the counters
 * that balance them. This is the one header shared by bpf/ and user/: plain
 * integer types, explicit padding, sizes asserted.
 *
 * Vocabulary
 *   tgid        process, tid: thread; both as the initial pid namespace sees them
 *   image       what one execve made; a process has one at a time
 *   stack id    64-bit hash of a user stack's addresses; the stack itself is
 *               sent once, in a REC_STACK, before the first record that names it
 *   vnode       identity of a file: inode number and device
 *
 * Every record begins with struct rec. Times are CLOCK_MONOTONIC nanoseconds;
 * rec.ts_ns is when the thing was over (a call returned, a fault was served).
 */
#ifndef MEMTRACE_EVENT_H
#define MEMTRACE_EVENT_H

#ifndef __bpf__
#include <linux/types.h>
#endif

enum rec_kind {
	REC_NONE = 0,
	/* The six calls: struct rec_call. Their order is that of enum vmcall. */
	REC_BRK = 1,
	REC_MMAP,
	REC_MUNMAP,
	REC_MREMAP,
	REC_MADVISE,
	REC_MPROTECT,
	REC_FAULT, /* struct rec_fault */
	REC_FORK, /* struct rec_fork */
	REC_EXEC, /* struct rec_exec */
	REC_EXIT, /* struct rec_exit */
	REC_STACK, /* struct rec_stack */
	REC_VMA, /* struct rec_vma: a mapping as the kernel has it */
	REC_FILE, /* struct rec_file: the path of a vnode */
	REC_KINDS
};

/* How often a thing happened, or was lost, by kind: index is a rec_kind. */

#define VMCALLS 6 /* REC_BRK .. REC_MPROTECT; index = kind - REC_BRK */

/* rec.flags of REC_FAULT */
#define FAULT_WRITE (1 << 0) /* the access was a write */
#define FAULT_EXEC (1 << 1) /* an instruction fetch */
#define FAULT_PRESENT (1 << 2) /* the page was there, the protection refused: copy-on-write */
#define FAULT_KERNEL \
	(1 << 3) /* taken by the kernel on the process's behalf (read(2) and the like) */
#define FAULT_MAJOR (1 << 4) /* had to wait for a device */
#define FAULT_NO_ENTRY (1 << 5) /* its beginning was not seen: service time and access unknown */

/* rec.flags of REC_BRK .. REC_MPROTECT */
#define CALL_COMPAT (1 << 0) /* made through the 32-bit system call table */

struct rec {
	__u16 kind; /* enum rec_kind */
	__u16 flags; /* by kind, above */
	__u32 tgid;
	__u32 tid;
	__u32 aux; /* by kind: see each record */
	__u64 ts_ns;
};

/* A system call on the address space. aux: page faults that the kernel
 * accounted to the thread during the call without an exception (MAP_POPULATE,
 * MADV_POPULATE, mlock'ed mappings). */
struct rec_call {
	struct rec h;
	__u64 start_ns;
	__s64 ret; /* as the system call returned it: -errno on failure */
	__u64 arg[6];
	__u64 old_brk; /* REC_BRK: the break before the call */
	__u64 stack_id; /* 0: no stack could be had */
	__u64 ip; /* user instruction after the call */
};

/* A page fault, taken by exception and served. aux: service time in ns
 * (saturating), meaningless under FAULT_NO_ENTRY. */
struct rec_fault {
	struct rec h;
	__u64 addr;
	__u64 ip; /* user side: the faulting instruction; kernel side: the user instruction after the
		   * call, 0 when execve itself was setting up the new image */
	__u64 stack_id; /* 0: no stack could be had */
};

/* A new process (rec.tgid is the parent) or a new thread of it. flags: FORK_*. */
#define FORK_SHARES_MM (1 << 0) /* vfork and the like: no address space of its own yet */
struct rec_fork {
	struct rec h;
	__u32 child_tgid;
	__u32 child_tid;
	char comm[16];
};

/* A new image. REC_VMAs of its mappings precede it, with the same tgid and
 * rec.aux = 1; the exe's vnode is that of start_code's mapping. aux: the tid the thread
 * had before (exec from another thread takes the leader's). flags: EXEC_*. */
#define EXEC_SECURE (1 << 0) /* set-id or unreadable: the kernel dropped our fault events */
struct rec_exec {
	struct rec h;
	__u64 start_code, end_code;
	__u64 start_data, end_data;
	__u64 start_brk, brk;
	__u64 start_stack;
	__u64 exe_ino;
	__u32 exe_dev;
	__u32 pad;
	char comm[16];
};

/* A thread ended. aux: 1 when it was the last of its process. */
struct rec_exit {
	struct rec h;
	__u32 exit_code; /* as wait(2) gives it: status << 8 | signal */
	__u32 pad;
	__u64 min_flt, maj_flt; /* the kernel's own counts for the thread, since it was traced */
};

#define STACK_FRAMES 62
/* aux: number of frames that follow; flags: STACK_*. */
#define STACK_TRUNCATED (1 << 0) /* longer than STACK_FRAMES */
#define STACK_BROKEN (1 << 1) /* the last frame pointer led nowhere: code without frame pointers */
#define STACK_UNREADABLE (1 << 2) /* the page at the stack pointer was not present: ip alone */
struct rec_stack {
	struct rec h;
	__u64 stack_id;
	/* What the stack pointer pointed to, when it follows a call instruction, else 0:
	 * the return address, if the innermost function has pushed nothing (its unwind
	 * table tells), so that a leaf without a frame does not hide its caller. */
	__u64 leaf_word;
	__u64 ip[STACK_FRAMES]; /* innermost first; only aux of them are sent */
};

/* prot bits of rec_vma, as PROT_ */
#define VMA_SHARED (1 << 3)
#define VMA_GROWSDOWN (1 << 4)
/* A mapping as the kernel has it after an exec (aux 1) or a file mmap (aux 0). */
struct rec_vma {
	struct rec h;
	__u64 start, end;
	__u64 pgoff; /* in bytes */
	__u64 ino; /* 0: anonymous */
	__u32 dev; /* kernel encoding: major << 20 | minor */
	__u32 prot; /* PROT_READ|WRITE|EXEC | VMA_* */
};

#define FILE_PATH_BYTES 1024
/* The path of a vnode, seen from the root of its mount namespace, as components from the
 * last to the first, each ended by a NUL. aux: bytes of path in use. flags: FILE_CUT when
 * it was too long or too deep. */
#define FILE_CUT (1 << 0)
struct rec_file {
	struct rec h;
	__u64 ino;
	__u32 dev;
	__u32 generation; /* another one means another file that got the same inode number */
	char path[FILE_PATH_BYTES];
};

/*
 * Where faults go: a lane for each CPU, an array of records behind this head, in memory
 * shared with the collector. The programs on fault events are not preempted, so a lane
 * has one writer at a time and needs no lock, which a BPF ring buffer does.
 */
struct fault_lane {
	__u64 head; /* records written, by the kernel side */
	__u64 pad[7];
	__u64 tail; /* records read, by the collector */
	__u64 pad2[7];
	struct rec_fault rec[]; /* a power of two of them */
};

/* Per-CPU counters, summed by the collector: seen is counted before a record is
 * reserved, so seen = delivered + lost. */
struct event_counts {
	__u64 seen[REC_KINDS];
	__u64 lost[REC_KINDS];
	__u64 missed_tasks; /* threads that could not be followed: no memory for their state */
};

/* What the machine-wide mode keeps of a process instead of records; per CPU. */
struct machine_row {
	__u64 calls[VMCALLS], failed[VMCALLS];
	__u64 mapped_bytes, unmapped_bytes; /* by mmap and munmap, page-rounded */
	__u64 grown_bytes, shrunk_bytes; /* the break */
	__u64 minor, major;
	__u64 comm_ns; /* when comm was taken: rows are per CPU, and the latest has the name */
	char comm[16];
};

/* What the task iterator tells of a traced thread. */
struct task_row {
	__u32 tgid, tid;
	__u64 min_flt, maj_flt; /* the kernel's own counts since it was traced */
};

#ifndef __cplusplus
_Static_assert(sizeof(struct rec) == 24, "rec");
_Static_assert(sizeof(struct rec_call) == 24 + 8 + 8 + 48 + 24, "rec_call");
_Static_assert(sizeof(struct rec_fault) == 48, "rec_fault");
_Static_assert(sizeof(struct fault_lane) == 128, "fault_lane");
_Static_assert(sizeof(struct rec_fork) == 48, "rec_fork");
_Static_assert(sizeof(struct rec_exec) == 24 + 72 + 16, "rec_exec");
_Static_assert(sizeof(struct rec_exit) == 48, "rec_exit");
_Static_assert(sizeof(struct rec_stack) == 40 + 8 * STACK_FRAMES, "rec_stack");
_Static_assert(sizeof(struct rec_vma) == 64, "rec_vma");
_Static_assert(sizeof(struct rec_file) == 40 + FILE_PATH_BYTES, "rec_file");
#endif

#endif /* MEMTRACE_EVENT_H */
