/* SPDX-License-Identifier: MIT */
/* The heap's parts of the JSON report. Without a heap plane all keys are there, and null. */
#include "user/view/json.h"

/* Functions of the allocator that do the same are one count; by_function has each. */
static const struct {
	const char *name;
	uint32_t ops; /* 1 << enum heap_op */
} groups[] = {
	{"malloc", 1 << HEAP_MALLOC | 1 << HEAP_MALLOCX},
	{"calloc", 1 << HEAP_CALLOC},
	{"realloc",
	 1 << HEAP_REALLOC | 1 << HEAP_REALLOCARRAY | 1 << HEAP_RALLOCX | 1 << HEAP_XALLOCX},
	{"aligned", 1 << HEAP_ALIGNED_ALLOC | 1 << HEAP_POSIX_MEMALIGN | 1 << HEAP_MEMALIGN |
			    1 << HEAP_VALLOC | 1 << HEAP_PVALLOC},
	{"new", 1 << HEAP_NEW | 1 << HEAP_NEW_ARRAY},
	{"sampled", 1 << HEAP_SAMPLED},
	{"free", 1 << HEAP_FREE | 1 << HEAP_FREE_SIZED | 1 << HEAP_FREE_ALIGNED_SIZED |
			 1 << HEAP_DALLOCX | 1 << HEAP_SDALLOCX},
	{"delete", 1 << HEAP_DELETE | 1 << HEAP_DELETE_ARRAY},
	{"sampled_free", 1 << HEAP_SAMPLED_FREE},
};

static void put_heap_calls(struct json *j, const struct heap_stats *h)
{
	uint64_t calls;
	unsigned i, op;

	if (h->failed == UNKNOWN) {
		json__null(j, "calls");
		json__null(j, "by_function");
		json__null(j, "by_function_error");
		return;
	}
	json__open_flat(j, "calls", '{');
	for (i = 0; i < sizeof(groups) / sizeof(groups[0]); i++) {
		calls = 0;
		for (op = 0; op < HEAP_OPS; op++)
			if (groups[i].ops & 1u << op)
				calls += h->calls[op];
		json__u64(j, groups[i].name, calls);
	}
	json__close(j, '}');
	json__open_flat(j, "by_function", '{');
	for (op = HEAP_NONE + 1; op < HEAP_OPS; op++)
		if (h->calls[op])
			json__u64(j, heap_op_name[op], h->calls[op]);
	json__close(j, '}');
	if (h->requested_error == UNKNOWN) {
		json__null(j, "by_function_error");
		return;
	}
	json__open_flat(j, "by_function_error", '{');
	for (op = HEAP_NONE + 1; op < HEAP_OPS; op++)
		if (h->calls[op])
			json__u64(j, heap_op_name[op], h->calls_error[op]);
	json__close(j, '}');
}

static void put_syscalls(struct json *j, const uint64_t *syscalls)
{
	unsigned i;

	json__open_flat(j, "syscalls", '{');
	for (i = 0; i < VMCALLS; i++)
		json__u64(j, vmcall_name[i], syscalls[i]);
	json__close(j, '}');
}

static void put_faults(struct json *j, const char *key, uint64_t minor, uint64_t major)
{
	JSON_NUMBERS(j, key, {"minor", minor}, {"major", major});
}

/* What the kernel did in the calls, and in first touches of blocks outside of them. */
static void put_join(struct json *j, const struct heap_stats *h)
{
	json__open(j, "inside_calls", '{');
	put_syscalls(j, h->syscalls);
	json__u64(j, "syscall_ns", h->syscall_ns);
	put_faults(j, "faults", h->inside_minor, h->inside_major);
	json__u64(j, "fault_ns", h->inside_ns);
	JSON_NUMBERS(j, "without_site", {"syscalls", h->unplaced_syscalls},
		     {"faults", h->unplaced_faults}, {"time_ns", h->unplaced_ns});
	json__close(j, '}');
	json__open(j, "first_touch", '{');
	put_faults(j, "faults", h->touch_minor, h->touch_major);
	json__u64(j, "fault_ns", h->touch_ns);
	json__close(j, '}');
}

static void put_before(struct json *j, const struct heap_stats *h)
{
	if (h->before_blocks == UNKNOWN) {
		json__null(j, "live_before_attach");
		return;
	}
	json__open_flat(j, "live_before_attach", '{');
	json__u64(j, "blocks", h->before_blocks);
	json__u64(j, "bytes", h->before_bytes);
	json__bool(j, "at_most", h->before_at_most);
	json__close(j, '}');
}

void json__heap(struct json *j, const struct heap_stats *h)
{
	json__open(j, "heap", '{');
	put_heap_calls(j, h);
	json__u64(j, "failed", h->failed);
	json__u64(j, "abandoned", h->abandoned);
	json__u64(j, "bytes_requested", h->bytes_requested);
	json__u64(j, "bytes_requested_error", h->requested_error);
	json__u64(j, "freed_bytes", h->freed_bytes);
	json__u64(j, "live_blocks", h->live_blocks);
	json__u64(j, "live_blocks_error", h->live_blocks_error);
	json__u64(j, "live_bytes", h->live_bytes);
	json__u64(j, "live_bytes_error", h->live_bytes_error);
	json__u64(j, "peak_live_bytes", h->peak_live_bytes);
	put_before(j, h);
	json__u64(j, "unmatched_frees", h->unmatched_frees);
	json__u64(j, "unseen_frees", h->unseen_frees);
	json__u64(j, "temporary", h->temporary);
	json__u64(j, "temporary_calls", TEMPORARY_CALLS);
	json__u64(j, "inherited_blocks", h->inherited_blocks);
	json__u64(j, "inherited_bytes", h->inherited_bytes);
	json__u64(j, "dropped_blocks", h->dropped_blocks);
	json__u64(j, "dropped_bytes", h->dropped_bytes);
	json__u64(j, "uncertain_blocks", h->uncertain_blocks);
	json__u64(j, "uncertain_bytes", h->uncertain_bytes);
	json__u64(j, "untracked_blocks", h->untracked_blocks);
	put_join(j, h);
	json__close(j, '}');
}

void json__allocators(struct json *j, const struct process_report *p)
{
	enum plane_kind plane = PLANE_NONE;
	size_t i;

	json__open(j, "allocators", '[');
	for (i = 0; i < p->nallocators; i++) {
		const struct allocator *a = &p->allocators[i];

		json__open_flat(j, NULL, '{');
		json__string(j, "name", a->name);
		json__string(j, "path", a->name ? a->text : NULL);
		json__string(j, "why",
			     !a->name		    ? a->text :
			     a->plane == PLANE_NONE ? ALLOCATOR_SILENT :
						      NULL);
		json__u64(j, "hooks", a->hooks);
		json__bool(j, "from_start", !a->incomplete);
		json__bool(j, "heard", a->plane != PLANE_NONE && !a->unheard);
		json__close(j, '}');
		if (a->plane != PLANE_NONE)
			plane = a->plane;
	}
	json__close(j, ']');
	json__string(j, "heap_plane", plane_kind_name[plane]);
}

static const char *place_name(uint32_t place)
{
	switch (place) {
	case PLACE_ENTRY:
		return "entry";
	case PLACE_INSIDE:
		return "inside";
	case PLACE_SLOW:
		return "slow";
	case PLACE_USDT:
		return "usdt";
	default:
		return NULL;
	}
}

void json__hooks(struct json *j, const struct report *r)
{
	size_t i;

	json__open(j, "hooks", '[');
	for (i = 0; i < r->nhooks; i++) {
		const struct heap_hook *h = &r->hooks[i];

		json__open_flat(j, NULL, '{');
		json__string(j, "symbol", h->symbol);
		json__string(j, "path", h->path);
		json__string(j, "function", h->op < HEAP_OPS ? heap_op_name[h->op] : NULL);
		json__u64(j, "entry", h->entry);
		json__u64(j, "offset", h->offset);
		json__string(j, "place", place_name(h->place));
		json__u64(j, "hits", h->done ? h->hits : UNKNOWN);
		json__u64(j, "nested", h->done ? h->nested : UNKNOWN);
		json__u64(j, "ignored", h->done ? h->ignored : UNKNOWN);
		json__u64(j, "lost", h->done ? h->lost : UNKNOWN);
		json__close(j, '}');
	}
	json__close(j, ']');
}

void json__parts(struct json *j, const struct resident_parts *p)
{
	JSON_NUMBERS(j, "parts", {"live", p->live}, {"retained", p->retained},
		     {"allocator", p->allocator}, {"direct_mmap", p->direct_mmap},
		     {"file", p->file}, {"stack", p->stack}, {"other", p->other},
		     {"unknown", p->unknown}, {"agent", p->agent});
}

void json__heap_site(struct json *j, const struct site_heap *s)
{
	json__u64(j, "calls", s->calls);
	json__u64(j, "calls_error", s->calls_error);
	json__u64(j, "failed", s->failed);
	json__u64(j, "bytes", s->bytes);
	json__u64(j, "bytes_error", s->bytes_error);
	json__u64(j, "frees", s->frees);
	json__u64(j, "freed_bytes", s->freed_bytes);
	json__u64(j, "live_blocks", s->live_blocks);
	json__u64(j, "live_bytes", s->live_bytes);
	json__u64(j, "live_bytes_error", s->live_bytes_error);
	json__u64(j, "peak_live_bytes", s->peak_live_bytes);
	json__u64(j, "temporary", s->temporary);
	json__u64(j, "moved", s->moved);
	json__u64(j, "resident_bytes", s->resident_bytes);
	put_syscalls(j, s->syscalls);
	json__u64(j, "syscall_ns", s->syscall_ns);
	JSON_NUMBERS(j, "faults", {"minor", json__both(s->inside_minor, s->touch_minor)},
		     {"major", json__both(s->inside_major, s->touch_major)},
		     {"inside_calls", json__both(s->inside_minor, s->inside_major)},
		     {"first_touch", json__both(s->touch_minor, s->touch_major)});
	json__u64(j, "fault_ns", s->fault_ns);
}
