// SPDX-License-Identifier: MIT
/*
 * From an address in this process to its rule.
 *
 * No tables are kept. The description of the one function is found by the table that the linker
 * put into .eh_frame_hdr, and the builder's interpreter runs its program up to the address: about
 * a microsecond, once for each address, since the answer goes into a cache that all threads
 * share and then into the thread's own. So there is nothing to build when a program begins or
 * loads a library, nothing that a fork, a signal or the end of a thread could find half
 * made, and what it takes is bounded. (The kernel side cannot read .eh_frame: it has tables.)
 *
 * The module around an address comes from _dl_find_object(), of glibc from 2.35 on: without a lock,
 * also while the loader is at work. Elsewhere from /proc/self/maps. dl_iterate_phdr() takes the lock
 * of the loader, which may be the one that allocates.
 *
 * That a library is gone is seen when the loader frees its struct link_map, which it does after it
 * has unmapped it, and before another thread can load anything to the same place.
 */
#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <string.h>
#include <sys/auxv.h>

#include "lib/trace/unwind.h"
#include "lib/trace/walk_internal.h"
#include "lib/trace/walk_os.h"

#define LIBRARIES 1024 /* a power of two: those whose end is watched */
#define STAYING 4
#define HEADERS_MAX 64
/* .eh_frame_hdr as all linkers write it. */
#define HDR_VERSION 1
#define HDR_FRAME 0x1b /* where .eh_frame is: 4 bytes, relative to here */
#define HDR_COUNT 0x03 /* 4 bytes */
#define HDR_TABLE 0x3b /* pairs of 4 bytes, relative to the header */

#pragma weak _dl_find_object
#pragma weak __libc_stack_end

extern void *__libc_stack_end;

struct module {
	uint64_t start, end;
	const unsigned char *header; /* .eh_frame_hdr; NULL: none */
	size_t header_bytes;
	const void *link_map; /* NULL: not known */
};

uint32_t walk_generation = 1;
uint64_t walk_stack_end, walk_stack_bottom;
struct walk_loader walk_loader;

static struct walk_known *shared;
static size_t shared_mask;
/* Of its own pages: what others have beside it is used where this is not. */
static const void *libraries[LIBRARIES] __attribute__((aligned(4096)));
static bool any_free_counts; /* there are libraries that are not in the list */
static void (*watches)(const void *block);
/* Code that is never unmapped: the program, libc, the loader, ourselves. */
static struct {
	uint64_t start, end;
} staying[STAYING];

/* ---- modules ---- */

static bool libraries__has(const void *map)
{
	size_t i = ((uintptr_t)map * HASH_FACTOR >> 32), n;

	for (n = 0; n < 16; n++, i++)
		if (__atomic_load_n(&libraries[i & (LIBRARIES - 1)], __ATOMIC_RELAXED) == map)
			return true;
	return false;
}

/* NULL: which one is not known, so each free of the loader's may be it. */
static void libraries__add(const void *map)
{
	size_t i = ((uintptr_t)map * HASH_FACTOR >> 32), n;
	const void *there;

	if (map ? libraries__has(map) : __atomic_load_n(&any_free_counts, __ATOMIC_RELAXED))
		return;
	if (watches)
		watches(map);
	for (n = 0; map && n < 16; n++, i++) {
		const void **slot = &libraries[i & (LIBRARIES - 1)];

		there = __atomic_load_n(slot, __ATOMIC_RELAXED);
		if (there == map ||
		    (!there && (__atomic_compare_exchange_n(slot, &there, map, 0, __ATOMIC_RELAXED,
							    __ATOMIC_RELAXED) ||
				there == map)))
			return;
	}
	__atomic_store_n(&any_free_counts, true, __ATOMIC_RELAXED);
	if (map && watches)
		watches(NULL);
}

void walk__watch(void (*watch)(const void *block))
{
	__atomic_store_n(&watches, watch, __ATOMIC_SEQ_CST);
	for (size_t i = 0; i < LIBRARIES; i++) {
		const void *map = __atomic_load_n(&libraries[i], __ATOMIC_RELAXED);

		if (map)
			watch(map);
	}
	if (__atomic_load_n(&any_free_counts, __ATOMIC_RELAXED))
		watch(NULL);
}

void walk__forget(void)
{
	if (!__atomic_add_fetch(&walk_generation, 1, __ATOMIC_ACQ_REL))
		__atomic_store_n(&walk_generation, 1, __ATOMIC_RELEASE);
}

void walk__loader_frees(const void *block)
{
	if (block && (__atomic_load_n(&any_free_counts, __ATOMIC_RELAXED) || libraries__has(block)))
		walk__forget();
}

/* What the program headers at the module's start say; false: there are none. */
static bool module__headers(struct module *m, uint64_t *bias, const Elf64_Phdr **headers, unsigned *n)
{
	const Elf64_Ehdr *e = (const Elf64_Ehdr *)m->start;
	unsigned i;

	if (memcmp(e->e_ident, ELFMAG, SELFMAG) != 0 || e->e_ident[EI_CLASS] != ELFCLASS64 ||
	    e->e_phentsize != sizeof(Elf64_Phdr) || e->e_phnum > HEADERS_MAX ||
	    e->e_phoff > PAGE_BYTES - (uint64_t)e->e_phnum * sizeof(Elf64_Phdr))
		return false;
	*headers = (const Elf64_Phdr *)(m->start + e->e_phoff);
	*n = e->e_phnum;
	for (i = 0; i < *n; i++)
		if ((*headers)[i].p_type == PT_LOAD) {
			*bias = m->start - ((*headers)[i].p_vaddr & ~(PAGE_BYTES - 1));
			return true;
		}
	return false;
}

/* How far from addr on the module can be read; 0: not at all. */
static size_t module__readable(const struct module *m, uint64_t bias, const Elf64_Phdr *p,
			       unsigned n, uint64_t addr)
{
	unsigned i;

	(void)m;
	for (i = 0; i < n; i++)
		if (p[i].p_type == PT_LOAD && p[i].p_flags & PF_R &&
		    addr - (bias + p[i].p_vaddr) < p[i].p_filesz)
			return p[i].p_filesz - (addr - (bias + p[i].p_vaddr));
	return 0;
}

static bool module__find(uint64_t at, struct module *m)
{
	struct dl_find_object found;

	*m = (struct module){0};
	if (!_dl_find_object)
		return walk_os__mapped(at, &m->start, &m->end);
	if (_dl_find_object((void *)at, &found))
		return false;
	m->start = (uint64_t)found.dlfo_map_start;
	m->end = (uint64_t)found.dlfo_map_end;
	m->link_map = found.dlfo_link_map;
	return true;
}

/* ---- rules ---- */

static int32_t header__word(const unsigned char *p)
{
	int32_t word;

	memcpy(&word, p, sizeof(word));
	return word;
}

/* The description that is the last to begin at or before `at`; 0: there is none. */
static uint64_t header__search(const unsigned char *header, size_t bytes, uint64_t at)
{
	const unsigned char *table = header + 12;
	uint32_t n = (uint32_t)header__word(header + 8), low = 0, high, middle;
	int64_t wanted = (int64_t)(at - (uint64_t)header);

	if (n > (bytes - 12) / 8)
		return 0;
	high = n;
	while (low < high) {
		middle = low + (high - low) / 2;
		if (header__word(table + 8 * (size_t)middle) <= wanted)
			low = middle + 1;
		else
			high = middle;
	}
	if (!low)
		return 0;
	return (uint64_t)header + (uint64_t)(int64_t)header__word(table + 8 * (size_t)(low - 1) + 4);
}

static uint32_t module__rule(struct module *m, uint64_t at)
{
	struct unwind_segment code = {m->start, 0, m->end - m->start};
	struct unwind_source s = {.segments = &code, .nsegments = 1};
	const unsigned char *h;
	const Elf64_Phdr *p;
	uint64_t bias, entry;
	unsigned n, i;
	size_t bytes;

	if (!module__headers(m, &bias, &p, &n))
		return WALK_NO_TABLE;
	for (i = 0; i < n && p[i].p_type != PT_GNU_EH_FRAME; i++)
		;
	if (i == n)
		return WALK_NO_TABLE;
	h = (const unsigned char *)(bias + p[i].p_vaddr);
	bytes = module__readable(m, bias, p, n, (uint64_t)h);
	if (bytes < 12 || h[0] != HDR_VERSION || h[1] != HDR_FRAME || h[2] != HDR_COUNT ||
	    h[3] != HDR_TABLE)
		return WALK_NO_TABLE;
	entry = header__search(h, bytes, at);
	s.addr = (uint64_t)(h + 4) + (uint64_t)(int64_t)header__word(h + 4);
	s.frame = (const unsigned char *)s.addr;
	s.bytes = module__readable(m, bias, p, n, s.addr);
	if (entry < s.addr || at - m->start >= UINT32_MAX)
		return UNWIND_NOTHING;
	return unwind__rule(&s, entry - s.addr, (uint32_t)(at - m->start));
}

static bool is_staying(uint64_t at)
{
	unsigned i;

	for (i = 0; i < STAYING; i++)
		if (at - staying[i].start < staying[i].end - staying[i].start)
			return true;
	return false;
}

uint32_t walk__rule(uint64_t at, bool in_doubt)
{
	uint32_t stamp = walk__stamp(), rule;
	struct walk_known *r = NULL;
	uint64_t key, value;
	struct module m;

	if (shared) {
		r = &shared[(at * HASH_FACTOR >> 32) & shared_mask];
		value = __atomic_load_n(&r->value, __ATOMIC_RELAXED);
		key = __atomic_load_n(&r->key, __ATOMIC_RELAXED);
		if ((key ^ value) == at && (uint32_t)value == stamp)
			return value >> 32;
	}
	if (in_doubt && !is_staying(at))
		return UNWIND_NOTHING;
	if (!module__find(at, &m))
		return WALK_NO_TABLE;
	libraries__add(m.link_map);
	rule = module__rule(&m, at);
	if (r) {
		value = (uint64_t)rule << 32 | stamp;
		__atomic_store_n(&r->value, value, __ATOMIC_RELAXED);
		__atomic_store_n(&r->key, at ^ value, __ATOMIC_RELAXED);
	}
	return rule;
}

/* ---- the beginning ---- */

static void stays(unsigned i, uint64_t at)
{
	struct module m;

	if (at && module__find(at, &m)) {
		staying[i].start = m.start;
		staying[i].end = m.end;
	}
}

void walk__init(void *memory, size_t bytes)
{
	uint64_t loader = getauxval(AT_BASE);

	stays(0, getauxval(AT_PHDR));
	stays(1, (uint64_t)getauxval);
	stays(2, loader);
	stays(3, (uint64_t)walk__init);
	if (loader) {
		walk_loader.start = staying[2].start;
		walk_loader.bytes = staying[2].end - staying[2].start;
	}
	/* The name that execve was given is the last on the stack. */
	walk_stack_end = getauxval(AT_EXECFN) & ~7ULL;
	walk_stack_bottom = &__libc_stack_end ? (uint64_t)__libc_stack_end : 0;
	shared_mask = bytes / sizeof(*shared) - 1;
	__atomic_store_n(&shared, memory, __ATOMIC_RELEASE);
}
