/* SPDX-License-Identifier: MIT */
/*
 * The text report's heap: who serves malloc, what was asked of it, what lives, what it cost in
 * the kernel; and the places in the program by each of these.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "user/view/format.h"
#include "user/view/text.h"

#define LINE_BYTES 1024

/* A line that is put together from words. */
struct words {
	char text[LINE_BYTES];
	size_t len;
};

static void __attribute__((format(printf, 2, 3))) words__add(struct words *w, const char *format, ...)
{
	va_list ap;
	int n;

	if (w->len >= sizeof(w->text))
		return;
	va_start(ap, format);
	n = vsnprintf(w->text + w->len, sizeof(w->text) - w->len, format, ap);
	va_end(ap);
	if (n > 0)
		w->len += (size_t)n;
}

static void words__syscalls(struct words *w, const uint64_t *syscalls)
{
	const char *separator = "";
	unsigned i;

	for (i = 0; i < VMCALLS; i++) {
		if (!syscalls[i])
			continue;
		words__add(w, "%s%s %s", separator, vmcall_name[i], fmt__count(syscalls[i]).s);
		separator = ", ";
	}
	if (!separator[0])
		words__add(w, "no system call");
}

static void words__faults(struct words *w, uint64_t minor, uint64_t major)
{
	words__add(w, "%s minor, %s major faults", fmt__count(minor).s, fmt__count(major).s);
}

static bool process__is_unheard(const struct process_report *p)
{
	size_t i;

	for (i = 0; i < p->nallocators; i++)
		if (p->allocators[i].unheard)
			return true;
	return false;
}

/* Processes have mostly the same allocator: each is told once. */
static void put_allocators(struct sink *s, const struct report *r, const struct view_opts *o)
{
	size_t i, k, told = 0, late = 0, unheard = 0;

	for (i = 0; i < r->nprocesses && told < o->top; i++) {
		const struct process_report *p = &r->processes[i];

		for (k = 0; k < p->nallocators; k++) {
			const struct allocator *a = &p->allocators[k];
			struct words w = {.len = 0};

			if (i && r->processes[0].nallocators > k &&
			    !strcmp(r->processes[0].allocators[k].text, a->text)) {
				late += a->incomplete && a->plane != PLANE_NONE;
				continue;
			}
			if (a->name && a->plane == PLANE_RING)
				words__add(&w,
					   "malloc of process %d is %s's (%s): its calls are handed over in rings",
					   (int)p->pid, a->name, a->text);
			else if (a->name && a->plane == PLANE_NONE)
				words__add(&w, "malloc of process %d is %s's (%s): %s", (int)p->pid,
					   a->name, a->text, ALLOCATOR_SILENT);
			else if (a->name)
				words__add(&w,
					   "malloc of process %d is %s's (%s): %u entry points hooked%s",
					   (int)p->pid, a->name, a->text, a->hooks,
					   a->incomplete ? "; what it did before that is not known" :
							   "");
			else
				words__add(&w, "process %d: no allocator found: %s", (int)p->pid,
					   a->text);
			text__item(s, w.text, o->width);
			told++;
		}
	}
	for (i = 0; i < r->nprocesses; i++)
		unheard += process__is_unheard(&r->processes[i]);
	if (unheard) {
		struct words w = {.len = 0};

		words__add(&w,
			   "%s %s not heard of after %s fork: no call was made, or none could be handed over "
			   "(no file descriptor left, a filter of system calls)",
			   fmt__count(unheard).s, unheard == 1 ? "process was" : "processes were",
			   unheard == 1 ? "its" : "their");
		text__item(s, w.text, o->width);
	}
	if (late) {
		struct words w = {.len = 0};

		words__add(&w,
			   "%s more processes had probes only after they had begun: what they did before that is not known",
			   fmt__count(late).s);
		text__item(s, w.text, o->width);
	}
}

static void put_hooks(struct sink *s, const struct report *r, const struct view_opts *o)
{
	struct words w = {.len = 0};
	const char *separator = " ";
	size_t i;

	if (!r->nhooks)
		return;
	words__add(&w, "they fired:");
	for (i = 0; i < r->nhooks; i++) {
		const struct heap_hook *h = &r->hooks[i];

		words__add(&w, "%s%s %s", separator, h->symbol,
			   fmt__count(h->done ? h->hits : UNKNOWN).s);
		separator = ", ";
	}
	text__item(s, w.text, o->width);
}

/* error: UNKNOWN of what is exact */
static void words__count(struct words *w, uint64_t n, uint64_t error)
{
	words__add(w, "%s%s", error != UNKNOWN ? "about " : "", fmt__count(n).s);
	if (error != UNKNOWN)
		words__add(w, " +/- %s", fmt__count(error).s);
}

static void words__bytes(struct words *w, uint64_t bytes, uint64_t error)
{
	words__add(w, "%s%s", error != UNKNOWN ? "about " : "", fmt__bytes(bytes).s);
	if (error != UNKNOWN)
		words__add(w, " +/- %s", fmt__bytes(error).s);
}

/* Before an estimate whose error is not told. */
static const char *about(const struct heap_stats *h)
{
	return h->live_bytes_error != UNKNOWN ? "about " : "";
}

static const char *about_site(const struct site_heap *h)
{
	return h->live_bytes_error != UNKNOWN ? "about " : "";
}

static void put_heap_calls(struct sink *s, const struct heap_stats *h, const struct view_opts *o)
{
	struct words w = {.len = 0};
	const char *separator = " ";
	unsigned op;

	words__add(&w, "calls:");
	for (op = HEAP_NONE + 1; op < HEAP_OPS; op++) {
		if (!h->calls[op])
			continue;
		words__add(&w, "%s%s ", separator, heap_op_name[op]);
		words__count(&w, h->calls[op], h->calls_error[op]);
		separator = ", ";
	}
	if (separator[0] == ' ')
		words__add(&w, " none");
	if (h->failed)
		words__add(&w, "; %s%s failed", about(h), fmt__count(h->failed).s);
	if (h->abandoned)
		words__add(&w, "; %s%s never returned", about(h), fmt__count(h->abandoned).s);
	text__item(s, w.text, o->width);
}

/* A line of its own: these blocks are in no other figure. */
static void put_before(struct sink *s, const struct heap_stats *h, const struct view_opts *o)
{
	struct words w = {.len = 0};

	if (h->before_blocks == UNKNOWN)
		return;
	words__add(&w, "%slive before the attach: %s%s in %s blocks, by a walk along the heap",
		   h->failed != UNKNOWN ? "beside that, " : "", h->before_at_most ? "at most " : "",
		   fmt__bytes(h->before_bytes).s, fmt__count(h->before_blocks).s);
	text__item(s, w.text, o->width);
}

static void put_blocks(struct sink *s, const struct heap_stats *h, const struct view_opts *o)
{
	struct words w = {.len = 0};

	words__add(&w, "requested ");
	words__bytes(&w, h->bytes_requested, h->requested_error);
	words__add(&w, "; live at the end ");
	words__bytes(&w, h->live_bytes, h->live_bytes_error);
	words__add(&w, " in ");
	words__count(&w, h->live_blocks, h->live_blocks_error);
	words__add(&w, " blocks, at most %s%s", about(h), fmt__bytes(h->peak_live_bytes).s);
	text__item(s, w.text, o->width);
	put_before(s, h, o);
	w.len = 0;
	if (h->temporary && h->temporary != UNKNOWN)
		words__add(&w, "%s blocks were freed within %u allocations; ",
			   fmt__count(h->temporary).s, TEMPORARY_CALLS);
	if (h->unmatched_frees && h->unmatched_frees != UNKNOWN)
		words__add(&w, "%s frees of unknown blocks; ", fmt__count(h->unmatched_frees).s);
	if (h->unseen_frees && h->unseen_frees != UNKNOWN)
		words__add(&w, "%s blocks whose free was not seen; ", fmt__count(h->unseen_frees).s);
	if (h->inherited_blocks && h->inherited_blocks != UNKNOWN)
		words__add(&w, "%s%s blocks, %s, inherited at forks; ", about(h),
			   fmt__count(h->inherited_blocks).s, fmt__bytes(h->inherited_bytes).s);
	if (h->dropped_blocks)
		words__add(&w, "%s%s blocks, %s, went with an exec; ", about(h),
			   fmt__count(h->dropped_blocks).s, fmt__bytes(h->dropped_bytes).s);
	if (w.len < 2 || w.len >= sizeof(w.text))
		return;
	w.text[w.len - 2] = '\0';
	text__item(s, w.text, o->width);
}

static void put_join(struct sink *s, const struct heap_stats *h, const struct view_opts *o)
{
	struct words w = {.len = 0};

	words__add(&w, about(h)[0] ? "inside the calls that were sampled: " : "inside the calls: ");
	words__syscalls(&w, h->syscalls);
	words__add(&w, ", %s; ", fmt__duration(h->syscall_ns).s);
	words__faults(&w, h->inside_minor, h->inside_major);
	words__add(&w, ", %s", fmt__duration(h->inside_ns).s);
	if (h->unplaced_syscalls || h->unplaced_faults)
		words__add(&w, "; of these %s system calls and %s faults have no known place",
			   fmt__count(h->unplaced_syscalls).s, fmt__count(h->unplaced_faults).s);
	text__item(s, w.text, o->width);
	w.len = 0;
	words__add(&w, about(h)[0] ? "touching sampled blocks outside: " :
				     "touching live blocks outside: ");
	words__faults(&w, h->touch_minor, h->touch_major);
	words__add(&w, ", %s", fmt__duration(h->touch_ns).s);
	text__item(s, w.text, o->width);
	if (!h->uncertain_blocks)
		return;
	w.len = 0;
	words__add(&w, "%s of the live blocks, %s, may have been freed: records were lost",
		   fmt__count(h->uncertain_blocks).s, fmt__bytes(h->uncertain_bytes).s);
	sink__sgr(s, TEXT_BAD);
	text__item(s, w.text, o->width);
	sink__sgr(s, "");
}

static void put_live_site(struct sink *s, const struct site *site, const struct view_opts *o)
{
	const struct site_heap *h = &site->heap;
	struct words w = {.len = 0};

	words__bytes(&w, h->live_bytes, h->live_bytes_error);
	words__add(&w, " live in %s%s blocks, at most %s", about_site(h),
		   fmt__count(h->live_blocks).s, fmt__bytes(h->peak_live_bytes).s);
	if (h->resident_bytes != UNKNOWN)
		words__add(&w, ", %s resident", fmt__bytes(h->resident_bytes).s);
	words__add(&w, "; ");
	words__count(&w, h->calls, h->calls_error);
	words__add(&w, " calls");
	text__wrap(s, w.text, s->col, o->width);
}

static void put_cost_site(struct sink *s, const struct site *site, const struct view_opts *o)
{
	const struct site_heap *h = &site->heap;
	struct words w = {.len = 0};

	words__syscalls(&w, h->syscalls);
	words__add(&w, ", %s; ", fmt__duration(h->syscall_ns).s);
	words__faults(&w, h->inside_minor + h->touch_minor, h->inside_major + h->touch_major);
	words__add(&w, ", %s; %s%s calls, %s", fmt__duration(h->fault_ns).s, about_site(h),
		   fmt__count(h->calls).s, fmt__bytes(h->bytes).s);
	text__wrap(s, w.text, s->col, o->width);
}

static void put_requested_site(struct sink *s, const struct site *site, const struct view_opts *o)
{
	const struct site_heap *h = &site->heap;
	struct words w = {.len = 0};

	words__bytes(&w, h->bytes, h->bytes_error);
	words__add(&w, " in ");
	words__count(&w, h->calls, h->calls_error);
	words__add(&w, " calls");
	if (h->failed)
		words__add(&w, " (%s failed)", fmt__count(h->failed).s);
	if (h->temporary && h->temporary != UNKNOWN)
		words__add(&w, ", %s temporary", fmt__count(h->temporary).s);
	words__add(&w, "; at most %s%s live", about_site(h), fmt__bytes(h->peak_live_bytes).s);
	text__wrap(s, w.text, s->col, o->width);
}

static uint64_t live_of(const struct site *site)
{
	return site->heap.live_bytes;
}

static uint64_t cost_of(const struct site *site)
{
	return site->heap.syscall_ns + site->heap.fault_ns;
}

static uint64_t requested_of(const struct site *site)
{
	return site->heap.bytes;
}

static void put_sites(struct sink *s, const char *title, const struct site **sites, size_t n,
		      uint64_t (*measure)(const struct site *),
		      void (*put)(struct sink *, const struct site *, const struct view_opts *),
		      const struct view_opts *o)
{
	uint64_t whole = 0;
	size_t i;

	if (!n)
		return;
	for (i = 0; i < n; i++)
		whole += measure(sites[i]);
	text__heading(s, title);
	sink__char(s, '\n');
	for (i = 0; i < n && i < o->top; i++) {
		text__rank(s, i + 1, measure(sites[i]), whole);
		put(s, sites[i], o);
		text__stack(s, sites[i], o);
	}
	if (i < n)
		text__cut(s, n - i, "place", "places");
}

static void put_sampling(struct sink *s, const struct report *r, const struct view_opts *o)
{
	struct words w = {.len = 0};

	if (!r->sample_bytes)
		return;
	words__add(&w,
		   "one sample in %s asked for, on the average; +/- is what 95 %% of such estimates "
		   "are not further off than",
		   fmt__bytes(r->sample_bytes).s);
	text__item(s, w.text, o->width);
}

void text__heap(struct sink *s, const struct report *r, const struct view_opts *o)
{
	const struct heap_stats *h = &r->heap;
	size_t i, known = 0;

	for (i = 0; i < r->nprocesses; i++)
		known += r->processes[i].nallocators;
	if (!known && h->failed == UNKNOWN && h->before_blocks == UNKNOWN)
		return;
	text__heading(s, h->failed != UNKNOWN && about(h)[0] ? "Heap, estimated from samples" :
							       "Heap");
	sink__char(s, '\n');
	put_sampling(s, r, o);
	put_allocators(s, r, o);
	put_hooks(s, r, o);
	if (h->failed == UNKNOWN) {
		put_before(s, h, o);
		return;
	}
	put_heap_calls(s, h, o);
	put_blocks(s, h, o);
	if (!r->without_kernel)
		put_join(s, h, o);
	put_sites(s, "Top places by live bytes", r->by_live, r->nby_live, live_of, put_live_site, o);
	put_sites(s, "Top places by what their blocks cost in the kernel", r->by_cost, r->nby_cost,
		  cost_of, put_cost_site, o);
	put_sites(s, "Top places by bytes requested", r->by_requested, r->nby_requested,
		  requested_of, put_requested_site, o);
}
