// SPDX-License-Identifier: MIT
#include "user/source/unwind.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "user/source/map_put.h"
#include "user/source/unwind_file.h"
#include "user/symbol/file.h"
#include "user/util/log.h"

#define BYTES_MAX (192UL << 20) /* of all tables together; the kernel's memory */
#define ROWS_MAX ((size_t)UNWIND_BLOCKS_MAX * UNWIND_BLOCK_ROWS)
#define SEEN_MAX 256 /* files that a command is linked with */
#define MADE_MAX 64 /* tables that wait to be put where the programs look */
#define SCRIPTS_MAX 4 /* interpreters of interpreters, as in execve(2) */

/* A file that the programs have been told of. */
struct loaded {
	struct vnode_key key;
	size_t bytes; /* of its table; 0: it has none */
	uint32_t table;
};

struct unwind {
	struct unwind_maps maps;
	struct loaded *loaded;
	size_t n, room;
	size_t hand; /* where the search for what can go was last */
	size_t bytes;
	uint32_t next_table; /* a number comes back as late as possible: a walk may still have it */
	bool taken[UNWIND_TABLES_MAX];
	/* Tables whose files are known to the programs, but not yet they themselves. */
	struct {
		uint32_t n, table[MADE_MAX];
		int fd[MADE_MAX];
	} made;
	struct ring_buffer *wake;
	pthread_t server;
	bool has_server;
	pthread_mutex_t lock; /* of all that is above `wake` */
};

static void unwind__changed(struct unwind *u)
{
	__atomic_fetch_add(u->maps.generation, 1, __ATOMIC_RELEASE);
}

/* Put the tables that were made where the programs find them: all of them at once, and behind
 * everything that a stack could wait for. A number that comes back was cleared before. */
static void unwind__publish(struct unwind *u)
{
	int err = map_put__all(u->maps.tables, u->made.table, u->made.fd, u->made.n);

	if (err)
		log__debug("unwind tables: %u not put: %s", u->made.n, strerrorname_np(-err));
	while (u->made.n)
		close(u->made.fd[--u->made.n]);
}

static void unwind__drop(struct unwind *u, size_t i)
{
	struct loaded *l = &u->loaded[i];

	unwind__publish(u); /* else it would come after it is gone */
	bpf_map_delete_elem(u->maps.files, &l->key);
	/* First nobody finds the number any more, then the table goes. */
	unwind__changed(u);
	if (l->bytes) {
		bpf_map_delete_elem(u->maps.tables, &l->table);
		u->taken[l->table] = false;
	}
	u->bytes -= l->bytes;
	*l = u->loaded[--u->n];
}

/* Make room for a table: those go that have not been used since the search last came by. */
static void unwind__make_room(struct unwind *u, size_t bytes)
{
	size_t turns = 2 * u->n;
	struct unwind_file_info info;

	while (u->n && turns-- && (u->bytes + bytes > BYTES_MAX || u->n >= UNWIND_TABLES_MAX - 1)) {
		struct loaded *l;

		if (u->hand >= u->n)
			u->hand = 0;
		l = &u->loaded[u->hand];
		if (bpf_map_lookup_elem(u->maps.files, &l->key, &info) || !info.used) {
			unwind__drop(u, u->hand);
			continue;
		}
		info.used = 0;
		bpf_map_update_elem(u->maps.files, &l->key, &info, BPF_EXIST);
		u->hand++;
	}
}

/* A map with a table's rows, in blocks. The descriptor or -errno. */
static int table__create(const struct unwind_table *t, uint32_t blocks)
{
	struct bpf_map_create_opts opts = {.sz = sizeof(opts),
					   .map_flags = BPF_F_INNER_MAP | BPF_F_MMAPABLE};
	size_t bytes = blocks * sizeof(struct unwind_block), used = t->n * sizeof(*t->rows);
	struct unwind_block *b;
	int fd, err;

	fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "unwind_table", sizeof(uint32_t), sizeof(*b),
			    blocks, &opts);
	if (fd < 0)
		return -errno;
	b = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (b == MAP_FAILED) {
		err = -errno;
		close(fd);
		return err;
	}
	memcpy(b, t->rows, used);
	memset((char *)b + used, 0xff, bytes - used);
	munmap(b, bytes);
	return fd;
}

static int unwind__make_table(struct unwind *u, const struct unwind_table *t,
			      struct unwind_file_info *info)
{
	uint32_t blocks = (t->n + UNWIND_BLOCK_ROWS - 1) / UNWIND_BLOCK_ROWS;
	int fd;

	if (t->n > ROWS_MAX)
		return -EFBIG;
	fd = table__create(t, blocks);
	if (fd < 0)
		return fd;
	if (u->made.n == MADE_MAX)
		unwind__publish(u);
	/* There is one: room was made. */
	while (u->taken[u->next_table])
		u->next_table = (u->next_table + 1) % UNWIND_TABLES_MAX;
	info->table = u->next_table;
	info->blocks = blocks;
	u->taken[info->table] = true;
	u->made.table[u->made.n] = info->table;
	u->made.fd[u->made.n++] = fd;
	u->next_table = (u->next_table + 1) % UNWIND_TABLES_MAX;
	return 0;
}

/* Tell the programs of a file: with the table of what fd holds, or that there is none. They have
 * the table with unwind__publish(). */
static void unwind__load(struct unwind *u, const struct vnode_key *key, int fd)
{
	struct unwind_file_info info = {.used = 1};
	struct unwind_table t = {0};
	struct loaded *more;
	int err;

	if (u->n == u->room) {
		more = reallocarray(u->loaded, 2 * u->room + 64, sizeof(*more));
		if (!more)
			return;
		u->loaded = more;
		u->room = 2 * u->room + 64;
	}
	err = unwind_file__read(fd, &t);
	unwind__make_room(u, (t.n + UNWIND_BLOCK_ROWS) * sizeof(*t.rows));
	if (!err)
		err = unwind__make_table(u, &t, &info);
	if (err)
		log__debug("unwind table of file %" PRIu64 ": %s", (uint64_t)key->ino,
			   strerrorname_np(-err));
	if (bpf_map_update_elem(u->maps.files, key, &info, BPF_ANY)) {
		if (info.blocks) {
			u->taken[info.table] = false;
			close(u->made.fd[--u->made.n]);
		}
	} else {
		u->loaded[u->n++] =
			(struct loaded){*key, info.blocks * sizeof(struct unwind_block), info.table};
		u->bytes += info.blocks * sizeof(struct unwind_block);
	}
	unwind_table__clear(&t);
}

static bool unwind__has(struct unwind *u, const struct vnode_key *key)
{
	struct unwind_file_info info;

	return !bpf_map_lookup_elem(u->maps.files, key, &info);
}

/* ---- what was asked for ---- */

/* Open what pid has mapped at start, by the path that its maps tell when map_files is not for us. */
static int mapping__open(pid_t pid, uint64_t start, uint64_t end)
{
	static const struct file_id any;
	struct file_id id = {0};
	char name[64], line[PATH_MAX + 128];
	int fd = file__open_mapped(pid, start, end, "", &any), at = 0;
	uint64_t from;
	FILE *f;

	if (fd >= 0)
		return fd;
	snprintf(name, sizeof(name), "/proc/%d/maps", pid);
	f = fopen(name, "re");
	while (f && fd < 0 && fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = '\0';
		if (sscanf(line, "%" SCNx64 "-%*x %*s %*x %x:%x %" SCNu64 " %n", &from,
			   &id.dev_major, &id.dev_minor, &id.ino, &at) == 4 &&
		    from == start && line[at] == '/') {
			fd = file__open_mapped(pid, start, end, line + at, &id);
			break;
		}
	}
	if (f)
		fclose(f);
	return fd;
}

/* Serve a request. 0: it is done, or whoever made it has ended, and the next one asks again. Else it
 * stays, so that it is not made again. */
static int unwind__serve(struct unwind *u, const struct vnode_key *key)
{
	struct unwind_want want;
	int fd;

	if (bpf_map_lookup_elem(u->maps.wanted, key, &want) || unwind__has(u, key))
		return 0;
	fd = mapping__open((pid_t)want.tgid, want.start, want.end);
	if (fd < 0)
		return kill((pid_t)want.tgid, 0) && errno == ESRCH ? 0 : fd;
	unwind__load(u, key, fd);
	close(fd);
	return 0;
}

static void unwind__serve_all(struct unwind *u)
{
	struct vnode_key key, next, *before = NULL;

	while (!bpf_map_get_next_key(u->maps.wanted, before, &next)) {
		/* Deleting the one that the search goes on from would begin it anew. */
		key = next;
		if (unwind__serve(u, &key))
			before = &key;
		else
			bpf_map_delete_elem(u->maps.wanted, &key);
	}
	unwind__publish(u);
}

static int woken(void *ctx, void *data, size_t size)
{
	(void)ctx, (void)data, (void)size;
	return 0;
}

static void *unwind__server(void *arg)
{
	struct unwind *u = arg;
	int state;

	while (ring_buffer__poll(u->wake, -1) >= 0 || errno == EINTR) {
		pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
		pthread_mutex_lock(&u->lock);
		unwind__serve_all(u);
		pthread_mutex_unlock(&u->lock);
		pthread_setcancelstate(state, NULL);
	}
	return NULL;
}

/* Signals are for the other thread. */
static int unwind__start(struct unwind *u)
{
	sigset_t all, before;
	int err;

	u->wake = ring_buffer__new(u->maps.wake, woken, u, NULL);
	if (!u->wake)
		return -errno;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = -pthread_create(&u->server, NULL, unwind__server, u);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	u->has_server = !err;
	return err;
}

/* ---- before it is asked for ---- */

void unwind__add_process(struct unwind *u, pid_t pid)
{
	char name[64], line[512], prot[5];
	uint64_t start, end, ino;
	struct vnode_key key;
	FILE *f;
	int fd;

	snprintf(name, sizeof(name), "/proc/%d/maps", pid);
	f = fopen(name, "re");
	pthread_mutex_lock(&u->lock);
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %*x %*x:%*x %" SCNu64, &start, &end,
			   prot, &ino) != 4 ||
		    !ino || prot[2] != 'x' || u->maps.identify(u->maps.ctx, pid, start, &key) ||
		    unwind__has(u, &key))
			continue;
		fd = mapping__open(pid, start, end);
		if (fd < 0)
			continue;
		unwind__load(u, &key, fd);
		close(fd);
	}
	unwind__publish(u);
	pthread_mutex_unlock(&u->lock);
	if (f)
		fclose(f);
}

/* The files that a command is linked with. */
struct linked {
	struct unwind *u;
	char origin[PATH_MAX]; /* the directory of the file that is looked at */
	struct {
		dev_t dev;
		ino_t ino;
	} seen[SEEN_MAX];
	unsigned nseen, scripts;
};

static void linked__add(struct linked *l, const char *path);

/* The kernel names a file as it is when it is mapped. */
static int unwind__identify(struct unwind *u, int fd, struct vnode_key *key)
{
	size_t page = sysconf(_SC_PAGESIZE);
	uint64_t offset;
	void *code;
	int err = unwind_file__code(fd, &offset);

	if (err)
		return err;
	code = mmap(NULL, page, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, (off_t)offset);
	if (code == MAP_FAILED)
		return -errno;
	err = u->maps.identify(u->maps.ctx, getpid(), (uintptr_t)code, key);
	munmap(code, page);
	return err;
}

/* Look for a library in the directories of a list; false when it is in none. */
static bool linked__search(struct linked *l, const char *list, const char *name)
{
	char path[PATH_MAX];
	size_t length;

	for (; list && *list; list += length + (list[length] == ':')) {
		length = strcspn(list, ":");
		if (!strncmp(list, "$ORIGIN", 7) && length >= 7)
			snprintf(path, sizeof(path), "%.4000s%.*s/%s", l->origin, (int)length - 7,
				 list + 7, name);
		else
			snprintf(path, sizeof(path), "%.*s/%s", (int)length, list, name);
		if (!access(path, R_OK)) {
			linked__add(l, path);
			return true;
		}
	}
	return false;
}

static void linked__needed(void *ctx, const char *name, const char *runpath)
{
	struct linked *l = ctx;

	if (strchr(name, '/')) {
		linked__add(l, name);
		return;
	}
	/* Where else one may be, the loader finds it, and it is asked for. */
	if (!linked__search(l, runpath, name) && !linked__search(l, getenv("LD_LIBRARY_PATH"), name))
		linked__search(l,
			       "/lib/x86_64-linux-gnu:/usr/lib/x86_64-linux-gnu:/usr/local/lib:"
			       "/lib64:/usr/lib64:/lib:/usr/lib",
			       name);
}

/* Of a script: what is to run it. */
static void linked__script(struct linked *l, int fd)
{
	char line[256] = {0}, *interpreter;

	if (pread(fd, line, sizeof(line) - 1, 0) < 3 || strncmp(line, "#!", 2) != 0 ||
	    l->scripts++ == SCRIPTS_MAX)
		return;
	line[strcspn(line, "\n")] = '\0';
	interpreter = line + 2 + strspn(line + 2, " \t");
	interpreter[strcspn(interpreter, " \t")] = '\0';
	linked__add(l, interpreter);
}

static bool linked__is_new(struct linked *l, int fd)
{
	struct stat st;
	unsigned i;

	if (fstat(fd, &st) || l->nseen == SEEN_MAX)
		return false;
	for (i = 0; i < l->nseen; i++)
		if (l->seen[i].dev == st.st_dev && l->seen[i].ino == st.st_ino)
			return false;
	l->seen[l->nseen].dev = st.st_dev;
	l->seen[l->nseen++].ino = st.st_ino;
	return true;
}

static void linked__add(struct linked *l, const char *path)
{
	int fd = file__open_regular(path), err;
	char above[PATH_MAX], *slash;
	struct vnode_key key;

	if (fd < 0)
		return;
	if (linked__is_new(l, fd)) {
		err = unwind__identify(l->u, fd, &key);
		if (!err && !unwind__has(l->u, &key))
			unwind__load(l->u, &key, fd);
		snprintf(above, sizeof(above), "%s", l->origin);
		if (realpath(path, l->origin) && (slash = strrchr(l->origin, '/')))
			*slash = '\0';
		if (err == -ENOEXEC)
			linked__script(l, fd);
		else
			unwind_file__needed(fd, linked__needed, l);
		snprintf(l->origin, sizeof(l->origin), "%s", above);
	}
	close(fd);
}

void unwind__add_command(struct unwind *u, const char *command)
{
	const char *preload = getenv("LD_PRELOAD");
	struct linked *l = calloc(1, sizeof(*l));
	char *names, *name, *rest;

	if (!l)
		return;
	l->u = u;
	pthread_mutex_lock(&u->lock);
	if (strchr(command, '/'))
		linked__add(l, command);
	else
		linked__search(l, getenv("PATH"), command);
	names = preload ? strdup(preload) : NULL;
	for (name = names ? strtok_r(names, ": ", &rest) : NULL; name;
	     name = strtok_r(NULL, ": ", &rest))
		linked__needed(l, name, NULL);
	unwind__publish(u);
	pthread_mutex_unlock(&u->lock);
	free(names);
	free(l);
}

/* The vdso is the kernel's, the same in every process: ours will do. */
static void unwind__add_vdso(struct unwind *u)
{
	uint64_t vdso = getauxval(AT_SYSINFO_EHDR), start, end;
	static const struct vnode_key key;
	FILE *f = fopen("/proc/self/maps", "re");
	char line[512];
	int fd;

	while (f && vdso && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%" SCNx64 "-%" SCNx64, &start, &end) != 2 || start != vdso)
			continue;
		fd = file__copy_memory(getpid(), start, end);
		if (fd >= 0) {
			unwind__load(u, &key, fd);
			close(fd);
		}
	}
	unwind__publish(u);
	if (f)
		fclose(f);
}

struct unwind *unwind__new(const struct unwind_maps *maps)
{
	struct unwind *u = calloc(1, sizeof(*u));

	if (!u)
		return NULL;
	u->maps = *maps;
	pthread_mutex_init(&u->lock, NULL);
	unwind__add_vdso(u);
	if (unwind__start(u)) {
		unwind__free(u);
		return NULL;
	}
	return u;
}

void unwind__free(struct unwind *u)
{
	if (!u)
		return;
	if (u->has_server) {
		pthread_cancel(u->server);
		pthread_join(u->server, NULL);
	}
	ring_buffer__free(u->wake);
	pthread_mutex_destroy(&u->lock);
	free(u->loaded);
	free(u);
}
