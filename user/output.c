// SPDX-License-Identifier: MIT
#include "user/output.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "user/util/log.h"

static int output__fail(const char *path, int err)
{
	log__error("%s: cannot write it: %s", path, strerror(-err));
	return err;
}

/* A file without a name in path's directory, or one with a temporary name where that is not to be had. */
static int output__create(struct output *o, const char *path)
{
	char *copy = strdup(path);
	int fd;

	if (!copy)
		return -ENOMEM;
	fd = open(dirname(copy), O_TMPFILE | O_RDWR | O_CLOEXEC, 0666);
	free(copy);
	if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR))
		return fd < 0 ? -errno : fd;
	if (asprintf(&o->linked, "%s.%d.tmp", path, getpid()) < 0)
		return -ENOMEM;
	fd = open(o->linked, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0666);
	if (fd < 0) {
		fd = -errno;
		free(o->linked);
		o->linked = NULL;
	}
	return fd;
}

int output__open(struct output *o, const char *path)
{
	struct stat st;
	int fd;

	*o = (struct output){.path = path};
	if (!path) {
		o->in_place = 1;
		o->file = stdout;
		return 0;
	}
	if (!stat(path, &st) && !S_ISREG(st.st_mode)) {
		if (S_ISDIR(st.st_mode))
			return output__fail(path, -EISDIR);
		o->in_place = 1;
		fd = open(path, O_WRONLY | O_CLOEXEC);
	} else {
		if (!access(path, F_OK) && access(path, W_OK))
			return output__fail(path, -errno);
		fd = output__create(o, path);
		if (fd < 0)
			return output__fail(path, fd);
	}
	if (fd < 0)
		return output__fail(path, -errno);
	o->file = fdopen(fd, "w");
	if (!o->file) {
		close(fd);
		return output__fail(path, -ENOMEM);
	}
	return 0;
}

/* Give the nameless file a name of its own next to path, to rename it from. */
static int output__link(struct output *o)
{
	char from[64];

	if (o->linked)
		return 0;
	snprintf(from, sizeof(from), "/proc/self/fd/%d", fileno(o->file));
	if (asprintf(&o->linked, "%s.%d.tmp", o->path, getpid()) < 0)
		return -ENOMEM;
	unlink(o->linked);
	if (linkat(AT_FDCWD, from, AT_FDCWD, o->linked, AT_SYMLINK_FOLLOW)) {
		int err = -errno;

		free(o->linked);
		o->linked = NULL;
		return err;
	}
	return 0;
}

int output__commit(struct output *o)
{
	const char *name = o->path ? o->path : "standard output";
	int err = 0;

	if (fflush(o->file) || ferror(o->file))
		err = -errno;
	if (!err && !o->in_place) {
		/* A full disk may show itself only now. */
		if (fsync(fileno(o->file)) && errno != EINVAL && errno != EROFS)
			err = -errno;
		if (!err)
			err = output__link(o);
		if (!err && rename(o->linked, o->path))
			err = -errno;
		if (!err) {
			free(o->linked);
			o->linked = NULL;
		}
	}
	return err ? output__fail(name, err) : 0;
}

void output__close(struct output *o)
{
	if (o->linked) {
		unlink(o->linked);
		free(o->linked);
		o->linked = NULL;
	}
	if (o->file && o->file != stdout)
		fclose(o->file);
	o->file = NULL;
}
