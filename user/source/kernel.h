/* SPDX-License-Identifier: MIT */
/*
 * The kernel plane: the life of the BPF programs, from loading to the last
 * record. Everything it makes (programs, maps, perf events) hangs on file
 * descriptors of this process, so that nothing remains however it ends.
 */
#ifndef MEMTRACE_KERNEL_H
#define MEMTRACE_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "user/order/order.h"

struct kernel;

enum kernel_mode {
	/* In the order of the programs' MODE_*. */
	KERNEL_PIDS, /* the processes added, and what they fork */
	KERNEL_MATCH, /* all processes of a name or a cgroup */
	KERNEL_MACHINE, /* all processes, counted in the kernel; records of samples alone (.heap) */
};

struct kernel_opts {
	enum kernel_mode mode;
	bool follow;
	const char *comm; /* KERNEL_MATCH: one of the two */
	const char *cgroup;
	size_t buffer_bytes; /* 0: default */
	bool heap; /* load what the heap plane needs */
	bool ring; /* there is a ring plane */
	uint64_t sample_bytes; /* heap: one sample each so many bytes; 0: all calls */
	order_sink *sink; /* takes the records, in order */
	void *sink_ctx;
};

/*
 * Load and attach. On failure prints why and what to do, and returns NULL with
 * *status set to an exit status (EXIT_UNABLE, EXIT_FAIL).
 */
struct kernel *kernel__new(const struct kernel_opts *o, int *status);
void kernel__free(struct kernel *k);

/* No kernel plane: nothing is seen by it, what other planes have is put in order. All that follows can be
 * called. NULL: no memory. */
struct kernel *kernel__none(const struct kernel_opts *o);

/*
 * Trace process pid with all its threads, from now, or with `launched` (the
 * child of ours that is to exec) from its exec on. 0 or a negative errno, after a message.
 */
int kernel__add(struct kernel *k, pid_t pid, bool launched);

/* A command is about to be run: make ready for its code. */
void kernel__expect(struct kernel *k, const char *command);

/* Open fault events again for a process whose exec made the kernel drop them. */
int kernel__reopen(struct kernel *k, pid_t pid);

/* A poll begins: records that other planes have later than this are not handed on by it. */
void kernel__begin_poll(struct kernel *k);

/* Hand on what has come; `last`: all of it, nothing more will come. 0 or -ENOMEM. */
int kernel__poll(struct kernel *k, bool last);

/* Stop the programs: no event is seen from here on. */
void kernel__detach(struct kernel *k);

/* Whether targets' stacks are read by the kernel's own mapping of memory, not by copies. */
bool kernel__reads_directly(const struct kernel *k);

/* How full the fullest of the buffers is, 0 to 1. */
double kernel__fill(const struct kernel *k);

/* Counters so far, summed over CPUs; delivered by kind. 0 or -errno. */
int kernel__counts(struct kernel *k, struct event_counts *sum, uint64_t delivered[REC_KINDS]);

/* Call fn for each thread traced now. 0 or -errno. */
int kernel__threads(struct kernel *k, void (*fn)(void *ctx, const struct task_row *row), void *ctx);

/*
 * KERNEL_MACHINE: call fn for each process. `ended` was found out before the row was
 * read, so that the row of an ended process is complete; it is deleted then.
 */
int kernel__machine(struct kernel *k,
		    void (*fn)(void *ctx, pid_t pid, const struct machine_row *row, bool ended),
		    void *ctx);

/* With .heap: the programs to place on entry points and the like. */
struct attach_programs;
void kernel__heap_programs(const struct kernel *k, struct attach_programs *p);

/* From here on no call into an allocator is seen to begin. */
void kernel__close_heap(struct kernel *k);

/* Where the arguments of a target's own probe are. 0 or -errno. */
int kernel__set_contract(struct kernel *k, uint32_t hook, const struct contract_args *args);

/* Sampling: the free of this block is not awaited any more. */
void kernel__forget_block(struct kernel *k, pid_t pid, uint64_t addr);

/* Where a hook's function runs. 0 or -errno. */
struct hook_code;
int kernel__set_code(struct kernel *k, uint32_t hook, const struct hook_code *code);

/* What the first n hooks have counted. 0 or -errno. */
struct heap_hook_counts;
int kernel__hook_counts(struct kernel *k, struct heap_hook_counts *counts, size_t n);

uint64_t kernel__late(const struct kernel *k);

/* Where the ring plane's records join. */
struct order *kernel__order(struct kernel *k);

/* With .ring: threads of process pid have a struct ring_call at this offset from %fs. From any
 * thread. 0 or -errno. */
int kernel__ring_calls(struct kernel *k, pid_t pid, int64_t call_at);

/* With .ring: the program to place where processes offer memory, and the ring buffer that it tells in. */
struct bpf_program;
void kernel__offers(const struct kernel *k, struct bpf_program **program, int *map);

#endif /* MEMTRACE_KERNEL_H */
