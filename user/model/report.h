/* SPDX-License-Identifier: MIT */
/*
 * What a report says, as plain data: made by the model (report__new), trued up
 * by the collector with what only the kernel knows at the end (resident
 * pages, exit status), and printed by the views. The views compute nothing but
 * widths and percentages.
 *
 * A figure that is not known holds UNKNOWN, which views print as "-" (text) or null
 * (JSON), never as 0.
 */
#ifndef MEMTRACE_REPORT_H
#define MEMTRACE_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "bpf/event.h"
#include "user/model/advice.h"

#define UNKNOWN UINT64_MAX

/* The six calls, in the order of their record kinds. */
enum vmcall { CALL_BRK, CALL_MMAP, CALL_MUNMAP, CALL_MREMAP, CALL_MADVISE, CALL_MPROTECT };
extern const char *const vmcall_name[VMCALLS];

struct call_stats {
	uint64_t calls, failed;
	uint64_t bytes; /* of the successful ones: mmap, munmap, madvise, mprotect: length asked for,
			 * rounded up to pages; mremap: new size; brk: grown + shrunk */
	uint64_t time_ns; /* entry to return, all of them */
	uint64_t grown_bytes, shrunk_bytes; /* brk and mremap */
	uint64_t populated; /* faults the kernel accounted inside the calls without an exception */
};

#define HIST_BUCKETS \
	32 /* bucket i: service time in [2^i, 2^(i+1)) ns; 0 also holds 0 ns; the last is open */

struct fault_stats {
	uint64_t minor, major; /* minor + major = all */
	uint64_t user, kernel; /* user + kernel = all */
	uint64_t read, write, exec, access_unknown; /* sum = all */
	uint64_t cow_after_fork; /* writes to a present page of a process that shares pages by fork */
	uint64_t cow_other; /* writes to a present page otherwise: the zero page, a private file page */
	uint64_t time_ns, time_known; /* service time, and of how many faults it is known */
	uint64_t histogram[HIST_BUCKETS];
};

enum region_class {
	REGION_TEXT,
	REGION_DATA,
	REGION_HEAP,
	REGION_MMAP,
	REGION_STACK,
	REGION_FILE,
	REGION_OTHER,
	REGION_UNKNOWN,
	REGION_CLASSES,
	REGION_AGENT = REGION_CLASSES /* memtrace's own: in no figure of the program, see agent_stats */
};
extern const char *const region_name[REGION_CLASSES]; /* "text", "data", "heap", "mmap", ... */

struct region_stats {
	uint64_t mappings; /* at the end; UNKNOWN when the process was gone */
	uint64_t bytes; /* mapped at the end */
	uint64_t resident_bytes;
	uint64_t faults_minor, faults_major;
};

struct frame {
	const char *module, *build_id, *symbol, *file; /* NULL: not known */
	unsigned line;
	uint64_t offset; /* in the module's file, else the address itself */
	uint64_t symbol_offset;
	bool inlined; /* this function was inlined into the next frame's */
};

/* A block freed before its process had made this many further allocations was temporary. */
#define TEMPORARY_CALLS 16

/*
 * The heap of a process, or of all together; UNKNOWN throughout without a heap plane. Blocks
 * are of the size that was asked for. Under sampling the figures of blocks are estimates.
 */
struct heap_stats {
	uint64_t calls[HEAP_OPS];
	uint64_t failed; /* they changed nothing */
	uint64_t abandoned; /* they never returned: longjmp, or the thread ended */
	uint64_t bytes_requested; /* by the calls that gave a block */
	uint64_t freed_bytes;
	uint64_t live_blocks, live_bytes; /* at the end; of a process that ended, as it ended */
	uint64_t peak_live_bytes;
	uint64_t inherited_blocks,
		inherited_bytes; /* of them not: the parent's at a fork, not freed */
	uint64_t dropped_blocks, dropped_bytes; /* live at an exec, and gone with the old image */
	/* At the attach, found by walking the heap; in none of the other figures. UNKNOWN possible. */
	uint64_t before_blocks, before_bytes;
	uint64_t before_at_most; /* 1: no more than so many; some of them may have been free */
	uint64_t unmatched_frees; /* of blocks that are not known: older than the trace, or lost, or
				   * freed before (glibc empties a thread's cache by free) */
	uint64_t unseen_frees; /* an address was given out again that was not seen to be freed */
	uint64_t temporary; /* blocks freed within TEMPORARY_CALLS allocations */
	uint64_t uncertain_blocks,
		uncertain_bytes; /* of the live: maybe freed by a record that was lost */
	/* What happened in the kernel inside the calls, */
	uint64_t syscalls[VMCALLS], syscall_ns;
	uint64_t inside_minor, inside_major, inside_ns;
	/* and outside of them on the memory of a live block. */
	uint64_t touch_minor, touch_major, touch_ns;
	/* Of what happened inside, what no site can be named for: the call was not told, or freed a
	 * block that is not known. */
	uint64_t unplaced_syscalls, unplaced_faults, unplaced_ns;
	uint64_t untracked_blocks; /* sampled, but more were live than could be followed: not in live_* */
	/* Under sampling the variances of the estimates, in units of their own. */
	uint64_t calls_variance[HEAP_OPS], requested_variance, live_blocks_variance,
		live_bytes_variance;
	/* And so what 95 % of such estimates are not further off than: UNKNOWN without sampling. */
	uint64_t calls_error[HEAP_OPS], requested_error, live_blocks_error, live_bytes_error;
};

/* The heap's side of a site. */
struct site_heap {
	uint64_t calls, failed, bytes; /* bytes: of the calls that gave a block */
	uint64_t frees, freed_bytes; /* of the blocks that it made, wherever they were freed */
	uint64_t live_blocks, live_bytes, peak_live_bytes;
	uint64_t temporary;
	uint64_t moved; /* calls that resized a block and gave another address */
	uint64_t resident_bytes; /* of the live blocks, at the end; UNKNOWN possible */
	/* Inside its calls and the frees of its blocks, */
	uint64_t syscalls[VMCALLS], syscall_ns;
	uint64_t inside_minor, inside_major;
	/* and on the memory of its live blocks. */
	uint64_t touch_minor, touch_major;
	uint64_t fault_ns; /* of both */
	/* As in heap_stats. */
	uint64_t calls_variance, bytes_variance, live_bytes_variance;
	uint64_t calls_error, bytes_error, live_bytes_error;
};

/* A place: one user stack, summed over processes and threads. */
struct site {
	struct frame *frames; /* innermost first */
	size_t nframes;
	bool truncated; /* the stack goes on but could not be followed */
	/* A place in the program that calls the allocator. Then what follows `heap` is empty, else
	 * `heap` is: a system call inside malloc is told with its own stack and with malloc's caller,
	 * but summed once in either kind. */
	bool is_heap;
	struct site_heap heap;
	uint64_t calls[VMCALLS];
	uint64_t call_ns;
	uint64_t mapped_bytes; /* by mmap, brk growth and mremap growth that succeeded */
	uint64_t unmapped_bytes;
	struct {
		uint64_t minor, major, cow, time_ns;
	} faults;
};

enum plane_kind { PLANE_NONE, PLANE_UPROBE, PLANE_CONTRACT, PLANE_RING };
extern const char *const plane_kind_name[]; /* "none", "uprobe", "contract", "ring" */

struct allocator {
	const char *name; /* "glibc", ...; NULL: none was found */
	const char *text; /* the file; or why none was found */
	unsigned hooks;
	bool incomplete; /* the process had begun to run before the probes were in place */
	bool unheard; /* its parent's, by a fork; of itself nothing was heard */
	enum plane_kind plane; /* with a name PLANE_NONE: */
};
#define ALLOCATOR_SILENT \
	"it was asked to hand its calls over, and has not: it made none since, or had no answer in time"

/* Resident bytes by whose they are; they sum up to the kernel's figure. UNKNOWN throughout
 * without a heap plane. */
struct resident_parts {
	uint64_t live; /* of live blocks */
	uint64_t retained; /* of the mappings that blocks are in, what is in no live block */
	uint64_t allocator; /* mapped by allocator calls, and never a block in it */
	uint64_t direct_mmap; /* anonymous memory that the program itself mapped */
	uint64_t file, stack, other;
	uint64_t unknown; /* was there at attach: blocks of before, or free, or neither */
	uint64_t agent; /* memtrace's own */
};

/*
 * What memtrace itself does within a process, by the ring plane: its agent's and the segments'
 * mappings, faults on them, calls that make or change them or come from the agent's code. In none
 * of the program's figures; both together are the kernel's.
 */
struct agent_stats {
	struct call_stats call[VMCALLS];
	struct fault_stats faults;
	uint64_t mapped_bytes; /* at most */
	uint64_t resident_bytes; /* at the end; UNKNOWN when the process was gone */
};

struct process_report {
	pid_t pid, ppid; /* ppid 0: not known */
	const char *comm, *exe; /* exe may be NULL */
	bool root; /* asked for by the user, not a follower */
	bool ended;
	int exit_status; /* of wait(2), valid when ended and exit_known */
	bool exit_known;
	uint64_t start_ns, end_ns; /* traced from .. to, relative to the report's start */
	uint64_t execs, forks, threads; /* threads seen in all */
	struct call_stats call[VMCALLS];
	struct fault_stats faults;
	/* The kernel's own counts over the same time (ru_minflt, ru_majflt): what exceeds
	 * faults.minor + faults.major was served without an exception. UNKNOWN possible. */
	uint64_t kernel_minflt, kernel_majflt;
	uint64_t rss_bytes, rss_peak_bytes;
	struct region_stats regions[REGION_CLASSES];
	uint64_t mapped_bytes; /* at the end, by the model */
	bool has_agent; /* what follows is not all zero */
	struct agent_stats agent;
	struct heap_stats heap;
	const struct allocator *allocators; /* who serves malloc, in the order they were found */
	size_t nallocators;
	struct resident_parts parts;
};

/* The mapped total over time. */
struct mapped_point {
	uint64_t t_ns; /* since the report's start */
	uint64_t mapped_bytes; /* all mappings of all traced processes */
	uint64_t heap_bytes; /* the breaks */
};

struct loss {
	uint64_t seen, lost;
};

/* An entry point of an allocator, with a probe. */
struct heap_hook {
	uint32_t number; /* as records of calls refer to it */
	const char *symbol, *path;
	uint64_t ino; /* of the file */
	uint32_t dev;
	uint64_t entry, offset; /* in the file: of the function, of the probe */
	uint32_t op; /* enum heap_op */
	uint32_t place; /* enum hook_place */
	bool done; /* the counts are final */
	uint64_t hits, nested, ignored, lost;
};

struct report {
	const char *version;
	uint64_t duration_ns;
	char *without_kernel; /* why there was no kernel plane, whose figures are UNKNOWN; NULL: there was */
	const char *how; /* "-p 123", "-- ls -l" or "-a": what was traced, for the headline */
	struct process_report *processes;
	size_t nprocesses;
	/* Totals over the processes. */
	struct call_stats call[VMCALLS];
	struct fault_stats faults;
	struct region_stats regions[REGION_CLASSES];
	bool has_agent; /* in any process */
	struct agent_stats agent;
	uint64_t rss_bytes; /* sum of what is known; UNKNOWN when nothing is */
	uint64_t rss_parts_direct_mmap, rss_parts_heap, rss_parts_file, rss_parts_stack,
		rss_parts_other, rss_parts_unknown; /* UNKNOWN when rss_bytes is */
	struct heap_stats heap;
	struct resident_parts parts; /* of the processes that have a heap plane and live */
	const struct heap_hook *hooks;
	size_t nhooks;
	uint64_t sample_bytes; /* 0: every call was told */
	uint64_t lost_ops[HEAP_OPS]; /* events[REC_HEAP].lost by function */
	/* seen = delivered + lost, by kind (enum rec_kind) */
	struct loss events[REC_KINDS];
	uint64_t seen, delivered, lost;
	uint64_t stacks_failed, stacks_truncated, stacks; /* of `stacks` distinct ones */
	uint64_t stacks_taken, stacks_taken_truncated; /* the same, as often as they were met */
	struct mapped_point *mapped;
	size_t nmapped;
	/* Sites, each array sorted by its measure, most first; whole (views cut to --top). */
	struct site *sites;
	size_t nsites;
	const struct site **by_faults;
	size_t nby_faults; /* sites with at least one fault */
	const struct site **by_bytes;
	size_t nby_bytes; /* sites that mapped at least one byte */
	/* Sites of the heap. */
	const struct site **by_live;
	size_t nby_live; /* with live bytes */
	const struct site **by_cost; /* time in the kernel, inside the calls and in first touches */
	size_t nby_cost; /* with a system call or a fault */
	const struct site **by_requested;
	size_t nby_requested; /* with a call */
	struct advice *advice; /* by report__advise() */
	size_t nadvice;
	/* Remarks the reader must know (a target that could not be followed, an event lost ...). */
	bool has_hidden_faults; /* a set-id program was executed: the kernel took our events from it */
	char **notes;
	size_t nnotes;
};

extern const char *const heap_op_name[HEAP_OPS]; /* "malloc", ... */
extern const char *const rec_kind_name[REC_KINDS]; /* "brk", ..., "fault", "fork", "exec", "exit", ... */

#endif /* MEMTRACE_REPORT_H */
