// SPDX-License-Identifier: MIT
/*
 * glibc's heap from outside. Nothing tells where its data are, so they are recognised: the
 * break's memory is a row of chunks that ends with the top chunk, at the very end of the mapping;
 * the arena is where a pointer to that top is, at its place in the structure; malloc's settings are
 * where the beginning of the break is noted. From there on every step is checked against
 * another fact, and a walk that does not come out at the end it must come out at is not believed.
 *
 * Vocabulary, glibc's own
 *   chunk      a block with its header: the size of the chunk before, if that is free; its own
 *              size, with three flags in it. Whether it is in use is told by the next one's flag
 *   arena      struct malloc_state: the main one lives in libc's data and has the break, others are
 *              at the beginning of a heap
 *   heap       64 MiB of address space, at a multiple of that, for arenas that are not the main one
 *   tcache, fastbin  lists of freed chunks that look as if they were in use
 *
 * Layouts are those of glibc 2.32 to 2.41 (pointers in lists are mangled since 2.32).
 */
#include "user/source/census.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#define PAGE 4096UL
#define WORD 8UL
#define ALIGN 16UL
#define CHUNK_LEAST 32UL
#define PREV_INUSE 1UL
#define FLAGS 7UL

#define HEAP_BYTES (64UL << 20)
#define ARENA_BYTES 0x898UL
#define ARENA_FASTBINS 0x10
#define FASTBINS 10
#define ARENA_TOP 0x60
#define ARENA_NEXT 0x870
#define ARENAS_MAX 4096
#define FAST_LENGTH_MAX (1UL << 20)

#define TCACHE_BINS 64
#define TCACHE_CHUNK 0x290UL
#define TCACHE_LENGTH_MAX 127 /* by default 7; a tunable goes up to here */

/* Distances from the note of the break's beginning, in struct malloc_par. */
#define PAR_MMAPPED_BYTES (-0x10L)
#define PAR_MMAPPED_MOST (-8L)
#define N_MMAPS_MAX 65536U /* by default */

#define WINDOW (1UL << 20)
#define TRIES 3

/* Memory of the process, read ahead: walks go upwards. */
struct reader {
	pid_t pid;
	uint64_t start, bytes; /* what is in the window */
	uint8_t *window;
};

struct range {
	uint64_t start, end;
};

struct walk {
	struct reader r;
	struct range brk;
	struct range *data; /* where libc's own data may be */
	size_t ndata;
	uint64_t main_arena, sbrk_base;
	uint64_t tcaches, tcached_bytes, tcached; /* found on the way */
	struct census c;
};

static int reader__get(struct reader *r, uint64_t addr, void *to, size_t n)
{
	if (addr < r->start || addr - r->start > r->bytes || r->bytes - (addr - r->start) < n) {
		struct iovec local = {r->window, WINDOW}, remote = {(void *)(uintptr_t)addr, WINDOW};
		ssize_t got = process_vm_readv(r->pid, &local, 1, &remote, 1, 0);

		r->start = addr;
		r->bytes = got < 0 ? 0 : (uint64_t)got;
		if (got < 0 && errno != EFAULT)
			return -errno;
		/* What reaches beyond the mapping may be refused as a whole. */
		if (r->bytes < n) {
			local.iov_len = remote.iov_len = n;
			got = process_vm_readv(r->pid, &local, 1, &remote, 1, 0);
			if (got != (ssize_t)n)
				return got < 0 ? -errno : -EFAULT;
			r->bytes = n;
		}
	}
	memcpy(to, r->window + (addr - r->start), n);
	return 0;
}

/* Single words here and there: the window stays. */
static int memory__get(const struct reader *r, uint64_t addr, void *to, size_t n)
{
	struct iovec local = {to, n}, remote = {(void *)(uintptr_t)addr, n};
	ssize_t got = process_vm_readv(r->pid, &local, 1, &remote, 1, 0);

	return got == (ssize_t)n ? 0 : got < 0 ? -errno : -EFAULT;
}

static int walk__add_data(struct walk *w, uint64_t start, uint64_t end)
{
	struct range *grown = reallocarray(w->data, w->ndata + 1, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	w->data = grown;
	w->data[w->ndata++] = (struct range){start, end};
	return 0;
}

/* The break, and the writable data of files, with the anonymous memory that follows them. */
static int walk__read_maps(struct walk *w)
{
	uint64_t start, end, ino, data_end = 0;
	char path[64], prot[5], *line = NULL;
	size_t room = 0;
	int err = 0, at;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/maps", w->r.pid);
	f = fopen(path, "re");
	if (!f)
		return -errno;
	while (!err && getline(&line, &room, f) > 0) {
		at = 0;
		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %*s %*s %" SCNu64 " %n", &start, &end,
			   prot, &ino, &at) < 4 ||
		    prot[0] != 'r' || prot[1] != 'w' || prot[3] != 'p')
			continue;
		if (at && !strncmp(line + at, "[heap]", 6)) {
			if (w->brk.start && w->brk.end != start)
				err = -ENOENT;
			w->brk.start = w->brk.start ?: start;
			w->brk.end = end;
		} else if (ino || start == data_end) {
			err = walk__add_data(w, start, end);
			data_end = end;
		}
	}
	free(line);
	fclose(f);
	return err ? err : w->brk.start ? 0 : -ENOENT;
}

/* Call fn for each word of the data, with what is around it, until it returns true. */
static bool walk__search(struct walk *w, bool (*fn)(struct walk *w, uint64_t addr, uint64_t word))
{
	bool found = false;

	for (size_t i = 0; i < w->ndata && !found; i++) {
		uint64_t bytes = w->data[i].end - w->data[i].start;
		uint64_t *copy = bytes <= (64UL << 20) ? malloc(bytes) : NULL;

		if (copy && !memory__get(&w->r, w->data[i].start, copy, bytes))
			for (size_t k = 0; k < bytes / WORD && !found; k++)
				found = copy[k] && fn(w, w->data[i].start + k * WORD, copy[k]);
		free(copy);
	}
	return found;
}

/* Whether the note of where the break began is here: then malloc's settings are around it. */
static bool find_settings(struct walk *w, uint64_t addr, uint64_t word)
{
	uint64_t mmapped[2];
	uint32_t counts[4]; /* from 0x24 before it on */
	uint32_t n;

	if (word < w->brk.start || word >= w->brk.start + PAGE ||
	    memory__get(&w->r, addr + PAR_MMAPPED_BYTES, mmapped, sizeof(mmapped)) ||
	    memory__get(&w->r, addr - 0x24, counts, sizeof(counts)))
		return false;
	if (counts[1] == N_MMAPS_MAX) /* from 2.35 on */
		n = counts[0];
	else if (counts[2] == N_MMAPS_MAX)
		n = counts[1];
	else
		return false;
	if (mmapped[0] > mmapped[1] || n > N_MMAPS_MAX || mmapped[0] < n * PAGE || mmapped[0] % PAGE)
		return false;
	w->sbrk_base = word;
	w->c.blocks += n;
	w->c.bytes += mmapped[0] - n * 2 * WORD;
	return true;
}

static bool find_arena(struct walk *w, uint64_t addr, uint64_t word)
{
	uint64_t arena = addr - ARENA_TOP, next, size;

	/* Top is the last chunk: it ends where the break does, and the chunk before is in use. */
	if (word < w->brk.start || word >= w->brk.end || word % ALIGN ||
	    memory__get(&w->r, word + WORD, &size, sizeof(size)) || !(size & PREV_INUSE) ||
	    word + (size & ~FLAGS) != w->brk.end ||
	    memory__get(&w->r, arena + ARENA_NEXT, &next, sizeof(next)) || next % WORD || !next)
		return false;
	w->main_arena = arena;
	return true;
}

static uint64_t reveal(uint64_t at, uint64_t mangled)
{
	return at >> 12 ^ mangled;
}

/*
 * Whether the chunk of a fitting size is a thread's cache: what it counts and what it points
 * to have to agree, list by list.
 */
static bool walk__take_tcache(struct walk *w, uint64_t chunk, bool first)
{
	struct {
		uint16_t counts[TCACHE_BINS];
		uint64_t entries[TCACHE_BINS];
	} t;
	uint64_t blocks = 0, bytes = 0;

	if (memory__get(&w->r, chunk + 2 * WORD, &t, sizeof(t)))
		return false;
	for (unsigned i = 0; i < TCACHE_BINS; i++) {
		uint64_t want = CHUNK_LEAST + i * ALIGN, at = t.entries[i], head[3];

		if (t.counts[i] > TCACHE_LENGTH_MAX || !t.counts[i] != !at)
			return false;
		for (unsigned k = 0; k < t.counts[i]; k++) {
			if (!at || at % ALIGN || memory__get(&w->r, at - WORD, head, sizeof(head)) ||
			    (head[0] & ~FLAGS) != want)
				return false;
			blocks++;
			bytes += want - WORD;
			at = reveal(at, head[1]);
		}
		if (at)
			return false;
	}
	if (!blocks && !first)
		return false;
	w->tcaches++;
	w->tcached += blocks;
	w->tcached_bytes += bytes;
	return true;
}

/*
 * The chunks of [at, end). 0 when the last one ends there: top, which is free; or, in a heap
 * that has been left for another one, the two marks at its end.
 */
static int walk__chunks(struct walk *w, uint64_t at, uint64_t end, uint64_t top)
{
	uint64_t head, next, size, first = at;
	int err;

	while (at != top) {
		if (at >= end || end - at < 2 * WORD)
			return -EAGAIN;
		err = reader__get(&w->r, at + WORD, &head, sizeof(head));
		if (err)
			return err;
		size = head & ~FLAGS;
		/*
		 * The first mark is a chunk of 16 bytes, or, where too little was left to be freed, of all
		 * but the last 16, and says that it is in use. The second mark is of size 0.
		 */
		if (!top && size <= CHUNK_LEAST && end - at == size + 2 * WORD)
			return 0;
		if (size < CHUNK_LEAST || size % ALIGN || size > end - at || head & 2)
			return -EAGAIN;
		err = reader__get(&w->r, at + size + WORD, &next, sizeof(next));
		if (err)
			return err;
		if (next & PREV_INUSE &&
		    !(size == TCACHE_CHUNK && walk__take_tcache(w, at, at == first))) {
			w->c.blocks++;
			w->c.bytes += size - WORD;
		}
		at += size;
	}
	err = reader__get(&w->r, top + WORD, &head, sizeof(head));
	if (err)
		return err;
	return top + (head & ~FLAGS) == end ? 0 : -EAGAIN;
}

/* Chunks that were freed and are kept as if in use. */
static int walk__fastbins(struct walk *w, uint64_t arena)
{
	uint64_t bins[FASTBINS], head[3];

	if (memory__get(&w->r, arena + ARENA_FASTBINS, bins, sizeof(bins)))
		return -EAGAIN;
	for (unsigned i = 0; i < FASTBINS; i++) {
		uint64_t at = bins[i], n = 0;

		for (; at && n < FAST_LENGTH_MAX; n++) {
			if (at % ALIGN || memory__get(&w->r, at + WORD, head, sizeof(head)) ||
			    (head[0] & ~FLAGS) != CHUNK_LEAST + i * ALIGN) {
				w->c.at_most = true;
				break;
			}
			w->c.blocks--;
			w->c.bytes -= (head[0] & ~FLAGS) - WORD;
			at = reveal(at + 2 * WORD, head[1]);
		}
	}
	return 0;
}

/* An arena with heaps of its own: from the newest to the oldest. */
static int walk__arena(struct walk *w, uint64_t arena)
{
	uint64_t top, heap, oldest = arena & ~(HEAP_BYTES - 1), end;
	struct {
		uint64_t arena, prev, size;
	} info;
	uint64_t head_bytes = arena - oldest, at;
	int err;

	if (memory__get(&w->r, arena + ARENA_TOP, &top, sizeof(top)) || head_bytes > 128)
		return -EAGAIN;
	for (heap = top & ~(HEAP_BYTES - 1);; heap = info.prev) {
		if (memory__get(&w->r, heap, &info, sizeof(info)) || info.arena != arena ||
		    info.size > HEAP_BYTES)
			return -EAGAIN;
		at = heap == oldest ? arena + ARENA_BYTES : heap + head_bytes;
		at = (at + ALIGN - 1) & ~(ALIGN - 1);
		end = heap + info.size;
		err = walk__chunks(w, at, end, top >= heap && top < end ? top : 0);
		if (err || heap == oldest)
			return err;
		if (!info.prev)
			return -EAGAIN;
	}
}

static int walk__all(struct walk *w)
{
	uint64_t arena, top;
	int err = walk__read_maps(w);

	if (err)
		return err;
	if (!walk__search(w, find_settings) || !walk__search(w, find_arena))
		return -ENOENT;
	if (memory__get(&w->r, w->main_arena + ARENA_TOP, &top, sizeof(top)))
		return -EAGAIN;
	err = walk__chunks(w, (w->sbrk_base + ALIGN - 1) & ~(ALIGN - 1), w->brk.end, top);
	arena = w->main_arena;
	for (unsigned i = 0; !err && i < ARENAS_MAX; i++) {
		err = walk__fastbins(w, arena);
		if (!err && memory__get(&w->r, arena + ARENA_NEXT, &arena, sizeof(arena)))
			err = -EAGAIN;
		if (err || arena == w->main_arena)
			break;
		err = walk__arena(w, arena);
	}
	if (err)
		return err;
	if (w->c.blocks < w->tcached || w->c.bytes < w->tcached_bytes)
		return -EAGAIN;
	w->c.blocks -= w->tcached;
	w->c.bytes -= w->tcached_bytes;
	return 0;
}

int census__glibc(pid_t pid, struct census *c)
{
	int err = -ENOMEM;

	for (unsigned i = 0; i < TRIES; i++) {
		struct walk w = {.r = {.pid = pid, .window = malloc(WINDOW)}};

		if (w.r.window)
			err = walk__all(&w);
		*c = w.c;
		free(w.data);
		free(w.r.window);
		if (err != -EAGAIN)
			break;
	}
	return err;
}
