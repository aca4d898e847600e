/* SPDX-License-Identifier: MIT */
/* Opening the files that other processes have mapped, without trusting what a path leads to. */
#ifndef MEMTRACE_SYMBOL_FILE_H
#define MEMTRACE_SYMBOL_FILE_H

#include <stdint.h>
#include <sys/types.h>

/* Identity of a file as stat has it; all zero: not known. */
struct file_id {
	uint32_t dev_major, dev_minor;
	uint64_t ino;
};

/* Open a regular file to read, close-on-exec. Nothing else is ever opened: a FIFO or a device
 * answers -EINVAL without having noticed. */
int file__open_regular(const char *path);

/* Open the file that pid has mapped at [start, end), known there as path. The descriptor, or
 * -errno; -ESTALE when something could be opened but is another file than id. */
int file__open_mapped(pid_t pid, uint64_t start, uint64_t end, const char *path,
		      const struct file_id *id);

/* Copy [start, end) of pid's memory into a memory file. The descriptor, or -errno. */
int file__copy_memory(pid_t pid, uint64_t start, uint64_t end);

#endif /* MEMTRACE_SYMBOL_FILE_H */
