// SPDX-License-Identifier: MIT
/*
 * check=1: every call goes this way. Behind what was asked for stands a canary up to the block's
 * end, with the size in its last word; a freed block is filled and waits in a quarantine, where a
 * second free or a write is noticed.
 */
#include <errno.h>
#include <string.h>

#include "alloc.h"

#define TRAILER sizeof(uint64_t)
#define CANARY 0xc5
#define NEW_FILL 0xa5
#define FREED_FILL 0xdf

#define QUARANTINE_BLOCKS 1024
#define QUARANTINE_BYTES ((size_t)8 << 20)

struct held {
	unsigned char *block;
	size_t size;
};

static struct lock lock;
MT_TABLE static struct held held[QUARANTINE_BLOCKS];
static size_t held_first, held_count, held_bytes;

static uint64_t sealed(const void *block, size_t size)
{
	return (size * 0x9e3779b97f4a7c15u) ^ _mt_fast.key ^ (uintptr_t)block;
}

/* Writes what stands behind a block of size bytes. */
static void seal(unsigned char *block, size_t size, size_t usable)
{
	uint64_t word = sealed(block, size);

	memset(block + size, CANARY, usable - TRAILER - size);
	memcpy(block + usable - TRAILER, &word, TRAILER);
}

void *_mt_check_alloc(size_t size, size_t alignment, bool *zero)
{
	size_t bytes;
	void *block;

	*zero = false;
	if (!_mt_options.check)
		return _mt_alloc_aligned(size, alignment, zero);
	if (__builtin_add_overflow(size, TRAILER + 1, &bytes)) {
		errno = ENOMEM;
		return NULL;
	}
	block = _mt_alloc_aligned(bytes, alignment, zero);
	if (!block)
		return NULL;
	*zero = false;
	memset(block, NEW_FILL, size);
	seal(block, size, _mt_size_of(block, "malloc"));
	return block;
}

static bool is_held(const void *block)
{
	for (size_t i = 0; i < held_count; i++)
		if (held[(held_first + i) % QUARANTINE_BLOCKS].block == block)
			return true;
	return false;
}

size_t _mt_check_size(const void *block, const char *caller)
{
	const unsigned char *bytes = block;
	size_t usable, size;
	uint64_t word;
	bool freed;

	lock__acquire(&lock);
	freed = is_held(block);
	lock__release(&lock);
	if (freed)
		_mt_die(caller, block, "double free, it is in quarantine", 0);
	usable = _mt_size_of(block, caller);
	memcpy(&word, bytes + usable - TRAILER, TRAILER);
	/* The multiplier is odd: it has an inverse modulo 2^64. */
	size = (size_t)((word ^ _mt_fast.key ^ (uintptr_t)block) * 0xf1de83e19937733du);
	if (size > usable - TRAILER)
		_mt_die(caller, block, "written behind its end", usable);
	for (size_t i = size; i < usable - TRAILER; i++)
		if (bytes[i] != CANARY)
			_mt_die(caller, block, "written behind its end", size);
	return size;
}

/* The oldest held block; NULL when there is none. Checked, not freed yet. */
static struct held oldest(void)
{
	struct held gone = held[held_first];

	held_first = (held_first + 1) % QUARANTINE_BLOCKS;
	held_count--;
	held_bytes -= gone.size;
	for (size_t i = 0; i < gone.size; i++)
		if (gone.block[i] != FREED_FILL)
			_mt_die("free", gone.block, "written after it was freed", gone.size);
	return gone;
}

void _mt_check_free(void *block)
{
	size_t size;

	if (!_mt_options.check) {
		memset(block, _mt_options.perturb, _mt_size_of(block, "free"));
		_mt_free_block(block);
		return;
	}
	size = _mt_check_size(block, "free");
	memset(block, FREED_FILL, size);
	lock__acquire(&lock);
	while (held_count == QUARANTINE_BLOCKS ||
	       (held_count && held_bytes + size > QUARANTINE_BYTES))
		_mt_free_block(oldest().block);
	held[(held_first + held_count) % QUARANTINE_BLOCKS] = (struct held){block, size};
	held_count++;
	held_bytes += size;
	lock__release(&lock);
}

void _mt_check_lock(void)
{
	lock__acquire(&lock);
}

void _mt_check_unlock(void)
{
	lock__release(&lock);
}
