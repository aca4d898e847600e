// SPDX-License-Identifier: MIT
#include "user/source/direct.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "memtrace.skel.h"
#include "user/util/log.h"

#define TYPES "/sys/kernel/btf/vmlinux"
#define NEEDED "bpf_rdonly_cast"
#define PIECE (1UL << 20)

/* By its name among those of the kernel's types: libbpf would take 20 ms to read them all. */
bool direct__is_possible(void)
{
	int fd = open(TYPES, O_RDONLY | O_CLOEXEC);
	size_t have = 0; /* kept of the piece before: a name may be cut */
	bool found = false;
	char *buf;
	ssize_t n;

	if (fd < 0)
		return false;
	buf = malloc(sizeof(NEEDED) + PIECE);
	while (buf && !found && (n = read(fd, buf + have, PIECE)) > 0) {
		have += n;
		/* With the NUL that ends it. */
		found = memmem(buf, have, NEEDED, sizeof(NEEDED)) != NULL;
		if (have > sizeof(NEEDED)) {
			memmove(buf, buf + have - sizeof(NEEDED), sizeof(NEEDED));
			have = sizeof(NEEDED);
		}
	}
	free(buf);
	close(fd);
	return found;
}

void direct__search(struct memtrace_bpf *skel)
{
	/* Aligned: in one page. */
	static uint64_t sample[sizeof(skel->bss->direct_sample) / sizeof(uint64_t)]
		__attribute__((aligned(sizeof(skel->bss->direct_sample))));
	struct bpf_test_run_opts run = {.sz = sizeof(run)};
	int err = 0;

	if (!skel->rodata->cfg_direct)
		return;
	if (getrandom(sample, sizeof(sample), 0) != sizeof(sample))
		return;
	memcpy(skel->bss->direct_sample, sample, sizeof(sample));
	skel->bss->direct_sample_at = (uintptr_t)sample;
	if (bpf_prog_test_run_opts(bpf_program__fd(skel->progs.direct_search), &run))
		err = errno;
	log__debug("stacks are read %s%s%s",
		   skel->bss->direct_base ? "by the kernel's mapping of all memory" :
					    "by copies: the kernel's mapping was not found",
		   err ? ": " : "", err ? strerrorname_np(err) : "");
}
