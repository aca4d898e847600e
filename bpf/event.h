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
 *   hook        an entry point of an allocator that has a probe
 *   owner       of a kernel event: the allocator call that its thread was inside of, named by
 *               that call's start_ns, which is unique on a thread (key: tid and start_ns); 0: it
 *               was inside none. With OWNER_TICKS it is the call's start as the ring plane
 *               (lib/trace/ring.h) counts it, which the collector turns into start_ns
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
	REC_RENAME, /* struct rec_rename: a process has another name now */
	REC_HEAP, /* struct rec_heap: a call into the allocator */
	REC_KINDS, /* so many are counted by the kernel side; those below are the collector's own */
	REC_HOOK = REC_KINDS, /* struct rec_hook: an entry point that has a probe */
	REC_ALLOCATOR, /* struct rec_allocator: who serves malloc in a process */
	REC_ALL_KINDS
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

#define OWNER_TICKS (1ULL << 63)

/* The sixth argument of a call that a producer (lib/trace/ring.h) makes for itself: of madvise(2), which
 * has not so many, and of mmap(2) of anonymous memory, which does not look at it. */
#define CALL_OF_PRODUCER 0x6d745f72696e6000ULL /* "mt_rin"; whole pages */

/* rec.flags of REC_BRK .. REC_MPROTECT */
#define CALL_COMPAT (1 << 0) /* made through the 32-bit system call table */
#define CALL_CLEARED (1 << 1) /* of an mremap that failed: nothing is where it was to move to */

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
	__u64 owner; /* the allocator call it was made in, see above */
};

/* A page fault, taken by exception and served. aux: service time in ns
 * (saturating), meaningless under FAULT_NO_ENTRY. */
struct rec_fault {
	struct rec h;
	__u64 addr;
	__u64 ip; /* user side: the faulting instruction; kernel side: the user instruction after the
		   * call, 0 when execve itself was setting up the new image */
	__u64 stack_id; /* 0: no stack could be had */
	__u64 owner; /* the allocator call it was taken in, see above */
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

/* A thread ended. aux: 1 when it was the last of its process. flags: EXIT_*. */
#define EXIT_UNTOLD (1 << 0) /* how is not known, nor the kernel's counts */
struct rec_exit {
	struct rec h;
	__u32 exit_code; /* as wait(2) gives it: status << 8 | signal */
	__u32 pad;
	__u64 min_flt, maj_flt; /* the kernel's own counts for the thread, since it was traced */
};

/* A process offers memory for its records (lib/trace/ring.h); not a record itself. */
struct ring_offer {
	__u32 tgid;
	__s32 fd; /* of the process */
	__s64 call_at; /* as in struct ring_hello */
	__u64 from_start; /* 1: it has made no call of its own before */
};

#define STACK_FRAMES 126
/* aux: number of frames that follow; flags: STACK_*. */
#define STACK_TRUNCATED (1 << 0) /* longer than STACK_FRAMES */
#define STACK_BROKEN (1 << 1) /* the way to the next frame led nowhere */
#define STACK_UNREADABLE (1 << 2) /* the page at the stack pointer was not present: ip alone */
#define STACK_GUESSED \
	(1 << 3) /* a frame was found by frame pointer although that may have been none: the unwind
		  * table was not there yet, or has a gap there */
#define STACK_CHECKED (1 << 4) /* every frame was found by unwind tables: nothing is in doubt */
#define STACK_INCOMPLETE (STACK_TRUNCATED | STACK_BROKEN | STACK_UNREADABLE | STACK_GUESSED)
struct rec_stack {
	struct rec h;
	__u64 stack_id;
	/* What the stack pointer pointed to, when it follows a call instruction, else 0:
	 * the return address, if the innermost function has pushed nothing (its unwind
	 * table tells), so that a leaf without a frame does not hide its caller. */
	__u64 leaf_word;
	/* Innermost first; only aux of them are sent. All but the first are return addresses;
	 * what a signal has interrupted is given as the address behind it, to be like them. */
	__u64 ip[STACK_FRAMES];
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

/* A new name, by prctl(2), by /proc/PID/comm or, a moment before its record, by an exec. */
struct rec_rename {
	struct rec h;
	char comm[16];
};

/* What was called. */
enum heap_op {
	HEAP_NONE = 0,
	HEAP_MALLOC,
	HEAP_CALLOC,
	HEAP_REALLOC,
	HEAP_REALLOCARRAY,
	HEAP_ALIGNED_ALLOC,
	HEAP_POSIX_MEMALIGN,
	HEAP_MEMALIGN,
	HEAP_VALLOC,
	HEAP_PVALLOC,
	HEAP_NEW, /* operator new in any form */
	HEAP_NEW_ARRAY,
	HEAP_MALLOCX,
	HEAP_RALLOCX, /* as realloc, never frees */
	HEAP_XALLOCX, /* in place or not at all: result is arg, size the real one afterwards */
	HEAP_SAMPLED, /* an otel_memory:alloc probe of the target's own */
	HEAP_FREE, /* from here on: frees */
	HEAP_FREE_SIZED,
	HEAP_FREE_ALIGNED_SIZED,
	HEAP_DELETE,
	HEAP_DELETE_ARRAY,
	HEAP_DALLOCX,
	HEAP_SDALLOCX,
	HEAP_SAMPLED_FREE, /* otel_memory:free */
	HEAP_OPS
};
#define HEAP_OPS_ROOM 32 /* a power of two */
/* In the place of an operation: a probe of the target's own that marks a phase. arg is 1 + which. */
#define HEAP_PHASE HEAP_OPS

/*
 * A call into the allocator, the outermost one on its thread: what it calls in its turn is
 * part of it, and not told.
 *
 * Order. An allocation is sent when it has returned, h.ts_ns is that moment. A free is sent
 * when it begins, h.ts_ns == start_ns; its end is not told. So a free comes before the
 * allocation on another thread that gets the address anew. A realloc both frees and allocates
 * and is sent once, when it has returned: an allocation that got the old address comes
 * before it, with an h.ts_ns between the realloc's start_ns and h.ts_ns. So when a block is
 * allocated where one lives, the old one has been released by a realloc still to come, and
 * when a realloc's old block is younger than the realloc's start, it is not the one it freed.
 *
 * Kernel events inside the call have .owner == start_ns and the same tid. Those of an allocation
 * come before its record, those of a free after it.
 *
 * What a result means. HEAP_FAILED: nothing has changed, result is 0. A realloc to size 0 that
 * returns 0 has freed. A free of 0 is never sent. result may be equal to arg (in place).
 *
 * aux: HEAP_AUX_*. flags: HEAP_*. */
#define HEAP_AUX_OP(aux) ((aux)&0xff) /* enum heap_op */
#define HEAP_AUX_ALIGN(aux) ((aux) >> 8 & 0xff) /* log2 of the alignment asked for; 0: none */
#define HEAP_AUX_HOOK(aux) ((aux) >> 16) /* rec_hook.h.aux */

#define HEAP_FAILED (1 << 0)
#define HEAP_OVERFLOW (1 << 1) /* count * size of calloc or reallocarray: size is all ones */
#define HEAP_ABANDONED \
	(1 << 2) /* never returned: left by longjmp, or by its thread's end.
				 * Result unknown (0); h.ts_ns is when that was noticed. */
#define HEAP_NESTED (1 << 3) /* it called allocator functions that have probes too */
#define HEAP_UNTRACKED (1 << 4) /* a sampled block whose free will not be told: too many live */
struct rec_heap {
	struct rec h;
	__u64 start_ns;
	__u64 size; /* asked for; 0 for frees that do not tell */
	__u64 arg; /* the old block of a realloc or free */
	__u64 result; /* the new block */
	__u64 stack_id; /* of the caller, at entry; 0: none. Frees have none unless asked for */
	__u64 weight; /* sampling (bpf/sample.h): the mean distance of samples in bytes, by which and
		       * its size the block stands for so many (HEAP_SAMPLED: the bytes that it stands
		       * for). 0: not sampled; under sampling, a realloc that moved a sampled block away
		       * and made one that is not. Of a free nothing: it takes back what its block was */
};

/*
 * What a probe's cookie tells the program: the operation, the hook, and which register holds
 * what, as 1 + the processor's number of it; 0: the function is not told that.
 */
#define COOKIE_OP(c) ((__u32)(c)&0xff)
#define COOKIE_HOOK(c) ((__u32)((c) >> 8) & (HEAP_HOOKS_MAX - 1))
#define COOKIE_SIZE(c) ((__u32)((c) >> 20) & 31)
#define COOKIE_COUNT(c) ((__u32)((c) >> 25) & 31) /* the size is to be multiplied by it */
#define COOKIE_PTR(c) ((__u32)((c) >> 30) & 31) /* the old block; where to store the new one */
#define COOKIE_ALIGN(c) ((__u32)((c) >> 35) & 31)
#define COOKIE_RESULT(c) ((__u32)((c) >> 40) & 3) /* RESULT_* */
#define COOKIE_ALIGN_IS_FLAGS(c) ((__u32)((c) >> 42) & 1) /* log2 of it in the low six bits */
#define COOKIE_BY_EXITS(c) \
	((__u32)((c) >> 43) & 1) /* it has no return probe: its returns are seen at its exits */
#define COOKIE_NO_END(c) \
	((__u32)((c) >> 44) & 1) /* its return is not seen: that it is under way is seen by the stack */
#define RESULT_RETURNED 0 /* what the function returns */
#define RESULT_STORED 1 /* stored where the first argument points, returned is an error */
#define RESULT_IN_PLACE 2 /* the block is the old one, returned is its size */

/* The cookie of a probe at an exit of a function: an instruction, often a branch, after which the
 * function returns. */
#define EXIT_TAKEN 1 /* when it branches */
#define EXIT_NOT_TAKEN 2 /* when it does not; both: always */
#define EXIT_REG(c) ((__u32)(c)&15) /* which holds what will be returned */
#define EXIT_EDGES(c) ((__u32)((c) >> 4) & 3) /* EXIT_* */
#define EXIT_CONDITION(c) ((__u32)((c) >> 8) & 15) /* of the branch, the processor's number of it */
#define EXIT_WORDS(c) \
	((__u32)((c) >> 16) & 0xffff) /* from the stack pointer to the return address */

/* The cookie of a probe where a call may be left. */
#define ESCAPE_JUMP 0 /* longjmp */
#define ESCAPE_THROW 1 /* an exception is being thrown */

/* Where an argument of a target's own probe is. */
#define CONTRACT_REGISTER 1
#define CONTRACT_MEMORY 2 /* at a register's value plus offset */
#define CONTRACT_CONSTANT 3 /* the offset itself */
struct contract_arg {
	__u8 kind; /* CONTRACT_*; 0: there is none */
	__u8 reg; /* the processor's number of it */
	__u8 bytes; /* 1, 2, 4 or 8 */
	__u8 is_signed;
	__u32 pad;
	__s64 offset;
};
struct contract_args {
	struct contract_arg arg[3];
};

#define HEAP_HOOKS_MAX 512 /* a power of two */

/* The code that a function without an end runs in itself: from where its probe is, addresses
 * relative to that. */
#define HOOK_RANGES 4
struct hook_code {
	struct {
		__s64 from, to;
	} range[HOOK_RANGES]; /* those not in use are empty */
};

struct heap_hook_counts {
	__u64 hits, nested, ignored, lost; /* as in rec_hook */
};

#define HOOK_NAME_BYTES 64
#define HOOK_PATH_BYTES 256
/* How a hook's probe was placed: rec_hook.place */
enum hook_place {
	PLACE_ENTRY = 1, /* the first instruction, which the kernel emulates */
	PLACE_INSIDE, /* a later instruction that the kernel emulates */
	PLACE_SLOW, /* the entry; the kernel must single-step it */
	PLACE_USDT, /* a probe of the target's own */
};
/*
 * A function with a probe. Sent when the probe has been placed, and once more at the end with
 * what it counted. Hooks belong to files, not to processes. aux: the number of the hook.
 */
struct rec_hook {
	struct rec h;
	__u64 ino; /* of the file */
	__u32 dev;
	__u32 op; /* enum heap_op */
	__u64 entry; /* offset in the file of the function */
	__u64 offset; /* of the probe */
	__u32 place; /* enum hook_place */
	__u32 done; /* 1: the counts below are final */
	__u64 hits; /* how often it fired in traced threads */
	__u64 nested; /* of these, inside another call: not sent */
	__u64 ignored; /* of these, frees of 0 and calls that sampling left out: not sent */
	__u64 lost; /* of these, no room for the record */
	char symbol[HOOK_NAME_BYTES];
	char path[HOOK_PATH_BYTES]; /* of the file, cut at the front if it is too long */
};

/* What a process's heap plane is. tgid: the process; aux: number of hooks in the file. flags:
 * ALLOCATOR_*. */
#define ALLOCATOR_RING \
	(1 << 0) /* no hooks: code inside the process hands its calls over; .ino is 0: it has not */
struct rec_allocator {
	struct rec h;
	__u64 ino; /* the file that its hooks are in; 0: none was found */
	__u32 dev;
	__u32 incomplete; /* 1: probes were placed after it had begun to run: what came earlier is unseen */
	char name[32]; /* "glibc", "jemalloc", ...; empty: none was found */
	char text[HOOK_PATH_BYTES]; /* path of the file; or why there is none */
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
	__u64 lost_ops[HEAP_OPS_ROOM]; /* lost[REC_HEAP] by operation */
	__u64 missed_tasks; /* threads that could not be followed: no memory for their state */
};

/* What the machine-wide mode keeps of a process instead of records; per CPU. */
struct machine_row {
	__u64 calls[VMCALLS], failed[VMCALLS];
	__u64 bytes[VMCALLS]; /* lengths of those that succeeded, page-rounded; none of brk */
	__u64 grown_bytes, shrunk_bytes; /* the break */
	__u64 remap_grown_bytes, remap_shrunk_bytes; /* mremap: from the old size to the new */
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
_Static_assert(HEAP_OPS <= HEAP_OPS_ROOM, "HEAP_OPS_ROOM");
_Static_assert(sizeof(struct rec) == 24, "rec");
_Static_assert(sizeof(struct rec_call) == 24 + 8 + 8 + 48 + 32, "rec_call");
_Static_assert(sizeof(struct rec_fault) == 56, "rec_fault");
_Static_assert(sizeof(struct fault_lane) == 128, "fault_lane");
_Static_assert(sizeof(struct rec_fork) == 48, "rec_fork");
_Static_assert(sizeof(struct rec_exec) == 24 + 72 + 16, "rec_exec");
_Static_assert(sizeof(struct rec_exit) == 48, "rec_exit");
_Static_assert(sizeof(struct rec_stack) == 40 + 8 * STACK_FRAMES, "rec_stack");
_Static_assert(sizeof(struct rec_vma) == 64, "rec_vma");
_Static_assert(sizeof(struct rec_rename) == 40, "rec_rename");
_Static_assert(sizeof(struct rec_file) == 40 + FILE_PATH_BYTES, "rec_file");
_Static_assert(sizeof(struct rec_heap) == 72, "rec_heap");
_Static_assert(sizeof(struct contract_args) == 48, "contract_args");
_Static_assert(sizeof(struct rec_hook) == 96 + HOOK_NAME_BYTES + HOOK_PATH_BYTES, "rec_hook");
_Static_assert(sizeof(struct rec_allocator) == 40 + 32 + HOOK_PATH_BYTES, "rec_allocator");
#endif

#endif /* MEMTRACE_EVENT_H */
