/* SPDX-License-Identifier: MIT */
/* Minor and major faults, as ps counts them. Argument: a file of 64 pages to be made. */
#include "learn.h"

/* The process's minor and major faults up to now, as ps has them. */
static struct prog_faults ps(void)
{
	static char pid[16], text[64];
	struct prog_faults f = {0};
	int out[2], status;

	snprintf(pid, sizeof(pid), "%d", getpid());
	/* not fork(): that would cost this process faults */
	if (pipe(out) || !vfork()) {
		dup2(out[1], 1);
		execlp("ps", "ps", "-o", "min_flt=,maj_flt=", "-p", pid, NULL);
		_exit(127);
	}
	close(out[1]);
	if (read(out[0], text, sizeof(text) - 1) <= 0 || wait(&status) < 0 || status ||
	    sscanf(text, "%lu %lu", &f.minor, &f.major) != 2)
		prog__die("ps");
	close(out[0]);
	return f;
}

static void say_ps(struct prog_faults *before)
{
	struct prog_faults now = ps();

	learn__say("ps -o min_flt,maj_flt: %lu and %lu more", now.minor - before->minor,
		   now.major - before->major);
	*before = now;
}

/* A file, on the disk and nowhere else. */
static int make_file(const char *path)
{
	static char page[PAGE];
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);

	for (int i = 0; i < 64; i++)
		if (write(fd, page, PAGE) != PAGE)
			prog__die(path);
	if (fsync(fd) || posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED))
		prog__die(path);
	return fd;
}

static void learn(void)
{
	int fd = make_file(learn__argv[1]);
	struct prog_faults before;
	char *memory, *file;

	ps();
	before = ps();
	learn__say("10 new pages of memory are written");
	memory = map_pages(10, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	write_pages(memory, 10);
	say_ps(&before);
	learn__say("2 pages of a file that is on the disk only");
	file = mmap(NULL, 64 * PAGE, PROT_READ, MAP_SHARED, fd, 0);
	madvise(file, 64 * PAGE, MADV_RANDOM); /* else the kernel reads ahead */
	read_byte(file);
	read_byte(file + 20 * PAGE);
	say_ps(&before);
	learn__say("the same 2 pages, through another mapping");
	file = mmap(NULL, 64 * PAGE, PROT_READ, MAP_SHARED, fd, 0);
	read_byte(file);
	read_byte(file + 20 * PAGE);
	say_ps(&before);
}
