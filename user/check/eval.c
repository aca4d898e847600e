// SPDX-License-Identifier: MIT
/* Running a compiled expression: where each fact is found. */
#include <math.h>
#include <stddef.h>
#include <sys/mman.h>

#include "user/check/state.h"

static double known(uint64_t n)
{
	return n == UNKNOWN ? NAN : (double)n;
}

static const struct sums zero_sums;

static const struct sums *sight__since(const struct sight *s)
{
	return s->of_phase ? &s->life->phase_begin : &zero_sums;
}

/* Whether the block that a call returned lies in memory that it got. */
static double call__fresh(const struct call *c)
{
	unsigned i;

	for (i = 0; i < c->ngot; i++)
		if (c->r.result >= c->got[i].start && c->r.result < c->got[i].end)
			return 1;
	return c->got_more ? NAN : 0;
}

static double call__fact(unsigned fact, const struct sight *s)
{
	const struct call *c = s->call;
	const struct rec_heap *r = &c->r;
	unsigned op = HEAP_AUX_OP(r->h.aux), align = HEAP_AUX_ALIGN(r->h.aux);

	switch (fact) {
	case FACT_SIZE:
		return op >= HEAP_FREE ? known(c->old_size) : (double)r->size;
	case FACT_OLD_SIZE:
		return r->arg ? known(c->old_size) : 0;
	case FACT_ALIGN:
		return align ? ldexp(1, (int)align) : 0;
	case FACT_ADDRESS:
		return (double)(op >= HEAP_FREE ? r->arg : r->result);
	case FACT_NUMBER:
		return s->life->whole && !s->life->unseen ? (double)c->number : NAN;
	case FACT_THREAD:
		return s->thread->ordinal;
	case FACT_CALL_TIME:
		if (op >= HEAP_FREE)
			return NAN;
		return r->h.ts_ns > r->start_ns ? (double)(r->h.ts_ns - r->start_ns) : 0;
	case FACT_MAIN:
		return r->h.tid == r->h.tgid;
	case FACT_CALL_FAILED:
		return (r->h.flags & HEAP_FAILED) != 0;
	case FACT_MOVED:
		return r->arg && r->result && r->arg != r->result;
	case FACT_FRESH:
		return call__fresh(c);
	default:
		return c->in_break;
	}
}

static double syscall__fact(unsigned fact, const struct rec_call *c)
{
	bool is_mmap = c->h.kind == REC_MMAP, is_advice = c->h.kind == REC_MADVISE;
	bool has_prot = is_mmap || c->h.kind == REC_MPROTECT;
	uint64_t now = (uint64_t)c->ret;

	switch (fact) {
	case FACT_BYTES:
		return call__failed(c) ? 0 : (double)call__bytes(c);
	case FACT_EVENT_TIME:
		return c->h.ts_ns > c->start_ns ? (double)(c->h.ts_ns - c->start_ns) : 0;
	case FACT_EVENT_FAILED:
		return call__failed(c);
	case FACT_EVENT_POPULATED:
		return c->h.aux;
	case FACT_EVENT_ADDRESS:
		return (double)(is_mmap ? now : c->arg[0]);
	case FACT_GROWN:
		return c->h.kind == REC_BRK && now > c->old_brk ? (double)(now - c->old_brk) : 0;
	case FACT_SHRUNK:
		return c->h.kind == REC_BRK && now < c->old_brk ? (double)(c->old_brk - now) : 0;
	case FACT_POPULATE:
		return is_mmap && c->arg[3] & MAP_POPULATE;
	case FACT_FIXED:
		return is_mmap && c->arg[3] & MAP_FIXED;
	case FACT_SHARED:
		return is_mmap && (c->arg[3] & MAP_TYPE) != MAP_PRIVATE;
	case FACT_NORESERVE:
		return is_mmap && c->arg[3] & MAP_NORESERVE;
	case FACT_HUGETLB:
		return is_mmap && c->arg[3] & MAP_HUGETLB;
	case FACT_FILE:
		return is_mmap && !(c->arg[3] & MAP_ANONYMOUS);
	case FACT_READ:
		return has_prot && c->arg[2] & PROT_READ;
	case FACT_WRITE:
		return has_prot && c->arg[2] & PROT_WRITE;
	case FACT_EXEC:
		return has_prot && c->arg[2] & PROT_EXEC;
	case FACT_DONTNEED:
		return is_advice && c->arg[2] == MADV_DONTNEED;
	case FACT_FREE:
		return is_advice && c->arg[2] == MADV_FREE;
	case FACT_HUGEPAGE:
		return is_advice && c->arg[2] == MADV_HUGEPAGE;
	case FACT_NOHUGEPAGE:
		return is_advice && c->arg[2] == MADV_NOHUGEPAGE;
	default:
		return NAN;
	}
}

static double fault__fact(unsigned fact, const struct rec_fault *f, const struct check_known *k)
{
	const unsigned cow = FAULT_PRESENT | FAULT_WRITE;
	bool has_entry = !(f->h.flags & FAULT_NO_ENTRY);

	switch (fact) {
	case FACT_EVENT_TIME:
		return has_entry ? f->h.aux : NAN;
	case FACT_EVENT_ADDRESS:
		return (double)f->addr;
	case FACT_WRITE:
		return has_entry ? (f->h.flags & FAULT_WRITE) != 0 : NAN;
	case FACT_EXEC:
		return has_entry ? (f->h.flags & FAULT_EXEC) != 0 : NAN;
	case FACT_MAJOR:
		return (f->h.flags & FAULT_MAJOR) != 0;
	case FACT_KERNEL:
		return (f->h.flags & FAULT_KERNEL) != 0;
	case FACT_COPY_ON_WRITE:
		return has_entry ? (f->h.flags & cow) == cow : NAN;
	case FACT_IN_BREAK:
		return k->in_break;
	case FACT_IN_MMAP:
		return k->in_mmap;
	case FACT_IN_FILE:
		return k->in_file;
	default:
		return NAN;
	}
}

/* What a process has at the moment: where it is kept, in its life and, of a phase, since that began. */
#define GAUGE(field, of_phase)                                                \
	{                                                                     \
		offsetof(struct life, field), offsetof(struct life, of_phase) \
	}
static const struct {
	uint16_t whole, phase;
} gauges[FACTS] = {
	[FACT_LIVE] = GAUGE(live, live),
	[FACT_LIVE_BLOCKS] = GAUGE(live_blocks, live_blocks),
	[FACT_PEAK] = GAUGE(peak, phase_peak.peak),
	[FACT_MAPPED] = GAUGE(mapped, mapped),
	[FACT_MAPPED_PEAK] = GAUGE(mapped_peak, phase_peak.mapped),
	[FACT_RESIDENT] = GAUGE(resident, resident),
	[FACT_RESIDENT_PEAK] = GAUGE(resident_peak, phase_peak.resident),
};

static inline bool fact__is_gauge(unsigned fact)
{
	return fact < FACTS && gauges[fact].whole;
}

static inline double life__gauge(unsigned fact, const struct sight *s)
{
	const struct life *l = s->life;
	size_t at = s->of_phase ? gauges[fact].phase : gauges[fact].whole;

	if (!l->has_history || l->unseen)
		return NAN;
	return (double)*(const uint64_t *)((const char *)l + at);
}

static double life__fact(unsigned fact, const struct sight *s)
{
	const struct life *l = s->life;
	const struct sums *since = sight__since(s);
	bool phase = s->of_phase;
	uint64_t begin = phase ? l->phase_begin.begin_ns : l->now.begin_ns, calls = 0;
	unsigned i;

	switch (fact) {
	case FACT_PROCESS_TIME:
		return s->now_ns > begin ? (double)(s->now_ns - begin) : 0;
	case FACT_THREADS:
		return (double)(l->now.threads - since->threads);
	case FACT_REQUESTED:
		return (double)(l->now.requested - since->requested);
	case FACT_TOUCH_FAULTS:
		return (double)(l->now.touch_faults - since->touch_faults);
	case FACT_HEAP_CALLS:
		for (i = 0; i < GROUPS; i++)
			calls += l->now.group_calls[i] - since->group_calls[i];
		return (double)calls;
	default:
		return life__gauge(fact, s);
	}
}

double fact__value(const struct insn *in, const struct sight *s)
{
	const struct sums *since = sight__since(s), *now = &s->life->now;
	unsigned i = in->index;

	switch ((enum source)in->source) {
	case SOURCE_CALL:
		return known(s->call->tally.n[i]);
	case SOURCE_INSIDE:
		return (double)(now->in.n[i] - since->in.n[i]);
	case SOURCE_OUTSIDE:
		return (double)(now->out.n[i] - since->out.n[i]);
	case SOURCE_ALL:
		return (double)(now->in.n[i] + now->out.n[i] - since->in.n[i] - since->out.n[i]);
	case SOURCE_OP_CALLS:
		return (double)(now->op_calls[i] - since->op_calls[i]);
	case SOURCE_GROUP_CALLS:
		return (double)(now->group_calls[i] - since->group_calls[i]);
	case SOURCE_FACT:
		break;
	}
	if (i >= FACT_PROCESS_TIME)
		return life__fact(i, s);
	if (!s->event)
		return call__fact(i, s);
	if (s->event->r->kind == REC_FAULT)
		return fault__fact(i, (const struct rec_fault *)s->event->r, s->event->known);
	return syscall__fact(i, (const struct rec_call *)s->event->r);
}

/* What rules speak of most, without a call: the size of a call, and what a process has. */
static inline double load_fast(const struct insn *in, const struct sight *s)
{
	if (in->source == SOURCE_FACT && in->index == FACT_SIZE &&
	    HEAP_AUX_OP(s->call->r.h.aux) < HEAP_FREE)
		return (double)s->call->r.size;
	if (in->source == SOURCE_FACT && fact__is_gauge(in->index))
		return life__gauge(in->index, s);
	return fact__value(in, s);
}

static double eval_chain(const struct program *p, const struct sight *s)
{
	const struct insn *in = p->code, *end = in + p->count;
	double result = 1, value;

	for (; in < end; in++) {
		if (in->op == OP_LOAD_WITH)
			value = operate(in->with, load_fast(in, s), in->value);
		else if (in->op == OP_LOAD)
			value = load_fast(in, s);
		else
			continue;
		if (value == 0)
			return 0;
		if (isnan(value))
			result = value;
	}
	return result;
}

static double eval_stack(const struct program *p, const struct sight *s)
{
	double stack[STACK_DEPTH + 1], *top = stack; /* the first is below all values */
	const struct insn *in = p->code, *end = in + p->count;

	stack[0] = 0; /* of a program without code */
	for (; in < end; in++)
		switch (in->op) {
		case OP_CONSTANT:
			*++top = in->value;
			break;
		case OP_LOAD:
			*++top = load_fast(in, s);
			break;
		case OP_LOAD_WITH:
			*++top = operate(in->with, load_fast(in, s), in->value);
			break;
		case OP_SKIP_IF_FALSE:
			if (*top == 0)
				in = p->code + in->index - 1;
			break;
		case OP_SKIP_IF_TRUE:
			if (*top == 1)
				in = p->code + in->index - 1;
			break;
		default:
			/* The compiler makes none that takes more than there is. */
			if (top < stack + 1 + (in->op >= OP_ADD && in->op != OP_WITH))
				return NAN;
			if (in->op == OP_WITH) {
				*top = operate(in->with, *top, in->value);
			} else if (in->op >= OP_ADD) {
				top--;
				*top = operate(in->op, top[0], top[1]);
			} else {
				*top = operate(in->op, *top, 0);
			}
		}
	return *top;
}

double eval(const struct program *p, const struct sight *s)
{
	return p->is_chain ? eval_chain(p, s) : eval_stack(p, s);
}
