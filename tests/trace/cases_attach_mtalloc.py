# SPDX-License-Identifier: MIT
"""Attaching to programs that run on mtalloc: it hands its calls over itself when it is asked,
from the first one on, and is as it was when memtrace has gone, by whatever way."""

import collections
import math
import os
import re
import signal
import time

from harness import (EMULATED, MEMTRACE, Proc, Skip, Target, Tracer, case, expect, expect_at_least, expect_between,
                     expect_match, expect_true, load_report, process_of, wait_until)
from cases_heap_attach import expect_unharmed
from cases_heap_calls import FUNCTIONS
from cases_heap_live import heap_site
from cases_heap_ring_stacks import places

LIBRARY = os.path.join(os.path.dirname(MEMTRACE), "libmtalloc.so")
RING = "memfd:mtalloc-ring"
# MEMTRACE_ATTACH_TIMES=200 is the long version.
TIMES = int(os.environ.get("MEMTRACE_ATTACH_TIMES", "5"))


def target(name, *args):
    return Target(name, *args, env={"LD_PRELOAD": LIBRARY})


def ring_bytes(pid):
    """Memory of the rings, as the process has it mapped."""
    total, inside = 0, False
    with open("/proc/%d/smaps" % pid) as smaps:
        for line in smaps:
            if "-" in line.split(" ")[0]:
                inside = RING in line
            elif inside and line.startswith("Rss:"):
                total += int(line.split()[1]) * 1024
    return total


def wait_for_calls(pid):
    wait_until("the program to hand over", lambda: ring_bytes(pid) > 200000)


def was_held_up(report, pid):
    """memtrace did not answer the process in time, and so it is told."""
    return any("held up" in note and "process %d allocated" % pid in note for note in report["notes"])


@case
def exact_from_the_moment_of_attach():
    program = target("heap_family")
    tracer = Tracer("-p", program.pid)
    program.say()
    own = program.wait_objects(1)[0]
    program.finish()
    expect("memtrace's status", tracer.finish(), 0)
    report = load_report(tracer.json_path)
    heap = report["heap"]
    called = heap["by_function"]
    if EMULATED and was_held_up(report, program.pid):
        expect_between("malloc", called["malloc"], 1, own["malloc"])
        return
    for name in FUNCTIONS:
        if name == "malloc":
            expect_between(name, called[name], own[name], own[name] + 4)
        elif name == "calloc":  # and one for each thread, by the C library
            expect_between(name, called[name], own[name], own[name] + 4)
        else:
            expect(name, called[name], own[name])
    expect("failed", heap["failed"], own["failed"])
    expect("frees unseen", heap["unseen_frees"], 0)
    process = process_of(report, program.pid)
    expect("plane", process["heap_plane"], "ring")
    expect("allocators", [a["name"] for a in process["allocators"]], ["mtalloc"])


@case
def stacks_begin_with_the_function_that_was_called():
    program = target("heap_family")
    tracer = Tracer("-p", program.pid)
    program.say()
    program.wait_objects(1)
    program.finish()
    expect("memtrace's status", tracer.finish(), 0)

    class Run:
        report = load_report(tracer.json_path)

    calls, cut = places(Run)
    expect("stacks that are cut", cut, 0)
    own = [n for n in calls if "run" in n or "one_round" in n]
    expect_at_least("places of the program", len(own), 3)
    for names in own:
        expect("who called %s" % names[0], names[1] in ("one_round", "run"), True)


@case(timeout=300)
def asked_again_and_again():
    program = target("heap_busy", 4)
    for _ in range(TIMES):
        tracer = Tracer("-p", program.pid)
        wait_for_calls(program.pid)
        expect("memtrace's status", tracer.finish(signal.SIGINT), 0)
        report = load_report(tracer.json_path, lossy=True)
        expect("plane", process_of(report, program.pid)["heap_plane"], "ring")
        expect_at_least("calls", report["events"]["by_kind"]["heap"]["seen"], 1)
    wait_until("the rings' memory to be given back", lambda: ring_bytes(program.pid) <= 65536)
    expect_unharmed(program)


@case(timeout=300)
def killed_at_any_time():
    program = target("heap_busy", 4)
    for i in range(TIMES):
        tracer = Tracer("-p", program.pid)
        if i % 2:
            wait_for_calls(program.pid)
        expect("memtrace's status", tracer.finish(signal.SIGKILL), 128 + signal.SIGKILL)
    wait_until("the rings' memory to be given back", lambda: ring_bytes(program.pid) <= 65536)
    expect_unharmed(program)


@case
def killed_while_the_program_waits():
    """It has not noticed, when the next one asks."""
    program = target("heap_family")
    for _ in range(2):
        tracer = Tracer("-p", program.pid)
        expect("memtrace's status", tracer.finish(signal.SIGKILL), 128 + signal.SIGKILL)
    tracer = Tracer("-p", program.pid)
    program.say()
    own = program.wait_objects(1)[0]
    program.finish()
    expect("memtrace's status", tracer.finish(), 0)
    report = load_report(tracer.json_path)
    expect("posix_memalign", report["heap"]["by_function"]["posix_memalign"], own["posix_memalign"])


def phase(program, number):
    """Let it call, the so-manieth time: how often it called each of its functions."""
    program.say()
    return program.wait_objects(number)[-1]["each"]


SAMPLES = ("--sample", "512K")


def expect_every_call(tracer, each):
    report = tracer.report()
    called = {name: heap_site(report, "own_" + name)["calls"] for name in ("malloc", "calloc", "realloc")}
    expect("calls", called, {name: each for name in called})


@case
def every_call_after_samples():
    """Whoever took samples was killed while the program slept, which cannot know it by any count of the kernel's."""
    program = target("heap_phases", 1000)
    tracer = Tracer("-p", program.pid, *SAMPLES)
    phase(program, 1)
    expect("memtrace's status", tracer.finish(signal.SIGKILL), 128 + signal.SIGKILL)
    tracer = Tracer("-p", program.pid)
    expect_every_call(tracer, phase(program, 2))
    # And after one that ended by itself.
    tracer = Tracer("-p", program.pid, *SAMPLES)
    phase(program, 3)
    tracer.report()
    tracer = Tracer("-p", program.pid)
    expect_every_call(tracer, phase(program, 4))
    expect("the program's status", program.finish(), 0)


@case
def a_listener_after_samples():
    program = Target("heap_phases", 1000,
                     env={"LD_PRELOAD": LIBRARY, "MTALLOC_OPTIONS": "sample_bytes=1"})
    tracer = Tracer("-p", program.pid, *SAMPLES)
    phase(program, 1)
    expect("memtrace's status", tracer.finish(signal.SIGKILL), 128 + signal.SIGKILL)
    tracer = Tracer("-p", program.pid, "--heap=contract", "--buffer=64M")
    expect_every_call(tracer, phase(program, 2))
    expect("the program's status", program.finish(), 0)


@case
def a_listener_beside_samples():
    """It has each of its own, also the frees of blocks that the other one did not take, and that goes on."""
    program = Target("heap_phases", 1000,
                     env={"LD_PRELOAD": LIBRARY, "MTALLOC_OPTIONS": "sample_bytes=1"})
    samples = Tracer("-p", program.pid, *SAMPLES)
    phase(program, 1)
    tracer = Tracer("-p", program.pid, "--heap=contract", "--buffer=64M")
    each = phase(program, 2)
    report = tracer.report()
    for name, live in (("malloc", 1), ("calloc", 0), ("realloc", 1)):
        # The allocator has two ways to its probe: for what the other one is told, and for the rest.
        sites = [s for s in report["sites"] if s["kind"] == "heap" and
                 "own_" + name in [f["symbol"] for f in s["stack"]]]
        expect("calls of " + name, sum(s["calls"] for s in sites), each)
        expect("live of " + name, sum(s["live_blocks"] for s in sites), live)
    phase(program, 3)
    report = samples.report()
    expect("plane", process_of(report, program.pid)["heap_plane"], "ring")
    expect("the program's status", program.finish(), 0)


@case
def samples_leave_nothing():
    program = target("heap_phases", 20000)
    tracer = Tracer("-p", program.pid, "--sample", "512")
    phase(program, 1)
    wait_for_calls(program.pid)
    expect("memtrace's status", tracer.finish(signal.SIGKILL), 128 + signal.SIGKILL)
    phase(program, 2)
    expect_between("the rings' memory", ring_bytes(program.pid), 0, 65536)
    expect("the program's status", program.finish(), 0)


def target_of_python(script):
    program = Proc(["/usr/bin/python3", "-S", "-c", script],
                   env={"LD_PRELOAD": LIBRARY, "PYTHONMALLOC": "malloc"})
    program.out.wait("the program to be ready",
                     lambda lines: any(line.startswith("ready ") for line in lines))
    return program


# What they hand over fits a ring, however late the collector is: nothing can be lost.
CHILDREN, BLOCKS = 20, 300
FORKS = """
import os, sys
print("ready", os.getpid(), flush=True)
input()
for _ in range(%d):
    pid = os.fork()
    if not pid:
        kept = [bytearray(1 + i) for i in range(%d)]
        os._exit(0)
    if os.waitpid(pid, 0)[1]:
        sys.exit(1)
""" % (CHILDREN, BLOCKS)


@case
def children_are_seen_from_their_first_call():
    program = target_of_python(FORKS)
    tracer = Tracer("-p", program.pid)
    program.say()
    expect("the program's status", program.finish(), 0)
    expect("memtrace's status", tracer.finish(), 0)
    report = load_report(tracer.json_path)
    expect("plane", process_of(report, program.pid)["heap_plane"], "ring")
    children = [p for p in report["processes"] if p["ppid"] == program.pid]
    expect("children", len(children), CHILDREN)
    # One that a slow machine has not let answer in time has probes, and that is told.
    late = [p for p in children if EMULATED and p["heap_plane"] == "uprobe"]
    for child in late:
        expect("from its start", [a["from_start"] for a in child["allocators"] if a["hooks"]], [False])
        children.remove(child)
    expect("their planes", {p["heap_plane"] for p in children}, {"ring"})
    for child in children:
        expect_at_least("its calls", child["heap"]["calls"]["malloc"], BLOCKS)
    # All after the first do the same; of one that was answered late, which is told, a few are not known.
    if not (EMULATED and any("held up" in note for note in report["notes"])):
        kinds = collections.Counter(str(p["heap"]["calls"]) for p in children[1:])
        expect_true("the children are of one kind", len(kinds) == 1, kinds)


def is_stopped(pid):
    """All its threads: each stops by itself."""
    states = set()
    for tid in os.listdir("/proc/%d/task" % pid):
        with open("/proc/%d/task/%s/stat" % (pid, tid)) as f:
            states.add(f.read().rpartition(")")[2].split()[0])
    return states == {"T"}


@case
def a_collector_that_was_held_up_is_asked_again():
    """The program went on without it when it did not answer, and had no more to do with it before."""
    program = target("heap_phases", 1000)
    tracer = Tracer("-p", program.pid)
    tracer.signal(signal.SIGSTOP)
    wait_until("memtrace to stop", lambda: is_stopped(tracer.pid))
    phase(program, 1)
    expect("memory of rings", ring_bytes(program.pid), 0)
    tracer.signal(signal.SIGCONT)
    done = 1
    asks_until = time.monotonic() + 40 if EMULATED else math.inf  # it asks five times within 22 s

    def hands_over():
        nonlocal done
        done += 1
        phase(program, done)
        return ring_bytes(program.pid) > 0 or time.monotonic() > asks_until

    wait_until("the program to hand over", hands_over)
    each = phase(program, done + 1)
    report = tracer.report()
    if time.monotonic() > asks_until:
        # It has not come to answer within 3 ms. That is told.
        expect_match("why", process_of(report, program.pid)["allocators"][0]["why"], "no answer in time")
        expect("the program's status", program.finish(), 0)
        return
    expect("plane", process_of(report, program.pid)["heap_plane"], "ring")
    expect_at_least("calls", heap_site(report, "own_malloc")["calls"], each)
    # It was held up, which is no failure: what it missed is in the report.
    expect("from the start", process_of(report, program.pid)["allocators"][0]["from_start"], False)
    expect("warned", "warning" in tracer.err.text(), False)
    expect("told", was_held_up(report, program.pid), True)
    expect("the program's status", program.finish(), 0)


def offered(pid):
    """The memory that a program offers and waits for: a path to it, or None."""
    for name in os.listdir("/proc/%d/fd" % pid):
        path = "/proc/%d/fd/%s" % (pid, name)
        try:
            if os.readlink(path).startswith("/" + RING):
                return path
        except OSError:
            pass
    return None


def naps(pid):
    """How often the program has slept; while it waits for its line it does not wake. It sleeps when it has offered."""
    with open("/proc/%d/status" % pid) as f:
        return int(re.search(r"^voluntary_ctxt_switches:\s*(\d+)$", f.read(), re.M)[1])


def held_while_it_is_answered():
    """A program that offered its memory, and was stopped before it could see the answer, for longer than it
    waits; with its tracer. None: it was stopped too late."""
    program = target("heap_phases", 1000)
    tracer = Tracer("-p", program.pid)
    tracer.signal(signal.SIGSTOP)
    wait_until("memtrace to stop", lambda: is_stopped(tracer.pid))
    before = naps(program.pid)
    program.say()
    while naps(program.pid) < before + 3 and not program.objects():
        pass
    program.signal(signal.SIGSTOP)
    wait_until("the program to stop", lambda: is_stopped(program.pid))
    path = offered(program.pid)
    tracer.signal(signal.SIGCONT)
    if path:
        with open(path, "rb", buffering=0) as memory:  # else seek() may stay in what was read
            wait_until("memtrace to answer", lambda: memory.seek(0) == 0 and any(memory.read(8)))
        time.sleep(0.2)  # twice as long as it waits
    program.signal(signal.SIGCONT)
    return (program, tracer) if path else None


@case
def a_program_that_was_held_up_sees_the_answer():
    held = None
    while not held:
        held = held_while_it_is_answered()
    program, tracer = held
    each = program.wait_objects(1)[-1]["each"]
    expect_every_call(tracer, each)
    expect("the program's status", program.finish(), 0)


@case
def a_program_that_does_not_call_is_named():
    program = target("heap_family")
    tracer = Tracer("-p", program.pid)
    expect("memtrace's status", tracer.finish(signal.SIGINT), 0)
    expect("the program's status", program.finish(), 0)
    process = process_of(load_report(tracer.json_path), program.pid)
    expect("plane", process["heap_plane"], "none")
    expect("allocators", [(a["name"], a["from_start"]) for a in process["allocators"]],
           [("mtalloc", False)])
    expect("why", process["allocators"][0]["why"].startswith("it was asked"), True)
    # Its lines are as wide as the terminal.
    expect("told", "it made none since" in " ".join(tracer.out.text().split()), True)


@case
def children_that_are_not_followed():
    program = target_of_python(FORKS)
    tracer = Tracer("--no-follow", "-p", program.pid)
    program.say()
    expect("the program's status", program.finish(), 0)
    expect("memtrace's status", tracer.finish(), 0)
    report = load_report(tracer.json_path)
    expect("processes", [p["pid"] for p in report["processes"]], [program.pid])
    expect("plane", report["processes"][0]["heap_plane"], "ring")


LIVES = """
import os, select, sys
print("ready", os.getpid(), flush=True)
input()
end, ours = os.pipe()
pid = os.fork()
if not pid:
    os.close(ours)
    print("child", os.getpid(), flush=True)
    while not select.select([end], [], [], 0)[0]:
        kept = [bytearray(1 + i) for i in range(1000)]
    os._exit(0)
sys.stdin.read()
os.close(ours)
sys.exit(os.waitpid(pid, 0)[1] != 0)
"""


@case
def a_child_whose_tracer_is_killed():
    """It goes on without, and gives the ring's memory back."""
    program = target_of_python(LIVES)
    tracer = Tracer("-p", program.pid)
    program.say()
    child = program.out.wait("the child", lambda lines: next(
        (int(line.split()[1]) for line in lines if line.startswith("child ")), None))
    wait_for_calls(child)
    expect("memtrace's status", tracer.finish(signal.SIGKILL), 128 + signal.SIGKILL)
    wait_until("the rings' memory to be given back",
               lambda: ring_bytes(child) <= 65536)
    expect("the program's status", program.finish(), 0)
