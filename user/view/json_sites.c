/* SPDX-License-Identifier: MIT */
/*
 * The places, with their stacks: nearly all of a report by size, hundreds of MB where a program calls
 * malloc from many. All of them, or those at the head of any of the report's orders, and the sums of
 * the rest.
 */
#include <stdlib.h>

#include "user/view/json.h"

static void put_frame(struct json *j, const struct frame *f)
{
	json__open_flat(j, NULL, '{');
	json__string(j, "module", f->module);
	json__string(j, "build_id", f->build_id);
	json__u64(j, "offset", f->offset);
	json__string(j, "symbol", f->symbol);
	json__u64(j, "symbol_offset", f->symbol ? f->symbol_offset : UNKNOWN);
	json__string(j, "file", f->file);
	json__u64(j, "line", f->file && f->line ? f->line : UNKNOWN);
	json__bool(j, "inlined", f->inlined);
	json__close(j, '}');
}

static void put_site(struct json *j, const struct site *site)
{
	uint64_t calls = 0;
	size_t i;

	json__open(j, NULL, '{');
	json__open(j, "stack", '[');
	for (i = 0; i < site->nframes; i++)
		put_frame(j, &site->frames[i]);
	json__close(j, ']');
	json__bool(j, "truncated", site->truncated);
	json__string(j, "kind", site->is_heap ? "heap" : "kernel");
	if (site->is_heap) {
		json__heap_site(j, &site->heap);
		json__close(j, '}');
		return;
	}
	for (i = 0; i < VMCALLS; i++)
		calls += site->calls[i];
	json__u64(j, "calls", calls);
	json__open_flat(j, "syscalls", '{');
	for (i = 0; i < VMCALLS; i++)
		json__u64(j, vmcall_name[i], site->calls[i]);
	json__close(j, '}');
	json__u64(j, "syscall_ns", site->call_ns);
	json__u64(j, "bytes", site->mapped_bytes);
	json__u64(j, "unmapped_bytes", site->unmapped_bytes);
	JSON_NUMBERS(j, "faults", {"minor", site->faults.minor}, {"major", site->faults.major},
		     {"cow", site->faults.cow});
	json__u64(j, "fault_ns", site->faults.time_ns);
	json__null(j, "frees");
	json__null(j, "live_blocks");
	json__null(j, "live_bytes");
	json__null(j, "resident_bytes");
	json__close(j, '}');
}

/* Keep the first `most` of an order. */
static void keep(const struct report *r, uint64_t *numbers, const struct site **order, size_t n,
		 size_t most)
{
	size_t i;

	for (i = 0; i < n && i < most; i++)
		numbers[order[i] - r->sites] = 0;
}

uint64_t *json__number_sites(const struct report *r, size_t most)
{
	uint64_t *numbers = calloc(r->nsites + 1, sizeof(*numbers)), next = 0;
	size_t i;

	if (!numbers)
		return NULL;
	if (most) {
		for (i = 0; i < r->nsites; i++)
			numbers[i] = UNKNOWN;
		keep(r, numbers, r->by_faults, r->nby_faults, most);
		keep(r, numbers, r->by_bytes, r->nby_bytes, most);
		keep(r, numbers, r->by_live, r->nby_live, most);
		keep(r, numbers, r->by_cost, r->nby_cost, most);
		keep(r, numbers, r->by_requested, r->nby_requested, most);
		for (i = 0; i < r->nadvice; i++)
			if (r->advice[i].site)
				numbers[r->advice[i].site - r->sites] = 0;
	}
	for (i = 0; i < r->nsites; i++)
		if (numbers[i] != UNKNOWN)
			numbers[i] = next++;
	return numbers;
}

static void add(uint64_t *sum, uint64_t n)
{
	*sum = json__both(*sum, n);
}

/* What is in the places that were left out, by kind: with it the sums of these figures are whole. */
static void put_omitted(struct json *j, const struct report *r, const uint64_t *numbers)
{
	struct site_heap h = {.calls = 0};
	struct site k = {.nframes = 0};
	uint64_t heaps = 0, kernels = 0, calls = 0;
	size_t i, c;

	for (i = 0; i < r->nsites; i++) {
		const struct site *s = &r->sites[i];

		if (numbers[i] != UNKNOWN)
			continue;
		if (s->is_heap) {
			heaps++;
			add(&h.calls, s->heap.calls);
			add(&h.bytes, s->heap.bytes);
			add(&h.frees, s->heap.frees);
			add(&h.live_blocks, s->heap.live_blocks);
			add(&h.live_bytes, s->heap.live_bytes);
			continue;
		}
		kernels++;
		for (c = 0; c < VMCALLS; c++)
			calls += s->calls[c];
		k.mapped_bytes += s->mapped_bytes;
		k.unmapped_bytes += s->unmapped_bytes;
		k.faults.minor += s->faults.minor;
		k.faults.major += s->faults.major;
	}
	json__open(j, "sites_omitted", '{');
	JSON_NUMBERS(j, "heap", {"sites", heaps}, {"calls", h.calls}, {"bytes", h.bytes},
		     {"frees", h.frees}, {"live_blocks", h.live_blocks},
		     {"live_bytes", h.live_bytes});
	JSON_NUMBERS(j, "kernel", {"sites", kernels}, {"calls", calls}, {"bytes", k.mapped_bytes},
		     {"unmapped_bytes", k.unmapped_bytes}, {"minor", k.faults.minor},
		     {"major", k.faults.major});
	json__close(j, '}');
}

void json__sites(struct json *j, const struct report *r, const uint64_t *numbers)
{
	size_t i;

	json__open(j, "sites", '[');
	for (i = 0; i < r->nsites; i++)
		if (numbers[i] != UNKNOWN)
			put_site(j, &r->sites[i]);
	json__close(j, ']');
	put_omitted(j, r, numbers);
}
