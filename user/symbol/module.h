/* SPDX-License-Identifier: MIT */
/* The modules that symbols.c knows. Internal to user/symbol. */
#ifndef MEMTRACE_MODULE_H
#define MEMTRACE_MODULE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "user/symbol/file.h"
#include "user/symbol/image.h"

struct module {
	const char *path; /* the pool's */
	const char *build_id; /* the pool's; NULL: none, or not looked for yet */
	struct file_id id;
	int fd; /* -1: could not be opened */
	bool is_copy; /* of a vdso */
	bool is_unusable; /* not ELF, damaged, or changed since: not tried again */
	struct image *image; /* NULL: closed */
	struct stat at_first; /* of fd, when it was registered */
};

/* Take fd over as the module's file. */
int module__take(struct module *m, int fd);

/* The image, opened if it was not. NULL and *err: -ENOENT when the file is of no use, -ENOMEM. */
struct image *module__image(struct module *m, int *err);

/* Close the image when its tables have grown beyond what is worth keeping. Strings of it end. */
void module__limit(struct module *m);

void module__close(struct module *m);

#endif /* MEMTRACE_MODULE_H */
