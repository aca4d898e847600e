/* SPDX-License-Identifier: MIT */
/*
 * Each of the six calls a known number of times, some failing; every number
 * that a tracer should find is counted here as the call is made, and printed.
 */
#include "prog.h"

struct count {
	unsigned long calls, failed, bytes, grown, shrunk;
};

static struct count n_brk, n_mmap, n_munmap, n_mremap, n_madvise, n_mprotect;

static unsigned long round_up(unsigned long n)
{
	return (n + PROG_PAGE - 1) & ~(PROG_PAGE - 1UL);
}

static void *do_brk(unsigned long old, unsigned long to)
{
	unsigned long is = (unsigned long)syscall(SYS_brk, to);

	n_brk.calls++;
	if (!to)
		return (void *)is; /* only asked */
	if (is != to)
		n_brk.failed++;
	else if (is > old)
		n_brk.grown += is - old;
	else
		n_brk.shrunk += old - is;
	return (void *)is;
}

static char *do_mmap(void *at, size_t len, int prot, int flags, int fd, unsigned long page)
{
#ifdef SYS_mmap2
	long p = syscall(SYS_mmap2, at, len, prot, flags, fd, page);
#else
	long p = syscall(SYS_mmap, at, len, prot, flags, fd, page * PROG_PAGE);
#endif

	n_mmap.calls++;
	if (p == -1)
		n_mmap.failed++;
	else
		n_mmap.bytes += round_up(len);
	return (char *)p;
}

static void count(struct count *c, long ret, size_t len)
{
	c->calls++;
	if (ret == -1)
		c->failed++;
	else
		c->bytes += round_up(len);
}

static void do_munmap(void *p, size_t len)
{
	count(&n_munmap, syscall(SYS_munmap, p, len), len);
}

static void do_madvise(void *p, size_t len, int advice)
{
	count(&n_madvise, syscall(SYS_madvise, p, len, advice), len);
}

static void do_mprotect(void *p, size_t len, int prot)
{
	count(&n_mprotect, syscall(SYS_mprotect, p, len, prot), len);
}

static char *do_mremap(void *p, size_t from, size_t to, int flags)
{
	long q = syscall(SYS_mremap, p, from, to, flags, NULL);

	count(&n_mremap, q, to);
	if (q != -1 && round_up(to) > round_up(from))
		n_mremap.grown += round_up(to) - round_up(from);
	else if (q != -1)
		n_mremap.shrunk += round_up(from) - round_up(to);
	return (char *)q;
}

static void breaks(void)
{
	unsigned long at = (unsigned long)do_brk(0, 0);

	do_brk(at, at + 3 * PROG_PAGE);
	do_brk(at + 3 * PROG_PAGE, at + 3 * PROG_PAGE + 100);
	do_brk(at + 3 * PROG_PAGE + 100, at + PROG_PAGE);
	do_brk(at + PROG_PAGE, -PROG_PAGE); /* beyond the address space */
	do_brk(at + PROG_PAGE, PROG_PAGE); /* below the heap's beginning */
	do_brk(at + PROG_PAGE, at + PROG_PAGE); /* where it is */
	do_brk(at + PROG_PAGE, at);
	do_brk(at, 0);
}

static void mappings(void)
{
	const int rw = PROT_READ | PROT_WRITE, anon = MAP_PRIVATE | MAP_ANONYMOUS;
	char *p[6];

	for (size_t i = 0; i < 5; i++)
		p[i] = do_mmap(NULL, (i + 1) * PROG_PAGE, rw, anon, -1, 0);
	p[5] = do_mmap(NULL, 100, rw, anon, -1, 0);
	do_mmap(p[4] + PROG_PAGE, 2 * PROG_PAGE, PROT_READ, anon | MAP_FIXED, -1, 0);
	do_mmap(NULL, 0, rw, anon, -1, 0);
	do_mmap(NULL, PROG_PAGE, rw, MAP_PRIVATE, 999, 0);
	do_mmap(NULL, PROG_PAGE, rw, MAP_ANONYMOUS, -1, 0);
	do_mmap(p[0] + 1, PROG_PAGE, rw, anon | MAP_FIXED, -1, 0);
	do_mmap(NULL, -PROG_PAGE, rw, anon, -1, 0);

	for (size_t i = 0; i < 5; i++)
		do_munmap(p[i], (i + 1) * PROG_PAGE - (i & 1) * 1000);
	do_munmap(p[5], 100);
	do_munmap(p[0], PROG_PAGE); /* nothing there any more: succeeds */
	do_munmap(p[0] + 1, PROG_PAGE);
	do_munmap(p[0], 0);
}

static void moves(void)
{
	const int rw = PROT_READ | PROT_WRITE, anon = MAP_PRIVATE | MAP_ANONYMOUS;
	char *p = do_mmap(NULL, 16 * PROG_PAGE, rw, anon, -1, 0);

	do_mremap(p, 4 * PROG_PAGE, 8 * PROG_PAGE, 0); /* the next pages are taken: ENOMEM */
	p = do_mremap(p, 16 * PROG_PAGE, 64 * PROG_PAGE, MREMAP_MAYMOVE);
	p = do_mremap(p, 64 * PROG_PAGE, 8 * PROG_PAGE, 0);
	p = do_mremap(p, 8 * PROG_PAGE, 8 * PROG_PAGE, MREMAP_MAYMOVE);
	do_mremap(p, 8 * PROG_PAGE, 9 * PROG_PAGE, 0x1000);
	do_mremap(p + 1, 8 * PROG_PAGE, 9 * PROG_PAGE, MREMAP_MAYMOVE);
	do_munmap(p, 8 * PROG_PAGE);
	do_mremap(p, 8 * PROG_PAGE, 9 * PROG_PAGE, MREMAP_MAYMOVE); /* not mapped: EFAULT */
}

static void advice(int fd)
{
	const int rw = PROT_READ | PROT_WRITE, anon = MAP_PRIVATE | MAP_ANONYMOUS;
	char *p = do_mmap(NULL, 8 * PROG_PAGE, rw, anon, -1, 0);
	char *shared = do_mmap(NULL, PROG_PAGE, PROT_READ, MAP_SHARED, fd, 1);

	do_madvise(p, 8 * PROG_PAGE, MADV_DONTNEED);
	do_madvise(p, 3 * PROG_PAGE + 1, MADV_DONTNEED);
	do_madvise(p, 8 * PROG_PAGE, MADV_RANDOM);
	do_madvise(p, 8 * PROG_PAGE, 12345);
	do_madvise(p + 1, PROG_PAGE, MADV_DONTNEED);

	do_mprotect(p, 8 * PROG_PAGE, PROT_READ);
	do_mprotect(p + PROG_PAGE, 100, PROT_NONE);
	do_mprotect(p, 8 * PROG_PAGE, rw);
	do_mprotect(p + 1, PROG_PAGE, rw);
	do_mprotect(shared, PROG_PAGE, rw); /* the file is open for reading: EACCES */

	do_munmap(shared, PROG_PAGE);
	do_munmap(p, 8 * PROG_PAGE);
	do_madvise(p, 8 * PROG_PAGE, MADV_DONTNEED); /* ENOMEM, twice */
	do_mprotect(p, 8 * PROG_PAGE, PROT_READ);
}

/* Everything that grows fails under a limit that is already exceeded. */
static void limited(void)
{
	const int rw = PROT_READ | PROT_WRITE, anon = MAP_PRIVATE | MAP_ANONYMOUS;
	char *p = do_mmap(NULL, 4 * PROG_PAGE, rw, anon, -1, 0);
	unsigned long at = (unsigned long)do_brk(0, 0);
	struct rlimit old, none;

	if (getrlimit(RLIMIT_AS, &old))
		prog__die("getrlimit");
	none = old;
	none.rlim_cur = PROG_PAGE;
	if (setrlimit(RLIMIT_AS, &none))
		prog__die("setrlimit");
	do_mmap(NULL, PROG_PAGE, rw, anon, -1, 0);
	do_mremap(p, 4 * PROG_PAGE, 64 * PROG_PAGE, MREMAP_MAYMOVE);
	do_brk(at, at + 16 * PROG_PAGE);
	if (setrlimit(RLIMIT_AS, &old))
		prog__die("setrlimit");
	do_munmap(p, 4 * PROG_PAGE);
}

static int put(char *to, size_t room, const char *name, const struct count *c)
{
	return snprintf(to, room,
			"\"%s\":{\"calls\":%lu,\"failed\":%lu,\"bytes\":%lu,\"grown_bytes\":%lu,"
			"\"shrunk_bytes\":%lu}",
			name, c->calls, c->failed, c->bytes, c->grown, c->shrunk);
}

int main(int argc, char **argv)
{
	static char out[2048];
	int fd, n = 0;

	prog__start(&argc, &argv);
	fd = open("/proc/self/exe", O_RDONLY);
	if (fd < 0)
		prog__die("/proc/self/exe");
	prog__ready();
	breaks();
	mappings();
	moves();
	advice(fd);
	limited();
	n_brk.bytes = n_brk.grown + n_brk.shrunk;
	n += put(out + n, sizeof(out) - n, "brk", &n_brk);
	n += snprintf(out + n, sizeof(out) - n, ",");
	n += put(out + n, sizeof(out) - n, "mmap", &n_mmap);
	n += snprintf(out + n, sizeof(out) - n, ",");
	n += put(out + n, sizeof(out) - n, "munmap", &n_munmap);
	n += snprintf(out + n, sizeof(out) - n, ",");
	n += put(out + n, sizeof(out) - n, "mremap", &n_mremap);
	n += snprintf(out + n, sizeof(out) - n, ",");
	n += put(out + n, sizeof(out) - n, "madvise", &n_madvise);
	n += snprintf(out + n, sizeof(out) - n, ",");
	put(out + n, sizeof(out) - n, "mprotect", &n_mprotect);
	prog__print("{%s}\n", out);
	prog__end();
	return 0;
}
