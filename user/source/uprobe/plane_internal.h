/* SPDX-License-Identifier: MIT */
/* What plane.c, which decides what has probes, and plane_tell.c, which says what was found, share. */
#ifndef MEMTRACE_UPROBE_PLANE_INTERNAL_H
#define MEMTRACE_UPROBE_PLANE_INTERNAL_H

#include "user/source/uprobe/attach.h"
#include "user/source/uprobe/modules_internal.h"
#include "user/source/uprobe/plane.h"
#include "user/util/hmap.h"

struct traced {
	pid_t pid;
	struct attachment attachment;
	bool attached[HEAP_HOOKS_MAX];
	size_t nattached;
	bool asked_for; /* by the user: not a child */
	char why[256]; /* nothing was found at the last look; empty: none yet, or something was */
	bool launched; /* probes were placed before it ran */
	bool runs; /* it has begun to */
	bool late; /* some were placed after */
	/* Since its last exec, of a process that ran before it: code with probes has been mapped; since the
	 * last look, too: code that defines malloc and has none, or that cannot be read. */
	bool image_is_new, has_hooked, has_other;
	/* Code that the kernel has mapped for the image to come: it is told of before the exec. */
	struct {
		uint64_t ino;
		uint32_t dev;
	} coming[4];
	unsigned ncoming;
	const struct module *asked; /* it is to hand its calls over itself: its allocator */
	/* Beside rings: */
	uint64_t image_ns; /* when its image began; 0: it was there before */
	bool probed; /* it is left to probes */
	bool of_rings; /* a child of one that is not: it says hello with its first call, if ever */
	bool nothing_told; /* that there is no allocator */
	bool failed; /* its probes could not be placed: said once */
	bool dirty; /* look now */
	size_t look; /* of look_again_ns: those still to come; plane__looks(): none */
	uint64_t look_ns;
};

struct plane {
	struct plane_opts o;
	struct kernel *kernel;
	struct attach_programs programs;
	struct module_cache *cache;
	struct hook hooks[HEAP_HOOKS_MAX];
	size_t nhooks;
	bool full; /* more hooks were wanted: said once */
	struct hmap processes; /* pid to struct traced */
	/* Of the whole machine: probes are everybody's, traced.attached says whom they serve. */
	struct attachment attachment;
	bool attached[HEAP_HOOKS_MAX];
};

static inline bool entry__is_of_allocator(const struct entry_point *e)
{
	return e->family && !entry__is_phase(e);
}

/* What is known of a hook. counts: NULL while it counts. */
void plane__tell_hook(struct plane *p, const struct hook *h, const struct heap_hook_counts *counts);
/* The hook of a choice, numbered if it is new. NULL: no more numbers. */
struct hook *plane__hook(struct plane *p, const struct choice *c);
void plane__tell_allocator(struct plane *p, const struct traced *t, const struct module *m,
			   uint32_t hooks);
/* Whether the program that it has become allocates by what has no probes, for all that is known. */
bool traced__may_have_missed(const struct traced *t);
void plane__tell_nothing(struct plane *p, struct traced *t, const char *why);
/* It has been asked, and has handed over nothing. */
void plane__tell_silence(struct plane *p, const struct traced *t);
void plane__say_failure(struct traced *t, const struct module *m, int err);

#endif /* MEMTRACE_UPROBE_PLANE_INTERNAL_H */
