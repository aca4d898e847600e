/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/*
 * Pointers of kernel structures, loaded without the verifier's search.
 *
 * Newer verifiers go through all of the kernel's types by name at each load of a pointer from a
 * structure that is trusted, to see whether the pointer is, too: a millisecond each, on each path,
 * which was a quarter of all that a start took. We only ever look at what a pointer leads to, by
 * loads that give 0 where nothing is mapped, so a pointer that nobody vouches for does as well.
 */
#ifndef MEMTRACE_POINTER_BPF_H
#define MEMTRACE_POINTER_BPF_H

#include "bpf/kernel_types.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

/*
 * From Linux 6.2 on. Where a kernel does not have it, to name it is enough that libbpf goes through the
 * types of all modules, which takes a right (CAP_SYS_ADMIN) that nothing else here does. So the programs
 * are compiled a second time, with PLAIN_POINTERS.
 */
#ifdef PLAIN_POINTERS
#define bpf_rdonly_cast(obj, btf_id) ((void *)(obj))
#else
extern void *bpf_rdonly_cast(const void *obj, __u32 btf_id) __ksym __weak;
#endif

const volatile __u32 cfg_cast; /* 1: the kernel has it, and these are not the plain programs */

/* The word at an address of the kernel. */
static __always_inline __u64 kernel__load(const void *at)
{
	struct pt_regs *w = bpf_rdonly_cast(at, bpf_core_type_id_kernel(struct pt_regs));

	return w->r15; /* the first word */
}

/* base->field, which is a pointer, as a number. */
#define ADDRESS(base, field)                                                                    \
	(cfg_cast ? kernel__load((const void *)(base) + bpf_core_field_offset((base)->field)) : \
		    (__u64)(base)->field)

/* The same, to look through: of a struct. */
#define POINTER(base, field)                                                                   \
	({                                                                                     \
		typeof((base)->field) p_;                                                      \
                                                                                               \
		if (cfg_cast)                                                                  \
			p_ = bpf_rdonly_cast((const void *)ADDRESS(base, field),               \
					     bpf_core_type_id_kernel(typeof(*(base)->field))); \
		else                                                                           \
			p_ = (base)->field;                                                    \
		p_;                                                                            \
	})

#endif /* MEMTRACE_POINTER_BPF_H */
