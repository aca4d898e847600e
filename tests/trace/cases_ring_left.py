# SPDX-License-Identifier: MIT
"""What rings leave to probes: programs that the preloaded library is not loaded into, or does not
see the allocator of, or that cannot be heard of. Never traced by both, and never silent."""

import os
import re

from harness import (MEMTRACE, Proc, case, expect, expect_match, launch, load_report,
                     process_of, prog, tmp)
from cases_heap_calls import expect_joined, expect_late_family

HEAP = "--heap=ring"
# By the program that became this one; and threads that end free what glibc keeps for them.
MORE = ("malloc", "realloc", "free")


def probed_child(heap, *argv):
    """A shell runs a heap_family that waits, and is let go when it has its probes. What memtrace said
    until then, the program's own account, the report, its process."""
    path = tmp("report.json")
    proc = Proc([MEMTRACE, heap, "-v", "--json=" + path, "--", "sh", "-c", '"$@"; exit $?', "sh",
                 *argv, "-w"])
    ready = proc.out.wait("the program to be ready", lambda lines: next(
        (line for line in lines if line.startswith("ready ")), None))
    pid = int(ready.split()[1])
    proc.err.wait("probes in it", lambda lines: any(
        re.search(r"process %d: glibc .* entry points hooked" % pid, line) for line in lines))
    said = proc.err.text()
    proc.say()
    own = proc.wait_objects()[0]
    proc.say()
    expect("status", proc.finish(), 0)
    report = load_report(path)
    return said, own, report, process_of(report, pid)


def expect_probed(why, *argv):
    said, own, report, process = probed_child(HEAP, *argv)
    heap = process["heap"]
    expect_match("why it has probes", said, r"process %d .*%s" % (process["pid"], why))
    expect("plane", process["heap_plane"], "uprobe")
    expect("seen from its start", process["allocators"][-1]["from_start"], False)
    expect_late_family(heap, own, MORE)
    shell = [p for p in report["processes"] if p["root"]][0]
    expect("the shell's plane", shell["heap_plane"], "ring")


@case
def a_static_child():
    expect_probed("a malloc of its own", prog("heap_family_static"))


@case
def a_child_without_the_environment():
    expect_probed("not loaded into it", "env", "-i", prog("heap_family"))


@case(needs=("root",))
def a_child_that_cannot_be_heard():
    expect_probed("nothing was heard of it", "unshare", "-n", prog("heap_family"))


@case(needs=("root",))
def what_ended_before_it_was_heard_is_said():
    run = launch(["sh", "-c", "unshare -n %s; true" % prog("heap_family")], opts=(HEAP,), status=0)
    unseen = [p for p in run.report["processes"] if p["comm"] == "heap_family"]
    expect("processes", len(unseen), 1)
    last = unseen[0]["allocators"][-1]
    expect("allocator", last["name"], None)
    expect_match("why", last["why"], r"before it was looked at")


@case
def a_script_is_not_left():
    path = tmp("script")
    with open(path, "w") as f:
        f.write("#!/bin/sh\n%s\n" % prog("heap_family"))
    os.chmod(path, 0o755)
    run = launch([path], opts=(HEAP,), status=0)
    expect("planes", {p["heap_plane"] for p in run.report["processes"]}, {"ring"})
    called, own = run.report["heap"]["by_function"], run.result
    expect("posix_memalign", called["posix_memalign"], own["posix_memalign"])


@case
def a_malloc_in_the_program_itself():
    expect_joined(1, HEAP)


@case
def a_malloc_in_the_program_itself_with_threads():
    expect_joined(4, HEAP)
