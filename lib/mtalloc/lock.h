/* SPDX-License-Identifier: MIT */
/* A lock of 4 bytes that needs no initialisation and no allocation: 0 free, 1 held, 2 waited for. */
#ifndef MTALLOC_LOCK_H
#define MTALLOC_LOCK_H

#include <stdatomic.h>
#include <stdint.h>

#include "os.h"

struct lock {
	_Atomic uint32_t word;
};

static inline void lock__acquire(struct lock *lock)
{
	uint32_t seen = 0;

	if (atomic_compare_exchange_strong_explicit(&lock->word, &seen, 1, memory_order_acquire,
						    memory_order_relaxed))
		return;
	for (int spin = 0; spin < 100; spin++) {
#if defined(__x86_64__) || defined(__i386__)
		__builtin_ia32_pause();
#endif
		seen = 0;
		if (atomic_compare_exchange_weak_explicit(
			    &lock->word, &seen, 1, memory_order_acquire, memory_order_relaxed))
			return;
	}
	while (atomic_exchange_explicit(&lock->word, 2, memory_order_acquire) != 0)
		_mt_os_wait(&lock->word, 2);
}

static inline void lock__release(struct lock *lock)
{
	if (atomic_exchange_explicit(&lock->word, 0, memory_order_release) == 2)
		_mt_os_wake(&lock->word);
}

#endif
