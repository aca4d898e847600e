// SPDX-License-Identifier: MIT
/* Memory for the allocator's own tables: cut from chunks, apart from all user memory. */
#include "internal.h"

#define CHUNK_BYTES ((size_t)64 * 1024)

struct unused {
	struct unused *next;
	size_t bytes;
};

static struct lock meta_lock;
/* Small programs need no mapping for it. */
MT_TABLE static char first_chunk[24 * 1024];
static char *chunk = first_chunk;
static size_t chunk_left = sizeof(first_chunk);
static struct unused *unused;

static size_t rounded(size_t bytes)
{
	return (bytes + 63) & ~(size_t)63;
}

static void *take_unused(size_t bytes)
{
	for (struct unused **at = &unused; *at; at = &(*at)->next) {
		struct unused *found = *at;

		if (found->bytes != bytes)
			continue;
		*at = found->next;
		__builtin_memset(found, 0, bytes);
		return found;
	}
	return NULL;
}

void *_mt_meta_alloc(size_t bytes)
{
	void *memory;

	bytes = rounded(bytes);
	lock__acquire(&meta_lock);
	memory = take_unused(bytes);
	if (!memory && bytes > chunk_left) {
		size_t wanted = bytes > CHUNK_BYTES / 4 ? rounded(bytes) : CHUNK_BYTES;
		char *fresh;

		wanted = (wanted + _mt_os_page - 1) & ~(_mt_os_page - 1);
		fresh = _mt_os_map(wanted);
		if (fresh && wanted - bytes <= chunk_left) {
			memory = fresh;
		} else if (fresh) {
			chunk = fresh;
			chunk_left = wanted;
		}
	}
	if (!memory && bytes <= chunk_left) {
		memory = chunk;
		chunk += bytes;
		chunk_left -= bytes;
	}
	lock__release(&meta_lock);
	return memory;
}

void _mt_meta_free(void *memory, size_t bytes)
{
	struct unused *entry = memory;

	if (!memory)
		return;
	lock__acquire(&meta_lock);
	entry->bytes = rounded(bytes);
	entry->next = unused;
	unused = entry;
	lock__release(&meta_lock);
}

void _mt_meta_lock(void)
{
	lock__acquire(&meta_lock);
}

void _mt_meta_unlock(void)
{
	lock__release(&meta_lock);
}
