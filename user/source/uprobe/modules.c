// SPDX-License-Identifier: MIT
#include "user/source/uprobe/modules.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

#include "user/symbol/file.h"
#include "user/source/uprobe/modules_internal.h"

#define MODULES_MAX 4096
#define PHDRS_MAX 64
#define DYNAMIC_MAX 256

struct module_cache {
	struct module **modules;
	size_t nmodules;
	struct binary_wanted wanted;
};

struct module_cache *module_cache__new(const struct binary_wanted *wanted)
{
	struct module_cache *c = calloc(1, sizeof(*c));

	if (c)
		c->wanted = *wanted;
	return c;
}

void module_cache__free(struct module_cache *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < c->nmodules; i++) {
		binary__free(&c->modules[i]->binary);
		if (c->modules[i]->fd >= 0)
			close(c->modules[i]->fd);
		free(c->modules[i]);
	}
	free(c->modules);
	free(c);
}

struct module *module_cache__find(const struct module_cache *c, uint64_t ino, uint32_t dev)
{
	for (size_t i = 0; i < c->nmodules; i++)
		if (c->modules[i]->ino == ino && c->modules[i]->dev == dev)
			return c->modules[i];
	return NULL;
}

/* fd becomes the cache's; negative: why the file could not be opened. */
struct module *module_cache__add(struct module_cache *c, uint64_t ino, uint32_t dev, int fd,
				 const char *path)
{
	size_t length = strlen(path);
	struct module **grown, *m;

	if (length >= sizeof(m->path))
		path += length - sizeof(m->path) + 1;
	m = calloc(1, sizeof(*m));
	grown = m ? reallocarray(c->modules, c->nmodules + 1, sizeof(struct module *)) : NULL;
	if (!grown) {
		free(m);
		if (fd >= 0)
			close(fd);
		return NULL;
	}
	c->modules = grown;
	c->modules[c->nmodules++] = m;
	m->ino = ino;
	m->dev = dev;
	m->fd = fd;
	m->err = fd < 0 ? fd : binary__read(&m->binary, fd, &c->wanted);
	snprintf(m->path, sizeof(m->path), "%s", path);
	/* What defines nothing need not be kept open. */
	if (fd >= 0 && !m->binary.nentries) {
		close(fd);
		m->fd = -1;
	}
	return m;
}

static int memory__read(pid_t pid, uint64_t addr, void *to, size_t bytes)
{
	struct iovec local = {to, bytes}, remote = {(void *)(uintptr_t)addr, bytes};
	ssize_t n = process_vm_readv(pid, &local, 1, &remote, 1, 0);

	return n == (ssize_t)bytes ? 0 : n < 0 ? -errno : -EFAULT;
}

/* A file mapping of the process. */
struct mapping {
	uint64_t start, end;
	struct module *module; /* NULL: not of code */
	uint64_t ino;
	uint32_t dev;
};

struct map {
	struct mapping *mappings;
	size_t n;
};

static struct module *module__open(struct module_cache *c, pid_t pid, const struct mapping *m,
				   const char *path, unsigned dev_major, unsigned dev_minor)
{
	struct file_id id = {dev_major, dev_minor, m->ino};
	struct module *known = module_cache__find(c, m->ino, m->dev);

	if (known)
		return known;
	return module_cache__add(c, m->ino, m->dev,
				 file__open_mapped(pid, m->start, m->end, path, &id), path);
}

static int map__read(struct map *map, struct module_cache *c, pid_t pid)
{
	char name[64], *line = NULL;
	size_t room = 0;
	int err = 0;
	FILE *f;

	snprintf(name, sizeof(name), "/proc/%d/maps", pid);
	f = fopen(name, "re");
	if (!f)
		return errno == ENOENT ? -ESRCH : -errno;
	while (!err && getline(&line, &room, f) > 0) {
		struct mapping m = {0}, *grown;
		unsigned dev_major, dev_minor;
		char prot[5];
		int at = 0;

		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %*s %x:%x %" SCNu64 " %n", &m.start,
			   &m.end, prot, &dev_major, &dev_minor, &m.ino, &at) < 6 ||
		    !m.ino || map->n == MODULES_MAX)
			continue;
		m.dev = dev_major << 20 | dev_minor;
		line[strcspn(line, "\n")] = '\0';
		if (prot[2] == 'x') {
			m.module = module__open(c, pid, &m, line + at, dev_major, dev_minor);
			if (!m.module)
				err = -ENOMEM;
		}
		grown = reallocarray(map->mappings, map->n + 1, sizeof(m));
		if (!grown) {
			err = -ENOMEM;
			break;
		}
		map->mappings = grown;
		map->mappings[map->n++] = m;
	}
	if (ferror(f))
		err = -ESRCH;
	free(line);
	fclose(f);
	return err;
}

/* The module whose file is mapped at addr. */
static struct module *map__at(const struct map *map, uint64_t addr)
{
	const struct mapping *hit = NULL;

	for (size_t i = 0; i < map->n && !hit; i++)
		if (addr >= map->mappings[i].start && addr < map->mappings[i].end)
			hit = &map->mappings[i];
	for (size_t i = 0; hit && i < map->n; i++)
		if (map->mappings[i].module && map->mappings[i].ino == hit->ino &&
		    map->mappings[i].dev == hit->dev)
			return map->mappings[i].module;
	return NULL;
}

static void list__append(struct module **list, size_t *n, struct module *m)
{
	for (size_t i = 0; i < *n; i++)
		if (list[i] == m)
			return;
	list[(*n)++] = m;
}

/* What the kernel told the program about itself. */
static int auxv__read(pid_t pid, uint64_t *phdr, uint64_t *phnum)
{
	Elf64_auxv_t v;
	char name[64];
	FILE *f;

	*phdr = *phnum = 0;
	snprintf(name, sizeof(name), "/proc/%d/auxv", pid);
	f = fopen(name, "re");
	if (!f)
		return -errno;
	while (fread(&v, sizeof(v), 1, f) == 1 && v.a_type != AT_NULL) {
		if (v.a_type == AT_PHDR)
			*phdr = v.a_un.a_val;
		else if (v.a_type == AT_PHNUM)
			*phnum = v.a_un.a_val;
	}
	fclose(f);
	return *phdr && *phnum && *phnum <= PHDRS_MAX ? 0 : -ENOENT;
}

/* Where the loader keeps its list: DT_DEBUG of the main program. */
static int loader__find(pid_t pid, struct r_debug *debug)
{
	uint64_t phdr, phnum, bias = 0, dynamic = 0;
	Elf64_Phdr p[PHDRS_MAX] = {0};
	int err = auxv__read(pid, &phdr, &phnum);

	if (!err)
		err = memory__read(pid, phdr, p, phnum * sizeof(p[0]));
	if (err)
		return err;
	for (size_t i = 0; i < phnum; i++) {
		if (p[i].p_type == PT_PHDR)
			bias = phdr - p[i].p_vaddr;
		if (p[i].p_type == PT_DYNAMIC)
			dynamic = p[i].p_vaddr;
	}
	if (!dynamic)
		return -ENOENT;
	for (size_t i = 0; i < DYNAMIC_MAX; i++) {
		Elf64_Dyn d = {0};

		err = memory__read(pid, bias + dynamic + i * sizeof(d), &d, sizeof(d));
		if (err || d.d_tag == DT_NULL)
			return err ? err : -ENOENT;
		if (d.d_tag == DT_DEBUG)
			return d.d_un.d_ptr ? memory__read(pid, d.d_un.d_ptr, debug, sizeof(*debug)) :
					      -ENOENT;
	}
	return -ENOENT;
}

static int list__by_loader(struct module **list, size_t *n, const struct map *map, pid_t pid)
{
	struct link_map link = {0};
	struct r_debug debug = {0};
	uint64_t at;
	int err = loader__find(pid, &debug);

	if (err)
		return err;
	at = (uintptr_t)debug.r_map;
	for (size_t i = 0; at && i < MODULES_MAX; i++) {
		struct module *m;

		err = memory__read(pid, at, &link, sizeof(link));
		if (err)
			return err;
		m = map__at(map, (uintptr_t)link.l_ld);
		if (m)
			list__append(list, n, m);
		at = (uintptr_t)link.l_next;
	}
	return *n ? 0 : -ENOENT;
}

static struct module *map__main(const struct map *map, pid_t pid)
{
	char name[64];
	struct stat st;

	snprintf(name, sizeof(name), "/proc/%d/exe", pid);
	if (stat(name, &st))
		return NULL;
	for (size_t i = 0; i < map->n; i++)
		if (map->mappings[i].module && map->mappings[i].ino == st.st_ino)
			return map->mappings[i].module;
	return NULL;
}

struct module **modules__of_process(struct module_cache *c, pid_t pid, bool *in_order, int *err)
{
	struct module **list = NULL, *program;
	struct map map = {0};
	size_t n = 0;

	*in_order = false;
	*err = map__read(&map, c, pid);
	if (!*err) {
		list = calloc(map.n + 1, sizeof(struct module *));
		*err = list ? 0 : -ENOMEM;
	}
	if (list) {
		program = map__main(&map, pid);
		if (program)
			list__append(list, &n, program);
		*in_order = !list__by_loader(list, &n, &map, pid) ||
			    (program && program->binary.is_static);
		/* The rest: mapped, but not (yet) in the loader's list. A C library goes last: what
		 * comes before it in the list is there to replace it. */
		for (int last = 0; last < 2; last++)
			for (size_t i = 0; i < map.n; i++) {
				struct module *m = map.mappings[i].module;

				if (m && (!strcmp(m->binary.allocator, "glibc") ||
					  !strcmp(m->binary.allocator, "musl")) == last)
					list__append(list, &n, m);
			}
	}
	free(map.mappings);
	return list;
}
