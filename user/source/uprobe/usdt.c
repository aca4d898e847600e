// SPDX-License-Identifier: MIT
#include "user/source/uprobe/usdt.h"

#include <errno.h>
#include <gelf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROVIDER "otel_memory"
#define NOTE_TYPE 3

static const struct family families[] = {
	{.name = "alloc", .op = HEAP_SAMPLED},
	{.name = "free", .op = HEAP_SAMPLED_FREE},
};
static const struct family phase_family = {.name = "phase", .op = HEAP_PHASE};

/* By the processor's numbers; each with its names of 8, 4, 2 and 1 bytes. */
static const char *const registers[16][4] = {
	{"rax", "eax", "ax", "al"},	 {"rcx", "ecx", "cx", "cl"},
	{"rdx", "edx", "dx", "dl"},	 {"rbx", "ebx", "bx", "bl"},
	{"rsp", "esp", "sp", "spl"},	 {"rbp", "ebp", "bp", "bpl"},
	{"rsi", "esi", "si", "sil"},	 {"rdi", "edi", "di", "dil"},
	{"r8", "r8d", "r8w", "r8b"},	 {"r9", "r9d", "r9w", "r9b"},
	{"r10", "r10d", "r10w", "r10b"}, {"r11", "r11d", "r11w", "r11b"},
	{"r12", "r12d", "r12w", "r12b"}, {"r13", "r13d", "r13w", "r13b"},
	{"r14", "r14d", "r14w", "r14b"}, {"r15", "r15d", "r15w", "r15b"},
};

static bool parse_register(const char **at, uint8_t *reg)
{
	size_t n;

	if (**at != '%')
		return false;
	n = strcspn(*at + 1, " ,)");
	for (uint8_t i = 0; i < 16; i++)
		for (unsigned k = 0; k < 4; k++)
			if (strlen(registers[i][k]) == n && !memcmp(registers[i][k], *at + 1, n)) {
				*reg = i;
				*at += n + 1;
				return true;
			}
	return false;
}

bool usdt__parse_arg(const char **at, struct contract_arg *arg)
{
	char *end;
	long bytes = strtol(*at, &end, 10);

	*arg = (struct contract_arg){.is_signed = bytes < 0};
	bytes = bytes < 0 ? -bytes : bytes;
	if (*end != '@' || (bytes != 1 && bytes != 2 && bytes != 4 && bytes != 8))
		return false;
	arg->bytes = (uint8_t)bytes;
	*at = end + 1;
	if (**at == '$') {
		arg->kind = CONTRACT_CONSTANT;
		arg->offset = strtoll(*at + 1, &end, 0);
		*at = end;
	} else if (**at == '%') {
		arg->kind = CONTRACT_REGISTER;
		if (!parse_register(at, &arg->reg))
			return false;
	} else {
		arg->kind = CONTRACT_MEMORY;
		arg->offset = strtoll(*at, &end, 0);
		if (*end != '(')
			return false;
		*at = end + 1;
		if (!parse_register(at, &arg->reg) || **at != ')')
			return false;
		++*at;
	}
	return !**at || **at == ' ';
}

static bool parse_args(const char *text, unsigned n, struct contract_args *args)
{
	memset(args, 0, sizeof(*args));
	for (unsigned i = 0; i < n; i++) {
		while (*text == ' ')
			text++;
		if (!usdt__parse_arg(&text, &args->arg[i]))
			return false;
	}
	return true;
}

/* The offset in the file of what will be at an address. */
static uint64_t file_offset(Elf *elf, uint64_t addr)
{
	size_t n = 0;

	elf_getphdrnum(elf, &n);
	for (size_t i = 0; i < n; i++) {
		GElf_Phdr p;

		if (gelf_getphdr(elf, (int)i, &p) && p.p_type == PT_LOAD &&
		    addr - p.p_vaddr < p.p_filesz)
			return p.p_offset + (addr - p.p_vaddr);
	}
	return 0;
}

/* Where the section that all addresses are relative to has come to be. */
static uint64_t base_address(Elf *elf)
{
	Elf_Scn *section = NULL;
	size_t names;

	if (elf_getshdrstrndx(elf, &names))
		return 0;
	while ((section = elf_nextscn(elf, section))) {
		GElf_Shdr h;
		const char *name;

		if (!gelf_getshdr(section, &h))
			continue;
		name = elf_strptr(elf, names, h.sh_name);
		if (name && !strcmp(name, ".stapsdt.base"))
			return h.sh_addr;
	}
	return 0;
}

/* What the probe of this name is to us. */
static bool find_meaning(struct usdt_probe *p, const char *provider, const char *name,
			 const char *args, const struct usdt_phases *phases)
{
	snprintf(p->name, sizeof(p->name), "%s:%s", provider, name);
	for (size_t i = 0; phases && i < phases->n; i++) {
		if (!phases->names[i] || strcmp(phases->names[i], p->name) != 0)
			continue;
		p->family = &phase_family;
		p->args.arg[0] = (struct contract_arg){
			.kind = CONTRACT_CONSTANT, .bytes = 8, .offset = (int64_t)i + 1};
		return true;
	}
	if (strcmp(provider, PROVIDER) != 0)
		return false;
	for (unsigned i = 0; i < 2; i++)
		if (!strcmp(name, families[i].name))
			p->family = &families[i];
	return p->family && parse_args(args, p->family->op == HEAP_SAMPLED ? 3 : 1, &p->args);
}

/* One note: three addresses, then provider, name and arguments, each ended by a NUL. */
static bool read_note(Elf *elf, const char *desc, size_t bytes, uint64_t base,
		      const struct usdt_phases *phases, struct usdt_probe *p)
{
	const char *text = desc + 3 * sizeof(uint64_t), *end = desc + bytes, *words[3];
	uint64_t addr[3];

	if (bytes <= sizeof(addr))
		return false;
	memcpy(addr, desc, sizeof(addr));
	for (unsigned i = 0; i < 3; i++) {
		size_t n = strnlen(text, (size_t)(end - text));

		if (text + n == end)
			return false;
		words[i] = text;
		text += n + 1;
	}
	memset(p, 0, sizeof(*p));
	if (!find_meaning(p, words[0], words[1], words[2], phases))
		return false;
	/* Moved by prelink(8) or its like: by as much as the base. */
	base = base ? base - addr[1] : 0;
	p->addr = addr[0] + base;
	if (addr[2])
		p->semaphore = file_offset(elf, addr[2] + base);
	return !addr[2] || p->semaphore;
}

int usdt__each(Elf *elf, const struct usdt_phases *phases,
	       int (*fn)(void *ctx, const struct usdt_probe *p), void *ctx)
{
	uint64_t base = base_address(elf);
	Elf_Scn *section = NULL;
	int err = 0;

	while (!err && (section = elf_nextscn(elf, section))) {
		size_t at = 0, next, name, desc;
		struct usdt_probe p;
		GElf_Shdr h;
		GElf_Nhdr note;
		Elf_Data *data;

		if (!gelf_getshdr(section, &h) || h.sh_type != SHT_NOTE)
			continue;
		data = elf_getdata(section, NULL);
		while (!err && data && (next = gelf_getnote(data, at, &note, &name, &desc))) {
			const char *bytes = data->d_buf;

			if (note.n_type == NOTE_TYPE && note.n_namesz == sizeof("stapsdt") &&
			    !memcmp(bytes + name, "stapsdt", sizeof("stapsdt")) &&
			    read_note(elf, bytes + desc, note.n_descsz, base, phases, &p))
				err = fn(ctx, &p);
			at = next;
		}
	}
	return err;
}
