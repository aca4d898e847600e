// SPDX-License-Identifier: MIT
#include "user/source/programs.h"

#include <errno.h>
#include <stdlib.h>

#include "memtrace.skel.h"
#include "memtrace_plain.skel.h"

/* The same programs, maps and variables by the same names, so the one skeleton serves for both. */
static struct memtrace_bpf *programs__open_plain(void)
{
	struct memtrace_bpf *skel = calloc(1, sizeof(*skel));
	int err = skel ? memtrace_bpf__create_skeleton(skel) : -ENOMEM;

	if (!err) {
		skel->skeleton->data =
			(void *)memtrace_plain_bpf__elf_bytes(&skel->skeleton->data_sz);
		err = bpf_object__open_skeleton(skel->skeleton, NULL);
	}
	if (!err)
		return skel;
	memtrace_bpf__destroy(skel);
	errno = -err;
	return NULL;
}

struct memtrace_bpf *programs__open(bool cast)
{
	return cast ? memtrace_bpf__open() : programs__open_plain();
}
