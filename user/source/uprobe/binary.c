// SPDX-License-Identifier: MIT
#include "user/source/uprobe/binary.h"

#include <elf.h>
#include <errno.h>
#include <gelf.h>
#include <libelf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "user/source/uprobe/code.h"
#include "user/source/uprobe/usdt.h"
#include "user/util/log.h"

#define ENTRIES_MAX 256
#define SYMBOLS_MAX (8U << 20)

/* A symbol that only one allocator has, without regard to prefixes. */
static const struct {
	const char *symbol, *allocator;
} marks[] = {
	{"mt_malloc", "mtalloc"},
	{"mallctl", "jemalloc"},
	{"je_mallctl", "jemalloc"},
	{"_rjem_mallctl", "jemalloc"},
	{"mi_version", "mimalloc"},
	{"tc_malloc", "tcmalloc"},
	{"scalable_malloc", "tbbmalloc"},
	{"gnu_get_libc_version", "glibc"},
	{"__libc_early_init", "glibc"},
	{"_rtld_global", "glibc"}, /* its loader, which had a malloc up to 2.30 */
	{"__musl_libc_version", "musl"},
	{"__dls2b", "musl"},
	{"__malloc_donate", "musl"},
	{"__malloc_alloc_meta", "musl"},
};

static void binary__mark(struct binary *b, const char *name, size_t *rank)
{
	for (size_t i = 0; i < *rank && i < sizeof(marks) / sizeof(marks[0]); i++)
		if (!strcmp(name, marks[i].symbol)) {
			snprintf(b->allocator, sizeof(b->allocator), "%s", marks[i].allocator);
			*rank = i;
		}
}

/* What the user named, or one of the family, or a longjmp; false: nothing to us. */
static bool binary__wants(struct entry_point *e, const char *name, char *const *extra, size_t nextra)
{
	for (size_t i = 0; i < nextra; i++) {
		const char *wanted = extra[i];
		const struct family *f = family__parse(&wanted);

		if (f && !strcmp(name, wanted)) {
			e->family = f;
			e->prefix = 0;
			e->given = true;
			return true;
		}
	}
	e->family = family__find(name, &e->prefix);
	return e->family || family__is_escape(name, &e->escape);
}

/* flags: PF_X for code. */
static bool segment__offset(Elf *elf, uint64_t addr, uint32_t flags, uint64_t *offset)
{
	size_t n = 0;

	if (elf_getphdrnum(elf, &n))
		return false;
	for (size_t i = 0; i < n; i++) {
		GElf_Phdr p;

		if (!gelf_getphdr(elf, (int)i, &p) || p.p_type != PT_LOAD || !(p.p_flags & flags) ||
		    addr - p.p_vaddr >= p.p_filesz)
			continue;
		*offset = p.p_offset + (addr - p.p_vaddr);
		return true;
	}
	return false;
}

static int binary__add(struct binary *b, const struct entry_point *e)
{
	struct entry_point *grown;

	/* Both tables have the exported ones. */
	for (size_t i = 0; i < b->nentries; i++)
		if (b->entries[i].offset == e->offset && !strcmp(b->entries[i].name, e->name)) {
			b->entries[i].exported |= e->exported;
			return 0;
		}
	if (b->nentries == ENTRIES_MAX)
		return 0;
	grown = reallocarray(b->entries, b->nentries + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	b->entries = grown;
	b->entries[b->nentries++] = *e;
	return 0;
}

/* What code refers to that exceptions pass through. */
static bool name__unwinds(const char *name)
{
	return !strcmp(name, "_Unwind_Resume") || !strcmp(name, "__cxa_throw") ||
	       !strcmp(name, "__gxx_personality_v0");
}

static int binary__read_table(struct binary *b, Elf *elf, Elf_Scn *section, const GElf_Shdr *header,
			      char *const *extra, size_t nextra, size_t *rank)
{
	Elf_Data *data = elf_getdata(section, NULL);
	size_t n, i;
	int err = 0;

	if (!data || !header->sh_entsize)
		return 0;
	n = header->sh_size / header->sh_entsize;
	for (i = 1; !err && i < n && i < SYMBOLS_MAX; i++) {
		struct entry_point e = {.exported = header->sh_type == SHT_DYNSYM};
		const char *name;
		GElf_Sym symbol;

		if (!gelf_getsym(data, (int)i, &symbol))
			continue;
		name = elf_strptr(elf, header->sh_link, symbol.st_name);
		if (!name)
			continue;
		b->unwinds |= name__unwinds(name);
		if (symbol.st_shndx == SHN_UNDEF)
			continue;
		if (GELF_ST_TYPE(symbol.st_info) != STT_FUNC) {
			binary__mark(b, name, rank);
			continue;
		}
		binary__mark(b, name, rank);
		if (GELF_ST_BIND(symbol.st_info) == STB_LOCAL)
			e.exported = false;
		if (strlen(name) >= sizeof(e.name) || !binary__wants(&e, name, extra, nextra) ||
		    !segment__offset(elf, symbol.st_value, PF_X, &e.offset))
			continue;
		snprintf(e.name, sizeof(e.name), "%s", name);
		err = binary__add(b, &e);
	}
	return err;
}

static int binary__read_tables(struct binary *b, Elf *elf, char *const *extra, size_t nextra)
{
	size_t rank = sizeof(marks) / sizeof(marks[0]);
	Elf_Scn *section = NULL;
	int err = 0;

	while (!err && (section = elf_nextscn(elf, section))) {
		GElf_Shdr header;

		if (!gelf_getshdr(section, &header) ||
		    (header.sh_type != SHT_DYNSYM && header.sh_type != SHT_SYMTAB))
			continue;
		if (header.sh_type == SHT_DYNSYM)
			b->dynamic = true;
		else
			b->has_symtab = true;
		err = binary__read_table(b, elf, section, &header, extra, nextra, &rank);
	}
	return err;
}

/* A probe's note: where it is, where .stapsdt.base was thought to be, the semaphore; names. */
static void binary__read_probe(struct binary *b, Elf *elf, const char *note, size_t bytes,
			       uint64_t base)
{
	static const char offer[] = "mtalloc\0offer", wake[] = "mtalloc\0wake";
	uint64_t addr[3], *to, *semaphore;

	if (bytes < sizeof(addr))
		return;
	memcpy(addr, note, sizeof(addr));
	note += sizeof(addr);
	bytes -= sizeof(addr);
	if (bytes >= sizeof(offer) && !memcmp(note, offer, sizeof(offer)))
		to = &b->offer, semaphore = &b->semaphore;
	else if (bytes >= sizeof(wake) && !memcmp(note, wake, sizeof(wake)))
		to = &b->wake, semaphore = &b->wake_semaphore;
	else
		return;
	if (base)
		addr[0] += base - addr[1];
	if (!segment__offset(elf, addr[0], PF_X, to) ||
	    !segment__offset(elf, addr[2], PF_W, semaphore))
		*to = 0;
}

/* Notes of user space probes, as systemtap and others have them. */
static void binary__read_probes(struct binary *b, Elf *elf)
{
	Elf_Scn *section = NULL, *notes = NULL;
	uint64_t base = 0;
	GElf_Shdr header;
	Elf_Data *data;
	size_t strings, at = 0, name, text;
	GElf_Nhdr note;

	if (elf_getshdrstrndx(elf, &strings))
		return;
	while ((section = elf_nextscn(elf, section))) {
		const char *called;

		if (!gelf_getshdr(section, &header))
			continue;
		called = elf_strptr(elf, strings, header.sh_name);
		if (called && !strcmp(called, ".note.stapsdt"))
			notes = section;
		else if (called && !strcmp(called, ".stapsdt.base"))
			base = header.sh_addr;
	}
	data = notes ? elf_getdata(notes, NULL) : NULL;
	while (data && (at = gelf_getnote(data, at, &note, &name, &text)))
		if (note.n_type == 3 && note.n_namesz == sizeof("stapsdt") &&
		    !memcmp((char *)data->d_buf + name, "stapsdt", sizeof("stapsdt")))
			binary__read_probe(b, elf, (char *)data->d_buf + text, note.n_descsz, base);
}

static void binary__read_kind(struct binary *b, Elf *elf)
{
	bool interpreted = false, program = false;
	GElf_Ehdr header;
	size_t n = 0;

	elf_getphdrnum(elf, &n);
	for (size_t i = 0; i < n; i++) {
		GElf_Phdr p;

		if (!gelf_getphdr(elf, (int)i, &p))
			continue;
		interpreted |= p.p_type == PT_INTERP;
		program |= p.p_type == PT_LOAD;
	}
	if (gelf_getehdr(elf, &header))
		b->is_static = program && !interpreted && header.e_entry;
}

static unsigned family__args(const struct family *f)
{
	unsigned args = 0;

	for (unsigned i = 0; f && i < OPERANDS; i++)
		if (f->arg[i])
			args |= 1U << (f->arg[i] - 1);
	return args;
}

static uint64_t segment__address(Elf *elf, uint64_t offset)
{
	size_t n = 0;

	if (elf_getphdrnum(elf, &n))
		return 0;
	for (size_t i = 0; i < n; i++) {
		GElf_Phdr p;

		if (gelf_getphdr(elf, (int)i, &p) && p.p_type == PT_LOAD && p.p_flags & PF_X &&
		    offset - p.p_offset < p.p_filesz)
			return p.p_vaddr + (offset - p.p_offset);
	}
	return 0;
}

/* Find all that is needed to see its returns without a return probe. 0, -ENOENT or -ENOMEM. */
static int entry__find_exits(struct entry_point *e, Elf *elf, const struct code *code)
{
	struct exit_site sites[EXITS_MAX];
	size_t n = exits__find(code, segment__address(elf, e->offset), sites), i;

	for (i = 0; i < n; i++)
		/* Entry and exit at one instruction: which is told first is not known. */
		if (!segment__offset(elf, sites[i].at, PF_X, &sites[i].at) ||
		    sites[i].at == e->offset + e->site.offset)
			return -ENOENT;
	if (!n)
		return -ENOENT;
	e->exits = malloc(n * sizeof(*sites));
	if (!e->exits)
		return -ENOMEM;
	memcpy(e->exits, sites, n * sizeof(*sites));
	e->nexits = n;
	return 0;
}

/* Whether another entry point is among the code: it may be jumped to from there, and is
 * a call of its own then. */
static bool binary__enters_other(const struct binary *b, Elf *elf, const struct entry_point *e,
				 const struct code_range *ranges, size_t n)
{
	for (size_t i = 0; i < b->nentries; i++) {
		uint64_t other = segment__address(elf, b->entries[i].offset);

		if (b->entries[i].offset == e->offset || !b->entries[i].family ||
		    entry__is_contract(&b->entries[i]))
			continue;
		for (size_t k = 0; k < n; k++)
			if (other >= ranges[k].from && other < ranges[k].to)
				return true;
	}
	return false;
}

/* For a free whose code can be told: what it takes to see it on a stack. */
static void entry__find_code(struct entry_point *e, const struct binary *b, Elf *elf,
			     const struct code *code)
{
	uint64_t entry = segment__address(elf, e->offset), site = entry + e->site.offset;
	struct code_range ranges[HOOK_RANGES];
	size_t n = exits__ranges(code, entry, ranges, HOOK_RANGES);

	/* Without a row in the unwind tables no walk gets through it. */
	if (!n || !code->begins(code->ctx, entry) || binary__enters_other(b, elf, e, ranges, n))
		return;
	for (size_t i = 0; i < n; i++) {
		/* Before its probe it has not begun. */
		if (entry >= ranges[i].from && entry < ranges[i].to)
			ranges[i].from = site;
		e->code.range[i].from = (int64_t)(ranges[i].from - site);
		e->code.range[i].to = (int64_t)(ranges[i].to - site);
	}
	e->no_end = true;
}

static bool entry__may_throw(const struct entry_point *e, const struct binary *b)
{
	return e->family && (e->family->throws || (e->given && b->unwinds));
}

/*
 * What has no return probe: entry points that may throw, which are dropped if their returns
 * cannot be seen otherwise, and frees, which have one in that case.
 */
static int binary__find_ends(struct binary *b, Elf *elf, int fd)
{
	struct elf_code elf_code;
	struct code code = elf_code__view(&elf_code);
	size_t kept = 0;
	int err;

	/* Most files define nothing of the kind. */
	if (!b->nentries)
		return 0;
	err = elf_code__init(&elf_code, elf, fd);
	for (size_t i = 0; i < b->nentries && err != -ENOMEM; i++) {
		struct entry_point *e = &b->entries[i];

		if (!err && e->family && e->family->op >= HEAP_FREE && !entry__is_contract(e) &&
		    !entry__may_throw(e, b))
			entry__find_code(e, b, elf, &code);
	}
	for (size_t i = 0; i < b->nentries; i++) {
		struct entry_point *e = &b->entries[i];

		if (entry__may_throw(e, b) && (err || entry__find_exits(e, elf, &code)))
			log__debug("%s may throw, and where it returns cannot be told: no probe",
				   e->name);
		else
			b->entries[kept++] = *e;
	}
	b->nentries = kept;
	elf_code__free(&elf_code);
	return err == -ENOMEM ? err : 0;
}

static void binary__place(struct binary *b, int fd)
{
	uint8_t code[PROLOGUE_BYTES];

	for (size_t i = 0; i < b->nentries; i++) {
		struct entry_point *e = &b->entries[i];
		ssize_t n = pread(fd, code, sizeof(code), (off_t)e->offset);

		if (entry__is_contract(e))
			continue;
		prologue__choose(code, n > 0 ? (size_t)n : 0, family__args(e->family), &e->site);
	}
}

struct found_usdt {
	struct binary *b;
	Elf *elf;
	int fd;
};

/*
 * Newer kernels (6.18) turn a probe on a nop of 5 bytes into a call, which overwrites what a
 * function without a frame keeps below its stack pointer. Such a probe is left alone.
 */
static bool code__is_long_nop(int fd, uint64_t offset)
{
	static const uint8_t nop[] = {0x0f, 0x1f, 0x44, 0x00, 0x00};
	uint8_t code[sizeof(nop)];

	return pread(fd, code, sizeof(code), (off_t)offset) == sizeof(code) &&
	       !memcmp(code, nop, sizeof(nop));
}

static int binary__add_usdt(void *ctx, const struct usdt_probe *p)
{
	struct found_usdt *f = ctx;
	struct entry_point e = {.family = p->family, .args = p->args, .semaphore = p->semaphore};

	if (!segment__offset(f->elf, p->addr, PF_X, &e.offset))
		return 0;
	snprintf(e.name, sizeof(e.name), "%s", p->name);
	if (code__is_long_nop(f->fd, e.offset)) {
		log__debug("%s is a nop of 5 bytes, on which a probe is not safe: left alone",
			   e.name);
		return 0;
	}
	e.site.place = PLACE_USDT;
	snprintf(e.site.what, sizeof(e.site.what), "the program's own");
	return binary__add(f->b, &e);
}

int binary__read(struct binary *b, int fd, const struct binary_wanted *wanted)
{
	struct found_usdt found = {b, NULL, fd};
	GElf_Ehdr header;
	Elf *elf;
	int err;

	memset(b, 0, sizeof(*b));
	elf_version(EV_CURRENT);
	elf = elf_begin(fd, ELF_C_READ, NULL);
	if (!elf)
		return -ENOMEM;
	if (elf_kind(elf) != ELF_K_ELF || !gelf_getehdr(elf, &header) ||
	    header.e_machine != EM_X86_64 || header.e_ident[EI_CLASS] != ELFCLASS64)
		err = -ENOEXEC;
	else
		err = binary__read_tables(b, elf, wanted->symbols, wanted->nsymbols);
	found.elf = elf;
	if (!err)
		err = usdt__each(elf, &wanted->phases, binary__add_usdt, &found);
	if (!err) {
		binary__read_kind(b, elf);
		binary__read_probes(b, elf);
		binary__place(b, fd);
		err = binary__find_ends(b, elf, fd);
	}
	elf_end(elf);
	if (err)
		binary__free(b);
	return err;
}

void binary__free(struct binary *b)
{
	for (size_t i = 0; i < b->nentries; i++)
		free(b->entries[i].exits);
	free(b->entries);
	b->entries = NULL;
	b->nentries = 0;
}

const struct entry_point *binary__find(const struct binary *b, const char *name)
{
	for (size_t i = 0; i < b->nentries; i++)
		if (!strcmp(b->entries[i].name, name))
			return &b->entries[i];
	return NULL;
}
