// FLAGS: -fno-builtin
/* SPDX-License-Identifier: MIT */
/*
 * An allocator that comes late: it is loaded when a line comes, for this program alone (RTLD_LOCAL), and
 * after one more line its functions are called by the pointers that dlsym(3) gives, or those of its table
 * "functions". What was asked for and what lives, as the program counts it itself. Arguments: the
 * library, and what its names begin with.
 */
#include <dlfcn.h>

#include "prog.h"

#define ROUNDS 300

/* As a plugin whose allocator is hidden in it hands them out. */
struct functions {
	void *(*malloc)(size_t);
	void *(*calloc)(size_t, size_t);
	void *(*realloc)(void *, size_t);
	void (*free)(void *);
};

static void *symbol(void *library, const char *prefix, const char *name)
{
	char whole[64];
	void *p;

	snprintf(whole, sizeof(whole), "%s%s", prefix, name);
	p = dlsym(library, whole);
	if (!p)
		prog__die(whole);
	return p;
}

static unsigned long bytes, live, live_bytes;

static PROG_NOINLINE void allocate(const struct functions *f)
{
	for (size_t i = 0; i < ROUNDS; i++) {
		void *a = f->malloc(100 + i), *b = f->calloc(i + 1, 8);

		if (!a || !b)
			prog__die("allocation");
		a = f->realloc(a, 500 + i);
		bytes += 100 + i + 8 * (i + 1) + 500 + i;
		f->free(b);
		if (i % 3) {
			f->free(a);
		} else {
			live++;
			live_bytes += 500 + i;
		}
	}
}

int main(int argc, char **argv)
{
	struct functions f, *table;
	void *library;

	prog__start(&argc, &argv);
	if (argc < 3)
		return 2;
	prog__ready();
	library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
	if (!library)
		prog__die(dlerror());
	table = dlsym(library, "functions");
	if (table)
		f = *table;
	else
		f = (struct functions){
			symbol(library, argv[2], "malloc"), symbol(library, argv[2], "calloc"),
			symbol(library, argv[2], "realloc"), symbol(library, argv[2], "free")};
	prog__print("{\"loaded\": %d}\n", getpid());
	prog__await();
	allocate(&f);
	prog__print("{\"malloc\": %d, \"calloc\": %d, \"realloc\": %d, \"free\": %lu, \"bytes\": %lu, "
		    "\"live_blocks\": %lu, \"live_bytes\": %lu}\n",
		    ROUNDS, ROUNDS, ROUNDS, 2 * ROUNDS - live, bytes, live, live_bytes);
	prog__end();
	return 0;
}
