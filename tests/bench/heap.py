# SPDX-License-Identifier: MIT
"""What a malloc and its free cost a traced program: with memtrace, and with a bpftrace
one-liner beside it; and whether the collector keeps up."""

import os
import re
import shutil
import signal
import statistics
import subprocess

from harness import Failure, Tracer, expect, expect_at_least, load_report, wait_until
from measure import finish, keep, phase, start

TURNS = 100000
LIBC = "/lib/x86_64-linux-gnu/libc.so.6"
# What people type: bytes by stack, and what lives.
ONE_LINER = ("uprobe:%s:malloc { @size[tid] = arg0; @bytes[ustack] = sum(arg0); } "
             "uretprobe:%s:malloc /@size[tid]/ { @live[retval] = @size[tid]; delete(@size[tid]); } "
             "uprobe:%s:free { delete(@live[arg0]); }") % (LIBC, LIBC, LIBC)


def breakpoints(pid):
    """How many bytes of the process's libc are not those of the file."""
    with open("/proc/%d/maps" % pid) as maps:
        found = re.search(r"^([0-9a-f]+)-([0-9a-f]+) r-xp ([0-9a-f]+) \S+ \d+ +(/\S*libc\.so\.6)$",
                          maps.read(), re.M)
    first, last, offset = (int(found[i], 16) for i in (1, 2, 3))
    with open("/proc/%d/mem" % pid, "rb", buffering=0) as memory, open(found[4], "rb") as file:
        memory.seek(first)
        file.seek(offset)
        return sum(a != b for a, b in zip(memory.read(last - first), file.read(last - first)))


def by_memtrace(*opts):
    def traced(target, done):
        tracer = keep(Tracer("-p", target.pid, "--buffer=512M", *opts, stdout=subprocess.DEVNULL))
        result = phase(target, done)
        finish(tracer, signal.SIGINT)
        report = load_report(tracer.json_path)
        os.unlink(tracer.json_path)
        expect_at_least("hits of probes", sum(h["hits"] for h in report["hooks"]),
                        2 * result["count"])
        return result
    return traced


def by_bpftrace(target, done):
    if not shutil.which("bpftrace"):
        raise Failure("no bpftrace here (Debian's package bpftrace)")
    tracer = subprocess.Popen(["bpftrace", "-q", "-p", str(target.pid), "-e", ONE_LINER],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until("bpftrace's probes", lambda: breakpoints(target.pid) == 2)
        return phase(target, done)
    finally:
        tracer.kill()
        tracer.wait()
        wait_until("bpftrace's probes to be gone", lambda: breakpoints(target.pid) == 0)


def pair_ns(rounds, tracers):
    """For each tracer, the nanoseconds of the target's CPU that it adds to a malloc and its free:
    medians and quartiles, all taken turn by turn on the same process."""
    added = {name: [] for name in tracers}
    for _ in range(rounds):
        target = start("pairs", TURNS)
        done = 0
        for name, traced in tracers.items():
            plain = phase(target, done)
            result = traced(target, done + 1)
            done += 2
            expect("turns", result["count"], plain["count"])
            added[name].append((result["cpu"] - plain["cpu"]) / result["count"] * 1e9)
        finish(target)
    return {name: statistics.quantiles(ns, n=4) if len(ns) > 1 else ns * 3
            for name, ns in added.items()}


def tracers():
    return {"with stacks": by_memtrace("--heap=uprobe"),
            "with --sample 512K": by_memtrace("--heap=uprobe", "--sample=512K"),
            "with bpftrace": by_bpftrace}
