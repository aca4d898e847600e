// FLAGS: -fno-builtin
/* SPDX-License-Identifier: MIT */
/*
 * An allocator of its own that asks the kernel for memory in a known pattern, the one that
 * tests/contracts/pattern.contract states, or breaks it in one way:
 *
 *   check_pattern [MISDEED]
 *
 * Blocks of 128K and more are mappings of their own; smaller ones come from the break, which grows
 * by a half each time; those of 100 bytes are one block again and again.
 */
#include "lib/trace/mt_phase.h"
#include "prog.h"

#define LARGE (128UL << 10)
#define FIRST_GROWTH (33 * PROG_PAGE)
#define SLOTS 16
#define SMALL_BLOCKS 2000
#define SMALL_BYTES 496
#define ROUNDS 10

static struct {
	char *at, *end; /* free memory of the break */
	size_t grown;
	const char *misdeed;
	unsigned mallocs;
	bool steady;
	struct {
		char *p;
		size_t size;
	} slot[SLOTS]; /* large blocks */
	char again[112] __attribute__((aligned(16)));
} heap __attribute__((aligned(PROG_PAGE)));

static bool does(const char *misdeed)
{
	return heap.misdeed && !strcmp(heap.misdeed, misdeed);
}

static char *map(size_t size)
{
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		prog__die("mmap");
	return p;
}

static void *large__new(size_t size)
{
	char *p = map(size);
	unsigned i = 0;

	while (heap.slot[i].p)
		i++;
	heap.slot[i].p = p;
	heap.slot[i].size = size;
	if (does("extra-mmap"))
		map(PROG_PAGE);
	if (does("touch"))
		p[PROG_PAGE] = 1;
	return p;
}

static void *small__new(size_t size)
{
	char *p = heap.at;
	size_t more = heap.grown ? heap.grown / 2 : FIRST_GROWTH;

	size = (size + 15) & ~15UL;
	if (heap.at + size > heap.end) {
		if (does("constant-growth"))
			more = FIRST_GROWTH;
		if (does("first-growth") && !heap.grown)
			more += PROG_PAGE;
		more = more / PROG_PAGE * PROG_PAGE;
		if (does("shrink") && heap.grown)
			sbrk(-(intptr_t)PROG_PAGE);
		p = sbrk(0);
		if (!heap.grown || p != heap.end)
			heap.at = p;
		if (sbrk((intptr_t)more) == (void *)-1)
			prog__die("sbrk");
		heap.grown += more;
		heap.end = p + more;
	}
	p = heap.at;
	heap.at += size;
	return p;
}

void *malloc(size_t size)
{
	heap.mallocs++;
	if (size == 100) {
		if (does("steady") && heap.steady)
			madvise(heap.again, 0, MADV_NORMAL);
		return heap.again;
	}
	return size >= LARGE ? large__new(size) : small__new(size);
}

static unsigned slot__of(void *p)
{
	unsigned i = 0;

	while (i < SLOTS && heap.slot[i].p != p)
		i++;
	return i;
}

void free(void *p)
{
	unsigned i = p ? slot__of(p) : SLOTS;

	if (i == SLOTS)
		return;
	if (!does("keep"))
		munmap(p, heap.slot[i].size);
	heap.slot[i].p = NULL;
}

void *realloc(void *p, size_t size)
{
	unsigned i = slot__of(p);

	p = mremap(p, heap.slot[i].size, size, MREMAP_MAYMOVE);
	if (p == MAP_FAILED)
		prog__die("mremap");
	heap.slot[i].p = p;
	heap.slot[i].size = size;
	if (does("resize"))
		madvise(p, PROG_PAGE, MADV_DONTNEED);
	return p;
}

void *calloc(size_t count, size_t size)
{
	return memset(malloc(count * size), 0, count * size);
}

static PROG_NOINLINE void use_small(void)
{
	for (unsigned i = 0; i < SMALL_BLOCKS; i++)
		memset(malloc(SMALL_BYTES), 1, SMALL_BYTES);
}

static PROG_NOINLINE void use_large(void)
{
	for (unsigned i = 0; i < ROUNDS; i++) {
		char *p = malloc(256 * PROG_PAGE);

		prog__write_pages(p, 256);
		p = realloc(p, 512 * PROG_PAGE);
		p[300 * PROG_PAGE] = 1;
		free(p); /* LINE: free */
	}
}

static PROG_NOINLINE void use_steady(void)
{
	heap.steady = true;
	for (unsigned i = 0; i < 100; i++)
		free(malloc(100));
	if (does("outside"))
		map(PROG_PAGE);
	heap.steady = false;
}

int main(int argc, char **argv)
{
	prog__start(&argc, &argv);
	heap.misdeed = argc > 1 ? argv[1] : "";
	sbrk(0); /* libc asks for the break when it first needs it */
	prog__ready();
	use_small();
	mt_phase("large");
	use_large();
	mt_phase("steady");
	use_steady();
	mt_phase("end");
	if (does("hang"))
		pause();
	prog__print("{\"mallocs\": %u}\n", heap.mallocs);
	prog__end();
	return 0;
}
