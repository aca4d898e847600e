/* SPDX-License-Identifier: MIT */
/*
 * Opening the files that other processes have mapped.
 *
 * A path is looked at (O_PATH) before it is opened, because opening a FIFO blocks and opening a
 * device may do something. Whether what was found is the mapped file is told by device and inode,
 * with one exception: on overlayfs and btrfs the device that stat gives is not the one that the
 * mapping has (nor, on overlayfs, always the inode).
 */
#include "user/symbol/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

#define COPY_MAX_BYTES (1 << 20) /* a vdso has two to four pages */

enum way {
	BY_MAPPING, /* a link of the kernel's own to the mapped file */
	BY_ROOT, /* by path, from the process's root */
	BY_PATH, /* by path, from ours */
};

static int fd__reopen(int path_fd)
{
	char link[64];
	int fd;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", path_fd);
	fd = open(link, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	return fd < 0 ? -errno : fd;
}

/* An O_PATH descriptor of a regular file, or -errno. */
static int file__look(const char *path, struct stat *st)
{
	int err, fd = open(path, O_PATH | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	err = fstat(fd, st) < 0 ? -errno : S_ISREG(st->st_mode) ? 0 : -EINVAL;
	if (err < 0) {
		close(fd);
		return err;
	}
	return fd;
}

int file__open_regular(const char *path)
{
	struct stat st;
	int fd, path_fd = file__look(path, &st);

	if (path_fd < 0)
		return path_fd;
	fd = fd__reopen(path_fd);
	close(path_fd);
	return fd;
}

/* Length of the last component of path, which *name is set to, without " (deleted)". */
static size_t path__last(const char *path, size_t length, const char **name)
{
	static const char gone[] = " (deleted)";
	const size_t gone_length = sizeof(gone) - 1;
	const char *slash;

	if (length > gone_length && memcmp(path + length - gone_length, gone, gone_length) == 0)
		length -= gone_length;
	slash = memrchr(path, '/', length);
	*name = slash ? slash + 1 : path;
	return path + length - *name;
}

static bool link__has_name(const char *link, const char *path)
{
	char target[PATH_MAX];
	const char *a, *b;
	size_t a_length, b_length;
	ssize_t n = readlink(link, target, sizeof(target));

	if (n <= 0)
		return false;
	a_length = path__last(target, n, &a);
	b_length = path__last(path, strlen(path), &b);
	return a_length == b_length && memcmp(a, b, a_length) == 0;
}

static bool fs__has_devices_of_its_own(int fd)
{
	struct statfs fs;

	return fstatfs(fd, &fs) == 0 && ((unsigned long)fs.f_type == OVERLAYFS_SUPER_MAGIC ||
					 (unsigned long)fs.f_type == BTRFS_SUPER_MAGIC);
}

static bool file__is(int fd, const struct stat *st, const char *opened, enum way way,
		     const char *path, const struct file_id *id)
{
	bool same_ino = st->st_ino == id->ino;

	if (!id->dev_major && !id->dev_minor && !id->ino)
		return true;
	if (same_ino && major(st->st_dev) == id->dev_major && minor(st->st_dev) == id->dev_minor)
		return true;
	if (major(st->st_dev) != 0)
		return false;
	/* The mapping itself was opened: only an exec in between can have put another there. */
	if (way == BY_MAPPING && link__has_name(opened, path))
		return true;
	return same_ino && fs__has_devices_of_its_own(fd);
}

static int file__try(const char *opened, enum way way, const char *path, const struct file_id *id)
{
	struct stat st;
	int fd, path_fd = file__look(opened, &st);

	if (path_fd < 0)
		return path_fd;
	fd = file__is(path_fd, &st, opened, way, path, id) ? fd__reopen(path_fd) : -ESTALE;
	close(path_fd);
	return fd;
}

static int file__try_range(pid_t pid, uint64_t start, uint64_t end, const char *path,
			   const struct file_id *id)
{
	char opened[96];

	snprintf(opened, sizeof(opened), "/proc/%d/map_files/%" PRIx64 "-%" PRIx64, pid, start, end);
	return file__try(opened, BY_MAPPING, path, id);
}

/* By whatever range the file is mapped at now: the loader splits what it mapped. */
static int file__try_maps(pid_t pid, const char *path, const struct file_id *id)
{
	char name[64], *line = NULL;
	size_t room = 0;
	int fd = -ENOENT;
	FILE *maps;

	snprintf(name, sizeof(name), "/proc/%d/maps", pid);
	maps = fopen(name, "re");
	if (!maps)
		return -errno;
	while (fd < 0 && getline(&line, &room, maps) > 0) {
		uint64_t start, end, ino;
		unsigned dev_major, dev_minor;

		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %*s %*s %x:%x %" SCNu64, &start, &end,
			   &dev_major, &dev_minor, &ino) == 5 &&
		    ino == id->ino && dev_major == id->dev_major && dev_minor == id->dev_minor)
			fd = file__try_range(pid, start, end, path, id);
		if (fd == -EPERM || fd == -EACCES)
			break;
	}
	free(line);
	fclose(maps);
	return fd;
}

int file__open_mapped(pid_t pid, uint64_t start, uint64_t end, const char *path,
		      const struct file_id *id)
{
	char opened[PATH_MAX + 64];
	int fd, err;

	err = fd = file__try_range(pid, start, end, path, id);
	if (fd >= 0)
		return fd;
	if (path[0] == '/') {
		if ((size_t)snprintf(opened, sizeof(opened), "/proc/%d/root%s", pid, path) <
		    sizeof(opened)) {
			fd = file__try(opened, BY_ROOT, path, id);
			if (fd >= 0)
				return fd;
		}
		err = fd = file__try(path, BY_PATH, path, id);
		if (fd >= 0)
			return fd;
	}
	if (!id->ino)
		return err;
	/* A deleted program, for those who may not use map_files. */
	snprintf(opened, sizeof(opened), "/proc/%d/exe", pid);
	fd = file__try(opened, BY_ROOT, path, id);
	if (fd < 0)
		fd = file__try_maps(pid, path, id);
	return fd < 0 ? err : fd;
}

static int memory__read(pid_t pid, uint64_t start, void *buffer, size_t bytes)
{
	struct iovec local = {buffer, bytes}, remote = {(void *)(uintptr_t)start, bytes};
	ssize_t n = process_vm_readv(pid, &local, 1, &remote, 1, 0);
	char name[64];
	int fd;

	if (n == (ssize_t)bytes)
		return 0;
	snprintf(name, sizeof(name), "/proc/%d/mem", pid);
	fd = open(name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = pread(fd, buffer, bytes, (off_t)start);
	n = n < 0 ? -errno : n == (ssize_t)bytes ? 0 : -EFAULT;
	close(fd);
	return (int)n;
}

int file__copy_memory(pid_t pid, uint64_t start, uint64_t end)
{
	size_t bytes = end - start;
	void *buffer;
	ssize_t n;
	int fd, err;

	if (end <= start || bytes > COPY_MAX_BYTES)
		return -EINVAL;
	buffer = malloc(bytes);
	if (!buffer)
		return -ENOMEM;
	err = memory__read(pid, start, buffer, bytes);
	if (err < 0) {
		free(buffer);
		return err;
	}
	fd = memfd_create("memtrace-copy", MFD_CLOEXEC);
	if (fd < 0) {
		err = -errno;
	} else {
		n = write(fd, buffer, bytes);
		err = n < 0 ? -errno : n == (ssize_t)bytes ? 0 : -EIO;
		if (err < 0)
			close(fd);
	}
	free(buffer);
	return err < 0 ? err : fd;
}
