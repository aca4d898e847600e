// SPDX-License-Identifier: MIT
/* Whether a library can be preloaded into a command: told before it runs. */
#include <elf.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "user/source/ring/ring.h"
#include "user/source/uprobe/command.h"
#include "user/symbol/file.h"

#define PHDRS_MAX 64

static const char *file__unfit(int fd)
{
	Elf64_Phdr phdrs[PHDRS_MAX];
	Elf64_Ehdr e;
	ssize_t n = pread(fd, &e, sizeof(e), 0);
	size_t bytes;

	/* What runs it is looked at when it does. */
	if (n > 2 && !memcmp(&e, "#!", 2))
		return NULL;
	if (n != sizeof(e) || memcmp(e.e_ident, ELFMAG, SELFMAG))
		return "it is not an ELF program";
	if (e.e_ident[EI_CLASS] != ELFCLASS64 || e.e_machine != EM_X86_64)
		return "it is not an x86-64 program";
	bytes = e.e_phnum * sizeof(phdrs[0]);
	if (e.e_phnum > PHDRS_MAX || e.e_phentsize != sizeof(phdrs[0]) ||
	    pread(fd, phdrs, bytes, (off_t)e.e_phoff) != (ssize_t)bytes)
		return "its ELF header makes no sense";
	for (size_t i = 0; i < e.e_phnum; i++)
		if (phdrs[i].p_type == PT_INTERP)
			return NULL;
	return "it is a static program";
}

const char *ring_plane__unfit(const char *command)
{
	const char *why = NULL;
	char path[PATH_MAX];
	struct stat st;
	int fd;

	/* What cannot be found or opened is execve's to say. */
	if (!command__resolve(command, path))
		return NULL;
	fd = file__open_regular(path);
	if (fd < 0)
		return NULL;
	if (fstat(fd, &st))
		why = NULL;
	else if (((st.st_mode & S_ISUID && st.st_uid != getuid()) ||
		  (st.st_mode & S_ISGID && st.st_gid != getgid())))
		why = "it is a set-id program";
	else if (fgetxattr(fd, "security.capability", NULL, 0) > 0 && geteuid())
		why = "it has capabilities of its own";
	else
		why = file__unfit(fd);
	close(fd);
	return why;
}
