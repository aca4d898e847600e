/* SPDX-License-Identifier: MIT */
/* Of all that the modules of a process define, what is to be hooked. */
#ifndef MEMTRACE_CHOOSE_H
#define MEMTRACE_CHOOSE_H

#include "user/source/uprobe/modules.h"

struct choice {
	struct module *module;
	const struct entry_point *entry;
};

struct choices {
	struct choice *list; /* each address once */
	size_t n;
	struct module *allocator; /* that serves malloc; NULL: none was found */
	char why[256]; /* ... and why */
};

/* allocator_path: --allocator; NULL: not given. 0 or -ENOMEM. */
int choose(struct choices *c, struct module *const *modules, const char *allocator_path,
	   enum contract_use contract);
void choices__free(struct choices *c);

#endif /* MEMTRACE_CHOOSE_H */
