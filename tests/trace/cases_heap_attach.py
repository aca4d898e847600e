# SPDX-License-Identifier: MIT
"""Attaching the heap plane to a busy process and taking it away, again and again: the
process goes on unharmed, and no probe stays."""

import os
import re
import signal

from harness import (Target, Tracer, case, expect, expect_at_least, load_report, wait_until)

# MEMTRACE_ATTACH_TIMES=200 is the long version.
TIMES = int(os.environ.get("MEMTRACE_ATTACH_TIMES", "10"))


def changed_code(pid):
    """Bytes of the process's libc that are not those of the file: breakpoints."""
    changed = 0
    with open("/proc/%d/maps" % pid) as maps:
        lines = maps.read().splitlines()
    with open("/proc/%d/mem" % pid, "rb", buffering=0) as memory:
        for line in lines:
            m = re.match(r"([0-9a-f]+)-([0-9a-f]+) r-xp ([0-9a-f]+) \S+ \d+ +(/\S*libc\.so\.6)$", line)
            if not m:
                continue
            start, end, offset = (int(m[i], 16) for i in (1, 2, 3))
            memory.seek(start)
            now = memory.read(end - start)
            with open(m[4], "rb") as f:
                f.seek(offset)
                then = f.read(end - start)
            changed += now != then and sum(a != b for a, b in zip(now, then))
    return changed


def cpu_ticks(pid):
    with open("/proc/%d/stat" % pid) as f:
        fields = f.read().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def expect_unharmed(target):
    target.say()
    own = target.wait_objects(1)[0]
    expect("broken bytes", own["broken"], 0)
    expect_at_least("blocks", own["blocks"], 1000)
    expect("the target's status", target.finish(), 0)


@case(timeout=300)
def attach_and_detach_again_and_again():
    target = Target("heap_busy", 4)
    for i in range(TIMES):
        tracer = Tracer("-p", target.pid, "--buffer=256M")
        ticks = cpu_ticks(target.pid) + 2
        before = changed_code(target.pid) if i == 0 else 5
        expect_at_least("probes in place", before, 5)
        wait_until("a thread of the target to have run", lambda: cpu_ticks(target.pid) > ticks)
        expect("status of memtrace", tracer.finish(signal.SIGINT), 0)
        report = load_report(tracer.json_path, lossy=True)
        expect_at_least("calls seen", report["events"]["by_kind"]["heap"]["seen"], 1)
        expect("probes left", changed_code(target.pid), 0)
    expect_unharmed(target)


@case(timeout=300)
def killed_in_the_middle():
    target = Target("heap_busy", 4)
    for _ in range(max(TIMES // 2, 5)):
        tracer = Tracer("-p", target.pid)
        expect("status of memtrace", tracer.finish(signal.SIGKILL), 128 + signal.SIGKILL)
        wait_until("the probes to be gone", lambda: changed_code(target.pid) == 0)
    expect_unharmed(target)


@case
def only_the_traced_process_pays():
    traced, other = Target("heap_busy", 2), Target("heap_busy", 2)
    tracer = Tracer("-p", traced.pid)
    expect_at_least("probes in the traced one", changed_code(traced.pid), 5)
    expect("probes in the other", changed_code(other.pid), 0)
    expect("status of memtrace", tracer.finish(signal.SIGINT), 0)
    expect_unharmed(traced)
    expect_unharmed(other)
