// SPDX-License-Identifier: MIT
#include "user/source/uprobe/code.h"

#include <dwarf.h>
#include <elf.h>
#include <errno.h>
#include <gelf.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FUNCTIONS_MAX (4U << 20)

/* The header of .eh_frame_hdr, as all linkers write it. */
struct table_head {
	uint8_t version, pointer_encoding, count_encoding, table_encoding;
	int32_t pointer;
	uint32_t count;
};

/* Begins at so many bytes from the header; where its description is. */
struct table_row {
	int32_t begin, description;
};

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static int elf_code__read_table(struct elf_code *c, const GElf_Phdr *p)
{
	struct table_head head;
	struct table_row *rows;
	size_t bytes;
	int err = 0;

	if (pread(c->fd, &head, sizeof(head), (off_t)p->p_offset) != sizeof(head) ||
	    head.version != 1 || head.pointer_encoding != (DW_EH_PE_pcrel | DW_EH_PE_sdata4) ||
	    head.count_encoding != DW_EH_PE_udata4 ||
	    head.table_encoding != (DW_EH_PE_datarel | DW_EH_PE_sdata4) || !head.count ||
	    head.count > FUNCTIONS_MAX)
		return -ENOENT;
	bytes = head.count * sizeof(*rows);
	rows = malloc(bytes);
	c->begins = calloc(head.count, sizeof(*c->begins));
	if (!rows || !c->begins)
		err = -ENOMEM;
	else if (pread(c->fd, rows, bytes, (off_t)(p->p_offset + sizeof(head))) != (ssize_t)bytes)
		err = -ENOENT;
	for (size_t i = 0; i < head.count && !err; i++)
		c->begins[i] = p->p_vaddr + (int64_t)rows[i].begin;
	free(rows);
	if (err)
		return err;
	c->nbegins = head.count;
	qsort(c->begins, c->nbegins, sizeof(*c->begins), compare);
	return 0;
}

int elf_code__init(struct elf_code *c, Elf *elf, int fd)
{
	size_t n = 0;
	int err = -ENOENT;

	*c = (struct elf_code){.elf = elf, .fd = fd};
	if (elf_getphdrnum(elf, &n))
		return -ENOENT;
	for (size_t i = 0; i < n; i++) {
		GElf_Phdr p;

		if (gelf_getphdr(elf, (int)i, &p) && p.p_type == PT_GNU_EH_FRAME)
			err = elf_code__read_table(c, &p);
	}
	if (err)
		elf_code__free(c);
	return err;
}

void elf_code__free(struct elf_code *c)
{
	free(c->begins);
	c->begins = NULL;
	c->nbegins = 0;
}

static size_t elf_code__read(void *ctx, uint64_t addr, uint8_t *to, size_t n)
{
	struct elf_code *c = ctx;
	size_t segments = 0;

	if (elf_getphdrnum(c->elf, &segments))
		return 0;
	for (size_t i = 0; i < segments; i++) {
		GElf_Phdr p;
		ssize_t got;

		if (!gelf_getphdr(c->elf, (int)i, &p) || p.p_type != PT_LOAD ||
		    !(p.p_flags & PF_X) || addr - p.p_vaddr >= p.p_filesz)
			continue;
		if (n > p.p_filesz - (addr - p.p_vaddr))
			n = p.p_filesz - (addr - p.p_vaddr);
		got = pread(c->fd, to, n, (off_t)(p.p_offset + (addr - p.p_vaddr)));
		return got > 0 ? (size_t)got : 0;
	}
	return 0;
}

static bool elf_code__begins(void *ctx, uint64_t addr)
{
	const struct elf_code *c = ctx;

	return bsearch(&addr, c->begins, c->nbegins, sizeof(*c->begins), compare);
}

/* What the loader will put at this address: only what stays within the file. */
static uint64_t relocation__value(Elf *elf, const GElf_Shdr *header, const GElf_Rela *r)
{
	Elf_Scn *table = elf_getscn(elf, header->sh_link);
	Elf_Data *data = table ? elf_getdata(table, NULL) : NULL;
	GElf_Sym symbol;

	switch (GELF_R_TYPE(r->r_info)) {
	case R_X86_64_RELATIVE:
		return r->r_addend;
	case R_X86_64_JUMP_SLOT:
	case R_X86_64_GLOB_DAT:
		if (data && gelf_getsym(data, (int)GELF_R_SYM(r->r_info), &symbol) &&
		    symbol.st_shndx != SHN_UNDEF && GELF_ST_TYPE(symbol.st_info) == STT_FUNC)
			return symbol.st_value;
	}
	return 0;
}

static uint64_t elf_code__pointer(void *ctx, uint64_t addr)
{
	const struct elf_code *c = ctx;
	Elf_Scn *section = NULL;

	while ((section = elf_nextscn(c->elf, section))) {
		GElf_Shdr header;
		Elf_Data *data;
		size_t n;

		if (!gelf_getshdr(section, &header) || header.sh_type != SHT_RELA ||
		    !header.sh_entsize)
			continue;
		data = elf_getdata(section, NULL);
		n = data ? header.sh_size / header.sh_entsize : 0;
		for (size_t i = 0; i < n; i++) {
			GElf_Rela r;

			if (gelf_getrela(data, (int)i, &r) && r.r_offset == addr)
				return relocation__value(c->elf, &header, &r);
		}
	}
	return 0;
}

struct code elf_code__view(struct elf_code *c)
{
	return (struct code){c, elf_code__read, elf_code__begins, elf_code__pointer};
}
