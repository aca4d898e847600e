/* SPDX-License-Identifier: MIT */
// FLAGS: -fno-builtin
/* Limits on memory, and how calls fail that would go beyond. */
#include "learn.h"

/* The second number of /proc/self/statm counts what is resident, the first all of it. */
static size_t address_space(void)
{
	static char text[128];
	int fd = open("/proc/self/statm", O_RDONLY);

	if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0)
		prog__die("statm");
	close(fd);
	return strtoul(text, NULL, 10) * PAGE;
}

static void limit(int what, size_t bytes)
{
	struct rlimit now;

	getrlimit(what, &now);
	now.rlim_cur = bytes;
	setrlimit(what, &now);
}

static void say_result(const char *what, const void *result)
{
	if (result && result != (void *)-1)
		learn__say("%s: done", what);
	else
		learn__say("%s: %s", what, strerror(errno));
}

static void learn(void)
{
	malloc(100);
	learn__say("RLIMIT_AS is set to what there is and 1 MiB");
	limit(RLIMIT_AS, address_space() + MIB);
	say_result("mmap of 2 MiB", map_pages(512, PROT_READ, MAP_PRIVATE));
	say_result("malloc of 512 KiB", malloc(512 * KIB));
	say_result("malloc of 2 MiB", malloc(2 * MIB));
	limit(RLIMIT_AS, RLIM_INFINITY);
	learn__say("RLIMIT_DATA is set to 64 KiB");
	limit(RLIMIT_DATA, 64 * KIB);
	say_result("sbrk of 128 KiB", sbrk(128 * KIB));
	say_result("private memory that may be written",
		   map_pages(32, PROT_READ | PROT_WRITE, MAP_PRIVATE));
	say_result("private memory that may not", map_pages(32, PROT_READ, MAP_PRIVATE));
	say_result("shared memory that may be written",
		   map_pages(32, PROT_READ | PROT_WRITE, MAP_SHARED));
}
