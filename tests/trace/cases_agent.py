# SPDX-License-Identifier: MIT
"""What memtrace does itself within a process, to have its allocator's calls handed over, is in none of
the program's figures; both together are the kernel's. (Every report is held against the events that
were delivered, which are those of both, as it is loaded.)"""

import os
import signal

from harness import (MEMTRACE, PAGE, Proc, Target, Tracer, case, check_space, expect, expect_at_least,
                     expect_between, expect_match, expect_true, launch, load_report, prog, tmp,
                     wait_until)
from cases_attach_mtalloc import LIBRARY, wait_for_calls
from strace import expect_same_calls, strace

RING = ("--heap=ring",)
SEGMENT = 500 << 20  # bytes that its rings take of the address space, at least


def expect_own_faults(process):
    """Those of the program and of the agent are what the kernel has counted."""
    ours, agents = process["kernel"]["faults"], process["agent"]["faults"]
    expect("minor faults of both", ours["minor"] + agents["minor"], process["kernel_minflt"])
    expect("major faults of both", ours["major"] + agents["major"], process["kernel_majflt"])
    expect_at_least("faults of the agent's", agents["minor"] + agents["major"], 1)


@case(needs=("bpf", "strace"))
def six_calls_equal_strace_of_the_program_alone():
    traced = strace([prog("calls_six")])
    run = launch([prog("calls_six")], opts=RING, status=0)
    expect_same_calls("calls_six", run.report["kernel"], traced)
    expect("plane", run.root()["heap_plane"], "ring")
    expect_own_faults(run.root())
    expect_at_least("bytes mapped by the agent", run.root()["agent"]["mapped_bytes"], SEGMENT)
    # Neither is any of it in the mapped total, nor among the places.
    expect_true("the mapped total is the program's",
                max(p["mapped_bytes"] for p in run.report["mapped"]) < SEGMENT)
    for name, one in run.report["kernel"].items():
        if name != "faults":
            expect("%s by place" % name, sum(s["syscalls"][name] for s in run.report["sites"]
                                             if s["kind"] == "kernel"), one["calls"])
    expect_match("its line", run.err, r"memtrace's agent: \d+ calls, \d+\.\d MiB mapped, \d+ faults")


@case
def faults_by_place_are_as_without_it():
    """And in the program's own mappings, to the fault."""
    seen = {}
    for plane in ("ring", "none"):
        run = launch([prog("fault_anon"), 300, 500], opts=("--heap=" + plane,), status=0)
        seen[plane] = {}
        for site in run.report["sites"]:
            names = [f["symbol"] for f in site["stack"]]
            if site["kind"] == "kernel" and "main" in names:
                key = tuple(names)
                seen[plane][key] = seen[plane].get(key, 0) + site["faults"]["minor"]
        if plane == "ring":
            expect_own_faults(run.root())
        else:
            expect("agent", run.report["agent"], None)
        touched = sum(n for names, n in seen[plane].items()
                      if {"prog__read_pages", "prog__write_pages"} & set(names))
        expect("first touches", touched, 300 * 2 + 500)


@case
def children_have_none_of_the_rings():
    run = launch([prog("task_fork"), 3], opts=RING, status=0)
    for process in run.report["processes"]:
        expect_own_faults(process)
        expect_true("the mapped total is the program's", process["mapped_bytes"] < SEGMENT)


def expect_parts(process, report):
    mapped = sum(r["bytes"] for r in process["regions"].values())
    # Of a command the kernel's page for system calls of old, where it has one, is not among what exec maps.
    with open("/proc/self/maps") as f:
        old = PAGE if "[vsyscall]" in f.read() else 0
    expect("bytes mapped (all that smaps has)", process["mapped_bytes"], mapped - old)
    expect_true("mapped bytes are the program's", process["mapped_bytes"] < SEGMENT)
    agent = process["agent"]
    expect_at_least("bytes mapped by the agent", agent["mapped_bytes"], SEGMENT)
    expect("resident bytes by part", sum(process["rss"]["parts"].values()), process["rss_bytes"])
    expect("resident bytes by region",
           sum(r["resident_bytes"] for r in process["regions"].values()) + agent["resident_bytes"],
           process["rss_bytes"])
    expect("the agent's part", report["rss"]["parts"]["agent"], agent["resident_bytes"])
    expect_at_least("resident bytes of the agent's", agent["resident_bytes"], 10 * PAGE)


@case
def resident_pages_of_a_living_program():
    """A command that outlives the interrupt, so that there is something to look at."""
    path = tmp("report.json")
    proc = Proc([MEMTRACE, *RING, "--json=" + path, "--", "sh", "-c",
                 "trap '' INT; exec %s -w" % prog("fault_heap")])
    proc.out.wait("the program to be ready", lambda lines: any(l.startswith("ready ") for l in lines))
    proc.signal(signal.SIGINT)
    wait_until("the report", lambda: os.path.exists(path))
    report = load_report(path)
    root = next(p for p in report["processes"] if p["root"])
    expect_parts(root, report)
    proc.say()
    proc.wait_objects(1)
    proc.say()
    expect("status", proc.finish(), 0)


@case
def a_producer_that_is_built_in():
    """mtalloc's: its code is the program's, its memory is not."""
    program = Target("heap_busy", 2, env={"LD_PRELOAD": LIBRARY})
    tracer = Tracer("-p", program.pid)
    wait_for_calls(program.pid)
    report = tracer.report(lossy=True)
    process = next(p for p in report["processes"] if p["pid"] == program.pid)
    check_space(process, True)
    agent = process["agent"]
    expect("mmap calls", agent["mmap"]["calls"], 3)
    expect_at_least("madvise calls", agent["madvise"]["calls"], 3)
    expect_at_least("bytes mapped for the tracer", agent["mapped_bytes"], SEGMENT)
    expect("mmap calls of the program", process["kernel"]["mmap"]["calls"], 0)
    expect_true("mapped bytes are the program's", process["mapped_bytes"] < SEGMENT)
    expect_at_least("faults for the tracer", agent["faults"]["minor"], 5)
    parts = sum(process["rss"]["parts"].values())
    expect_between("resident bytes by part", parts, int(process["rss_bytes"] * 0.99),
                   int(process["rss_bytes"] * 1.01))
    program.say()
    program.wait_objects(1)
    program.say()
    expect("the program's status", program.finish(), 0)
