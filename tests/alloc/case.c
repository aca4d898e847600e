/* SPDX-License-Identifier: MIT */
/* Runs cases in children and sums them; see case.h. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/alloc/case.h"

#define DEFAULT_LIMIT_S 60
#define EXIT_FAILED 1
#define EXIT_SKIPPED 77

static const char *current_case = "?";

void case__fail(const char *file, int line, const char *format, ...)
{
	char text[600];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	dprintf(STDOUT_FILENO, "     %s: %s:%d: %s\n", current_case, file, line, text);
	_exit(EXIT_FAILED);
}

void case__skip(const char *why)
{
	dprintf(STDOUT_FILENO, "     %s: skipped: %s\n", current_case, why);
	_exit(EXIT_SKIPPED);
}

unsigned long env__number(const char *name, unsigned long fallback)
{
	const char *text = getenv(name);

	return text && *text ? strtoul(text, NULL, 0) : fallback;
}

static pid_t fork_checked(void)
{
	pid_t child = fork();

	if (child < 0)
		case__fail(__FILE__, __LINE__, "fork: %s", strerror(errno));
	return child;
}

static int wait_for(pid_t child)
{
	int status;

	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			case__fail(__FILE__, __LINE__, "waitpid: %s", strerror(errno));
	return status;
}

static void close_and_run(int error_fd, void (*function)(void *), void *arg)
{
	struct rlimit no_core = {0, 0};

	/* An expected death leaves no core file. */
	setrlimit(RLIMIT_CORE, &no_core);
	dup2(error_fd, STDERR_FILENO);
	close(error_fd);
	function(arg);
	_exit(0);
}

void child__run(void (*function)(void *), void *arg, struct outcome *out)
{
	char rest[512];
	ssize_t got;
	pid_t child;
	int ends[2];

	CHECK(pipe(ends) == 0);
	child = fork_checked();
	if (child == 0) {
		close(ends[0]);
		close_and_run(ends[1], function, arg);
	}
	close(ends[1]);
	out->length = 0;
	for (;;) {
		size_t room = sizeof(out->text) - 1 - out->length;

		got = room ? read(ends[0], out->text + out->length, room) :
			     read(ends[0], rest, sizeof(rest));
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		if (room)
			out->length += (size_t)got;
	}
	out->text[out->length] = '\0';
	close(ends[0]);
	out->status = wait_for(child);
}

struct image {
	const char *name;
	char *variable;
};

static void exec_self(void *arg)
{
	const struct image *image = arg;

	putenv(image->variable);
	execl("/proc/self/exe", "inner", "-x", image->name, (char *)NULL);
	case__fail(__FILE__, __LINE__, "exec: %s", strerror(errno));
}

void child__exec(const char *name, const char *variable, struct outcome *out)
{
	char copy[200];
	struct image image = {.name = name, .variable = copy};

	CHECK(strlen(variable) < sizeof(copy));
	strcpy(copy, variable);
	child__run(exec_self, &image, out);
}

void outcome__check_trap(const struct outcome *out, const void *pointer, const char *what)
{
	const char *newline = strchr(out->text, '\n');
	char hex[32];

	snprintf(hex, sizeof(hex), "%#lx", (unsigned long)pointer);
	CHECK_MSG(WIFSIGNALED(out->status) && WTERMSIG(out->status) == SIGABRT,
		  "no abort: status %#x, stderr \"%s\"", (unsigned int)out->status, out->text);
	CHECK_MSG(newline && newline[1] == '\0', "not one line: \"%s\"", out->text);
	CHECK_MSG(!strncmp(out->text, "mtalloc: ", 9), "not mtalloc's line: \"%s\"", out->text);
	CHECK_MSG(!pointer || strstr(out->text, hex), "%s is not named: \"%s\"", hex, out->text);
	CHECK_MSG(!what || strstr(out->text, what), "\"%s\" is not said: \"%s\"", what, out->text);
}

/* The result of one case: its exit status where it ended by itself, else -signal. */
static int run_apart(const struct test_case *c)
{
	pid_t child = fork_checked();
	int status;

	if (child == 0) {
		/* A group of its own: at the limit the whole group goes, grandchildren too. */
		setpgid(0, 0);
		c->run();
		_exit(0);
	}
	setpgid(child, child);
	alarm((c->limit_s ? c->limit_s : DEFAULT_LIMIT_S) *
	      (unsigned int)env__number("ALLOC_SLOWNESS", 1));
	while (waitpid(child, &status, 0) < 0) {
		if (errno == EINTR)
			kill(-child, SIGKILL);
		else
			return EXIT_FAILED;
	}
	alarm(0);
	kill(-child, SIGKILL);
	return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static void on_alarm(int number)
{
	(void)number;
}

static bool is_wanted(const struct test_case *c, const char *pattern)
{
	return !c->inner && (!pattern || strstr(c->name, pattern)) && (!c->applies || c->applies());
}

static int run_cases(const struct test_case *cases, size_t count, const char *pattern)
{
	struct sigaction act = {.sa_handler = on_alarm};
	unsigned int passed = 0, failed = 0, skipped = 0;

	sigaction(SIGALRM, &act, NULL);
	for (size_t i = 0; i < count; i++) {
		int result;

		if (!is_wanted(&cases[i], pattern))
			continue;
		current_case = cases[i].name;
		result = run_apart(&cases[i]);
		if (result == 0) {
			passed++;
			dprintf(STDOUT_FILENO, "  ok   %s\n", current_case);
		} else if (result == EXIT_SKIPPED) {
			skipped++;
			dprintf(STDOUT_FILENO, "  skip %s\n", current_case);
		} else if (result < 0) {
			failed++;
			dprintf(STDOUT_FILENO, "  FAIL %s: %s%s\n", current_case,
				strsignal(-result), result == -SIGKILL ? " (time limit)" : "");
		} else {
			failed++;
			dprintf(STDOUT_FILENO, "  FAIL %s: exit status %d\n", current_case, result);
		}
	}
	dprintf(STDOUT_FILENO, "%u passed, %u failed, %u skipped\n", passed, failed, skipped);
	return failed || passed + skipped == 0;
}

static int run_inner(const char *name, const struct test_case *cases, size_t count)
{
	for (size_t c = 0; c < count; c++) {
		if (!strcmp(cases[c].name, name)) {
			current_case = cases[c].name;
			cases[c].run();
			return 0;
		}
	}
	case__fail(__FILE__, __LINE__, "no inner case %s", name);
}

int cases__main(int argc, char **argv, const struct test_case *cases, size_t count)
{
	const char *pattern = NULL;
	bool here = false;

	if (argc == 3 && !strcmp(argv[1], "-x"))
		return run_inner(argv[2], cases, count);
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "-l")) {
			for (size_t c = 0; c < count; c++)
				dprintf(STDOUT_FILENO, "%s\n", cases[c].name);
			return 0;
		}
		if (!strcmp(argv[i], "-1"))
			here = true;
		else
			pattern = argv[i];
	}
	if (!here)
		return run_cases(cases, count, pattern);
	for (size_t c = 0; c < count; c++) {
		if (!is_wanted(&cases[c], pattern))
			continue;
		current_case = cases[c].name;
		cases[c].run();
		dprintf(STDOUT_FILENO, "  ok   %s\n", current_case);
	}
	return 0;
}
