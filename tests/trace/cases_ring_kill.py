# SPDX-License-Identifier: MIT
"""Either side of the rings killed at some moment: the other one is not harmed, does not hang, and
what was handed over is counted. MEMTRACE_KILL_TIMES=200 is the long version."""

import os
import random
import signal
import time

from harness import (MEMTRACE, Proc, case, expect, expect_at_least, expect_true, load_report, numbered, prog,
                     wait_until)

TIMES = int(os.environ.get("MEMTRACE_KILL_TIMES", "3"))
START_SECONDS = 0.4  # about what memtrace takes to begin; only where the kills fall depends on it


def moment(most):
    time.sleep(random.random() * most)


def launched():
    path = numbered("report-%d.json")
    return path, Proc([MEMTRACE, "--heap=ring", "--json=" + path, "--", prog("heap_busy"), "-w", 2])


def ready_pid(proc):
    """The program's, if it has said that it is ready."""
    return next((int(line.split()[1]) for line in list(proc.out.lines) if line.startswith("ready ")), None)


def gone(pid):
    try:
        with open("/proc/%d/stat" % pid) as f:
            return f.read().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


@case(timeout=60 + 10 * TIMES)
def the_program_is_killed_at_any_moment():
    for _ in range(TIMES):
        path, proc = launched()
        pid = wait_until("the program to be ready", lambda proc=proc: ready_pid(proc))
        moment(0.1)
        os.kill(pid, signal.SIGKILL)
        expect("memtrace's status", proc.finish(), 128 + signal.SIGKILL)
        report = load_report(path)
        heap, seen = report["heap"], report["events"]["by_kind"]["heap"]
        expect("calls told (of those seen)", sum(heap["by_function"].values()), seen["seen"])
        expect("frees without a block", (heap["unmatched_frees"], heap["unseen_frees"]), (0, 0))
        expect("plane", [p["heap_plane"] for p in report["processes"]], ["ring"])


@case(timeout=60 + 10 * TIMES)
def memtrace_is_killed_at_any_moment():
    ran = 0
    for i in range(TIMES):
        _, proc = launched()
        if i % 2:
            wait_until("the program to be ready", lambda proc=proc: ready_pid(proc))
        moment(START_SECONDS)
        proc.signal(signal.SIGKILL)
        proc.popen.wait()
        # If there is a program already it goes on by itself; else there never is one.
        pid = wait_until("the program, or its end", lambda proc=proc: ready_pid(proc) or proc.out.ended)
        if pid is True and not ready_pid(proc):
            continue
        pid = ready_pid(proc)
        proc.say()
        own = proc.wait_objects(1)[0]
        expect("broken bytes", own["broken"], 0)
        expect_at_least("blocks", own["blocks"], 1)
        proc.say()
        wait_until("its end", lambda pid=pid: gone(pid))
        ran += 1
    expect_true("some had begun", ran, TIMES)
