// SPDX-License-Identifier: MIT
/*
 * Large blocks: a mapping each, found by a table of their addresses.
 *
 * Mappings that were freed are kept, in address order and joined where they touch, as far as the
 * program's use of large blocks swings (swing.h): what comes back within the decay time needs no
 * system call and no fault. A first fall keeps nothing.
 */
#include "layout.h"
#include "verify.h"

#define CACHE_RANGES 512
/*
 * Of what is kept, whatever the swing: so much that is resident. How many of their pages mappings
 * have is told from the process's faults while so much was mapped; others' faults count too, so it
 * is never too little.
 */
#define SWING_LIMIT ((size_t)64 << 20)
#define MEASURED_BYTES ((size_t)64 << 20)
#define PARTS 256
#define PARTS_MIN 16
/*
 * When what is free would do but lies in pieces, so small a share of what is in use is mapped with the
 * block: pieces enough for what comes, or there would be a block without one time and again. A longer
 * block is better served by a piece that is made longer, for the pages which are there.
 */
#define SPARE_SHARE 32
#define SPARE_MAX ((size_t)4 << 20)
#define SPARE_BLOCK_MAX ((size_t)2 << 20)

struct range {
	char *start;
	size_t bytes;
};

static struct lock large_lock;
MT_TABLE static struct range first_table[256];
static struct range *table = first_table;
static size_t capacity = sizeof(first_table) / sizeof(first_table[0]);
static size_t used, used_bytes;
MT_TABLE static struct range cache[CACHE_RANGES];
static size_t cache_used, cache_bytes;
static struct swing swing;
static size_t mapped_bytes, faults_before; /* since, and at, the last measurement */
static size_t resident_parts = PARTS; /* of PARTS */

void _mt_large_lock(void)
{
	lock__acquire(&large_lock);
}

void _mt_large_unlock(void)
{
	lock__release(&large_lock);
}

static size_t page_up(size_t bytes)
{
	return (bytes + _mt_os_page - 1) & ~(_mt_os_page - 1);
}

/* ---- the table: open addressing, no tombstones ---------------------------------------------- */

static size_t home_of(const char *start)
{
	return (size_t)(((uintptr_t)start >> PAGE_SHIFT) * 0x9e3779b97f4a7c15u >> 20) &
	       (capacity - 1);
}

/* Where start is, or the free place where it would be. */
static size_t place_of(const char *start)
{
	size_t at = home_of(start);

	while (table[at].start && table[at].start != start)
		at = (at + 1) & (capacity - 1);
	return at;
}

static bool make_room(void)
{
	struct range *old = table, *new;
	size_t old_capacity = capacity;

	if (used < capacity / 4 * 3)
		return true;
	new = _mt_meta_alloc(2 * capacity * sizeof(*new));
	if (!new)
		return used < capacity - 1;
	table = new;
	capacity *= 2;
	for (size_t i = 0; i < old_capacity; i++)
		if (old[i].start)
			table[place_of(old[i].start)] = old[i];
	if (old != first_table)
		_mt_meta_free(old, old_capacity * sizeof(*old));
	return true;
}

static void table_insert(char *start, size_t bytes)
{
	table[place_of(start)] = (struct range){start, bytes};
	used++;
	used_bytes += bytes;
}

static void table_remove(size_t at)
{
	size_t hole = at;

	used--;
	used_bytes -= table[at].bytes;
	/* Close the gap: move back what was pushed on because of it. */
	for (at = (at + 1) & (capacity - 1); table[at].start; at = (at + 1) & (capacity - 1)) {
		size_t home = home_of(table[at].start);

		if (((at - home) & (capacity - 1)) >= ((at - hole) & (capacity - 1))) {
			table[hole] = table[at];
			hole = at;
		}
	}
	table[hole].start = NULL;
}

/* ---- the cache ------------------------------------------------------------------------------ */

static void cache_remove(size_t at)
{
	cache_bytes -= cache[at].bytes;
	swing__spare(&swing, cache_bytes);
	cache_used--;
	__builtin_memmove(&cache[at], &cache[at + 1], (cache_used - at) * sizeof(cache[0]));
}

/* False when it is full. */
static bool cache_insert(char *start, size_t bytes)
{
	size_t at = 0;

	while (at < cache_used && cache[at].start < start)
		at++;
	if (at && cache[at - 1].start + cache[at - 1].bytes == start) {
		cache[--at].bytes += bytes;
	} else {
		if (cache_used == CACHE_RANGES)
			return false;
		__builtin_memmove(&cache[at + 1], &cache[at], (cache_used - at) * sizeof(cache[0]));
		cache[at] = (struct range){start, bytes};
		cache_used++;
	}
	cache_bytes += bytes;
	swing__spare(&swing, cache_bytes);
	if (at + 1 < cache_used && cache[at].start + cache[at].bytes == cache[at + 1].start) {
		cache[at].bytes += cache[at + 1].bytes;
		cache_bytes += cache[at + 1].bytes;
		cache_remove(at + 1);
	}
	return true;
}

/* A kept range for so many bytes: the one that fits best, cut to size; NULL when none is so long. */
static char *cache_take(size_t bytes)
{
	size_t best = CACHE_RANGES;
	char *start;

	for (size_t i = 0; i < cache_used; i++)
		if (cache[i].bytes >= bytes &&
		    (best == CACHE_RANGES || cache[i].bytes < cache[best].bytes))
			best = i;
	if (best == CACHE_RANGES)
		return NULL;
	start = cache[best].start;
	if (cache[best].bytes == bytes) {
		cache_remove(best);
	} else {
		cache[best].start += bytes;
		cache[best].bytes -= bytes;
		cache_bytes -= bytes;
		swing__spare(&swing, cache_bytes);
	}
	return start;
}

/* The longest kept range, when it is worth being made longer: most of the pages are there. */
static struct range cache_take_longest(size_t bytes)
{
	struct range longest = {0};
	size_t at = 0;

	for (size_t i = 0; i < cache_used; i++)
		if (cache[i].bytes > longest.bytes)
			longest = cache[at = i];
	if (longest.bytes < bytes / 2)
		return (struct range){0};
	cache_remove(at);
	return longest;
}

/* The kernel refuses to unmap when it has no room to split a mapping. */
static void give_back(char *start, size_t bytes)
{
	swing__gave(&swing, bytes);
	if (!_mt_os_unmap(start, bytes))
		_mt_os_discard(start, bytes);
}

/* Gives back ranges, the longest first, until so many bytes are left. */
static bool cache_shrink(size_t target)
{
	bool some = false;

	while (cache_used && cache_bytes > target) {
		size_t longest = 0;
		struct range range;

		for (size_t i = 1; i < cache_used; i++)
			if (cache[i].bytes > cache[longest].bytes)
				longest = i;
		range = cache[longest];
		cache_remove(longest);
		if (cache_bytes < target) {
			/* A part is enough: the head stays. */
			size_t stays = page_up(target - cache_bytes);

			if (stays < range.bytes && cache_insert(range.start, stays)) {
				range.start += stays;
				range.bytes -= stays;
			}
		}
		give_back(range.start, range.bytes);
		some = true;
	}
	return some;
}

/* So much was obtained from the kernel. */
static void measure(size_t bytes)
{
	size_t faults;

	mapped_bytes += bytes;
	if (mapped_bytes < MEASURED_BYTES)
		return;
	faults = _mt_os_faults();
	resident_parts = (faults - faults_before) * _mt_os_page / (mapped_bytes / PARTS);
	if (resident_parts < PARTS_MIN)
		resident_parts = PARTS_MIN;
	if (resident_parts > PARTS)
		resident_parts = PARTS;
	faults_before = faults;
	mapped_bytes = 0;
}

static size_t keep_limit(void)
{
	return SWING_LIMIT / resident_parts * PARTS;
}

static void tick(void)
{
	swing__tick(&swing, _mt_os_now_ms(), _mt_options.decay_ms);
	if (cache_bytes > swing__keep(&swing, keep_limit()))
		cache_shrink(swing__keep(&swing, keep_limit()));
}

/* ---- blocks --------------------------------------------------------------------------------- */

/* A mapping at a multiple of alignment, which is above a page. */
static char *map_aligned(size_t bytes, size_t alignment)
{
	size_t whole = bytes + alignment - _mt_os_page;
	char *start = whole < bytes ? NULL : _mt_os_map(whole), *aligned;

	if (!start)
		return NULL;
	aligned = (char *)(((uintptr_t)start + alignment - 1) & ~(uintptr_t)(alignment - 1));
	if (aligned > start)
		_mt_os_unmap(start, (size_t)(aligned - start));
	if (start + whole > aligned + bytes)
		_mt_os_unmap(aligned + bytes, (size_t)(start + whole - aligned - bytes));
	return aligned;
}

static char *from_cache(size_t bytes, bool beside)
{
	char *start = cache_take(bytes);
	struct range longest;

	if (start || beside)
		return start;
	longest = cache_take_longest(bytes);
	if (!longest.start)
		return NULL;
	start = _mt_os_remap(longest.start, longest.bytes, bytes);
	if (start)
		swing__fetched(&swing, bytes - longest.bytes);
	else
		cache_insert(longest.start, longest.bytes);
	return start;
}

/* A mapping that is longer than the block; the rest is kept. */
static char *map_with_spare(size_t bytes)
{
	size_t spare = page_up(swing.level / SPARE_SHARE);
	char *start;

	spare = spare < SPARE_MAX ? spare : SPARE_MAX;
	start = _mt_os_map(bytes + spare);
	if (!start)
		return _mt_os_map(bytes);
	swing__fetched_beside(&swing, spare);
	if (!cache_insert(start + bytes, spare))
		_mt_os_unmap(start + bytes, spare);
	return start;
}

/* beside: as much was kept, in pieces. */
static char *map_fresh(size_t bytes, size_t alignment, bool beside)
{
	if (alignment > _mt_os_page)
		return map_aligned(bytes, alignment);
	return beside ? map_with_spare(bytes) : _mt_os_map(bytes);
}

void *_mt_large_alloc(size_t bytes, size_t alignment, bool *zero)
{
	char *start = NULL;

	if (bytes > PTRDIFF_MAX - _mt_os_page)
		return NULL;
	bytes = bytes ? page_up(bytes) : _mt_os_page;
	lock__acquire(&large_lock);
	if (used < _mt_options.mmap_max && make_room()) {
		bool beside = alignment <= _mt_os_page && bytes <= SPARE_BLOCK_MAX &&
			      cache_bytes >= bytes && swing.level + bytes <= swing.high;

		swing__up(&swing, bytes);
		tick();
		*zero = false;
		if (alignment <= _mt_os_page)
			start = from_cache(bytes, beside);
		if (!start) {
			*zero = true;
			start = map_fresh(bytes, alignment, beside);
		}
		if (!start && cache_shrink(0))
			start = map_fresh(bytes, alignment, false);
		if (MUTANT(CLEAR_FRESH))
			*zero = false;
		if (start && *zero) {
			if (beside)
				swing__fetched_beside(&swing, bytes);
			else
				swing__fetched(&swing, bytes);
			measure(bytes);
		}
		if (start)
			table_insert(start, bytes);
		else
			swing__down(&swing, bytes);
	}
	lock__release(&large_lock);
	return start;
}

size_t _mt_large_size(const void *block)
{
	size_t at, bytes;

	if ((uintptr_t)block % PAGE)
		return 0;
	lock__acquire(&large_lock);
	at = place_of(block);
	bytes = table[at].start ? table[at].bytes : 0;
	lock__release(&large_lock);
	return bytes;
}

size_t _mt_large_free(void *block)
{
	size_t at, bytes = 0;

	if ((uintptr_t)block % PAGE || !block)
		return 0;
	lock__acquire(&large_lock);
	at = place_of(block);
	if (table[at].start) {
		bytes = table[at].bytes;
		table_remove(at);
		swing__down(&swing, bytes);
		swing__tick(&swing, _mt_os_now_ms(), _mt_options.decay_ms);
		if (bytes > swing__keep(&swing, keep_limit()) || !cache_insert(block, bytes))
			give_back(block, bytes);
		if (cache_bytes > swing__keep(&swing, keep_limit()))
			cache_shrink(swing__keep(&swing, keep_limit()));
		if (MUTANT(CHURN_ADVISE) && cache_used)
			_mt_os_discard(cache[0].start, _mt_os_page);
	}
	lock__release(&large_lock);
	return bytes;
}

void *_mt_large_resize(void *block, size_t bytes)
{
	size_t at, have;
	char *start = NULL;

	if (bytes > PTRDIFF_MAX - _mt_os_page || MUTANT(REALLOC_COPIES))
		return NULL;
	bytes = page_up(bytes);
	/* Held over the call: the old addresses may be another thread's mapping at once. */
	lock__acquire(&large_lock);
	at = place_of(block);
	have = table[at].bytes;
	if (bytes == have) {
		start = block;
	} else if ((start = _mt_os_remap(block, have, bytes))) {
		table_remove(at);
		table_insert(start, bytes);
		swing__down(&swing, have);
		swing__up(&swing, bytes);
	}
	lock__release(&large_lock);
	return start;
}

bool _mt_large_trim(void)
{
	bool some;

	lock__acquire(&large_lock);
	some = cache_shrink(0);
	lock__release(&large_lock);
	return some;
}

void _mt_large_layout(struct mt_layout *layout)
{
	layout->large = (uintptr_t)&table;
	layout->large_capacity = (uintptr_t)&capacity;
	layout->large_stride = sizeof(table[0]);
	layout->large_start = offsetof(struct range, start);
	layout->large_bytes = offsetof(struct range, bytes);
}

void _mt_large_info(size_t *blocks, size_t *bytes, size_t *cached)
{
	lock__acquire(&large_lock);
	*blocks = used;
	*bytes = used_bytes;
	*cached = cache_bytes;
	lock__release(&large_lock);
}

#ifdef MT_TEST
void _mt_large_verify(void)
{
	size_t count = 0, bytes = 0;

	lock__acquire(&large_lock);
	for (size_t i = 0; i < capacity; i++) {
		if (!table[i].start)
			continue;
		HOLDS(place_of(table[i].start) == i, table[i].start);
		HOLDS(table[i].bytes && table[i].bytes % _mt_os_page == 0, table[i].start);
		count++;
		bytes += table[i].bytes;
	}
	HOLDS(count == used && used < capacity, NULL);
	HOLDS(bytes == used_bytes && bytes == swing.level, NULL);
	bytes = 0;
	for (size_t i = 0; i < cache_used; i++) {
		HOLDS(cache[i].bytes && cache[i].bytes % _mt_os_page == 0, cache[i].start);
		HOLDS(i + 1 == cache_used || cache[i].start + cache[i].bytes < cache[i + 1].start,
		      cache[i].start);
		HOLDS(!table[place_of(cache[i].start)].start, cache[i].start);
		bytes += cache[i].bytes;
	}
	HOLDS(bytes == cache_bytes, NULL);
	lock__release(&large_lock);
}
#endif
