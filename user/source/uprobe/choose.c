// SPDX-License-Identifier: MIT
/*
 * For each C function, the first definition in the loader's order is the one that
 * the process calls. Beside that:
 *
 *   - a program's own definitions count even when it does not export them, as in a static program
 *   - functions with a prefix (je_malloc) count where both an allocation and a free have it:
 *     programs call them directly
 *   - so do those of an allocator that is not first in that order, or that is hidden in its
 *     library: a plugin's own, or what is called by dlsym(3)'s pointers. The C library's do not, as nobody
 *     loads that for its malloc
 *   - operator new and delete count only where an allocator brings its own. libstdc++'s call
 *     malloc, and are not worth a probe.
 */
#include "user/source/uprobe/choose.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static int choices__add(struct choices *c, struct module *m, const struct entry_point *e)
{
	struct choice *grown;

	for (size_t i = 0; i < c->n; i++) {
		struct choice *old = &c->list[i];

		if (old->module != m || old->entry->offset != e->offset)
			continue;
		/* Several names of one address: the one that says most plainly what it is. */
		if (e->family && old->entry->family && e->family < old->entry->family)
			old->entry = e;
		return 0;
	}
	grown = reallocarray(c->list, c->n + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	c->list = grown;
	c->list[c->n++] = (struct choice){m, e};
	return 0;
}

static bool module__is_libc(const struct module *m)
{
	return !strcmp(m->binary.allocator, "glibc") || !strcmp(m->binary.allocator, "musl");
}

/* Whether other modules, or the program itself, get this definition. */
static bool entry__serves(const struct entry_point *e, bool main_program)
{
	return e->exported || e->given || main_program;
}

/* The program's own malloc alone may be anything: one to count is there with its free. */
static bool module__has_pair(const struct module *m, const char *prefix, size_t length,
			     bool main_program)
{
	bool allocates = false, frees = false;

	for (size_t i = 0; i < m->binary.nentries; i++) {
		const struct entry_point *e = &m->binary.entries[i];

		if (!e->family || entry__is_contract(e) || e->prefix != length ||
		    memcmp(e->name, prefix, length) || (!length && !entry__serves(e, main_program)))
			continue;
		allocates |= e->family->op < HEAP_FREE;
		frees |= e->family->op >= HEAP_FREE;
	}
	return allocates && frees;
}

static int choose__plain(struct choices *c, struct module *const *modules)
{
	for (size_t i = 0; modules[i]; i++) {
		struct module *m = modules[i];

		for (size_t j = 0; j < m->binary.nentries; j++) {
			const struct entry_point *e = &m->binary.entries[j];
			bool taken = false;

			if (!e->family || entry__is_contract(e) || e->family->cxx || e->prefix ||
			    !entry__serves(e, !i) ||
			    (!i && !e->given && !module__has_pair(m, "", 0, true)))
				continue;
			/* One that an earlier module defines is not reached. */
			for (size_t k = 0; k < i && !taken; k++) {
				const struct entry_point *other =
					binary__find(&modules[k]->binary, e->name);

				taken = other && entry__serves(other, !k);
			}
			if (!taken && choices__add(c, m, e))
				return -ENOMEM;
			if (!taken && e->family->op == HEAP_MALLOC && !c->allocator)
				c->allocator = m;
		}
	}
	return 0;
}

/* An allocator, but for what may only be called like one: it has both, under their plain names. */
static bool module__is_allocator(const struct module *m)
{
	return !module__is_libc(m) && binary__find(&m->binary, "malloc") &&
	       binary__find(&m->binary, "free");
}

static int choose__shadowed(struct choices *c, struct module *const *modules)
{
	for (size_t i = 1; modules[0] && modules[i]; i++)
		for (size_t j = 0;
		     module__is_allocator(modules[i]) && j < modules[i]->binary.nentries; j++) {
			const struct entry_point *e = &modules[i]->binary.entries[j];

			if (e->family && !entry__is_contract(e) && !e->family->cxx && !e->prefix &&
			    choices__add(c, modules[i], e))
				return -ENOMEM;
		}
	return 0;
}

static int choose__prefixed(struct choices *c, struct module *const *modules)
{
	for (size_t i = 0; modules[i]; i++)
		for (size_t j = 0; j < modules[i]->binary.nentries; j++) {
			struct module *m = modules[i];
			const struct entry_point *e = &m->binary.entries[j];

			if (!e->family || !e->prefix || !module__has_pair(m, e->name, e->prefix, !i))
				continue;
			if (choices__add(c, m, e))
				return -ENOMEM;
		}
	return 0;
}

static int choose__operators(struct choices *c, struct module *const *modules)
{
	for (size_t i = 0; modules[i]; i++) {
		struct module *m = modules[i];

		if (module__is_libc(m) || !m->binary.allocator[0] ||
		    !(m == c->allocator || (i && module__is_allocator(m))))
			continue;
		for (size_t j = 0; j < m->binary.nentries; j++) {
			const struct entry_point *e = &m->binary.entries[j];

			if (e->family && e->family->cxx && choices__add(c, m, e))
				return -ENOMEM;
		}
	}
	return 0;
}

static int choose__escapes(struct choices *c, struct module *const *modules)
{
	if (!c->n)
		return 0;
	for (size_t i = 0; modules[i]; i++)
		for (size_t j = 0; j < modules[i]->binary.nentries; j++) {
			const struct entry_point *e = &modules[i]->binary.entries[j];

			if (!e->family && choices__add(c, modules[i], e))
				return -ENOMEM;
		}
	return 0;
}

/* The user's word: this file's functions, exported or not. */
static int choose__given(struct choices *c, struct module *const *modules, const char *path)
{
	struct stat st;
	bool found = !stat(path, &st);

	for (size_t i = 0; modules[i]; i++) {
		struct module *m = modules[i];
		size_t n = strlen(m->path), k = strlen(path);

		if (!(found && m->ino == st.st_ino) && !(n >= k && !strcmp(m->path + n - k, path) &&
							 (n == k || m->path[n - k - 1] == '/')))
			continue;
		c->allocator = m;
		for (size_t j = 0; j < m->binary.nentries; j++)
			if (m->binary.entries[j].family &&
			    !entry__is_contract(&m->binary.entries[j]) &&
			    choices__add(c, m, &m->binary.entries[j]))
				return -ENOMEM;
		if (!m->binary.nentries)
			snprintf(c->why, sizeof(c->why),
				 "%.200s defines no function of the malloc family", m->path);
		return 0;
	}
	snprintf(c->why, sizeof(c->why), "the process has not mapped %.200s", path);
	return 0;
}

static void choose__explain(struct choices *c, struct module *const *modules)
{
	const struct module *program = modules[0];

	if (c->n || c->why[0])
		return;
	if (!program)
		snprintf(c->why, sizeof(c->why), "no x86-64 program or library of it could be read");
	else if (program->err == -ENOEXEC)
		snprintf(c->why, sizeof(c->why), "%.160s is not an x86-64 program", program->path);
	else if (program->err)
		snprintf(c->why, sizeof(c->why), "%.160s cannot be read: %s", program->path,
			 strerror(-program->err));
	else if (program->binary.is_static && !program->binary.has_symtab)
		snprintf(c->why, sizeof(c->why),
			 "%.160s is a static program without a symbol table", program->path);
	else
		snprintf(c->why, sizeof(c->why), "no malloc is defined in %.100s and its libraries",
			 program->path);
}

/* The program's own probes, of a file that has both of them; with `preferred` not those of an allocator
 * that hands its calls over, and takes samples as it is asked to. */
static int choose__contract(struct choices *c, struct module *const *modules, bool preferred)
{
	for (size_t i = 0; modules[i]; i++) {
		struct module *m = modules[i];

		if ((preferred && m->binary.offer) || !binary__find(&m->binary, "otel_memory:alloc") ||
		    !binary__find(&m->binary, "otel_memory:free"))
			continue;
		for (size_t j = 0; j < m->binary.nentries; j++)
			if (entry__is_contract(&m->binary.entries[j]) &&
			    choices__add(c, m, &m->binary.entries[j]))
				return -ENOMEM;
		c->allocator = c->allocator ?: m;
	}
	return 0;
}

/* Probes that mark phases, wherever they are. */
static int choose__phases(struct choices *c, struct module *const *modules)
{
	for (size_t i = 0; modules[i]; i++)
		for (size_t j = 0; j < modules[i]->binary.nentries; j++) {
			const struct entry_point *e = &modules[i]->binary.entries[j];

			if (entry__is_phase(e) && choices__add(c, modules[i], e))
				return -ENOMEM;
		}
	return 0;
}

int choose(struct choices *c, struct module *const *modules, const char *allocator_path,
	   enum contract_use contract)
{
	int err = 0;

	memset(c, 0, sizeof(*c));
	if (contract != CONTRACT_NEVER)
		err = choose__contract(c, modules, contract == CONTRACT_PREFERRED);
	if (err)
		choices__free(c);
	if (err || c->n)
		return err;
	if (contract == CONTRACT_ONLY) {
		snprintf(c->why, sizeof(c->why),
			 "nothing in it has the probes otel_memory:alloc and otel_memory:free");
		return 0;
	}
	if (allocator_path)
		err = choose__given(c, modules, allocator_path);
	else
		err = choose__plain(c, modules);
	if (!err && !allocator_path)
		err = choose__shadowed(c, modules);
	if (!err && !allocator_path)
		err = choose__prefixed(c, modules);
	if (!err && !allocator_path)
		err = choose__operators(c, modules);
	if (!err && c->n && !c->allocator)
		c->allocator = c->list[0].module;
	if (!err)
		err = choose__escapes(c, modules);
	if (!err) {
		choose__explain(c, modules);
		err = choose__phases(c, modules);
	}
	if (err)
		choices__free(c);
	return err;
}

void choices__free(struct choices *c)
{
	free(c->list);
	c->list = NULL;
	c->n = 0;
}
