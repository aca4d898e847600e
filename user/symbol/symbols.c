/* SPDX-License-Identifier: MIT */
/* The registry of modules, and the cache of what was resolved in them: see symbol.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "user/symbol/guard.h"
#include "user/symbol/module.h"
#include "user/symbol/pool.h"
#include "user/symbol/symbol.h"

#define PLACES_MAX 32
#define FIRST_SLOTS 64
#define VDSO "[vdso]"

struct answer {
	uint64_t offset;
	int module;
	bool is_return;
	int n;
	struct symbol symbol[]; /* n of them */
};

struct symbols {
	struct pool pool;
	struct module *modules;
	size_t nmodules, modules_room;
	uint32_t *by_file; /* hash table of module numbers plus one; 0: free */
	size_t by_file_slots;
	struct answer **answers; /* hash table */
	size_t nanswers, answer_slots;
};

struct symbols *symbols__new(void)
{
	return calloc(1, sizeof(struct symbols));
}

void symbols__free(struct symbols *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->nmodules; i++)
		module__close(&s->modules[i]);
	for (size_t i = 0; i < s->answer_slots; i++)
		free(s->answers[i]);
	free(s->answers);
	free(s->by_file);
	free(s->modules);
	pool__free(&s->pool);
	free(s);
}

/* path is the pool's: equal texts have equal addresses. */
static uint64_t file__hash(const struct file_id *id, const char *path)
{
	uint64_t key[] = {id->dev_major, id->dev_minor, id->ino, (uintptr_t)path};

	return hash__bytes(0, key, sizeof(key));
}

/* The slot of by_file that holds the module, or the free one where it belongs. */
static size_t symbols__file_slot(const struct symbols *s, const char *path, const struct file_id *id)
{
	size_t mask = s->by_file_slots - 1, i = file__hash(id, path) & mask;

	while (s->by_file[i]) {
		const struct module *m = &s->modules[s->by_file[i] - 1];

		if (m->path == path && m->id.ino == id->ino && m->id.dev_major == id->dev_major &&
		    m->id.dev_minor == id->dev_minor)
			break;
		i = (i + 1) & mask;
	}
	return i;
}

static int symbols__grow_by_file(struct symbols *s)
{
	size_t slots = s->by_file_slots ? 2 * s->by_file_slots : FIRST_SLOTS;
	uint32_t *table = calloc(slots, sizeof(*table));

	if (!table)
		return -ENOMEM;
	free(s->by_file);
	s->by_file = table;
	s->by_file_slots = slots;
	for (size_t i = 0; i < s->nmodules; i++) {
		const struct module *m = &s->modules[i];

		if (!m->is_copy)
			table[symbols__file_slot(s, m->path, &m->id)] = (uint32_t)i + 1;
	}
	return 0;
}

/* A new module without a file: its number, or -ENOMEM. */
static int symbols__add(struct symbols *s, const char *path, const struct file_id *id)
{
	if (s->nmodules == INT32_MAX)
		return -ENOMEM;
	if (s->nmodules == s->modules_room) {
		size_t room = s->modules_room ? 2 * s->modules_room : 16;
		struct module *modules = reallocarray(s->modules, room, sizeof(*modules));

		if (!modules)
			return -ENOMEM;
		s->modules = modules;
		s->modules_room = room;
	}
	s->modules[s->nmodules] = (struct module){.path = path, .id = *id, .fd = -1};
	return (int)s->nmodules++;
}

/* The module of this name and identity, added if it is new: its number, or -ENOMEM. */
static int symbols__find_or_add(struct symbols *s, const char *path, const struct file_id *id)
{
	size_t slot;
	int module;

	path = pool__keep(&s->pool, path);
	if (!path)
		return -ENOMEM;
	if (2 * s->nmodules >= s->by_file_slots) {
		int err = symbols__grow_by_file(s);

		if (err < 0)
			return err;
	}
	slot = symbols__file_slot(s, path, id);
	if (s->by_file[slot])
		return (int)s->by_file[slot] - 1;
	module = symbols__add(s, path, id);
	if (module >= 0)
		s->by_file[slot] = (uint32_t)module + 1;
	return module;
}

int symbols__module(struct symbols *s, int pid, uint64_t start, uint64_t end, const char *path,
		    uint32_t dev_major, uint32_t dev_minor, uint64_t ino)
{
	struct file_id id = {dev_major, dev_minor, ino};
	int fd, module;

	if (!path)
		return -EINVAL;
	module = symbols__find_or_add(s, path, &id);
	if (module < 0 || s->modules[module].fd >= 0)
		return module;
	fd = file__open_mapped(pid, start, end, path, &id);
	if (fd >= 0 && module__take(&s->modules[module], fd) < 0)
		close(fd);
	return module;
}

static bool fd__same_content(int a, int b)
{
	char left[4096], right[4096];
	off_t at = 0;
	ssize_t n;

	while ((n = pread(a, left, sizeof(left), at)) > 0) {
		if (pread(b, right, sizeof(right), at) != n || memcmp(left, right, n) != 0)
			return false;
		at += n;
	}
	return n == 0 && pread(b, right, 1, at) == 0;
}

/* All processes of a kind have the same vdso, wherever they have it. */
static int symbols__find_copy(const struct symbols *s, int fd)
{
	for (size_t i = 0; i < s->nmodules; i++) {
		if (s->modules[i].is_copy && fd__same_content(s->modules[i].fd, fd))
			return (int)i;
	}
	return -ENOENT;
}

int symbols__vdso(struct symbols *s, int pid, uint64_t start, uint64_t end)
{
	static const struct file_id none;
	const char *path = pool__keep(&s->pool, VDSO);
	int module, fd;

	if (!path)
		return -ENOMEM;
	fd = file__copy_memory(pid, start, end);
	if (fd < 0)
		return symbols__find_or_add(s, VDSO, &none);
	module = symbols__find_copy(s, fd);
	if (module >= 0) {
		close(fd);
		return module;
	}
	module = symbols__add(s, path, &none);
	if (module < 0 || module__take(&s->modules[module], fd) < 0)
		close(fd);
	else
		s->modules[module].is_copy = true;
	return module;
}

static struct module *symbols__at(struct symbols *s, int module)
{
	return module >= 0 && (size_t)module < s->nmodules ? &s->modules[module] : NULL;
}

const char *symbols__module_path(struct symbols *s, int module)
{
	const struct module *m = symbols__at(s, module);

	return m ? m->path : NULL;
}

static uint64_t answer__hash(int module, uint64_t offset, bool is_return)
{
	uint64_t key[] = {(uint64_t)module << 1 | is_return, offset};

	return hash__bytes(0, key, sizeof(key));
}

static size_t answers__slot(struct answer *const *table, size_t slots, int module, uint64_t offset,
			    bool is_return)
{
	size_t i = answer__hash(module, offset, is_return) & (slots - 1);

	while (table[i] && (table[i]->offset != offset || table[i]->module != module ||
			    table[i]->is_return != is_return))
		i = (i + 1) & (slots - 1);
	return i;
}

static int symbols__grow_answers(struct symbols *s)
{
	size_t slots = s->answer_slots ? 2 * s->answer_slots : FIRST_SLOTS;
	struct answer **table = calloc(slots, sizeof(*table));

	if (!table)
		return -ENOMEM;
	for (size_t i = 0; i < s->answer_slots; i++) {
		struct answer *a = s->answers[i];

		if (a)
			table[answers__slot(table, slots, a->module, a->offset, a->is_return)] = a;
	}
	free(s->answers);
	s->answers = table;
	s->answer_slots = slots;
	return 0;
}

/* Ask the image. 0 or more places; -ENOENT without an image, -ENOMEM. */
static int module__places(struct module *m, struct pool *pool, uint64_t offset, bool is_return,
			  struct place *places, uint64_t *addr)
{
	struct place symbol;
	char build_id[130];
	int n, found, err;
	struct image *image = module__image(m, &err);

	if (!image)
		return err;
	if (!m->build_id) {
		image__build_id(image, build_id, sizeof(build_id));
		if (*build_id && !(m->build_id = pool__keep(pool, build_id)))
			return -ENOMEM;
	}
	if (!image__address(image, offset - is_return, addr))
		return 0;
	n = image__places(image, *addr, places, PLACES_MAX);
	if (n < 0)
		return n;
	found = image__symbol(image, *addr, &symbol);
	if (found <= 0)
		return found < 0 ? found : n;
	/* The symbol table's name is the same with and without debug information. */
	if (n == 0) {
		n = 1;
		places[0] = (struct place){0};
	}
	places[n - 1].function = symbol.function;
	places[n - 1].start = symbol.start;
	return n;
}

/* The readable name, without the version that a symbol table may add: the pool's. */
static const char *pool__keep_function(struct pool *pool, const char *name)
{
	char *plain = strdup(name), *version = plain ? strchr(plain, '@') : NULL, *readable;
	const char *kept;

	if (!plain)
		return NULL;
	if (version && version != plain)
		*version = '\0';
	readable = symbol__demangle(plain);
	kept = pool__keep(pool, readable ? readable : plain);
	free(readable);
	free(plain);
	return kept;
}

static int symbol__fill(struct symbol *out, struct pool *pool, const struct module *m,
			const struct place *p, uint64_t offset, uint64_t distance)
{
	*out = (struct symbol){.module = m->path, .build_id = m->build_id, .offset = offset};
	if (!p)
		return 0;
	if (p->function) {
		out->function = pool__keep_function(pool, p->function);
		out->function_offset = distance;
		if (!out->function)
			return -ENOMEM;
	}
	if (p->file) {
		out->file = pool__keep(pool, p->file);
		out->line = p->line;
		if (!out->file)
			return -ENOMEM;
	}
	return 0;
}

/* NULL and *err when it could not be found out now. */
static struct answer *symbols__ask(struct symbols *s, int module, uint64_t offset, bool is_return,
				   int *err)
{
	struct module *m = &s->modules[module];
	struct place places[PLACES_MAX] = {0};
	uint64_t addr = 0;
	int n = module__places(m, &s->pool, offset, is_return, places, &addr);
	int entries = n > 0 ? n : 1;
	struct answer *a;

	*err = n < 0 && n != -ENOENT ? n : -ENOMEM;
	if (n < 0 && n != -ENOENT)
		return NULL;
	a = calloc(1, sizeof(*a) + entries * sizeof(a->symbol[0]));
	if (!a)
		return NULL;
	*a = (struct answer){.module = module, .offset = offset, .is_return = is_return, .n = entries};
	for (int i = 0; i < entries; i++) {
		const struct place *p = n > 0 ? &places[i] : NULL;
		uint64_t distance = p && p->start ? addr + is_return - p->start : 0;

		if (symbol__fill(&a->symbol[i], &s->pool, m, p, offset, distance) < 0) {
			free(a);
			return NULL;
		}
	}
	return a;
}

/* As many as fit, the function that holds the others last. */
static int answer__give(const struct answer *a, struct symbol *out, int max)
{
	int n = a->n < max ? a->n : max;

	memcpy(out, a->symbol, n * sizeof(*out));
	out[n - 1] = a->symbol[a->n - 1];
	return n;
}

int symbols__resolve(struct symbols *s, int module, uint64_t offset, bool is_return,
		     struct symbol *out, int max)
{
	struct answer *a;
	size_t slot;
	int err;

	if (!symbols__at(s, module) || max < 1)
		return -EINVAL;
	is_return = is_return && offset > 0;
	if (2 * s->nanswers >= s->answer_slots) {
		err = symbols__grow_answers(s);
		if (err < 0)
			return err;
	}
	slot = answers__slot(s->answers, s->answer_slots, module, offset, is_return);
	a = s->answers[slot];
	if (!a) {
		guard__enter();
		a = symbols__ask(s, module, offset, is_return, &err);
		module__limit(&s->modules[module]);
		guard__leave();
		if (!a)
			return err;
		/* Of a module without a file yet nothing is known for good. */
		if (s->modules[module].fd < 0) {
			int n = answer__give(a, out, max);

			free(a);
			return n;
		}
		s->answers[slot] = a;
		s->nanswers++;
	}
	return answer__give(a, out, max);
}

int symbols__leaf_is_bare(struct symbols *s, int module, uint64_t offset)
{
	struct module *m = symbols__at(s, module);
	struct image *image;
	uint64_t addr;
	int answer;

	if (!m)
		return -ENOENT;
	guard__enter();
	image = module__image(m, &answer);
	if (image && image__address(image, offset, &addr))
		answer = image__leaf_is_bare(image, addr);
	else if (image)
		answer = -ENOENT;
	guard__leave();
	return answer;
}

int symbols__follows_call(struct symbols *s, int module, uint64_t offset)
{
	struct module *m = symbols__at(s, module);
	struct image *image;
	int answer;

	if (!m)
		return -ENOENT;
	guard__enter();
	image = module__image(m, &answer);
	if (image)
		answer = image__follows_call(image, offset);
	guard__leave();
	return answer;
}
