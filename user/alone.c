// SPDX-License-Identifier: MIT
#include "user/alone.h"

#include <errno.h>
#include <sys/mman.h>

#include "user/source/ring/server.h"

#define LOOK_UP_NS 1000000ULL

void alone__meet(void *ctx, const struct ring_guest *g)
{
	struct session *s = ctx;
	int err = model__meet(s->model, g->pid, g->ppid, g->comm[0] ? g->comm : "?", g->exe,
			      g->since_ns);

	if (!err && g->maps)
		err = process__snapshot_text(s->model, g->pid, g->maps, g->since_ns,
					     session__add_code, s);
	if (err == -ENOMEM)
		session__fail(s, err);
}

void alone__look_up_stack(struct session *s, const struct rec_stack *r)
{
	const struct vma *v;
	unsigned i;

	for (i = 0; i < r->h.aux && clock__now() >= s->next_look_up_ns; i++) {
		if (model__find(s->model, r->h.tgid, r->ip[i]))
			continue;
		/* Where there is nothing, or the process has ended, not again at each stack. */
		if (process__find_mapping(s->model, r->h.tgid, r->ip[i]))
			s->next_look_up_ns = clock__now() + LOOK_UP_NS;
		v = model__find(s->model, r->h.tgid, r->ip[i]);
		if (v && v->kind == VMA_FILE && v->prot & PROT_EXEC)
			session__add_code(s, r->h.tgid, v);
	}
}

bool alone__command_is_over(const struct session *s, struct rec_exit *end)
{
	pid_t pid = s->launch.pid;

	if (!s->child_ended || !model__process(s->model, pid) || ring_plane__has(s->ring, pid))
		return false;
	*end = (struct rec_exit){.h = {.kind = REC_EXIT,
				       .flags = EXIT_UNTOLD,
				       .tgid = (uint32_t)pid,
				       .tid = (uint32_t)pid,
				       .aux = 1,
				       .ts_ns = clock__now()}};
	return true;
}
