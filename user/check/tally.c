// SPDX-License-Identifier: MIT
/* What one event adds to the counters. */
#include <sys/mman.h>

#include "user/check/state.h"

/* Newer than the headers this may be built with. */
#define ADVICE_POPULATE_READ 22
#define ADVICE_POPULATE_WRITE 23

bool call__failed(const struct rec_call *c)
{
	/* brk(2) returns the break, the old one when it could not be moved; brk(0) only asks. */
	if (c->h.kind == REC_BRK)
		return c->arg[0] && (uint64_t)c->ret != c->arg[0];
	return (uint64_t)c->ret >= (uint64_t)-4095;
}

uint64_t call__bytes(const struct rec_call *c)
{
	uint64_t now = (uint64_t)c->ret;

	switch (c->h.kind) {
	case REC_BRK:
		return now > c->old_brk ? now - c->old_brk : c->old_brk - now;
	case REC_MREMAP:
		return page_up(c->arg[2]);
	default:
		return page_up(c->arg[1]);
	}
}

static void tally__mmap(struct tally *t, const struct rec_call *c)
{
	uint64_t flags = c->arg[3];

	t->n[C_MMAP_POPULATE] += (flags & MAP_POPULATE) != 0;
	t->n[C_MMAP_FIXED] += (flags & MAP_FIXED) != 0;
	t->n[C_MMAP_SHARED] += (flags & MAP_TYPE) != MAP_PRIVATE;
	t->n[C_MMAP_NORESERVE] += (flags & MAP_NORESERVE) != 0;
	t->n[C_MMAP_HUGETLB] += (flags & MAP_HUGETLB) != 0;
	t->n[C_MMAP_FILE] += !(flags & MAP_ANONYMOUS);
	t->n[C_MMAP_EXEC] += (c->arg[2] & PROT_EXEC) != 0;
}

static void tally__madvise(struct tally *t, const struct rec_call *c)
{
	switch (c->arg[2]) {
	case MADV_DONTNEED:
		t->n[C_MADVISE_DONTNEED]++;
		break;
	case MADV_FREE:
		t->n[C_MADVISE_FREE]++;
		break;
	case MADV_HUGEPAGE:
		t->n[C_MADVISE_HUGEPAGE]++;
		break;
	case MADV_NOHUGEPAGE:
		t->n[C_MADVISE_NOHUGEPAGE]++;
		break;
	case ADVICE_POPULATE_READ:
	case ADVICE_POPULATE_WRITE:
		t->n[C_MADVISE_POPULATE]++;
		break;
	}
}

static void tally__mprotect(struct tally *t, const struct rec_call *c)
{
	t->n[C_MPROTECT_NONE] += !(c->arg[2] & (PROT_READ | PROT_WRITE | PROT_EXEC));
	t->n[C_MPROTECT_WRITE] += (c->arg[2] & PROT_WRITE) != 0;
	t->n[C_MPROTECT_EXEC] += (c->arg[2] & PROT_EXEC) != 0;
}

void tally__call(struct tally *t, const struct rec_call *c)
{
	unsigned which = c->h.kind - REC_BRK;
	uint64_t ns = c->h.ts_ns > c->start_ns ? c->h.ts_ns - c->start_ns : 0;

	t->n[C_CALLS + which]++;
	t->n[C_SYSCALLS]++;
	t->n[C_TIME + which] += ns;
	t->n[C_KERNEL_TIME] += ns;
	t->n[C_POPULATED] += c->h.aux;
	if (c->h.kind == REC_MMAP)
		tally__mmap(t, c);
	else if (c->h.kind == REC_MADVISE)
		tally__madvise(t, c);
	else if (c->h.kind == REC_MPROTECT)
		tally__mprotect(t, c);
	if (call__failed(c)) {
		t->n[C_FAILED + which]++;
		return;
	}
	t->n[C_BYTES + which] += call__bytes(c);
	if (c->h.kind == REC_BRK && (uint64_t)c->ret > c->old_brk)
		t->n[C_BRK_GROWN] += (uint64_t)c->ret - c->old_brk;
	else if (c->h.kind == REC_BRK)
		t->n[C_BRK_SHRUNK] += c->old_brk - (uint64_t)c->ret;
}

void tally__fault(struct tally *t, const struct rec_fault *f, const struct check_known *known)
{
	uint64_t ns = f->h.flags & FAULT_NO_ENTRY ? 0 : f->h.aux;

	t->n[C_FAULTS]++;
	t->n[f->h.flags & FAULT_MAJOR ? C_FAULTS_MAJOR : C_FAULTS_MINOR]++;
	t->n[C_FAULTS_TIME] += ns;
	t->n[C_KERNEL_TIME] += ns;
	t->n[C_FAULTS_IN_BREAK] += known->in_break;
	t->n[C_FAULTS_IN_MMAP] += known->in_mmap;
	t->n[C_FAULTS_IN_FILE] += known->in_file;
}
