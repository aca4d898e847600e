# SPDX-License-Identifier: MIT
"""The stream (-s): lines read as strace's, in time order, faults with the mapping they fell in."""

import os
import re
import shutil
import subprocess

from harness import (CALLS, ENV, MEMTRACE, PATIENCE, Failure, Target, case, expect, expect_at_least,
                     expect_true, launch, observe, prog, tmp)
from stream import calls, faults, mask, parse


def stream_of(name, *args, opts=()):
    """Attach with -s, let the program do its phase; its result, the lines."""
    target = Target(name, *args)
    run = observe(target, "-s", "-p", target.pid, *opts)
    return run.result, parse(run.out)


def strace_lines(argv):
    """The calls as strace prints them, masked."""
    path = tmp("strace")
    subprocess.run(["strace", "-qq", "-o", path, "-e", "signal=none", "-e",
                    "trace=" + ",".join(CALLS), *argv],
                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=ENV,
                   timeout=2 * PATIENCE, check=True)
    with open(path) as f:
        return [mask(line.rstrip("\n")) for line in f
                if re.match(r"^(%s)\(" % "|".join(CALLS), line)]


@case(needs=("bpf", "strace"))
def calls_read_as_strace_prints_them():
    for name in ("calls_flags", "calls_six"):
        run = launch([prog(name)], opts=("-s",), status=0)
        got = [mask(line.call) for line in calls(parse(run.err))]
        want = strace_lines([prog(name)])
        for number, (mine, theirs) in enumerate(zip(got, want)):
            expect("%s: line %d (as strace)" % (name, number + 1), mine, theirs)
        expect("%s: lines" % name, len(got), len(want))


@case
def lines_are_in_time_order():
    """Also those of several threads on several CPUs; not what follows its allocator call. A thread may be
    held up between an event's time and its record for longer than memtrace waits: that is said."""
    target = Target("calls_threads", 6, 1000)
    run = observe(target, "-s", "-p", target.pid, results=6)
    lines = parse(run.out)
    expect_at_least("lines", len(lines), 12000)
    lines = [l for l in lines if not l.inside]
    told = [int(n.split()[0]) for n in run.report["notes"] if "came too late" in n]
    wrong = [after.text for before, after in zip(lines, lines[1:]) if after.seconds < before.seconds]
    if len(wrong) > sum(told):
        raise Failure("time order: expected %d late lines got %d, the first %r" % (
            sum(told), len(wrong), wrong[0]))


@case
def lines_are_the_events():
    """One line an event: no more, no fewer than the report counts."""
    target = Target("fault_anon", 100, 100)
    run = observe(target, "-s", "-p", target.pid)
    lines = parse(run.out)
    expect("fault lines", len(faults(lines)),
           run.report["kernel"]["faults"]["minor"] + run.report["kernel"]["faults"]["major"])
    for name in CALLS:
        expect("%s lines" % name, len(calls(lines, name)), run.report["kernel"][name]["calls"])


@case
def faults_name_their_mapping():
    result, lines = stream_of("fault_heap", 60)
    heap = [l for l in faults(lines) if l.where == "[heap]"]
    expect("faults in [heap]", len(heap), 60)
    expect("their access", {l.access for l in heap}, {"write"})
    result, lines = stream_of("fault_stack", 60)
    expect_at_least("faults in [stack]", len([l for l in faults(lines) if l.where == "[stack]"]),
                    result["minflt"] - 3)
    path = tmp("data")
    result, lines = stream_of("fault_file", path, 64, "warm")
    in_file = [l for l in faults(lines) if l.where.startswith(path)]
    expect("faults in the file", len(in_file), result["minflt"])
    for line in in_file:
        expect_true("a file's name and offset",
                    re.fullmatch(re.escape(path) + r"\+0x[0-9a-f]+", line.where),
                    line.text)
    result, lines = stream_of("fault_anon", 10, 20)
    anonymous = [l for l in faults(lines) if l.where == "anonymous"]
    expect("faults in anonymous memory", len(anonymous), 40)
    expect("copies of the zero page", len([l for l in anonymous if l.words == "copy-on-write"]), 10)
    expect("reads", len([l for l in anonymous if l.access == "read"]), 10)


@case
def a_stack_grows_under_its_name():
    """Each page lies further down than the one before, most below what execve has mapped, and
    when the line is written the process may be gone."""
    run = launch([prog("fault_stack"), "300", "down"], opts=("-s",), status=0)
    lines = faults(parse(run.err))
    expect_at_least("faults in [stack]", len([l for l in lines if l.where == "[stack]"]), 300)
    expect("faults in no mapping", [l.text for l in lines if l.where == "unmapped"], [])


@case
def faults_are_at_the_right_addresses():
    result, lines = stream_of("fault_anon", 0, 50)
    pages = sorted(l.address & ~4095 for l in faults(lines) if l.where == "anonymous")
    expect("pages", pages, [result["address"] + i * 4096 for i in range(50)])


@case
def faults_in_the_kernel_say_so():
    result, lines = stream_of("fault_read", tmp("data"), 64)
    own = [l for l in faults(lines) if "in kernel" in l.words and l.where == "anonymous"]
    expect("faults in the kernel", len(own), 64)


@case(needs=("bpf", "major-faults"))
def major_faults_say_so():
    result, lines = stream_of("fault_file", tmp("data"), 32, "cold")
    expect("MAJOR lines", len([l for l in faults(lines) if l.major]), result["majflt"])


@case
def tasks_are_in_the_stream():
    run = launch([prog("task_spawn"), prog("task_end"), "exit", 9], opts=("-s",), status=9)
    lines = parse(run.err)
    child = run.result["child"]
    texts = [l.rest for l in lines if l.kind == "task"]
    expect_true("the fork is there", any("forked process %d " % child in t for t in texts), texts)
    expect_true("the exec is there", any("executed %s " % prog("task_end") in t for t in texts),
                texts)
    own = [l.rest for l in lines if l.kind == "task" and l.pid == child]
    expect_true("the exit is there", any("exited with 9 " in t for t in own), own)
    expect("names after exec", {l.comm for l in lines if l.kind == "call" and l.pid == child},
           {"task_end"})


@case
def program_names_cannot_forge_lines():
    """A name with a bracket or a line break in it stays within its brackets."""
    path = tmp("x] \n0.123456 [1:1 y] z")
    shutil.copy(prog("task_end"), path)
    os.chmod(path, 0o755)
    run = launch([path, "exit", "0"], opts=("-s",), status=0)
    expect("processes in the stream", {l.pid for l in parse(run.err)}, {run.root()["pid"]})


@case
def stream_goes_where_a_reader_stops():
    """| head -1: memtrace ends by itself and the target goes on."""
    target = Target("task_spin", 2)
    target.say()
    pipe = subprocess.Popen(["sh", "-c", '"$0" -s -p "$1" 2>"$2" | head -1', MEMTRACE,
                             str(target.pid),
                             tmp("err")], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=ENV)
    out = pipe.communicate(timeout=PATIENCE)[0].decode()
    expect("lines that head let through", len(parse(out)), 1)
    expect("the target's status", target.finish(), 0)


@case
def files_that_reuse_an_inode_keep_their_names():
    run = launch([prog("file_reuse"), tmp("")], opts=("-s",), status=0)
    for i in range(3):
        lines = [l for l in run.err.splitlines() if "/reuse%d" % i in l]
        expect("mmap and fault lines of reuse%d" % i,
               [bool([l for l in lines if " mmap(" in l]), bool([l for l in lines if " fault " in l])],
               [True, True])
