# SPDX-License-Identifier: MIT
"""The whole family in children, by probes: of fork, of vfork, and of each with an exec. What a child does once its
probes are there is seen to the call and to the byte."""

import re

from cases_heap_calls import expect_late_family
from harness import (MEMTRACE, Proc, attach, case, expect, expect_at_least, expect_match, launch, load_report,
                     numbered, process_of, prog)

HEAP = "--heap=uprobe"


def in_family(report, key):
    return sum(s[key] for s in report["sites"] if s["kind"] == "heap" and
               "family" in [f["symbol"] for f in s["stack"]])


def expect_family(report, pid, own):
    heap = process_of(report, pid)["heap"]
    called, did = dict(heap["by_function"]), dict(own["by_function"])
    # In glibc these two are one function.
    for calls in (called, did):
        calls["aligned"] = calls.pop("aligned_alloc", 0) + calls.pop("memalign", 0)
    for name in did:
        expect(name, called.get(name, 0), did[name])
    for key in ("bytes", "live_blocks", "live_bytes"):
        expect(key, in_family(report, key), own[key])
    expect("frees without a block", heap["unmatched_frees"], 0)
    expect("frees unseen", heap["unseen_frees"], 0)


def child_of(*argv):
    """A command whose child waits until it has its probes: its pid, its own account, the report."""
    path = numbered("report-%d.json")
    proc = Proc([MEMTRACE, "-v", HEAP, "--json=" + path, "--", *argv])
    ready = proc.out.wait("the child to be ready", lambda lines: next(
        (line for line in lines if line.startswith("ready ")), None))
    pid = int(ready.split()[1])
    line = r"process %d: \S+ \(.*\) serves malloc, " % pid
    proc.err.wait("probes in it", lambda lines: any(re.search(line, one) for one in lines))
    proc.say()
    own = proc.wait_objects()[0]
    proc.say()
    expect("status", proc.finish(), 0)
    return pid, own, load_report(path)


def expect_executed(*argv):
    pid, own, report = child_of(*argv, prog("heap_family"), "-w")
    heap = process_of(report, pid)["heap"]
    expect_late_family(heap, own, ("free",))  # glibc's own, as threads end
    expect("failed", heap["failed"], own["failed"])
    expect("allocators", [a["from_start"] for a in process_of(report, pid)["allocators"]], [False])


@case
def a_child_of_fork():
    pid, own, report = child_of(prog("heap_child"), "-w", "fork")
    expect("who", own["pid"], pid)
    expect_family(report, pid, own)


@case
def a_child_of_fork_that_executes():
    expect_executed(prog("heap_child"), "exec")


@case
def a_child_of_vfork_that_executes():
    expect_executed(prog("task_spawn"))


@case
def a_child_of_vfork():
    """It works on its parent's memory, whose mappings are followed; probes are a process's own, so that its calls
    are not seen, and that is said. Older kernels' probes are the memory's own: there all are seen."""
    run = attach("heap_child", "vfork", opts=(HEAP,))
    child = [p for p in run.report["processes"] if p["pid"] != run.pid]
    expect("children", len(child), 1)
    expect("seen from its start", [a["from_start"] for a in child[0]["allocators"]], [False])
    if child[0]["heap"]["by_function"]:
        expect_family(run.report, child[0]["pid"], run.result)
    expect_at_least("how far it moved the break", child[0]["kernel"]["brk"]["grown_bytes"], run.result["live_bytes"])
    expect_match("what is not known", " ".join(run.out.split()),
                 "1 more processes had probes only after they had begun: what they did before that is not known")


@case
def what_a_child_is_said_to_lack_it_lacked():
    """Looked at while its loader still maps its libraries, and gone before the next look: who serves its malloc is
    not known, which is not that nobody does."""
    said = set()
    for _ in range(12):
        run = launch(["sh", "-c", "/bin/mount --version; :"], opts=(HEAP,), status=0)
        said |= {a["why"] for p in run.report["processes"] for a in p["allocators"]}
    expect("what is said", [why for why in said if why and "no malloc is defined" in why], [])
