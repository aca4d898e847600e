# SPDX-License-Identifier: MIT
"""The six calls: how often, how many failed, how many bytes. Each number is
compared with what the program itself counted, or with strace of the same."""

import os
import subprocess

from harness import (CALLS, ENV, Failure, attach, case, expect, expect_at_least, expect_between,
                     expect_true, launch, memtrace, prog, tmp)
from perf import perf_and_memtrace
from strace import expect_same_calls, strace

SIX = ("calls", "failed", "bytes")


def expect_own_counts(kernel, own):
    """A report's kernel{} against what calls_six prints."""
    for name in CALLS:
        keys = SIX + (("grown_bytes", "shrunk_bytes") if name in ("brk", "mremap") else ())
        if name == "brk":
            keys = tuple(k for k in keys if k != "bytes")
        expect(name, {k: kernel[name][k] for k in keys}, {k: own[name][k] for k in keys})


@case
def six_equal_the_programs_own_numbers():
    run = attach("calls_six")
    expect_own_counts(run.report["kernel"], run.result)
    expect_own_counts(run.process(run.pid)["kernel"], run.result)
    # every one of the six was made to fail and to succeed
    for name in CALLS:
        expect_at_least("%s: failing calls" % name, run.result[name]["failed"], 1)


@case(needs=("bpf", "strace"))
def six_equal_strace():
    traced = strace([prog("calls_six")])
    run = launch([prog("calls_six")], status=0)
    expect_same_calls("calls_six", run.report["kernel"], traced)
    expect_same_calls("calls_six, its process", run.root()["kernel"], traced)


@case(needs=("bpf", "strace"))
def static_binary_equals_strace():
    traced = strace([prog("calls_six_static")])
    run = launch([prog("calls_six_static")], status=0)
    expect_same_calls("calls_six_static", run.report["kernel"], traced)


@case(needs=("bpf", "strace", "m32"))
def thirty_two_bit_is_exact_or_refused():
    """A 32-bit target is traced through its own call table, or refused in words."""
    traced = strace([prog("calls_six_m32")])
    try:
        run = launch([prog("calls_six_m32")], status=0)
    except Failure:
        run = memtrace("--", prog("calls_six_m32"))
        expect("status of a refused 32-bit target", run.status, 125)
        expect_true("the refusal says 32-bit", "32-bit" in run.err, run.err)
        return
    expect_same_calls("calls_six_m32", run.report["kernel"], traced)
    # Its mappings are known from its first instruction on, and what lies in them has names.
    regions = run.report["regions"]
    expect("faults in no known mapping", regions["unknown"]["faults"], {"minor": 0, "major": 0})
    expect_between("faults in the stack", regions["stack"]["faults"]["minor"], 1, 10)
    modules = {os.path.basename(f["module"] or "?") for s in run.report["sites"] for f in s["stack"]}
    expect_true("places in the program and its loader",
                {"calls_six_m32", "ld-linux.so.2"} <= modules, sorted(modules))


@case
def effects_that_are_not_as_they_look():
    """attach() holds the mappings that they leave against the kernel's."""
    run = attach("calls_odd")
    kernel = run.report["kernel"]
    expect("mprotect calls that failed", kernel["mprotect"]["failed"], 1)
    expect("mmap calls that failed", kernel["mmap"]["failed"], 0 if run.result["huge"] else 1)
    expect("mremap calls that failed", kernel["mremap"]["failed"],
           0 if run.result["several"] else 1)


@case
def delivered_events_are_the_counted_ones():
    """What was delivered of each kind is what the report counts."""
    run = attach("calls_six")
    for name in CALLS:
        expect("events.by_kind.%s.delivered" % name,
               run.report["events"]["by_kind"][name]["delivered"],
               run.report["kernel"][name]["calls"])


@case
def time_is_within_the_run():
    run = attach("calls_six")
    for name in CALLS:
        one = run.report["kernel"][name]
        expect_between("%s: time_ns of %d calls" % (name, one["calls"]), one["time_ns"],
                       one["calls"] * 10,
                       run.report["duration_ns"])


@case
def threads_sum_up():
    run = attach("calls_threads", 6, 500, results=6)
    # the threads' own, and at most a stack for each
    for name in ("mmap", "munmap"):
        expect_between("%s calls" % name, run.report["kernel"][name]["calls"], 6 * 500, 6 * 500 + 6)
    expect("bytes unmapped by threads", run.report["kernel"]["munmap"]["failed"], 0)
    expect("threads", run.process(run.pid)["threads"], 7)


def equal_on_a_rerun(argv):
    """A real program, twice under strace (to prove it deterministic), then under memtrace."""
    argv = ["setarch", "-R", *argv]
    first, second = strace(argv), strace(argv)
    if first["counts"] != second["counts"]:
        raise Failure("two strace runs of %s: expected the same counts got %s and %s" % (
            argv, first["counts"], second["counts"]))
    run = launch(argv, status=first["status"])
    expect("the program's own output", run.out, first["out"])
    expect_same_calls(" ".join(map(str, argv[2:4])), run.report["kernel"], first)
    expect_at_least("calls in all", sum(run.report["kernel"][c]["calls"] for c in CALLS), 20)


def python_program():
    return ["python3", "-S", "-E", "-B", "-c",
            "x = [bytearray(1 << i) for i in range(22)];"
            "d = {i: str(i) for i in range(50000)};"
            "print(len(x), len(d))"]


def gcc_program():
    with open(tmp("unit.c"), "w") as f:
        f.write("#include <stdio.h>\n")
        for i in range(60):
            f.write("int f%d(int x) { return x > %d ? printf(\"%%d\", x) : x; }\n" % (i, i))
    # a name that does not change from run to run: the output file, and -pipe for no temporary ones
    return ["gcc", "-pipe", "-O1", "-c", tmp("unit.c"), "-o", tmp("unit.o")]


def sqlite_program():
    return ["sqlite3", "-init", "/dev/null", ":memory:",
            "create table t(a, b);"
            "with recursive n(i) as"
            " (select 1 union all select i+1 from n where i < 20000)"
            " insert into t select i, hex(i) from n;"
            "create index x on t(b);"
            "select count(*), sum(length(b)) from t;"]


@case(needs=("bpf", "strace", "setarch", "python3"))
def python_equals_strace():
    equal_on_a_rerun(python_program())


@case(needs=("bpf", "strace", "setarch", "gcc"))
def gcc_equals_strace():
    equal_on_a_rerun(gcc_program())


@case(needs=("bpf", "strace", "setarch", "sqlite3"))
def sqlite_equals_strace():
    equal_on_a_rerun(sqlite_program())


@case(alone=True, needs=("bpf", "perf-trace", "python3", "gcc", "sqlite3"))
def real_programs_equal_perf_trace_on_the_same_run():
    """Programs of one process: perf's table leaves out some that ended before others."""
    compiler = subprocess.run(["gcc", "-print-prog-name=cc1"], env=ENV, check=True,
                              stdout=subprocess.PIPE).stdout.decode().strip()
    gcc_program()
    for argv in ([prog("calls_six")], python_program(), sqlite_program(),
                 [compiler, "-quiet", "-O1", tmp("unit.c"), "-o", tmp("unit.s")]):
        perf, ours = perf_and_memtrace(argv)
        expect("%s (perf trace -s | memtrace)" % argv[0], ours, perf)
        expect_at_least("%s: calls in all" % argv[0], sum(c for c, _ in perf.values()), 20)
