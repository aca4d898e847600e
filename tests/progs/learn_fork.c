/* SPDX-License-Identifier: MIT */
/* What is shared after a fork, and what is copied. */
#include "learn.h"

static void learn(void)
{
	char *private = map_pages(8, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	char *shared = map_pages(8, PROT_READ | PROT_WRITE, MAP_SHARED);

	learn__say("the parent writes 4 pages of private memory, 4 of shared");
	write_pages(private, 4);
	write_pages(shared, 4);
	if (!fork()) {
		learn__say("the child reads the private pages");
		read_pages(private, 4);
		learn__say("it writes 2 of them: each is copied");
		write_byte(private, 'c');
		write_byte(private + PAGE, 'c');
		learn__say("it writes 2 of the shared pages");
		write_byte(shared, 'c');
		write_byte(shared + PAGE, 'c');
		_exit(0);
	}
	wait(NULL);
	learn__say("the parent sees: private %d, shared '%c'", read_byte(private), read_byte(shared));
	learn__say("it writes the pages that the child had copied, and the others");
	write_pages(private, 4);
}
