/* SPDX-License-Identifier: MIT */
/*
 * Blocks of sizes from 16 bytes to 1 MiB, about as many bytes of each, from a function for each:
 * every other one is freed. Argument: by how much more.
 */
#include "prog.h"

#define CLASSES(x) x(16) x(64) x(1000) x(16384) x(262144) x(1048576)
#define BYTES (2UL << 20)
#define LEAST 12

#define TAKE(size)                                   \
	static PROG_NOINLINE void *take_##size(void) \
	{                                            \
		char *p = malloc(size);              \
                                                     \
		if (!p)                              \
			prog__die("malloc");         \
		p[0] = 1;                            \
		return p;                            \
	}
CLASSES(TAKE)

#define ROW(size) {size, take_##size},
static const struct {
	unsigned long size;
	void *(*take)(void);
} classes[] = {CLASSES(ROW)};

#define COUNT (sizeof(classes) / sizeof(classes[0]))

int main(int argc, char **argv)
{
	unsigned long factor, calls[COUNT];
	char line[1024];
	int n = 0;

	prog__start(&argc, &argv);
	factor = prog__number(argc, argv, 1, 1);
	prog__ready();
	for (size_t i = 0; i < COUNT; i++) {
		calls[i] = (BYTES / classes[i].size + LEAST) * factor;
		for (unsigned long k = 0; k < calls[i]; k++) {
			void *block = classes[i].take();

			if (k % 2)
				free(block);
		}
	}
	for (size_t i = 0; i < COUNT; i++)
		n += snprintf(line + n, sizeof(line) - (size_t)n,
			      "%s{\"size\":%lu,\"calls\":%lu,\"live\":%lu}", i ? "," : "",
			      classes[i].size, calls[i], (calls[i] + 1) / 2);
	prog__print("{\"classes\":[%s]}\n", line);
	prog__end();
	return 0;
}
