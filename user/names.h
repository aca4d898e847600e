/* SPDX-License-Identifier: MIT */
/* The model's files as modules of the symbolizer, and places as short text. */
#ifndef MEMTRACE_NAMES_H
#define MEMTRACE_NAMES_H

#include "user/model/model.h"

struct names;

struct names *names__new(struct model *m);
void names__free(struct names *n);

/* Process pid has mapped a file executable: open it while that is possible. */
void names__add_code(struct names *n, pid_t pid, const struct vma *v);

/* The same by file number alone, when the mapping itself has not been told (yet). */
struct model_names names__callbacks(struct names *n);

/* The innermost named place of a stack, as "function (file:line)"; NULL when there is none. Valid
 * until the next call. */
const char *names__place(struct names *n, pid_t pid, uint64_t stack_id, uint64_t ip);

/* Each frame of a stack that has a name, innermost first; text is valid during the call. */
void names__each_frame(struct names *n, pid_t pid, uint64_t stack_id,
		       void (*put)(void *ctx, const char *place), void *ctx);

/* What a fault's address is in: "[heap]", "[stack]", "file+0x1000", "anonymous", "unmapped". Valid
 * until the next call. */
const char *names__where(struct names *n, pid_t pid, uint64_t addr);

#endif /* MEMTRACE_NAMES_H */
