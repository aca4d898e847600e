// SPDX-License-Identifier: MIT
#include "user/names.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "user/symbol/symbol.h"
#include "user/util/hmap.h"

struct names {
	struct model *m;
	struct symbols *symbols;
	struct hmap modules; /* the model's file -> module + 1 */
	struct hmap tried; /* the files for which a living process was asked */
	char place[512], where[4096 + 64];
};

/* The vdso is the kernel's, the same in every process: ours will do. */
static void names__add_vdso(struct names *n)
{
	FILE *f = fopen("/proc/self/maps", "re");
	uint64_t start, end;
	char line[512];
	int module;

	while (f && fgets(line, sizeof(line), f)) {
		if (!strstr(line, "[vdso]") || sscanf(line, "%lx-%lx", &start, &end) != 2)
			continue;
		module = symbols__vdso(n->symbols, getpid(), start, end);
		if (module >= 0)
			hmap__set(&n->modules, model__vdso(n->m), module + 1);
	}
	if (f)
		fclose(f);
}

struct names *names__new(struct model *m)
{
	struct names *n = calloc(1, sizeof(*n));

	if (!n)
		return NULL;
	n->m = m;
	n->symbols = symbols__new();
	if (!n->symbols) {
		free(n);
		return NULL;
	}
	names__add_vdso(n);
	return n;
}

void names__free(struct names *n)
{
	if (!n)
		return;
	symbols__free(n->symbols);
	hmap__clear(&n->modules);
	hmap__clear(&n->tried);
	free(n);
}

void names__add_code(struct names *n, pid_t pid, const struct vma *v)
{
	uint32_t dev = model__file_dev(n->m, v->file);
	const char *path = model__file_path(n->m, v->file);
	int module;

	if (v->file == NO_FILE || hmap__find(&n->tried, v->file) || !path)
		return;
	module = symbols__module(n->symbols, pid, v->start, v->end, path, dev >> 20, dev & 0xfffff,
				 model__file_ino(n->m, v->file));
	if (module < 0)
		return;
	hmap__set(&n->modules, v->file, module + 1);
	hmap__set(&n->tried, v->file, 1);
}

/* The module of a file, registered by its path alone if no process was there to ask. */
static int names__module(struct names *n, uint32_t file)
{
	uint64_t *found = hmap__find(&n->modules, file);
	struct vma v = {.file = file};

	if (found)
		return *found - 1;
	names__add_code(n, getpid(), &v);
	found = hmap__find(&n->modules, file);
	return found ? (int)*found - 1 : -ENOENT;
}

static int resolve(void *ctx, uint32_t file, uint64_t offset, bool is_return, struct frame *out,
		   int max)
{
	struct symbol s[16];
	struct names *n = ctx;
	int module = names__module(n, file), got, i;

	if (max > 16)
		max = 16;
	if (module < 0) {
		out[0] = (struct frame){.module = model__file_path(n->m, file), .offset = offset};
		return 1;
	}
	got = symbols__resolve(n->symbols, module, offset, is_return, s, max);
	for (i = 0; i < got; i++)
		out[i] = (struct frame){.module = s[i].module,
					.build_id = s[i].build_id,
					.symbol = s[i].function,
					.file = s[i].file,
					.line = s[i].line,
					.offset = s[i].offset,
					.symbol_offset = s[i].function_offset};
	return got;
}

static int leaf_is_bare(void *ctx, uint32_t file, uint64_t offset)
{
	struct names *n = ctx;
	int module = names__module(n, file);

	return module < 0 ? module : symbols__leaf_is_bare(n->symbols, module, offset);
}

static int follows_call(void *ctx, uint32_t file, uint64_t offset)
{
	struct names *n = ctx;
	int module = names__module(n, file);

	return module < 0 ? module : symbols__follows_call(n->symbols, module, offset);
}

struct model_names names__callbacks(struct names *n)
{
	return (struct model_names){n, resolve, leaf_is_bare, follows_call};
}

/* Name the code at addr; false when it has no function name. */
static bool names__code(struct names *n, pid_t pid, uint64_t addr, bool is_return)
{
	const struct vma *v = model__find(n->m, pid, addr);
	struct frame f;

	if (!v || v->file == NO_FILE || !(v->prot & PROT_EXEC))
		return false;
	if (resolve(n, v->file, v->offset + (addr - v->start), is_return, &f, 1) < 1 || !f.symbol)
		return false;
	if (f.file)
		snprintf(n->place, sizeof(n->place), "%s (%s:%u)", f.symbol, f.file, f.line);
	else
		snprintf(n->place, sizeof(n->place), "%s (%s)", f.symbol, f.module ? f.module : "?");
	return true;
}

const char *names__place(struct names *n, pid_t pid, uint64_t stack_id, uint64_t ip)
{
	const struct rec_stack *st = stack_id ? model__stack(n->m, stack_id) : NULL;
	uint32_t i;

	if (names__code(n, pid, ip, false))
		return n->place;
	if (st && st->leaf_word && names__code(n, pid, st->leaf_word, true))
		return n->place;
	for (i = 1; st && i < st->h.aux; i++)
		if (names__code(n, pid, st->ip[i], true))
			return n->place;
	return NULL;
}

void names__each_frame(struct names *n, pid_t pid, uint64_t stack_id,
		       void (*put)(void *ctx, const char *place), void *ctx)
{
	const struct rec_stack *st = stack_id ? model__stack(n->m, stack_id) : NULL;
	uint32_t i;

	for (i = 0; st && i < st->h.aux; i++)
		if (names__code(n, pid, st->ip[i], i > 0))
			put(ctx, n->place);
}

const char *names__where(struct names *n, pid_t pid, uint64_t addr)
{
	const struct vma *v = model__reach(n->m, pid, addr);
	const char *path;

	if (!v)
		return "unmapped";
	switch ((enum vma_kind)v->kind) {
	case VMA_HEAP:
		return "[heap]";
	case VMA_STACK:
		return "[stack]";
	case VMA_BSS:
		return "[bss]";
	case VMA_ANON:
		return "anonymous";
	case VMA_SPECIAL:
		return v->file == NO_FILE ? "[kernel data]" : "[vdso]";
	case VMA_FILE:
		break;
	}
	path = v->file == NO_FILE ? NULL : model__file_path(n->m, v->file);
	snprintf(n->where, sizeof(n->where), "%s+0x%lx", path ? path : "file",
		 v->offset + (addr - v->start));
	return n->where;
}
