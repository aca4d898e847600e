/* SPDX-License-Identifier: MIT */
/* The code of an ELF file, as exits.h looks at it: functions' beginnings from the unwind tables, jumps
 * through the linkage table from the relocations. */
#ifndef MEMTRACE_CODE_H
#define MEMTRACE_CODE_H

#include <stddef.h>
#include <stdint.h>

#include <libelf.h>

#include "user/source/uprobe/exits.h"

struct elf_code {
	Elf *elf;
	int fd;
	uint64_t *begins; /* sorted */
	size_t nbegins;
};

/* 0; -ENOENT: it does not tell where its functions begin; or another -errno. The file is read
 * through both, as long as it is in use. */
int elf_code__init(struct elf_code *c, Elf *elf, int fd);
void elf_code__free(struct elf_code *c);

struct code elf_code__view(struct elf_code *c);

#endif /* MEMTRACE_CODE_H */
