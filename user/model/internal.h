/* SPDX-License-Identifier: MIT */
/* The model's insides, shared by its own files only. */
#ifndef MEMTRACE_MODEL_INTERNAL_H
#define MEMTRACE_MODEL_INTERNAL_H

#include "user/model/heap.h"
#include "user/model/model.h"
#include "user/util/hmap.h"

/* A fault that came before its mapping was known (in execve): classified later. */
#define EARLY_FAULTS 32
struct early_fault {
	uint64_t addr;
	bool major;
};

/* Threads that map files at the same time have their records interleaved. */
#define MMAPS_UNDER_WAY 8

struct process {
	struct process_report r; /* .comm and .exe are ours, malloc'ed */
	struct space space;
	struct vma *pending; /* the mappings of an exec under way */
	size_t npending;
	struct {
		uint32_t tid, file;
		uint64_t start;
	} mmaps[MMAPS_UNDER_WAY]; /* which file the next mmap record of a thread is of */
	unsigned next_mmap;
	struct hmap places; /* stack id -> place number, as long as no code moves */
	uint32_t places_at; /* space.code_changes that `places` is for */
	uint64_t agent_code, agent_code_end; /* where the agent's code is mapped; 0: nowhere */
	uint64_t counted_mapped, counted_heap; /* its part in the model's totals */
	uint64_t snapshot_ns;
	struct early_fault early[EARLY_FAULTS];
	unsigned nearly;
	bool has_space; /* its mappings are known */
	bool borrows_space; /* vfork: its space is a copy of its parent's, and counted there */
	struct process *parent; /* whose that is, until its execs are others */
	uint64_t parent_execs;
	bool waits_for_exec;
	bool has_heap_plane;
	bool has_parts; /* r.parts is filled in */
	struct heap *heap; /* its address space's; NULL as long as nothing was allocated */
	struct allocator *allocators; /* strings are ours, malloc'ed */
	size_t nallocators, allocators_room;
};

struct file {
	uint64_t ino;
	uint32_t dev;
	bool is_code; /* some process has mapped it executable */
	bool is_agents; /* the agent, or a ring plane's segment */
	bool has_generation; /* not when only its mapping was seen */
	uint32_t generation; /* of the inode */
	char *path;
};

/* One step of a stack, free of where the module was loaded. */
struct step {
	uint32_t file; /* NO_FILE: at is an address */
	uint64_t at; /* offset in the file */
};

/* Steps are: the instruction, the leaf word (if any), then return addresses outwards. */
struct place {
	struct step *steps;
	uint32_t nsteps;
	bool has_leaf; /* steps[1] is the word at the stack pointer */
	bool checked; /* by unwind tables: no step is in doubt */
	bool cut; /* the stack goes on, but could not be followed */
	uint64_t calls[VMCALLS];
	uint64_t call_ns, mapped_bytes, unmapped_bytes;
	uint64_t minor, major, cow, fault_ns;
	struct site_heap *heap; /* of a place that calls the allocator, else NULL */
};

/* The place of a stack that called the allocator, as process.places has it: found without a search. */
#define RECENT_PLACES 256 /* a power of two */
struct recent_place {
	const struct process *process; /* NULL: none */
	uint64_t stack_id;
	size_t place;
};

#define RECENT_THREADS 64 /* a power of two */

#define MAPPED_POINTS 120

struct model {
	uint64_t start_ns;
	struct process **processes; /* in the order they were met */
	size_t nprocesses, processes_room, nalive;
	struct hmap by_pid; /* the latest of each pid, ended or not: index in processes */
	struct process *last_process; /* that a record was about, if it is the latest of its pid */
	struct file *files;
	size_t nfiles, files_room;
	struct hmap by_vnode;
	struct hmap stacks; /* stack id -> struct rec_stack * */
	uint64_t nstacks, stacks_cut;
	uint64_t taken, taken_cut, not_taken; /* events with a stack, with one that is cut, without */
	struct place *places;
	size_t nplaces, places_room;
	struct hmap by_steps; /* hash of the steps -> place number */
	uint64_t mapped_bytes, heap_bytes; /* of all processes */
	struct mapped_point mapped[MAPPED_POINTS];
	size_t nmapped;
	uint64_t mapped_every_ns;
	uint64_t live_bytes, peak_live_bytes; /* of all heaps */
	bool sampled; /* a record stood for more than itself */
	uint64_t sample_bytes; /* the mean distance of samples; 0: not sampled here */
	struct hmap threads; /* tid -> struct thread_call * */
	struct thread_call *recent_threads[RECENT_THREADS]; /* by the low bits of the tid */
	struct recent_place recent_places[RECENT_PLACES]; /* by those of the stack's id */
	struct model_last last;
	char *agent; /* the path of the library that is preloaded; NULL: none is */
	struct place agents; /* of memtrace's own events, which no report shows */
	struct heap_hook *hooks; /* strings are ours, malloc'ed */
	size_t nhooks, hooks_room;
};

struct process *model__live(const struct model *m, pid_t pid);
uint64_t model__since_start(const struct model *m, uint64_t ts_ns);
struct process *model__new_process(struct model *m, pid_t pid, pid_t ppid, const char *comm,
				   uint64_t ts_ns);

/* Which stack is which place is to be found out anew. */
void process__forget_places(struct model *m, struct process *p);

/* The place of a stack in a process; NULL: no memory. */
struct place *model__place(struct model *m, struct process *p, uint64_t stack_id, uint64_t ip);

/* The place of an allocator call, told apart from one of a kernel event. */
struct place *model__heap_place(struct model *m, struct process *p, uint64_t stack_id);

/* bpf's records */
int model__call(struct model *m, struct process *p, const struct rec_call *c);
int model__fault(struct model *m, struct process *p, const struct rec_fault *f);
void process__classify_early(struct model *m, struct process *p);

/* agent.c: whether a path is that of memtrace's own memory, and whether an event is its own. */
bool model__is_agents_path(const struct model *m, const char *path);
bool process__is_agents_call(const struct model *m, const struct process *p,
			     const struct rec_call *c);
/* v: the mapping that the fault was in, or NULL. */
bool process__is_agents_fault(const struct process *p, const struct rec_fault *f,
			      const struct vma *v);
/* The file of an mmap, as the record before it told; NO_FILE: it told of none. */
uint32_t process__mmap_file(const struct process *p, const struct rec_call *c);

/* Bring the totals up to date with a process's space. */
void model__account(struct model *m, struct process *p);
/* Whose memory a child of vfork still has; NULL: its own. */
struct process *process__lender(const struct process *p);

/* Note the mapped total at ts_ns. */
void model__sample_mapped(struct model *m, uint64_t ts_ns);

/* Add up words, of which UNKNOWN ones do not count unless all are. */
void sum_words(uint64_t *to, const uint64_t *from, size_t n);
#define SUM(to, from) \
	sum_words((uint64_t *)(to), (const uint64_t *)(from), sizeof(*(to)) / (sizeof(uint64_t)))

int array__grow(void *array, size_t *room, size_t count, size_t size);

#endif /* MEMTRACE_MODEL_INTERNAL_H */
