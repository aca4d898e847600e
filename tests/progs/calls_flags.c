/* SPDX-License-Identifier: MIT */
/* Calls with many combinations of flags, for comparing how they are printed. */
#include "prog.h"

static char *map(size_t len, int prot, int flags, int fd, off_t at)
{
	return mmap(NULL, len, prot, flags, fd, at);
}

int main(int argc, char **argv)
{
	const int rw = PROT_READ | PROT_WRITE, anon = MAP_PRIVATE | MAP_ANONYMOUS;
	int fd;
	char *p, *q;

	prog__start(&argc, &argv);
	fd = open("/proc/self/exe", O_RDONLY);
	prog__ready();
	p = map(65536, rw, anon, -1, 0);
	q = map(4096, PROT_NONE, anon | MAP_NORESERVE, -1, 0);
	mremap(q, 4096, 8192, MREMAP_MAYMOVE | MREMAP_FIXED, p + 32768);
	map(4096, PROT_READ, MAP_PRIVATE, fd, 0);
	map(4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 4096);
	map(4096, PROT_READ, MAP_SHARED, fd, 8192);
	map(4096, rw, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	map(4096, rw, anon | MAP_POPULATE, -1, 0);
	map(4096, rw, anon | MAP_POPULATE | MAP_NONBLOCK, -1, 0);
	map(4096, rw, anon | MAP_LOCKED, -1, 0);
	map(8192, rw, anon | MAP_STACK | MAP_GROWSDOWN, -1, 0);
	mmap(p + 4096, 4096, rw, anon | MAP_FIXED, -1, 0);
	mmap(p + 4096, 4096, rw, anon | MAP_FIXED_NOREPLACE, -1, 0);
	map(0, rw, anon, -1, 0);
	map(4096, PROT_READ, MAP_PRIVATE, 77, 0);
	mprotect(p, 4096, PROT_NONE);
	mprotect(p, 4096, PROT_READ);
	mprotect(p, 4096, PROT_READ | PROT_WRITE | PROT_EXEC);
	mprotect(p + 1, 4096, PROT_WRITE);
	madvise(p, 8192, MADV_NORMAL);
	madvise(p, 8192, MADV_SEQUENTIAL);
	madvise(p, 8192, MADV_WILLNEED);
	madvise(p, 8192, MADV_DONTNEED);
	madvise(p, 8192, MADV_FREE);
	madvise(p, 8192, MADV_NOHUGEPAGE);
	madvise(p, 8192, MADV_DONTDUMP);
	madvise(p, 8192, MADV_DONTFORK);
	madvise(p, 8192, MADV_MERGEABLE);
	madvise(p, 4095, MADV_COLD);
	madvise(p, 4096, MADV_PAGEOUT);
	madvise(p + 1, 4096, MADV_RANDOM);
	mremap(p, 4096, 8192, 0);
	mremap(p, 4096, 4096, MREMAP_MAYMOVE | MREMAP_DONTUNMAP);
	syscall(SYS_brk, 0);
	syscall(SYS_brk, 4096);
	munmap(p, 65536);
	munmap(p + 1, 4096);
	munmap(p, 0);
	prog__end();
	return 0;
}
