/* SPDX-License-Identifier: MIT */
// FLAGS: -static
/* execve builds a new space. Static, so that no loader maps libraries into it. */
#include "learn.h"

extern char **environ;

static bool mapped(unsigned long address)
{
	/* refused for what is not mapped */
	return msync((void *)address, PAGE, MS_ASYNC) == 0;
}

static void say_what_is_there(unsigned long heap, unsigned long mapping)
{
	learn__say("the heap's page is %s, the mapping is %s", mapped(heap) ? "there" : "not there",
		   mapped(mapping) ? "there" : "not there");
}

static void learn(void)
{
	static char heap[32], mapping[32], steps[16];
	char *memory;
	char *argv[] = {learn__argv[0], heap, mapping, steps, NULL};

	if (learn__argc > 3) {
		/* the new program */
		learn__shared->steps = (unsigned int)strtoul(learn__argv[3], NULL, 0);
		learn__say("the new program, in the same process");
		say_what_is_there(strtoul(learn__argv[1], NULL, 0), strtoul(learn__argv[2], NULL, 0));
		return;
	}
	learn__say("a page of the heap, a mapping");
	snprintf(heap, sizeof(heap), "%p", sbrk(PAGE));
	memory = map_pages(1, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	snprintf(mapping, sizeof(mapping), "%p", (void *)memory);
	say_what_is_there(strtoul(heap, NULL, 0), strtoul(mapping, NULL, 0));
	snprintf(steps, sizeof(steps), "%u", learn__shared->steps);
	execve(learn__argv[0], argv, environ);
	prog__die("execve");
}
