// SPDX-License-Identifier: MIT
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "user/options.h"
#include "user/session.h"
#include "user/util/log.h"

#ifndef MEMTRACE_VERSION
#define MEMTRACE_VERSION "0"
#endif

/*
 * A standard descriptor that is closed would be taken by the first file we open, and
 * what we print would go into it. Occupy it with something that cannot be written,
 * so that printing fails as it should, and that the command does not inherit.
 */
static void occupy_standard_descriptors(void)
{
	int fd;

	for (fd = 0; fd <= 2; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDONLY | O_CLOEXEC) < 0)
			_exit(EXIT_FAIL);
}

static int print_version(void)
{
	printf("memtrace %s\n", MEMTRACE_VERSION);
	return EXIT_OK;
}

static int dispatch(const struct options *o)
{
	switch (o->mode) {
	case MODE_HELP:
		cli__help();
		return EXIT_OK;
	case MODE_VERSION:
		return print_version();
	case MODE_DOCTOR:
		return doctor__run(o);
	case MODE_ALL:
		return o->comm || o->cgroup ? session__run(o) : machine__run(o);
	case MODE_ATTACH:
	case MODE_LAUNCH:
		return session__run(o);
	case MODE_NONE:
		break;
	}
	return EXIT_USAGE;
}

int main(int argc, char **argv)
{
	struct options o;
	int status;

	occupy_standard_descriptors();
	signal(SIGPIPE, SIG_IGN);
	status = cli__parse(argc, argv, &o);
	if (status)
		return status;
	log__set_level(o.quiet ? LOG_QUIET : o.verbose ? LOG_VERBOSE : LOG_NORMAL);
	status = dispatch(&o);
	if (fflush(stdout) && status == EXIT_OK) {
		log__error("standard output: %s", strerror(errno));
		status = o.argv ? EXIT_OWN_FAILURE : EXIT_FAIL;
	}
	cli__free(&o);
	return status;
}
