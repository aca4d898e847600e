/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/*
 * A process's memory read where the kernel has all memory mapped, in place of bpf_probe_read_user():
 * that costs 60 to 150 ns, mostly for checks of where the copy goes; this some 20 for a page, and
 * next to nothing for each word of it.
 *
 * The page tables are walked here, as the processor does, by loads that give 0 where nothing is
 * mapped. They and the page can be given away by the kernel meanwhile, so what has been read counts only
 * if the walk leads to the same page afterwards, too (direct__find()), and a word that is 0 only
 * if the helper says so: a page may be missing from the kernel's own mapping (memfd_secret). Whatever is
 * unusual (not present, a page of 1 GiB, of a device, an address with bits that encrypt it) is left to
 * the helper, and all of it where the kernel has no bpf_rdonly_cast() (before Linux 6.2).
 *
 * Where the mapping begins is found out at the start, by trying: see direct_search.
 */
#ifndef MEMTRACE_DIRECT_BPF_H
#define MEMTRACE_DIRECT_BPF_H

#include "bpf/state.bpf.h"

#define PAGE_BYTES (1ULL << PAGE_SHIFT)
#define PTE_PRESENT (1ULL << 0)
#define PTE_USER (1ULL << 2)
#define PTE_LARGE (1ULL << 7) /* of a table that is not the last */
#define PTE_SPECIAL (1ULL << 9) /* the kernel's: not ordinary memory */
#define PTE_ADDRESS 0x3ffffffff000ULL
#define PTE_BEYOND 0xfc00000000000ULL /* no memory is so high: bits of encryption */
#define LARGE_BYTES (1ULL << 21)

const volatile __u32 cfg_direct; /* stacks are read so */
__u64 direct_base; /* where the mapping begins; 0: not known */
__u32 direct_five; /* page tables have five levels */

static __always_inline __u64 direct__load(__u64 at)
{
	return kernel__load((void *)at);
}

/* The entry for addr in a table; 0: none that leads to memory. */
static __always_inline __u64 table__entry(__u64 table, __u64 addr, __u32 shift)
{
	__u64 e = direct__load(table + (addr >> shift & 511) * 8);

	return (e & (PTE_PRESENT | PTE_USER | PTE_BEYOND)) == (PTE_PRESENT | PTE_USER) ? e : 0;
}

/* Where the page that has addr begins in the mapping that is at base. 0: not to be read here. */
static __always_inline __u64 direct__find_at(__u64 base, __u32 five, __u64 pgd, __u64 addr)
{
	__u64 e;

	if (five) {
		e = table__entry(pgd, addr, 48);
		if (!e)
			return 0;
		pgd = base + (e & PTE_ADDRESS);
	}
	e = table__entry(pgd, addr, 39);
	if (!e)
		return 0;
	e = table__entry(base + (e & PTE_ADDRESS), addr, 30);
	if (!e || e & PTE_LARGE)
		return 0;
	e = table__entry(base + (e & PTE_ADDRESS), addr, 21);
	if (!e)
		return 0;
	if (e & PTE_LARGE)
		return base + (e & PTE_ADDRESS & ~(LARGE_BYTES - 1)) +
		       (addr & (LARGE_BYTES - 1) & ~(PAGE_BYTES - 1));
	e = table__entry(base + (e & PTE_ADDRESS), addr, 12);
	if (!e || e & PTE_SPECIAL)
		return 0;
	return base + (e & PTE_ADDRESS);
}

/* Where the page that has addr of the address space with these tables can be read. 0: not here. */
static __always_inline __u64 direct__find(__u64 pgd, __u64 addr)
{
	if (!pgd || addr >> 47)
		return 0;
	return direct__find_at(direct_base, direct_five, pgd, addr);
}

/* The page tables of the current process, 0: its memory is not read here. place: in a map, through
 * which the verifier takes the address for a number. */
static __always_inline __u64 direct__tables(struct mm_struct *mm, __u64 *place)
{
	if (!cfg_direct || !direct_base || !mm)
		return 0;
	*(volatile __u64 *)place = ADDRESS(mm, pgd);
	return *(volatile __u64 *)place;
}

/* Read a word of the current process at addr. 0, or -1: there is none. */
static __always_inline int direct__word(struct thread_state *s, struct task_struct *t, __u64 addr,
					__u64 *word)
{
	__u64 pgd = addr & 7 ? 0 : direct__tables(POINTER(t, mm), &s->tables), page;

	if (cfg_direct && pgd) {
		page = direct__find(pgd, addr);
		if (page) {
			*word = direct__load(page + (addr & (PAGE_BYTES - 1)));
			barrier();
			if (*word && direct__find(pgd, addr) == page)
				return 0;
		}
	}
	return bpf_probe_read_user(word, sizeof(*word), (void *)addr) ? -1 : 0;
}

/*
 * Where the mapping begins. The collector has written random words to its own memory at
 * direct_sample_at: the mapping is where a walk of its page tables finds them. It begins at a multiple
 * of 1 GiB, and the topmost table is in it.
 */
#define DIRECT_SAMPLE_WORDS 4
#define DIRECT_TRIES (1U << 16) /* 64 TiB */

__u64 direct_sample_at;
__u64 direct_sample[DIRECT_SAMPLE_WORDS];
__u64 direct_sample_tables; /* as direct__tables(): a number */

static __always_inline int direct__fits(__u64 base, __u32 five, __u64 pgd)
{
	__u64 page = direct__find_at(base, five, pgd, direct_sample_at), i;

	if (!page)
		return 0;
	page += direct_sample_at & (PAGE_BYTES - 1);
	for (i = 0; i < DIRECT_SAMPLE_WORDS; i++)
		if (direct__load(page + 8 * i) != direct_sample[i])
			return 0;
	return 1;
}

static long direct__try(__u32 i, __u64 *base)
{
	__u32 five;

	for (five = 0; five < 2; five++)
		if (direct__fits(*base, five, direct_sample_tables)) {
			direct_five = five;
			direct_base = *base;
			return 1;
		}
	*base -= 1ULL << 30;
	return 0;
}

SEC("raw_tp")
int direct_search(void *ctx)
{
	struct mm_struct *mm = bpf_get_current_task_btf()->mm;
	__u64 base;

	if (!cfg_direct || !mm)
		return 0;
	*(volatile __u64 *)&direct_sample_tables = ADDRESS(mm, pgd);
	base = *(volatile __u64 *)&direct_sample_tables & ~((1ULL << 30) - 1);
	bpf_loop(DIRECT_TRIES, direct__try, &base, 0);
	return 0;
}

#endif /* MEMTRACE_DIRECT_BPF_H */
