/* SPDX-License-Identifier: MIT */
/* A module's file and image: see module.h. */
#include "user/symbol/module.h"

#include <errno.h>
#include <unistd.h>

#define DEBUG_MAX_BYTES (32 << 20) /* line tables and the like of one module */

int module__take(struct module *m, int fd)
{
	if (fstat(fd, &m->at_first) < 0)
		return -errno;
	m->fd = fd;
	return 0;
}

/* A file written to since it was mapped has other code at its addresses: no name is better. */
static bool module__is_as_mapped(const struct module *m)
{
	struct stat now;

	return fstat(m->fd, &now) == 0 && now.st_size == m->at_first.st_size &&
	       now.st_mtim.tv_sec == m->at_first.st_mtim.tv_sec &&
	       now.st_mtim.tv_nsec == m->at_first.st_mtim.tv_nsec;
}

struct image *module__image(struct module *m, int *err)
{
	*err = -ENOENT;
	if (m->image)
		return m->image;
	if (m->fd < 0 || m->is_unusable)
		return NULL;
	if (module__is_as_mapped(m))
		*err = image__open(&m->image, m->fd, m->path);
	if (*err == 0)
		return m->image;
	if (*err != -ENOMEM && *err != -EMFILE && *err != -ENFILE) {
		m->is_unusable = true;
		*err = -ENOENT;
	}
	return NULL;
}

void module__limit(struct module *m)
{
	if (m->image && image__debug_bytes(m->image) > DEBUG_MAX_BYTES) {
		image__free(m->image);
		m->image = NULL;
	}
}

void module__close(struct module *m)
{
	image__free(m->image);
	m->image = NULL;
	if (m->fd >= 0)
		close(m->fd);
	m->fd = -1;
}
