/* SPDX-License-Identifier: MIT */
/*
 * The demonstration of `make run`: each function does one thing to the address
 * space, so that the report's places can be read against this file.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB (1024UL * 1024)
#define NOINLINE __attribute__((noinline))

/* Keeps the compiler from dropping memory that nobody reads. */
static void *volatile keep;

static NOINLINE void touch_pages(char *memory, size_t bytes)
{
	size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);

	for (size_t i = 0; i < bytes; i += page_bytes)
		memory[i] = 1;
}

/* 4 MiB straight from the break: no allocator in between. */
static NOINLINE int grow_break_by_sbrk(void)
{
	char *old = sbrk(4 * MIB);

	if (old == (void *)-1) {
		perror("demo: sbrk");
		return -1;
	}
	touch_pages(old, 1 * MIB);
	return 0;
}

/* 2000 small blocks: malloc grows the break as it needs. */
static NOINLINE int grow_break_by_malloc(void)
{
	for (int i = 0; i < 2000; i++) {
		char *block = malloc(1000);

		if (!block) {
			perror("demo: malloc");
			return -1;
		}
		memset(block, i, 1000);
		keep = block;
	}
	return 0;
}

/* 16 MiB mapped, half of it used, all of it given back. */
static NOINLINE int map_touch_unmap(void)
{
	char *memory =
		mmap(NULL, 16 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED) {
		perror("demo: mmap");
		return -1;
	}
	touch_pages(memory, 8 * MIB);
	if (munmap(memory, 16 * MIB) != 0) {
		perror("demo: munmap");
		return -1;
	}
	return 0;
}

static NOINLINE void write_shared_pages(char *memory, size_t bytes)
{
	touch_pages(memory, bytes);
}

/* A child writes to 2 MiB that it shares with its parent since fork: each page is copied. */
static NOINLINE int copy_on_write_after_fork(void)
{
	char *memory = malloc(2 * MIB);
	int status = 0;
	pid_t child;

	if (!memory) {
		perror("demo: malloc");
		return -1;
	}
	touch_pages(memory, 2 * MIB);
	child = fork();
	if (child < 0) {
		perror("demo: fork");
		free(memory);
		return -1;
	}
	if (child == 0) {
		write_shared_pages(memory, 2 * MIB);
		_exit(0);
	}
	if (waitpid(child, &status, 0) < 0)
		perror("demo: waitpid");
	free(memory);
	return status == 0 ? 0 : -1;
}

int main(void)
{
	if (grow_break_by_sbrk() != 0 || grow_break_by_malloc() != 0 || map_touch_unmap() != 0 ||
	    copy_on_write_after_fork() != 0)
		return 1;
	puts("demo: break grown, 16 MiB mapped and unmapped, 2 MiB copied after fork");
	return 0;
}
