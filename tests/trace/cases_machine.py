# SPDX-License-Identifier: MIT
"""The whole machine (-a), its drill-downs, and targets in other namespaces."""

import os
import shutil
import signal
import subprocess
import time

from cases_calls import expect_own_counts
from cases_end import since
from cases_sites import expect_stack_c
from harness import (CALLS, ENV, MEMTRACE, PAGE, PATIENCE, Failure, Proc, Target, Tracer, attach,
                     case, cgroup_root, descendants, expect, expect_at_least, expect_between,
                     expect_match, expect_true, load_report, observe, process_of, prog, removed,
                     tmp, wait_until)
from strace import strace


@case(alone=True)
def busy_program_is_in_the_table():
    target = Target("fault_heap", 3000)
    run = observe(target, "-a")
    process = process_of(run.report, target.pid)
    expect("name", process["comm"], "fault_heap")
    expect("minor faults", process["kernel"]["faults"]["minor"], run.result["minflt"])
    expect("break growth", process["kernel"]["brk"]["grown_bytes"], 3000 * PAGE)
    expect_match("its line in the table", run.out,
                 r"%d\b.*fault_heap|fault_heap.*\b%d\b" % (
        target.pid, target.pid))
    expect("the target's status", target.finish(), 0)


@case(alone=True)
def machine_counts_of_a_program_are_its_own():
    target = Target("calls_six")
    run = observe(target, "-a")
    expect_own_counts(process_of(run.report, target.pid)["kernel"], run.result)


@case(alone=True)
def machine_bytes_are_those_of_the_exact_mode():
    """Of a mapping of huge pages, too, which is longer than it was asked to be."""
    exact = attach("calls_odd").report["kernel"]
    target = Target("calls_odd")
    run = observe(target, "-a")
    own = process_of(run.report, target.pid)["kernel"]
    for name in ("mmap", "munmap", "mprotect"):
        expect("bytes of %s" % name, own[name]["bytes"], exact[name]["bytes"])
    target.finish()


@case(alone=True)
def a_new_name_is_in_the_table():
    target = Target("task_rename", "second name")
    run = observe(target, "-a")
    expect("name", process_of(run.report, target.pid)["comm"], "second name")
    target.finish()


@case(alone=True, needs=("bpf", "strace"))
def machine_counts_of_a_program_started_meanwhile():
    traced = strace([prog("calls_six")])["counts"]
    tracer = Tracer("-a")
    child = subprocess.Popen([prog("calls_six")], stdin=subprocess.DEVNULL,
                             stdout=subprocess.DEVNULL, env=ENV)
    expect("the program's status", child.wait(PATIENCE), 0)
    process = process_of(tracer.report(), child.pid)
    expect("name", process["comm"], "calls_six")
    for name in CALLS:
        # between fork and exec the starting program may have made calls of its own
        expect_between("%s calls" % name, process["kernel"][name]["calls"], traced[name]["calls"],
                       traced[name]["calls"] + 2)
        expect("%s failed" % name, process["kernel"][name]["failed"], traced[name]["failed"])


@case(alone=True)
def machine_is_bounded_by_time():
    begin = time.monotonic()
    proc = Proc([MEMTRACE, "-a", "-d", "1", "--json=" + tmp("r.json")])
    expect("status", proc.finish(), 0)
    report = load_report(tmp("r.json"))
    expect_between("duration_ns", report["duration_ns"], 1e9, since(begin))
    expect_match("totals", proc.out.text(), r"(?i)total")


@case(alone=True)
def machine_storm_is_counted_whole():
    target = Target("fault_storm", 1024)
    run = observe(target, "-a")
    process = process_of(run.report, target.pid)
    expect("minor faults", process["kernel"]["faults"]["minor"], run.result["minflt"])
    expect("munmap calls", process["kernel"]["munmap"]["calls"], run.result["maps"])


def expect_drill_down(target, *filter):
    """Of two programs that do the same, the one that the filter lets through is traced."""
    other = Target("fault_heap", 100)
    tracer = Tracer("-a", *filter)
    for one in (other, target):
        one.say()
        one.wait_objects()
    report = tracer.report()
    expect("processes", [p["pid"] for p in report["processes"]], [target.pid])
    expect("minor faults", report["kernel"]["faults"]["minor"], target.objects()[0]["minflt"])
    expect("break growth", report["kernel"]["brk"]["grown_bytes"], 100 * PAGE)
    expect_at_least("places", len(report["sites"]), 1)
    expect("the target's status", target.finish(), 0)


@case(alone=True)
def drill_down_by_name():
    path = tmp("drill_me")
    shutil.copy(prog("fault_heap"), path)
    expect_drill_down(Target(path, 100), "--comm", "drill_me")


@case(alone=True)
def a_drill_down_knows_the_end_of_one_that_took_another_name():
    path = tmp("drill_me")
    shutil.copy(prog("task_rename"), path)
    target = Target(path, "second name")
    tracer = Tracer("-a", "--comm", "drill_me")
    target.say()
    target.wait_objects()
    expect("the target's status", target.finish(), 0)
    process = process_of(tracer.report(), target.pid)
    expect("name", process["comm"], "second name")
    expect("ended", process["ended"], True)
    expect("exit status", process["exit_status"], 0)


@case(alone=True, needs=("bpf", "cgroup2"))
def drill_down_by_cgroup():
    group = os.path.join(cgroup_root(), "memtrace-test-%d" % os.getpid())
    os.mkdir(group)
    try:
        def enter():
            with open(os.path.join(group, "cgroup.procs"), "w") as f:
                f.write("0")
        expect_drill_down(Target("fault_heap", 100, before=enter), "--cgroup", group)
    finally:
        wait_until("the group to be empty", lambda: removed(group))


@case(alone=True)
def cgroup_that_is_none():
    proc = Proc([MEMTRACE, "-a", "-d", "1", "--cgroup", tmp("none")])
    status = proc.finish()
    expect_true("status", status in (1, 2), (status, proc.err.text()))
    expect_match("message", proc.err.text(), r"^memtrace: .*none")


@case(alone=True)
def machine_table_repeats():
    target = Target("task_spin", 8)
    target.say()
    proc = Proc([MEMTRACE, "-a", "-i", "200ms"])
    proc.out.wait("three tables with the busy program",
                  lambda lines: sum(" task_spin" in l for l in lines) >= 3)
    expect("status", proc.finish(signal.SIGINT), 0)
    target.finish()


# --- namespaces ----------------------------------------------------------------------------

UNSHARE = ("unshare", "--fork", "--pid", "--mount", "--user", "--map-root-user", "--mount-proc")


def inner(target, comm):
    """The host's pid of the program that a wrapper started."""
    found = [pid for pid, one in descendants(target.pid).items() if one[2] == comm]
    if len(found) != 1:
        raise Failure("the program in its namespace: expected one %s got %s" % (comm, found))
    return found[0]


@case(needs=("bpf", "user-namespaces"))
def target_in_a_container_is_found_by_its_host_pid():
    target = Target("stack_c", 123, 3, wrap=UNSHARE)
    expect("its own idea of its pid", target.own_pid, 1)
    pid = inner(target, "stack_c")
    run = observe(target, "-p", pid)
    expect("processes", [p["pid"] for p in run.report["processes"]], [pid])
    expect_stack_c(run.report, 123)
    target.finish()


@case(needs=("bpf", "user-namespaces"))
def counts_in_a_container_are_exact():
    target = Target("fault_anon", 100, 200, wrap=UNSHARE)
    pid = inner(target, "fault_anon")
    run = observe(target, "-p", pid)
    expect("minor faults", run.report["kernel"]["faults"]["minor"], run.result["minflt"])
    target.finish()


def own_root(name, *unshare, also=()):
    """What runs a program as /inside in a root of its own, on a file system that the host does not see. also:
    libraries that are to be there, too, at their own paths."""
    where = tmp("root")
    os.mkdir(where)
    # all that the program needs: itself, its loader and its libraries, at their own paths
    libraries = subprocess.run(["ldd", prog(name), *also], stdout=subprocess.PIPE, env=ENV,
                               check=True).stdout.decode()
    needed = [word for word in libraries.split() if word.startswith("/") and not word.endswith(":")]
    needed += also
    script = """
        root=$0; program=$1; shift
        mount -t tmpfs none "$root" || exit 90
        cp "$program" "$root/inside" || exit 91
        while [ "$1" != -- ]; do
            mkdir -p "$root$(dirname "$1")" && cp -L "$1" "$root$1" || exit 92
            shift
        done
        shift
        exec chroot "$root" "$@"
    """
    return ("unshare", "--mount", *unshare, "sh", "-c", script, where, prog(name), *needed, "--")


@case(needs=("bpf", "mount"))
def files_are_found_through_the_targets_root():
    target = Target("/inside", 123, 3, wrap=own_root("stack_c"))
    expect("what the host sees of the target's root", os.listdir(tmp("root")), [])
    run = observe(target, "-p", target.pid)
    expect("processes", [p["pid"] for p in run.report["processes"]], [target.pid])
    module = expect_stack_c(run.report, 123)
    expect_true("the module is named as in the target's mounts", module.endswith("/inside"), module)
    target.finish()


@case(needs=("bpf", "user-namespaces"))
def command_that_makes_a_container_is_followed():
    proc = Proc([MEMTRACE, "--json=" + tmp("r.json"), "--", *UNSHARE, prog("fault_heap"), 150])
    expect("status", proc.finish(), 0)
    report = load_report(tmp("r.json"))
    inside = [p for p in report["processes"] if p["comm"] == "fault_heap"]
    expect("processes inside", len(inside), 1)
    expect("break growth", inside[0]["kernel"]["brk"]["grown_bytes"], 150 * PAGE)
