/* SPDX-License-Identifier: MIT */
/*
 * Phases: 48 MiB in blocks of one size, nearly all freed, then as much in
 * another size, and so on. Memory that only serves the size it was first used
 * for adds up.
 */
#include "tests/bench/alloc/work.h"

#define BYTES ((size_t)48 << 20)

static const size_t sizes[] = {24, 200, 48, 1000, 32, 5000, 112, 64, 400, 16, 20000, 80};

int main(int argc, char **argv)
{
	size_t phases = sizeof(sizes) / sizeof(*sizes), total = 0, rest = 0;
	void **blocks, **left;

	work__start(argc, argv);
	total = work__scaled(BYTES);
	blocks = calloc(total / 16 + 1, sizeof(*blocks));
	left = calloc(phases * (total / 16 / 1000 + 2), sizeof(*left));
	WORK_CHECK(blocks && left);
	for (size_t phase = 0; phase < phases; phase++) {
		size_t count = total / sizes[phase] + 1;

		for (size_t i = 0; i < count; i++)
			blocks[i] = block__new(sizes[phase]);
		for (size_t i = 0; i < count; i++) {
			if (i % 5000 == 0)
				left[rest++] = blocks[i];
			else
				block__drop(blocks[i]);
		}
	}
	while (rest)
		block__drop(left[--rest]);
	free(left);
	free(blocks);
	return work__end();
}
