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

/* A file without a name next to the target; with a temporary one where that is not to be had. */
static int output__create(struct output *o)
{
	char *copy = strdup(o->target);
	int fd, err;

	if (!copy)
		return -ENOMEM;
	fd = open(dirname(copy), O_TMPFILE | O_RDWR | O_CLOEXEC, 0666);
	err = -errno;
	free(copy);
	if (fd >= 0)
		return fd;
	if (err != -EOPNOTSUPP && err != -EISDIR)
		return err;
	if (asprintf(&o->linked, "%s.%d.tmp", o->target, getpid()) < 0) {
		o->linked = NULL;
		return -ENOMEM;
	}
	fd = open(o->linked, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0666);
	if (fd < 0) {
		fd = -errno;
		free(o->linked);
		o->linked = NULL;
	}
	return fd;
}

/* Which of our standard outputs a file is; -1: none. */
static int standard_output(const struct stat *st)
{
	struct stat own;
	int fd;

	for (fd = STDOUT_FILENO; fd <= STDERR_FILENO; fd++)
		if (!fstat(fd, &own) && own.st_dev == st->st_dev && own.st_ino == st->st_ino)
			return fd;
	return -1;
}

/* Open the file to write: a descriptor or -errno. */
static int output__descriptor(struct output *o)
{
	int fd;

	if (!stat(o->path, &o->old)) {
		if (S_ISDIR(o->old.st_mode))
			return -EISDIR;
		fd = standard_output(&o->old);
		o->in_place = fd >= 0 || !S_ISREG(o->old.st_mode);
		if (o->in_place) {
			/* A copy writes behind what was written before, which a new one would not. */
			fd = fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 0) :
				       open(o->path, O_WRONLY | O_CLOEXEC);
			return fd < 0 ? -errno : fd;
		}
		if (access(o->path, W_OK))
			return -errno;
		o->target = realpath(o->path, NULL);
		if (!o->target)
			return -errno;
	} else {
		o->old.st_mode = 0;
		if (errno != ENOENT)
			return -errno;
		o->target = strdup(o->path);
		if (!o->target)
			return -ENOMEM;
	}
	return output__create(o);
}

int output__open(struct output *o, const char *path)
{
	int fd;

	*o = (struct output){.path = path};
	if (!path) {
		o->in_place = true;
		o->file = stdout;
		return 0;
	}
	fd = output__descriptor(o);
	if (fd < 0) {
		output__close(o);
		return output__fail(path, fd);
	}
	o->file = fdopen(fd, "w");
	if (!o->file) {
		close(fd);
		output__close(o);
		return output__fail(path, -ENOMEM);
	}
	return 0;
}

/* The mode and owner that the file it replaces has. */
static int output__inherit(const struct output *o)
{
	int fd = fileno(o->file);

	if (!o->old.st_mode)
		return 0;
	/* Only root may give files away; the mode comes last, a change of owner clears bits of it. */
	if (fchown(fd, o->old.st_uid, o->old.st_gid) && errno != EPERM && errno != EINVAL)
		return -errno;
	return fchmod(fd, o->old.st_mode & 0777) ? -errno : 0;
}

/* Give the nameless file a name of its own next to the target, to rename it from. */
static int output__link(struct output *o)
{
	char from[64];

	if (o->linked)
		return 0;
	snprintf(from, sizeof(from), "/proc/self/fd/%d", fileno(o->file));
	if (asprintf(&o->linked, "%s.%d.tmp", o->target, getpid()) < 0) {
		o->linked = NULL;
		return -ENOMEM;
	}
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

	errno = 0;
	if (fflush(o->file) || ferror(o->file)) /* an earlier write's error is no longer told */
		err = errno ? -errno : -EIO;
	if (!err && !o->in_place) {
		/* A full disk may show itself only now. */
		if (fsync(fileno(o->file)) && errno != EINVAL && errno != EROFS)
			err = -errno;
		if (!err)
			err = output__inherit(o);
		if (!err)
			err = output__link(o);
		if (!err && rename(o->linked, o->target))
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
	free(o->target);
	o->target = NULL;
}
