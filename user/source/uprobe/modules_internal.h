/* SPDX-License-Identifier: MIT */
/* What modules.c and command.c share. */
#ifndef MEMTRACE_MODULES_INTERNAL_H
#define MEMTRACE_MODULES_INTERNAL_H

#include "user/source/uprobe/modules.h"

struct module *module_cache__find(const struct module_cache *c, uint64_t ino, uint32_t dev);

/* fd becomes the cache's; negative: why the file could not be opened. NULL: no memory. */
struct module *module_cache__add(struct module_cache *c, uint64_t ino, uint32_t dev, int fd,
				 const char *path);

#endif /* MEMTRACE_MODULES_INTERNAL_H */
