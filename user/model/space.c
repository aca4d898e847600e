// SPDX-License-Identifier: MIT
#include "user/model/space.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "bpf/event.h"

#define PAGE 4096UL
#define STACK_REACH (1UL << 30) /* no stack grows further at one touch */

void space__clear(struct space *s)
{
	uint32_t changes = s->code_changes + 1;

	free(s->vmas);
	*s = (struct space){.code_changes = changes};
}

/* Copy the mappings into an array with room for `room`, the hole where it is. */
static struct vma *space__vmas_in(const struct space *s, size_t room)
{
	struct vma *vmas = reallocarray(NULL, room, sizeof(*vmas));
	size_t behind = s->count - s->hole;

	if (!vmas || !s->count)
		return vmas;
	memcpy(vmas, s->vmas, s->hole * sizeof(*vmas));
	memcpy(vmas + room - behind, s->vmas + s->room - behind, behind * sizeof(*vmas));
	return vmas;
}

int space__copy(struct space *to, const struct space *from)
{
	struct vma *vmas = NULL;

	if (from->count) {
		vmas = space__vmas_in(from, from->count);
		if (!vmas)
			return -ENOMEM;
	}
	free(to->vmas);
	*to = *from;
	to->vmas = vmas;
	to->room = from->count;
	return 0;
}

/* The first mapping that ends after addr. */
static size_t space__at(const struct space *s, uint64_t addr)
{
	size_t low = 0, high = s->count;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (space__vma(s, mid)->end <= addr)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* Keep the sums: add (or with -1 take off) a mapping. */
static void space__account(struct space *s, const struct vma *v, int sign)
{
	uint64_t bytes = v->end - v->start;

	if (v->flags & VMA_AGENT)
		s->agent_bytes += sign * bytes;
	else
		s->mapped_bytes += sign * bytes;
	if (v->kind == VMA_HEAP)
		s->heap_bytes += sign * bytes;
	if (v->prot & PROT_EXEC)
		s->code_changes++;
}

/* Make the hole come before mapping i. */
static void space__move_hole(struct space *s, size_t i)
{
	size_t room = s->room - s->count;

	if (i < s->hole)
		memmove(s->vmas + i + room, s->vmas + i, (s->hole - i) * sizeof(*s->vmas));
	else if (i > s->hole)
		memmove(s->vmas + s->hole, s->vmas + s->hole + room,
			(i - s->hole) * sizeof(*s->vmas));
	s->hole = i;
}

/* Make n new mappings, not set yet, from number i on. */
static int space__open(struct space *s, size_t i, size_t n)
{
	if (s->count + n > s->room) {
		size_t room = s->room * 2 > s->count + n ? s->room * 2 : s->count + n + 30;
		struct vma *vmas = space__vmas_in(s, room);

		if (!vmas)
			return -ENOMEM;
		free(s->vmas);
		s->vmas = vmas;
		s->room = room;
	}
	space__move_hole(s, i);
	s->hole += n;
	s->count += n;
	return 0;
}

/* Drop n mappings from number i on: the hole takes them in from where it meets them. */
static void space__close(struct space *s, size_t i, size_t n)
{
	if (!n)
		return;
	if (s->hole < i)
		space__move_hole(s, i);
	else if (s->hole > i + n)
		space__move_hole(s, i + n);
	s->hole = i;
	s->count -= n;
}

/* Split the mapping that holds addr, if any, so that one begins there. */
static int space__split(struct space *s, uint64_t addr)
{
	size_t i = space__at(s, addr);

	if (i == s->count || space__vma(s, i)->start >= addr)
		return 0;
	if (space__open(s, i, 1))
		return -ENOMEM;
	*space__vma(s, i) = *space__vma(s, i + 1);
	space__vma(s, i)->end = addr;
	space__vma(s, i + 1)->start = addr;
	space__vma(s, i + 1)->offset += addr - space__vma(s, i)->start;
	return 0;
}

static bool vma__continues(const struct vma *a, const struct vma *b)
{
	return a->end == b->start && a->kind == b->kind && a->prot == b->prot &&
	       a->flags == b->flags &&
	       (a->kind != VMA_FILE ||
		(a->file == b->file && a->offset + (a->end - a->start) == b->offset));
}

/* Merge mapping i with the one before it when they are alike. */
static void space__merge(struct space *s, size_t i)
{
	if (!i || i >= s->count || !vma__continues(space__vma(s, i - 1), space__vma(s, i)))
		return;
	space__vma(s, i - 1)->end = space__vma(s, i)->end;
	space__close(s, i, 1);
}

/* Remove [start, end) altogether. */
static int space__cut(struct space *s, uint64_t start, uint64_t end)
{
	size_t from, to, i;

	if (start >= end)
		return 0;
	s->marked_start = s->marked_end = 0;
	if (space__split(s, start) || space__split(s, end))
		return -ENOMEM;
	from = space__at(s, start);
	for (to = from; to < s->count && space__vma(s, to)->start < end; to++)
		;
	for (i = from; i < to; i++)
		space__account(s, space__vma(s, i), -1);
	space__close(s, from, to - from);
	return 0;
}

int space__map(struct space *s, const struct vma *v, uint64_t ts_ns)
{
	size_t i;

	if (v->start >= v->end)
		return 0;
	if (space__cut(s, v->start, v->end))
		return -ENOMEM;
	i = space__at(s, v->start);
	if (space__open(s, i, 1))
		return -ENOMEM;
	*space__vma(s, i) = *v;
	if (v->prot & PROT_WRITE)
		space__vma(s, i)->flags |= VMA_WAS_WRITABLE;
	space__account(s, v, 1);
	space__merge(s, i + 1);
	space__merge(s, i);
	s->recent[s->next_recent].start = v->start;
	s->recent[s->next_recent].end = v->end;
	s->recent[s->next_recent].ts_ns = ts_ns;
	s->next_recent = (s->next_recent + 1) % RECENT_MAPS;
	return 0;
}

int space__unmap(struct space *s, uint64_t start, uint64_t end, uint64_t began_ns)
{
	unsigned i;

	for (i = 0; i < RECENT_MAPS; i++) {
		uint64_t from = s->recent[i].start, to = s->recent[i].end;

		if (s->recent[i].ts_ns <= began_ns || from >= end || to <= start)
			continue;
		/* Mapped by another thread after the kernel had unmapped: spare it. */
		if (start < from && space__unmap(s, start, from, began_ns))
			return -ENOMEM;
		return to < end ? space__unmap(s, to, end, began_ns) : 0;
	}
	return space__cut(s, start, end);
}

/* The mappings in [start, end) begin and end there: the number of the first, in *first. 0 or -ENOMEM. */
static int space__isolate(struct space *s, uint64_t start, uint64_t end, size_t *first)
{
	if (space__split(s, start) || space__split(s, end))
		return -ENOMEM;
	*first = space__at(s, start);
	return 0;
}

/* Those from first to behind have been changed: what has become alike is one again. */
static void space__rejoin(struct space *s, size_t first, size_t behind)
{
	size_t i = behind;

	while (i + 1 > first) {
		space__merge(s, i);
		if (!i--)
			break;
	}
}

int space__protect(struct space *s, uint64_t start, uint64_t end, unsigned prot)
{
	size_t i, first;

	if (start >= end)
		return 0;
	if (space__isolate(s, start, end, &first))
		return -ENOMEM;
	for (i = first; i < s->count && space__vma(s, i)->start < end; i++) {
		struct vma *v = space__vma(s, i);

		if ((v->prot ^ prot) & PROT_EXEC)
			s->code_changes++;
		v->prot = (v->prot & ~7) | (prot & 7);
		if (prot & PROT_WRITE)
			v->flags |= VMA_WAS_WRITABLE;
	}
	space__rejoin(s, first, i);
	return 0;
}

int space__flag(struct space *s, uint64_t start, uint64_t end, uint8_t flag, bool on)
{
	size_t i, first;

	if (start >= end)
		return 0;
	if (space__isolate(s, start, end, &first))
		return -ENOMEM;
	for (i = first; i < s->count && space__vma(s, i)->start < end; i++) {
		struct vma *v = space__vma(s, i);

		v->flags = on ? v->flags | flag : v->flags & ~flag;
	}
	space__rejoin(s, first, i);
	return 0;
}

int space__drop_not_forked(struct space *s)
{
	size_t i = s->count;

	while (i-- > 0) {
		const struct vma *v = space__vma(s, i);

		if (v->flags & VMA_DONT_FORK && space__cut(s, v->start, v->end))
			return -ENOMEM;
	}
	return 0;
}

uint64_t space__agents(const struct space *s, uint64_t start, uint64_t end, const struct vma **other)
{
	uint64_t bytes = 0;
	size_t i;

	*other = NULL;
	for (i = space__at(s, start); i < s->count && space__vma(s, i)->start < end; i++) {
		const struct vma *v = space__vma(s, i);

		if (v->flags & VMA_AGENT)
			bytes += (v->end < end ? v->end : end) -
				 (v->start > start ? v->start : start);
		else if (!*other)
			*other = v;
	}
	return bytes;
}

void space__mark_blocks(struct space *s, uint64_t addr)
{
	size_t i;

	if (addr >= s->marked_start && addr < s->marked_end)
		return;
	i = space__at(s, addr);
	if (i == s->count || space__vma(s, i)->start > addr)
		return;
	if (!(space__vma(s, i)->flags & VMA_HAS_BLOCKS)) {
		space__vma(s, i)->flags |= VMA_HAS_BLOCKS;
		space__merge(s, i + 1);
		space__merge(s, i);
		i = space__at(s, addr);
	}
	s->marked_start = space__vma(s, i)->start;
	s->marked_end = space__vma(s, i)->end;
}

uint64_t space__gap(const struct space *s, uint64_t start, uint64_t end)
{
	size_t i;

	for (i = space__at(s, start);
	     i < s->count && space__vma(s, i)->start <= start && start < end; i++)
		start = space__vma(s, i)->end;
	return start < end ? start : end;
}

/* The part of v that is moved, at its new place. */
static struct vma vma__moved(const struct vma *v, const struct space_move *m, bool alone)
{
	uint64_t end = m->from + m->old_bytes;
	struct vma moved = *v;

	if (moved.start < m->from) {
		moved.offset += m->from - moved.start;
		moved.start = m->from;
	}
	if (moved.end > end)
		moved.end = end;
	moved.start += m->to - m->from;
	moved.end = alone ? m->to + m->new_bytes : moved.end + (m->to - m->from);
	return moved;
}

int space__move(struct space *s, const struct space_move *m)
{
	static const struct vma unknown = {
		.file = NO_FILE, .kind = VMA_ANON, .prot = PROT_READ | PROT_WRITE};
	size_t first = space__at(s, m->from), n, i;
	struct vma *moved;
	int err = 0;

	/* Of an old size of 0 (another mapping of the same shared memory) the first is meant, too. */
	for (n = 0; first + n < s->count &&
		    space__vma(s, first + n)->start < m->from + (m->old_bytes ?: 1);)
		n++;
	moved = calloc(n + 1, sizeof(*moved));
	if (!moved)
		return -ENOMEM;
	for (i = 0; i < n; i++)
		moved[i] = vma__moved(space__vma(s, first + i), m, n == 1);
	if (!n) {
		moved[n] = unknown;
		moved[n].start = m->to;
		moved[n++].end = m->to + m->new_bytes;
	}
	if (!m->keeps)
		err = space__unmap(s, m->from, m->from + m->old_bytes, m->began_ns);
	for (i = 0; i < n && !err; i++)
		err = space__map(s, &moved[i], m->ended_ns);
	free(moved);
	return err;
}

void space__mark_forked(struct space *s)
{
	size_t i, n = 0;

	space__move_hole(s, s->count);
	/* What was mapped after the fork before this one becomes like what was there then. */
	for (i = 0; i < s->count; i++) {
		struct vma v = *space__vma(s, i);

		if (!(v.prot & VMA_SHARED))
			v.flags |= VMA_PRE_FORK;
		if (n && vma__continues(space__vma(s, n - 1), &v))
			space__vma(s, n - 1)->end = v.end;
		else
			*space__vma(s, n++) = v;
	}
	s->count = s->hole = n;
}

const struct vma *space__find(const struct space *s, uint64_t addr)
{
	size_t i = space__at(s, addr);

	return i < s->count && space__vma(s, i)->start <= addr ? space__vma(s, i) : NULL;
}

/* The number of the mapping that holds addr, or grows to it when touched; count: none does. */
static size_t space__reaching(const struct space *s, uint64_t addr)
{
	size_t i = space__at(s, addr);
	const struct vma *v;

	if (i == s->count)
		return i;
	v = space__vma(s, i);
	if (v->start > addr &&
	    (v->kind != VMA_STACK || v->flags & VMA_FIXED_SIZE || v->start - addr > STACK_REACH))
		return s->count;
	return i;
}

const struct vma *space__reach(const struct space *s, uint64_t addr)
{
	size_t i = space__reaching(s, addr);

	return i < s->count ? space__vma(s, i) : NULL;
}

const struct vma *space__touch(struct space *s, uint64_t addr)
{
	size_t i = space__reaching(s, addr);
	struct vma *v;

	if (i == s->count)
		return NULL;
	v = space__vma(s, i);
	if (v->start <= addr)
		return v;
	addr &= ~(PAGE - 1);
	/* Only a record that lies has mappings of less than a page. */
	if (i && addr < space__vma(s, i - 1)->end)
		addr = space__vma(s, i - 1)->end;
	s->mapped_bytes += v->start - addr;
	v->start = addr;
	return v;
}
