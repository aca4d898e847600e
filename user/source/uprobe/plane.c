// SPDX-License-Identifier: MIT
#include "user/source/uprobe/plane_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "user/source/ring/ring.h"
#include "user/util/log.h"
#include "user/wait.h"

/* After new code was mapped a loader needs a moment until its list is whole: look again then. */
static const uint64_t look_again_ns[] = {30000000, 300000000, 1700000000};
#define LOOKS (sizeof(look_again_ns) / sizeof(look_again_ns[0]))

/* The last is for who may still say hello, on a busy machine. */
static size_t plane__looks(const struct plane *p)
{
	return p->o.rings ? LOOKS : LOOKS - 1;
}

struct plane *plane__new(struct kernel *k, const struct plane_opts *o)
{
	struct plane *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->o = *o;
	p->kernel = k;
	p->cache = module_cache__new(&(struct binary_wanted){o->symbols, o->nsymbols, o->phases});
	kernel__heap_programs(k, &p->programs);
	if (!p->cache) {
		plane__free(p);
		return NULL;
	}
	return p;
}

static struct traced *plane__find(const struct plane *p, pid_t pid)
{
	uint64_t *t = hmap__find(&p->processes, pid);

	return t ? (struct traced *)(uintptr_t)*t : NULL;
}

static void plane__forget(struct plane *p, struct traced *t)
{
	attach__drop(&t->attachment);
	hmap__remove(&p->processes, t->pid);
	free(t);
}

void plane__free(struct plane *p)
{
	uint64_t pid, t;
	size_t pos = 0;

	if (!p)
		return;
	while (hmap__next(&p->processes, &pos, &pid, &t)) {
		attach__drop(&((struct traced *)(uintptr_t)t)->attachment);
		free((struct traced *)(uintptr_t)t);
	}
	attach__drop(&p->attachment);
	hmap__clear(&p->processes);
	module_cache__free(p->cache);
	free(p);
}

/* Whether rings tell of it, or would. */
static bool plane__is_of_rings(const struct plane *p, const struct traced *t)
{
	return p->o.rings && !t->probed &&
	       (t->of_rings || ring_plane__says(p->o.rings, t->pid, t->image_ns) == RING_SAYS_YES);
}

/* It has ended, or it is not to be traced any more. */
static void plane__end(struct plane *p, struct traced *t)
{
	const char *ended = "it ended before it was looked at";

	attach__drop(&t->attachment);
	if (p->o.machine || plane__is_of_rings(p, t) ||
	    (p->o.ask && p->o.has_answered(p->o.sink_ctx, t->pid)))
		return;
	if (t->asked)
		plane__tell_silence(p, t);
	else if (!t->nattached)
		plane__tell_nothing(p, t, t->why[0] ? t->why : ended);
	else if (traced__may_have_missed(t))
		plane__tell_nothing(p, t, ended);
}

/* Place the probes of module m among the choices that are not there yet. 0 or -errno. */
static int plane__attach_module(struct plane *p, struct traced *t, const struct choices *c,
				const struct module *m)
{
	struct attachment *to = p->o.machine ? &p->attachment : &t->attachment;
	bool *attached = p->o.machine ? p->attached : t->attached;
	const struct hook *fresh[HEAP_HOOKS_MAX];
	size_t n = 0, total = 0, before = t->nattached;
	int err;

	for (size_t i = 0; i < c->n; i++) {
		struct hook *h = c->list[i].module == m ? plane__hook(p, &c->list[i]) : NULL;

		if (!h || (p->o.machine && !h->entry->family))
			continue;
		total += entry__is_of_allocator(h->entry);
		if (!attached[h->number])
			fresh[n++] = h;
		t->nattached += !t->attached[h->number];
		t->attached[h->number] = true;
	}
	if (t->nattached == before)
		return 0;
	if (n) {
		err = attach__hooks(to, &p->programs, p->o.machine ? 0 : t->pid, fresh, n);
		for (size_t i = 0; err && i < n; i++)
			t->attached[fresh[i]->number] = false;
		if (err) {
			t->nattached = before;
			return err;
		}
	}
	for (size_t i = 0; i < n; i++)
		attached[fresh[i]->number] = true;
	/* Not those that were there before it ran. */
	t->late |= t->runs && total;
	if (total)
		plane__tell_allocator(p, t, m, total);
	return 0;
}

/* Whether the process hands its calls over itself. */
static bool plane__ask(struct plane *p, struct traced *t, const struct module *m)
{
	struct ring_probe probe;
	int err;

	if (t->asked || t->nattached || !m || !m->binary.offer || !p->o.ask)
		return t->asked;
	probe = (struct ring_probe){.file = m->fd,
				    .name = m->path,
				    .offset = m->binary.offer,
				    .semaphore = m->binary.semaphore,
				    .wake = m->binary.wake,
				    .wake_semaphore = m->binary.wake_semaphore};
	err = p->o.ask(p->o.sink_ctx, t->pid, &probe, !t->asked_for);
	if (err)
		log__debug("process %d: it is not asked to hand its calls over: %s", t->pid,
			   strerrorname_np(-err));
	t->asked = err ? NULL : m;
	return t->asked;
}

/* Take the preloaded library out of the list: it only passes on. Whether it was there. */
static bool plane__skip_library(const struct plane *p, struct module **modules)
{
	const char *path = p->o.rings ? ring_plane__library(p->o.rings) : NULL;
	struct stat st;
	size_t to = 0;
	bool found = false;

	if (!path || stat(path, &st))
		return false;
	for (size_t i = 0; modules[i]; i++) {
		bool is = modules[i]->ino == st.st_ino && !strcmp(modules[i]->path, path);

		found |= is;
		if (!is)
			modules[to++] = modules[i];
	}
	modules[to] = NULL;
	return found;
}

/* Whether a process of these modules is to be probed. preloaded: it has the library, or will have it. */
static bool plane__may_probe(struct plane *p, struct traced *t, const struct module *program,
			     const struct choices *c, bool preloaded, bool last)
{
	bool own = c->allocator && c->allocator == program;
	enum ring_word word;
	int err;

	if (!p->o.rings || t->probed)
		return true;
	if (!c->n) /* its libraries are still to come; or it has none */
		return last && !plane__is_of_rings(p, t);
	word = ring_plane__says(p->o.rings, t->pid, t->image_ns);
	if (preloaded && !own &&
	    (word == RING_SAYS_YES || (word == RING_SAYS_NOTHING && (t->of_rings || !last))))
		return false;
	err = ring_plane__claim(p->o.rings, t->pid, t->image_ns);
	t->probed = !err;
	if (err && own && !t->failed)
		log__warn("process %d: calls of the malloc that is in %s itself are not seen",
			  t->pid, program->path);
	t->failed |= err != 0;
	if (!err)
		log__info("process %d (%s): its allocator's calls are traced by uprobes: %s",
			  t->pid, program ? program->path : "?",
			  own		       ? "it has a malloc of its own" :
			  !preloaded	       ? "the library is not loaded into it" :
			  word == RING_SAYS_NO ? "it cannot hand them over" :
						 "nothing was heard of it");
	return !err;
}

/* Hook what these modules, of process t, have to be hooked. last: there is no more to come. */
static int plane__hook_modules(struct plane *p, struct traced *t, struct module **modules, bool last)
{
	bool preloaded = plane__skip_library(p, modules) || !t->runs, failed = false;
	struct choices c;
	int err = choose(&c, modules, p->o.allocator, p->o.contract);

	if (err)
		return err;
	if (!plane__may_probe(p, t, modules[0], &c, preloaded, last) ||
	    plane__ask(p, t, c.allocator)) {
		choices__free(&c);
		return 0;
	}
	for (size_t i = 0; i < c.n; i++) {
		bool seen = false;

		for (size_t j = 0; j < i && !seen; j++)
			seen = c.list[j].module == c.list[i].module;
		if (seen)
			continue;
		err = plane__attach_module(p, t, &c, c.list[i].module);
		failed |= err != 0;
		if (err)
			plane__say_failure(t, c.list[i].module, err);
	}
	/* What is on its way out has no mappings left to be found in. */
	if (c.allocator && !failed) {
		t->has_hooked = true;
		t->has_other = false;
	}
	memcpy(t->why, c.why, sizeof(t->why));
	if (!c.n && last)
		plane__tell_nothing(p, t, c.why);
	choices__free(&c);
	return err == -ENOMEM ? err : 0;
}

static int plane__look(struct plane *p, struct traced *t)
{
	struct module **modules;
	bool in_order, last = t->look == plane__looks(p);
	int err;

	modules = modules__of_process(p->cache, t->pid, &in_order, &err);
	if (!modules) {
		if (err == -ENOMEM)
			return err;
		/* It has ended, or is not ours to look into. */
		if (err != -ESRCH && last)
			plane__tell_nothing(p, t, strerror(-err));
		return 0;
	}
	/* Of what ends meanwhile not all could be read: no word on what it has not. */
	err = pid__has_ended(t->pid) ? 0 : plane__hook_modules(p, t, modules, last);
	free(modules);
	return err;
}

static struct traced *plane__make(struct plane *p, pid_t pid)
{
	struct traced *t = plane__find(p, pid);

	if (t)
		return t;
	t = calloc(1, sizeof(*t));
	if (!t)
		return NULL;
	t->pid = pid;
	t->look = plane__looks(p);
	t->runs = true;
	if (hmap__set(&p->processes, pid, (uintptr_t)t)) {
		free(t);
		return NULL;
	}
	return t;
}

int plane__add(struct plane *p, pid_t pid, const char *command)
{
	struct traced *t = plane__make(p, pid);
	struct module **modules;
	int err;

	if (!t)
		return -ENOMEM;
	t->asked_for = true;
	if (!command)
		return plane__look(p, t);
	t->launched = true;
	t->runs = false;
	modules = modules__of_command(p->cache, command);
	if (!modules)
		return -ENOMEM;
	err = plane__hook_modules(p, t, modules, false);
	free(modules);
	return err;
}

/* Files whose code a process maps are read at once: it may end before it is looked at. */
static const struct module *plane__module(const struct plane *p, uint64_t ino, uint32_t dev)
{
	const struct module *m = module_cache__find(p->cache, ino, dev);
	const char *path = m || !p->o.path ? NULL : p->o.path(p->o.sink_ctx, ino, dev);
	struct stat st;
	int fd;

	if (!path)
		return m;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd >= 0 && (fstat(fd, &st) || st.st_ino != ino)) { /* its own root, or replaced */
		close(fd);
		return NULL;
	}
	return fd < 0 ? NULL : module_cache__add(p->cache, ino, dev, fd, path);
}

/* Code is mapped in an image that may not have been looked at. */
static void plane__note_code(const struct plane *p, struct traced *t, uint64_t ino, uint32_t dev)
{
	const struct module *m;
	bool hooked = false;

	if (!t->asked_for || !t->image_is_new || p->o.machine)
		return;
	m = plane__module(p, ino, dev);
	for (size_t i = 0; m && i < p->nhooks; i++)
		hooked |= p->hooks[i].module == m && t->attached[i] &&
			  entry__is_of_allocator(p->hooks[i].entry);
	t->has_hooked |= hooked;
	t->has_other |= !hooked && (!m || m->err || binary__find(&m->binary, "malloc"));
}

static void traced__note_coming(struct traced *t, uint64_t ino, uint32_t dev)
{
	if (t->ncoming == sizeof(t->coming) / sizeof(t->coming[0]))
		return;
	t->coming[t->ncoming].ino = ino;
	t->coming[t->ncoming++].dev = dev;
}

static void traced__look_soon(struct traced *t)
{
	/* What was found wanting may have come since: of a child, which may end before it is looked at again. */
	if (!t->asked_for)
		t->why[0] = '\0';
	t->dirty = true;
	t->look = 0;
}

/* A child has its parent's image. */
static void plane__note_child(struct plane *p, struct traced *child, pid_t parent)
{
	const struct traced *t = plane__find(p, parent);

	if (!p->o.rings)
		return;
	child->probed = t && t->probed && !ring_plane__claim(p->o.rings, child->pid, 0);
	child->of_rings = !child->probed;
}

/* Another image may say hello; what was probed in this one is probed no more before that. */
static void plane__leave_image(struct plane *p, struct traced *t)
{
	if (t->probed) {
		attach__drop(&t->attachment);
		memset(t->attached, 0, sizeof(t->attached));
		t->nattached = 0;
	}
	t->probed = t->of_rings = t->failed = false;
	ring_plane__release(p->o.rings, t->pid, false);
}

void plane__note(struct plane *p, const struct rec *r)
{
	const struct rec_fork *fork = (const struct rec_fork *)r;
	const struct rec_exec *exec = (const struct rec_exec *)r;
	const struct rec_call *call = (const struct rec_call *)r;
	const struct rec_vma *vma = (const struct rec_vma *)r;
	struct traced *t = plane__find(p, r->tgid);

	switch (r->kind) {
	case REC_FORK:
		if (!t || fork->child_tgid == r->tgid || r->flags & FORK_SHARES_MM)
			return;
		t = plane__make(p, fork->child_tgid);
		if (t) {
			plane__note_child(p, t, r->tgid);
			traced__look_soon(t);
		}
		break;
	case REC_EXEC:
		t = t ?: plane__make(p, r->tgid);
		if (!t)
			return;
		/* Probes are kept by the thread that leads the process, which is another one now. */
		if (r->aux != r->tgid || p->o.machine) {
			attach__drop(&t->attachment);
			memset(t->attached, 0, sizeof(t->attached));
			t->nattached = p->o.machine ? 0 : t->nattached;
		}
		if (t->nattached && traced__may_have_missed(t))
			plane__tell_nothing(p, t,
					    "it executed another program before it was looked at");
		if (p->o.rings && t->runs)
			plane__leave_image(p, t);
		t->image_ns = t->runs ? r->ts_ns : 0;
		t->asked = NULL;
		t->nothing_told = false;
		/* The first image of a command was looked at before it ran. */
		t->image_is_new = t->runs;
		t->has_hooked = t->has_other = false;
		t->runs = true;
		plane__note_code(p, t, exec->exe_ino, exec->exe_dev);
		for (unsigned i = 0; i < t->ncoming; i++)
			plane__note_code(p, t, t->coming[i].ino, t->coming[i].dev);
		t->ncoming = 0;
		traced__look_soon(t);
		break;
	case REC_EXIT:
		if (t && r->aux) {
			plane__end(p, t);
			if (p->o.rings)
				ring_plane__release(p->o.rings, t->pid, true);
			plane__forget(p, t);
		}
		break;
	case REC_VMA:
		if (!t || !(vma->prot & PROT_EXEC) || !vma->ino)
			break;
		if (r->aux) {
			traced__note_coming(t, vma->ino, vma->dev);
			break;
		}
		plane__note_code(p, t, vma->ino, vma->dev);
		traced__look_soon(t);
		break;
	case REC_MPROTECT:
		if (t && call->arg[2] & PROT_EXEC && !call->ret)
			traced__look_soon(t);
		break;
	}
}

int plane__work(struct plane *p)
{
	uint64_t now = clock__now(), pid, value;
	size_t pos = 0;
	int err = 0;

	while (!err && hmap__next(&p->processes, &pos, &pid, &value)) {
		struct traced *t = (struct traced *)(uintptr_t)value;

		if (!t->dirty && (t->look == plane__looks(p) || now < t->look_ns))
			continue;
		if (t->dirty)
			t->dirty = false;
		else
			t->look++;
		if (t->look < plane__looks(p))
			t->look_ns = now + look_again_ns[t->look];
		err = plane__look(p, t);
	}
	return err;
}

void plane__look_again(struct plane *p)
{
	uint64_t pid, value;
	size_t pos = 0;

	while (hmap__next(&p->processes, &pos, &pid, &value))
		((struct traced *)(uintptr_t)value)->dirty = true;
}

int plane__detach(struct plane *p)
{
	struct heap_hook_counts *counts = calloc(HEAP_HOOKS_MAX, sizeof(*counts));
	uint64_t pid, value;
	size_t pos = 0;
	int err;

	if (!counts)
		return -ENOMEM;
	kernel__close_heap(p->kernel);
	while (hmap__next(&p->processes, &pos, &pid, &value)) {
		struct traced *t = (struct traced *)(uintptr_t)value;

		plane__end(p, t);
	}
	attach__drop(&p->attachment);
	err = kernel__hook_counts(p->kernel, counts, p->nhooks);
	for (size_t i = 0; i < p->nhooks && !err; i++)
		if (entry__is_of_allocator(p->hooks[i].entry)) {
			log__debug("%s: %s: %llu hits, of these %llu nested, %llu not told, %llu lost",
				   p->hooks[i].module->path, p->hooks[i].entry->name, counts[i].hits,
				   counts[i].nested, counts[i].ignored, counts[i].lost);
			plane__tell_hook(p, &p->hooks[i], &counts[i]);
		}
	free(counts);
	return err;
}
