# SPDX-License-Identifier: MIT
"""A command run by who may not use BPF: its allocator's calls are told, all else is said to be not
known, and the command's status is passed on."""

import json
import os
import shutil

from harness import (MEMTRACE, Proc, case, expect, expect_between, expect_match, expect_true, prog,
                     tmp)
from cases_errors import NOBODY
from cases_heap_calls import FUNCTIONS

NEEDS = ("root", "setpriv")


def public(*programs):
    """memtrace, what it preloads, and programs, where everybody may run them and write."""
    where = tmp("public")
    os.mkdir(where)
    os.chmod(where, 0o777)
    for path in (MEMTRACE, os.path.join(os.path.dirname(MEMTRACE), "libmemtrace-agent.so"),
                 *map(prog, programs)):
        shutil.copy(path, where)
        os.chmod(os.path.join(where, os.path.basename(path)), 0o755)
    return where


def alone(where, argv, *opts, status=0):
    """A run as nobody; what it says, and its report."""
    path = os.path.join(where, "report.json")
    proc = Proc([*NOBODY, "./memtrace", "--json=" + path, *opts, "--", *argv], cwd=where)
    expect("status of %s" % (argv,), proc.finish(), status)
    with open(path) as f:
        return proc, json.load(f)


def expect_unknown(what, figures):
    """No figure of it, at any depth, but for the histogram's limits."""
    for key, value in figures.items():
        if isinstance(value, dict):
            expect_unknown("%s.%s" % (what, key), value)
        elif key == "histogram_ns":
            expect("%s.%s" % (what, key), [b["count"] for b in value], [None] * len(value))
        else:
            expect("%s.%s" % (what, key), value, None)


@case(needs=NEEDS)
def calls_are_exact_and_the_kernels_side_not_known():
    proc, report = alone(public("heap_family"), ["./heap_family"])
    own, heap = proc.objects()[0], report["heap"]
    for name in FUNCTIONS:
        extra = {"calloc": 4, "malloc": heap["by_function"]["malloc"] - own["malloc"]}.get(name, 0)
        expect(name, heap["by_function"][name], own[name] + extra)
    expect_between("malloc", heap["by_function"]["malloc"], own["malloc"], own["malloc"] + 2)
    expect("frees unseen", heap["unseen_frees"], 0)
    said = [line for line in proc.err.text().splitlines() if line.startswith("memtrace: ")]
    expect("lines of its own", len(said), 1)
    expect_match("what is missing and how to get it", said[0], r"CAP_BPF.*setcap")
    expect_match("in the report", proc.err.text(), r"^system calls and page faults: not known")
    expect("kernel plane", report["kernel_plane"], False)
    expect("processes", len(report["processes"]), 1)
    process = report["processes"][0]
    expect("plane", process["heap_plane"], "ring")
    expect("name", process["comm"], "heap_family")
    expect("its status", process["exit_status"], 0)
    for what, one in (("report", report), ("process", process)):
        expect_unknown(what + ".kernel", one["kernel"])
        expect_unknown(what + ".heap.inside_calls", one["heap"]["inside_calls"])
        expect_unknown(what + ".heap.first_touch", one["heap"]["first_touch"])
        expect("%s: agent" % what, one["agent"], None)
    for key in ("kernel_minflt", "kernel_majflt", "mapped_bytes", "execs", "forks", "threads"):
        expect(key, process[key], None)
    expect("the mapped total", report["mapped"], [])
    for kind, one in report["events"]["by_kind"].items():
        if kind != "heap":
            expect_unknown("events." + kind, one)
    expect("events lost", report["events"]["lost"], 0)
    places = {f["symbol"] for site in report["sites"] for f in site["stack"]}
    expect_true("places have names", {"run", "start_thread", "main"} <= places, sorted(map(str, places)))


@case(needs=NEEDS)
def statuses_and_children():
    where = public("heap_family")
    _, report = alone(where, ["sh", "-c", "./heap_family; ./heap_family; exit 6"], status=6)
    processes = {p["comm"]: p for p in report["processes"]}
    expect("the command's status", processes["sh"]["exit_status"], 6)
    expect("children", [p["heap_plane"] for p in report["processes"] if p["comm"] == "heap_family"],
           ["ring", "ring"])
    # Who is not our child does not tell us.
    expect("a child's status", processes["heap_family"]["exit_status"], None)
    alone(where, ["sh", "-c", "kill -9 $$"], status=137)


@case(needs=NEEDS)
def a_table_has_no_zeros_for_what_is_not_known():
    proc = Proc([*NOBODY, "./memtrace", "-i", "0.01", "--", "./heap_busy", "-w", "1"],
                cwd=public("heap_busy"))
    row = proc.err.wait("a row of the table", lambda lines: next(
        (line.split() for line in lines if line.endswith(" heap_busy")), None))
    expect("columns of the kernel's", row[1:7], ["-"] * 6)
    proc.say()
    proc.wait_objects(1)
    proc.say()
    expect("status", proc.finish(), 0)


@case(needs=NEEDS)
def a_command_that_cannot_have_it_either():
    where = public("heap_family_static")
    proc = Proc([*NOBODY, "./memtrace", "--", "./heap_family_static"], cwd=where)
    expect("status", proc.finish(), 125)
    expect_match("why", proc.err.text(), r"static program")
    expect_match("and what is missing", proc.err.text(), r"CAP_BPF")
    expect("it did not run", proc.objects(), [])
