/* SPDX-License-Identifier: MIT */
/*
 * The only place with state: processes and their address spaces, files, stacks
 * and places, and all that was counted. It takes records in time order and is
 * asked for a report; it neither reads /proc nor knows BPF, so that a recording
 * and a live run go through the same code.
 */
#ifndef MEMTRACE_MODEL_H
#define MEMTRACE_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "user/model/report.h"
#include "user/model/space.h"

struct model;

struct model *model__new(uint64_t start_ns);
void model__free(struct model *m);

/* Take a record. 0, -ENOMEM, or -EBADMSG for one that is not well formed. */
int model__apply(struct model *m, const struct rec *r, size_t len);

/* A process that the user asked for. launched: what it did before its exec does not count. */
int model__add_root(struct model *m, pid_t pid, pid_t ppid, const char *comm, const char *exe,
		    bool launched);

/*
 * Without a kernel plane: a process has this image, as its agent says; what it had before is gone. pid
 * need not be known. 0 or -ENOMEM.
 */
int model__meet(struct model *m, pid_t pid, pid_t ppid, const char *comm, const char *exe,
		uint64_t ts_ns);

/* What is known of a process when it is first met, from outside: its mappings at ts_ns. */
int model__snapshot_begin(struct model *m, pid_t pid, uint64_t ts_ns);
int model__snapshot_vma(struct model *m, pid_t pid, const struct vma *v);

/* Number of a file by identity, made if new (then its path is unknown); path may be NULL. */
uint32_t model__file(struct model *m, uint64_t ino, uint32_t dev, const char *path);
uint32_t model__vdso(struct model *m); /* the kernel's code page, as a file */
const char *model__file_path(const struct model *m, uint32_t file); /* NULL: not known */
uint64_t model__file_ino(const struct model *m, uint32_t file);
uint32_t model__file_dev(const struct model *m, uint32_t file);

/* The library that is preloaded into what is traced, by its path: what is of it is not the program's.
 * 0 or -ENOMEM. */
int model__set_agent(struct model *m, const char *path);

/* Whether a system call or fault that is about to be applied is memtrace's own. */
bool model__is_agents(const struct model *m, const struct rec *r);

bool model__is_agents_file(const struct model *m, uint32_t file);

/* Bytes of [start, end) that are memtrace's own in a process; *other: the first mapping there that is
 * not, or NULL. */
uint64_t model__agents_bytes(const struct model *m, pid_t pid, uint64_t start, uint64_t end,
			     const struct vma **other);

bool model__knows(const struct model *m, pid_t pid);
const char *model__comm(const struct model *m, pid_t pid); /* "?" when not known */
const char *model__exe(const struct model *m, pid_t pid); /* NULL when not known */
const struct vma *model__find(const struct model *m, pid_t pid, uint64_t addr);
/* The same for the address of a fault that the model has not taken yet: a stack grows to it. */
const struct vma *model__reach(const struct model *m, pid_t pid, uint64_t addr);
/* Whose memory a process has: its own pid, or a child of vfork's parent. */
pid_t model__lender(const struct model *m, pid_t pid);

/* The stack behind a stack id; NULL when it has not come. */
const struct rec_stack *model__stack(const struct model *m, uint64_t stack_id);
enum region_class model__class(const struct model *m, const struct vma *v);

/* Processes that have not ended. */
size_t model__alive(const struct model *m, pid_t *pids, size_t max); /* returns how many there are */

/* Allocator calls are sampled: each byte that is asked for with a chance of 1 in sample_bytes. */
void model__set_sampling(struct model *m, uint64_t sample_bytes);

/* Records of calls that freed were lost before now: what lives in the process (0: in any) may have
 * been freed. */
void model__heap_gap(struct model *m, pid_t pid);

/* Bytes of the live blocks of a process; UNKNOWN without a heap plane. */
uint64_t model__live_bytes(const struct model *m, const struct process_report *p);

/* What only the kernel can tell at the end. */
void model__set_exit(struct model *m, pid_t pid, int status, uint64_t peak_bytes);
void model__add_thread_faults(struct model *m, const struct task_row *row);
struct process_report *model__process(struct model *m, pid_t pid); /* to fill in rss and regions */

/* Whether any process has a heap plane. */
bool model__has_heap(const struct model *m);

/*
 * Whose the resident memory of a living process is: told of its mappings in the order of their
 * addresses, it fills in the process's parts and the sites' resident bytes. NULL: no such process,
 * or no memory.
 */
struct resident;
struct resident *model__resident_begin(struct model *m, pid_t pid);
/* Whether a mapping's single pages have to be told, or its sum will do. */
bool resident__wants_pages(enum region_class class);
void resident__sum(struct resident *r, enum region_class class, uint64_t bytes);
void resident__pages(struct resident *r, enum region_class class, uint64_t start, uint64_t end);
/* kernel_bytes: its resident memory by the kernel's account; what is missing is unknown. */
void resident__end(struct resident *r, uint64_t kernel_bytes);

/* How the model asks for names; see symbol.h. module = the model's file number. */
struct model_names {
	void *ctx;
	int (*resolve)(void *ctx, uint32_t file, uint64_t offset, bool is_return, struct frame *out,
		       int max);
	int (*leaf_is_bare)(void *ctx, uint32_t file, uint64_t offset);
	int (*follows_call)(void *ctx, uint32_t file, uint64_t offset);
};

/*
 * The report at end_ns. counts and delivered are the source's; NULL when it has
 * none. The report refers to strings of the model and of names. NULL: no memory.
 */
struct report *model__report(struct model *m, uint64_t end_ns, const struct event_counts *counts,
			     const uint64_t *delivered, const struct model_names *names);
void report__free(struct report *r);

/* There was no kernel plane, and why: what it would have told is not known. */
int report__without_kernel(struct report *r, const char *why);

/* Add a remark. */
int report__note(struct report *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

const char *model__version(void);

/* What the latest record that was applied was found to be about. */
struct model_last {
	uint64_t old_size; /* of the block that a call freed or resized; UNKNOWN: none, or not known */
	uint8_t vma_kind, vma_flags; /* a fault: of the mapping that it was in, if it has one */
	bool has_vma;
	bool in_block; /* a fault outside of allocator calls, in a live block */
};
const struct model_last *model__last(const struct model *m);

/* Live rates: totals of all processes so far. */
size_t model__processes(const struct model *m, const struct process_report **out, size_t max);

#endif /* MEMTRACE_MODEL_H */
