/* SPDX-License-Identifier: MIT */
/* Files that come to be whole or not at all. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "user/output.h"

static char dir[] = "/tmp/test-output-XXXXXX";
static char path[64], other[64];
static int messages; /* what standard error was */

/* A directory of its own for each test, and messages out of sight. */
static int set_up(void **state)
{
	(void)state;
	strcpy(dir + strlen(dir) - 6, "XXXXXX");
	if (!mkdtemp(dir))
		return 1;
	snprintf(path, sizeof(path), "%s/report", dir);
	snprintf(other, sizeof(other), "%s/other", dir);
	umask(022);
	fflush(stderr);
	messages = dup(STDERR_FILENO);
	return !freopen("/dev/null", "w", stderr);
}

/* How many files there are in the directory. */
static int files(void)
{
	DIR *d = opendir(dir);
	int n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n - 2;
}

static int tear_down(void **state)
{
	(void)state;
	fflush(stderr);
	dup2(messages, STDERR_FILENO);
	close(messages);
	unlink(path);
	unlink(other);
	return rmdir(dir); /* fails if anything is left behind */
}

static void put_file(const char *name, const char *text)
{
	FILE *f = fopen(name, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void assert_file(const char *name, const char *text)
{
	char got[256] = "";
	FILE *f = fopen(name, "r");

	assert_non_null(f);
	got[fread(got, 1, sizeof(got) - 1, f)] = '\0';
	fclose(f);
	assert_string_equal(got, text);
}

static void open_and_write(struct output *o, const char *name, const char *text)
{
	assert_int_equal(output__open(o, name), 0);
	assert_true(fputs(text, o->file) >= 0);
}

static void a_new_file_appears_when_it_is_whole(void **state)
{
	struct output o;
	struct stat st;

	(void)state;
	open_and_write(&o, path, "new");
	fflush(o.file);
	assert_int_equal(files(), 0);
	assert_int_equal(output__commit(&o), 0);
	assert_file(path, "new");
	output__close(&o);
	output__close(&o);
	assert_file(path, "new");
	assert_int_equal(files(), 1);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0644);
}

static void an_old_file_stays_until_then(void **state)
{
	struct output o;
	struct stat st;

	(void)state;
	put_file(path, "old");
	assert_int_equal(chmod(path, 0600), 0);
	open_and_write(&o, path, "new");
	fflush(o.file);
	assert_file(path, "old");
	assert_int_equal(output__commit(&o), 0);
	output__close(&o);
	assert_file(path, "new");
	assert_int_equal(files(), 1);
	/* It was private, so is the new one. */
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
}

static void without_a_commit_nothing_changes(void **state)
{
	struct output o;

	(void)state;
	put_file(path, "old");
	open_and_write(&o, path, "new");
	output__close(&o);
	assert_file(path, "old");
	open_and_write(&o, other, "new");
	output__close(&o);
	assert_int_equal(files(), 1);
}

static void a_link_stays_a_link(void **state)
{
	struct output o;
	struct stat st;

	(void)state;
	put_file(other, "old");
	assert_int_equal(symlink("other", path), 0);
	open_and_write(&o, path, "new");
	assert_int_equal(output__commit(&o), 0);
	output__close(&o);
	assert_int_equal(lstat(path, &st), 0);
	assert_true(S_ISLNK(st.st_mode));
	assert_file(other, "new");
	assert_int_equal(files(), 2);
}

/* A file that is our standard output already: behind what was written there, nothing replaced. */
static void our_standard_output_is_written_to(void **state)
{
	struct output o;
	int saved;

	(void)state;
	fflush(stdout);
	saved = dup(STDOUT_FILENO);
	put_file(path, "");
	assert_true(dup2(open(path, O_WRONLY | O_CLOEXEC), STDOUT_FILENO) >= 0);
	assert_int_equal(write(STDOUT_FILENO, "before ", 7), 7);
	open_and_write(&o, "/dev/stdout", "report ");
	assert_int_equal(output__commit(&o), 0);
	output__close(&o);
	assert_int_equal(write(STDOUT_FILENO, "after", 5), 5);
	open_and_write(&o, path, " again");
	assert_int_equal(output__commit(&o), 0);
	output__close(&o);
	dup2(saved, STDOUT_FILENO);
	close(saved);
	assert_file(path, "before report after again");
}

static void a_device_is_written_to(void **state)
{
	struct output o;

	(void)state;
	open_and_write(&o, "/dev/null", "text");
	assert_true(o.in_place);
	assert_int_equal(output__commit(&o), 0);
	output__close(&o);
	open_and_write(&o, "/dev/full", "text");
	assert_int_equal(output__commit(&o), -ENOSPC);
	output__close(&o);
}

static void a_pipe_is_written_to(void **state)
{
	char got[8] = "";
	struct output o;
	int r;

	(void)state;
	assert_int_equal(mkfifo(path, 0600), 0);
	r = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	assert_true(r >= 0);
	open_and_write(&o, path, "text");
	assert_int_equal(output__commit(&o), 0);
	output__close(&o);
	assert_int_equal(read(r, got, sizeof(got)), 4);
	close(r);
}

static void what_cannot_be_written_is_refused_at_once(void **state)
{
	struct output o;

	(void)state;
	assert_int_equal(output__open(&o, dir), -EISDIR);
	output__close(&o);
	snprintf(other, sizeof(other), "%s/none/report", dir);
	assert_int_equal(output__open(&o, other), -ENOENT);
	output__close(&o);
	put_file(path, "old");
	snprintf(other, sizeof(other), "%s/report/x", dir);
	assert_int_equal(output__open(&o, other), -ENOTDIR);
	output__close(&o);
	if (geteuid()) {
		assert_int_equal(chmod(path, 0400), 0);
		assert_int_equal(output__open(&o, path), -EACCES);
		output__close(&o);
	}
	assert_file(path, "old");
	assert_int_equal(files(), 1);
}

/* A write fails, a later one does not, and no error is left in errno. */
static void an_error_is_not_forgotten(void **state)
{
	struct rlimit old, small = {0};
	char block[8192];
	struct output o;

	(void)state;
	signal(SIGXFSZ, SIG_IGN);
	put_file(path, "old");
	memset(block, 'x', sizeof(block));
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	small.rlim_cur = 4096;
	small.rlim_max = old.rlim_max;
	assert_int_equal(output__open(&o, path), 0);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	fwrite(block, 1, sizeof(block), o.file);
	fflush(o.file);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_true(ferror(o.file));
	errno = 0;
	assert_true(output__commit(&o) < 0);
	output__close(&o);
	signal(SIGXFSZ, SIG_DFL);
	assert_file(path, "old");
	assert_int_equal(files(), 1);
}

static void no_path_is_standard_output(void **state)
{
	struct output o;

	(void)state;
	assert_int_equal(output__open(&o, NULL), 0);
	assert_ptr_equal(o.file, stdout);
	assert_int_equal(output__commit(&o), 0);
	output__close(&o);
	assert_true(fcntl(STDOUT_FILENO, F_GETFD) >= 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_new_file_appears_when_it_is_whole),
		TEST(an_old_file_stays_until_then),
		TEST(without_a_commit_nothing_changes),
		TEST(a_link_stays_a_link),
		TEST(our_standard_output_is_written_to),
		TEST(a_device_is_written_to),
		TEST(a_pipe_is_written_to),
		TEST(what_cannot_be_written_is_refused_at_once),
		TEST(an_error_is_not_forgotten),
		TEST(no_path_is_standard_output),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
