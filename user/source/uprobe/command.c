// SPDX-License-Identifier: MIT
/*
 * Which modules a command will consist of, told before it runs, so that probes are in place
 * when it starts. What is told wrong here is made good when it runs, only later.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <inttypes.h>
#include <libelf.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "user/source/uprobe/command.h"
#include "user/source/uprobe/modules_internal.h"
#include "user/symbol/file.h"

#define NEEDED_MAX 256
#define SCRIPT_DEPTH 4

/* Where libraries are, when no cache is asked: Debian's and the others' places. */
static const char *const library_dirs[] = {
	"/lib/x86_64-linux-gnu",
	"/usr/lib/x86_64-linux-gnu",
	"/usr/local/lib/x86_64-linux-gnu",
	"/lib64",
	"/usr/lib64",
	"/usr/local/lib",
	"/lib",
	"/usr/lib",
	NULL,
};

/* Breadth first, as the loader does it. */
struct search {
	struct module_cache *cache;
	struct module *list[NEEDED_MAX + 1];
	size_t n;
	const char *library_path; /* LD_LIBRARY_PATH */
	bool last; /* take the interpreter too */
};

/* The identity of a file as /proc/PID/maps will show it: stat's differs on some file systems. */
static int file__identity(int fd, uint64_t *ino, uint32_t *dev)
{
	size_t page = sysconf(_SC_PAGESIZE), room = 0;
	void *at = mmap(NULL, page, PROT_READ, MAP_PRIVATE, fd, 0);
	int err = -ENOENT;
	char *line = NULL;
	FILE *f;

	if (at == MAP_FAILED)
		return -errno;
	f = fopen("/proc/self/maps", "re");
	while (f && err && getline(&line, &room, f) > 0) {
		unsigned dev_major, dev_minor;
		uint64_t start, end;

		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %*s %*s %x:%x %" SCNu64, &start, &end,
			   &dev_major, &dev_minor, ino) == 5 &&
		    start == (uintptr_t)at) {
			*dev = dev_major << 20 | dev_minor;
			err = 0;
		}
	}
	free(line);
	if (f)
		fclose(f);
	munmap(at, page);
	return err;
}

static struct module *search__open(struct search *s, const char *path)
{
	struct module *m;
	uint64_t ino = 0;
	uint32_t dev = 0;
	int fd = file__open_regular(path);

	if (fd < 0)
		return NULL;
	if (file__identity(fd, &ino, &dev)) {
		close(fd);
		return NULL;
	}
	m = module_cache__find(s->cache, ino, dev);
	if (m) {
		close(fd);
		return m;
	}
	return module_cache__add(s->cache, ino, dev, fd, path);
}

static bool search__add(struct search *s, struct module *m)
{
	if (!m || m->err || s->n == NEEDED_MAX)
		return false;
	for (size_t i = 0; i < s->n; i++)
		if (s->list[i] == m)
			return true;
	s->list[s->n++] = m;
	return true;
}

/* Look in a colon-separated list of directories, in which $ORIGIN is `origin`. */
static bool search__in_path(struct search *s, const char *dirs, const char *origin, const char *name)
{
	static const char *const words[] = {"$ORIGIN", "${ORIGIN}"};

	while (dirs && *dirs) {
		size_t n = strcspn(dirs, ":"), skip = 0;
		char path[PATH_MAX];

		for (size_t i = 0; i < 2; i++)
			if (!strncmp(dirs, words[i], strlen(words[i])))
				skip = strlen(words[i]);
		if (n &&
		    (size_t)snprintf(path, sizeof(path), "%s%.*s/%s", skip ? origin : "",
				     (int)(n - skip), dirs + skip, name) < sizeof(path) &&
		    search__add(s, search__open(s, path)))
			return true;
		dirs += n + (dirs[n] == ':');
	}
	return false;
}

static void search__library(struct search *s, const char *name, const char *rpath,
			    const char *runpath, const char *origin)
{
	char path[PATH_MAX];

	if (strchr(name, '/')) {
		search__add(s, search__open(s, name));
		return;
	}
	if ((!runpath && search__in_path(s, rpath, origin, name)) ||
	    search__in_path(s, s->library_path, origin, name) ||
	    search__in_path(s, runpath, origin, name))
		return;
	for (size_t i = 0; library_dirs[i]; i++) {
		snprintf(path, sizeof(path), "%s/%s", library_dirs[i], name);
		if (search__add(s, search__open(s, path)))
			return;
	}
}

static void search__needed(struct search *s, Elf *elf, const char *origin)
{
	const char *rpath = NULL, *runpath = NULL;
	Elf_Scn *section = NULL;

	while ((section = elf_nextscn(elf, section))) {
		GElf_Shdr header;
		Elf_Data *data;
		size_t n;

		if (!gelf_getshdr(section, &header) || header.sh_type != SHT_DYNAMIC ||
		    !header.sh_entsize)
			continue;
		data = elf_getdata(section, NULL);
		n = data ? header.sh_size / header.sh_entsize : 0;
		for (int pass = 0; pass < 2; pass++)
			for (size_t i = 0; i < n; i++) {
				const char *text;
				GElf_Dyn d;

				if (!gelf_getdyn(data, (int)i, &d))
					continue;
				text = elf_strptr(elf, header.sh_link, d.d_un.d_val);
				if (!text)
					continue;
				if (!pass && d.d_tag == DT_RPATH)
					rpath = text;
				else if (!pass && d.d_tag == DT_RUNPATH)
					runpath = text;
				else if (pass && d.d_tag == DT_NEEDED)
					search__library(s, text, rpath, runpath, origin);
			}
	}
}

/* The loader itself: musl's is its libc. */
static void search__interpreter(struct search *s, int fd, Elf *elf)
{
	size_t n = 0;

	elf_getphdrnum(elf, &n);
	for (size_t i = 0; i < n; i++) {
		char path[PATH_MAX] = "";
		GElf_Phdr p;

		if (!gelf_getphdr(elf, (int)i, &p) || p.p_type != PT_INTERP ||
		    p.p_filesz >= sizeof(path))
			continue;
		if (pread(fd, path, p.p_filesz, (off_t)p.p_offset) == (ssize_t)p.p_filesz)
			search__add(s, search__open(s, path));
	}
}

/* The libraries that a module asks for. */
static void search__read(struct search *s, const char *path)
{
	char origin[PATH_MAX], *slash;
	int fd = file__open_regular(path);
	Elf *elf;

	if (fd < 0)
		return;
	snprintf(origin, sizeof(origin), "%s", path);
	slash = strrchr(origin, '/');
	if (slash)
		*slash = '\0';
	elf_version(EV_CURRENT);
	elf = elf_begin(fd, ELF_C_READ, NULL);
	if (elf && elf_kind(elf) == ELF_K_ELF)
		search__needed(s, elf, origin);
	if (elf && elf_kind(elf) == ELF_K_ELF && s->last)
		search__interpreter(s, fd, elf);
	elf_end(elf);
	close(fd);
}

/* As execvp(3): the first that is executable. */
static bool command__path(const char *command, char path[PATH_MAX])
{
	const char *dirs = getenv("PATH");

	if (strchr(command, '/'))
		return snprintf(path, PATH_MAX, "%s", command) < PATH_MAX;
	for (dirs = dirs ? dirs : "/bin:/usr/bin"; *dirs;) {
		size_t n = strcspn(dirs, ":");

		if (snprintf(path, PATH_MAX, "%.*s%s%s", (int)n, dirs, n ? "/" : "", command) <
			    PATH_MAX &&
		    !access(path, X_OK))
			return true;
		dirs += n + (dirs[n] == ':');
	}
	return false;
}

/* A script's interpreter takes its place. */
static bool command__interpreter(char path[PATH_MAX])
{
	char line[PATH_MAX];
	int fd = file__open_regular(path);
	ssize_t n;
	char *at;

	if (fd < 0)
		return false;
	n = pread(fd, line, sizeof(line) - 1, 0);
	close(fd);
	if (n < 3 || line[0] != '#' || line[1] != '!')
		return false;
	line[n] = '\0';
	line[strcspn(line, "\n")] = '\0';
	at = line + 2 + strspn(line + 2, " \t");
	at[strcspn(at, " \t")] = '\0';
	snprintf(path, PATH_MAX, "%s", at);
	return *path;
}

bool command__resolve(const char *command, char path[PATH_MAX])
{
	if (!command__path(command, path))
		return false;
	for (int depth = 0; depth < SCRIPT_DEPTH && command__interpreter(path); depth++)
		;
	return true;
}

struct module **modules__of_command(struct module_cache *c, const char *command)
{
	struct search s = {.cache = c, .library_path = getenv("LD_LIBRARY_PATH")};
	char path[PATH_MAX], *preload, *name, *rest;
	struct module **list;

	if (command__resolve(command, path))
		search__add(&s, search__open(&s, path));
	preload = getenv("LD_PRELOAD") ? strdup(getenv("LD_PRELOAD")) : NULL;
	for (name = preload ? strtok_r(preload, ": ", &rest) : NULL; name;
	     name = strtok_r(NULL, ": ", &rest))
		if (s.n)
			search__library(&s, name, NULL, NULL, "");
	free(preload);
	for (size_t i = 0; i < s.n; i++)
		search__read(&s, i ? s.list[i]->path : path);
	/* Once more, for what comes last of all. */
	s.last = true;
	if (s.n)
		search__read(&s, path);
	list = calloc(s.n + 1, sizeof(struct module *));
	if (list)
		memcpy(list, s.list, s.n * sizeof(struct module *));
	return list;
}
