// SPDX-License-Identifier: MIT
#include "user/source/privilege.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "user/util/log.h"

/* include/linux/proc_ns.h: PROC_PID_INIT_INO, part of the kernel's interface since 3.8. */
#define INITIAL_PID_NAMESPACE 0xEFFFFFFCU
#define INITIAL_USER_NAMESPACE 0xEFFFFFFDU

bool privilege__has(int number)
{
	FILE *f = fopen("/proc/self/status", "re");
	unsigned long long effective = 0;
	char line[256];

	if (!f)
		return false;
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "CapEff: %llx", &effective) == 1)
			break;
	fclose(f);
	return effective >> number & 1;
}

bool privilege__sees_host_pids(void)
{
	struct stat st;

	return stat("/proc/self/ns/pid", &st) || st.st_ino == INITIAL_PID_NAMESPACE;
}

int privilege__check(void)
{
	bool admin = privilege__has(CAP_SYS_ADMIN);
	bool bpf = privilege__has(CAP_BPF), perfmon = privilege__has(CAP_PERFMON);
	struct stat st;

	if (!privilege__sees_host_pids()) {
		log__error("this is a container with process numbers of its own; run memtrace on the host, "
			   "or in the container with the host's (--pid=host)");
		return -EPERM;
	}
	if (!stat("/proc/self/ns/user", &st) && st.st_ino != INITIAL_USER_NAMESPACE) {
		log__error("this is a user namespace, whose root may not load BPF programs; run memtrace "
			   "outside of it");
		return -EPERM;
	}
	if (admin || (bpf && perfmon))
		return 0;
	log__error("not permitted to load BPF programs: missing %s%s%s; %s", bpf ? "" : "CAP_BPF",
		   !bpf && !perfmon ? " and " : "", perfmon ? "" : "CAP_PERFMON",
		   geteuid() == 0 ? "root is limited here: give them back where the container or the "
				    "service is configured" :
				    "run it as root, or give it the capabilities: setcap "
				    "cap_bpf,cap_perfmon,cap_sys_ptrace+ep memtrace");
	return -EPERM;
}
