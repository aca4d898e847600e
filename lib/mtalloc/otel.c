// SPDX-License-Identifier: MIT
#include "otel.h"

#include "mtalloc.h"
#include "usdt.h"

#include "lib/trace/sampler.h"

/* Of the blocks whose allocation was told. A fork's child has a copy, as of the heap. */
static struct sampled set;
static atomic_flag preparing = ATOMIC_FLAG_INIT;

static __thread struct {
	struct sampler sampler;
	bool inside; /* a call */
} self;

__attribute__((noinline, used)) static void fire_alloc(const void *block, size_t size,
						       size_t stands_for)
{
#ifdef MT_HAS_PROBES
	__asm__ volatile(MT_PROBE("otel_memory", "alloc", "8@%%rdi 8@%%rsi 8@%%rdx", "semaphore")
			 :
			 : "D"(block), "S"(size), "d"(stands_for), [semaphore] "i"(&_mt_fast.tracers)
			 : "memory");
#else
	(void)block, (void)size, (void)stands_for;
#endif
}

__attribute__((noinline, used)) static void fire_free(const void *block)
{
#ifdef MT_HAS_PROBES
	__asm__ volatile(MT_PROBE("otel_memory", "free", "8@%%rdi", "semaphore")
			 :
			 : "D"(block), [semaphore] "i"(&_mt_fast.tracers)
			 : "memory");
#else
	(void)block;
#endif
}

/* A block whose free could not be told is not told either. */
static void tell(const void *block, size_t size)
{
	if (!set.filter && !atomic_flag_test_and_set(&preparing)) {
		sampled__prepare(&set);
		atomic_flag_clear(&preparing);
	}
	if (sampled__remember(&set, block))
		fire_alloc(block, sample__bytes(size),
			   sample__stands_for(size, _mt_options.sample_bytes));
}

struct otel_call _mt_otel_begin(const void *old, size_t size)
{
	struct otel_call call = {0};

	if (self.inside || !_mt_options.sample_bytes)
		return call;
	/* Frees are to come by here, too. */
	if (!_mt_tracing) {
		_mt_tracing = true;
		_mt_fast_switch();
	}
	self.inside = true;
	call.counts = true;
	call.takes = sampler__takes(&self.sampler, _mt_options.sample_bytes, size);
	/* Before others can have the address. */
	if (old && sampled__forget(&set, old)) {
		call.old = old;
		fire_free(old);
	}
	return call;
}

void _mt_otel_end(const struct otel_call *call, const void *made, size_t size)
{
	self.inside = false;
	if (call->takes && made)
		tell(made, size);
	/* It has not moved. */
	if (call->old && !made && size)
		tell(call->old, mt_malloc_usable_size((void *)call->old));
}

void _mt_otel_free(const void *block)
{
	if (!self.inside && sampled__forget(&set, block))
		fire_free(block);
}

void _mt_otel_clear(void)
{
	sampled__clear(&set);
}

void _mt_otel_in_child(void)
{
	sampler__begin(&self.sampler);
}
