// SPDX-License-Identifier: MIT
#include "lib/trace/walk_os.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/syscall.h>

#include "lib/trace/sys.h"
#include "lib/trace/walk_internal.h"

uint32_t _sys_filters;

#define NO_SUCH_WAY 0x7fffffff /* how of sigprocmask(2): none of its three */
#define MASK_BYTES 8
#define LINE_BYTES 128 /* as much of a line as counts */
#define READ_BYTES 1024 /* stacks may be small */

static long call4(long number, long a, long b, long c, long d)
{
	long result = -ENOSYS;
#ifdef __x86_64__
	register long r10 __asm__("r10") = d;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10)
			 : "rcx", "r11", "memory");
#else
	(void)number, (void)a, (void)b, (void)c, (void)d;
#endif
	return result;
}

/*
 * The kernel reads the new signal mask before it looks at what to do with it: EFAULT when it cannot, else
 * EINVAL, and nothing is changed. Unlike with process_vm_readv() or a pipe there is nothing to know
 * or to open first.
 */
bool walk__readable(uint64_t addr)
{
	return !sys__is_filtered() &&
	       call4(SYS_rt_sigprocmask, NO_SUCH_WAY, (long)addr, 0, MASK_BYTES) == -EINVAL;
}

bool walk__is_first(void)
{
	return call4(SYS_gettid, 0, 0, 0, 0) == call4(SYS_getpid, 0, 0, 0, 0);
}

struct mapping {
	uint64_t start, end, offset;
	bool code;
	char file[24]; /* device and inode, as they are written */
};

static const char *hex(const char *p, uint64_t *value)
{
	unsigned digit;

	for (*value = 0;; p++) {
		if (*p >= '0' && *p <= '9')
			digit = *p - '0';
		else if (*p >= 'a' && *p <= 'f')
			digit = *p - 'a' + 10;
		else
			return p;
		*value = *value << 4 | digit;
	}
}

/* START-END PERM OFFSET DEVICE INODE ... */
static bool mapping__parse(const char *line, struct mapping *m)
{
	const char *p = hex(line, &m->start);
	size_t n;

	if (*p++ != '-')
		return false;
	p = hex(p, &m->end);
	if (strlen(p) < 7)
		return false;
	m->code = p[3] == 'x';
	p = hex(p + 6, &m->offset);
	if (*p++ != ' ')
		return false;
	for (n = 0; *p && (*p != ' ' || !memchr(m->file, ' ', n)) && n < sizeof(m->file) - 1; n++)
		m->file[n] = *p++;
	m->file[n] = '\0';
	return n > 2 && strcmp(m->file + n - 2, " 0") != 0;
}

bool walk_os__mapped(uint64_t at, uint64_t *start, uint64_t *end)
{
	char buffer[READ_BYTES], line[LINE_BYTES];
	struct mapping first = {0}, m = {0};
	size_t have = 0;
	long fd, n, i;
	bool found = false;

	if (sys__is_filtered())
		return false;
	fd = call4(SYS_openat, AT_FDCWD, (long)"/proc/self/maps", O_RDONLY | O_CLOEXEC, 0);
	if (fd < 0)
		return false;
	while (!found && (n = call4(SYS_read, fd, (long)buffer, sizeof(buffer), 0)) > 0) {
		for (i = 0; i < n && !found; i++) {
			if (buffer[i] != '\n') {
				if (have < sizeof(line) - 1)
					line[have++] = buffer[i];
				continue;
			}
			line[have] = '\0';
			have = 0;
			if (!mapping__parse(line, &m))
				continue;
			if (!m.offset)
				first = m;
			found = m.code && at - m.start < m.end - m.start &&
				!strcmp(first.file, m.file);
		}
	}
	call4(SYS_close, fd, 0, 0, 0);
	*start = first.start;
	*end = m.end;
	return found;
}
