/* SPDX-License-Identifier: MIT */
/*
 * Processes that hardly live: this program runs itself over and over, each
 * time for a thousand small blocks. What an allocator costs before it is of use.
 */
#include "tests/bench/alloc/work.h"

#include <spawn.h>
#include <sys/wait.h>

static int child(void)
{
	struct rng rng = rng__seed(11);
	void *blocks[1000];

	for (size_t i = 0; i < 1000; i++)
		blocks[i] = block__new(rng__skewed(&rng, 3, 8));
	for (size_t i = 0; i < 1000; i++)
		block__drop(blocks[i]);
	return work__end();
}

int main(int argc, char **argv)
{
	char *args[] = {argv[0], "-c", NULL};
	size_t turns;

	if (argc > 1 && !strcmp(argv[1], "-c"))
		return child();
	work__start(argc, argv);
	turns = work__scaled(500);
	for (size_t i = 0; i < turns; i++) {
		int status;
		pid_t pid;

		errno = posix_spawn(&pid, "/proc/self/exe", NULL, NULL, args, environ);
		WORK_CHECK(!errno);
		WORK_CHECK(waitpid(pid, &status, 0) == pid);
		WORK_CHECK(!status);
	}
	return work__end();
}
