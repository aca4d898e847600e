# SPDX-License-Identifier: MIT
"""How a run ends: by signals, by time, by the target, by SIGKILL; each with a
report where one can be, and with nothing left behind (the runner looks)."""

import json
import os
import signal
import subprocess
import time

from harness import (EMULATED, ENV, MEMTRACE, Failure, Proc, Target, Tracer, case, descendants,
                     expect, expect_at_least, expect_between, expect_match, expect_true, launch,
                     load_report, prog, tmp, wait_until)


def busy(*args, **more):
    target = Target("task_spin", *args, **more)
    target.say()
    return target


def since(begin):
    """Nanoseconds on our clock: what happened since then cannot have lasted longer."""
    return (time.monotonic() - begin) * 1e9


def wait_command(proc):
    """Wait until the launched program is ready."""
    proc.out.wait("the command to be ready",
                  lambda lines: any(l.startswith("ready") for l in lines))


def expect_goes_on(target):
    """The target makes progress and ends as it should."""
    def switches():
        with open("/proc/%d/stat" % target.pid) as f:
            return int(f.read().rsplit(")", 1)[1].split()[7])  # minor faults
    before = switches()
    wait_until("the target to go on", lambda: switches() > before)
    expect("the target's status", target.finish(), 0)


@case
def signals_end_it_with_a_report():
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        target = busy()
        tracer = Tracer("-p", target.pid)
        expect("status after %s" % number.name, tracer.finish(number), 0)
        report = load_report(tracer.json_path)
        expect("processes", [p["pid"] for p in report["processes"]], [target.pid])
        expect_match("a text report", tracer.out.text(), r"fault")
        expect_goes_on(target)


@case
def duration_ends_it():
    target = busy()
    begin = time.monotonic()
    tracer = Tracer("-d", "1", "-p", target.pid)
    expect("status", tracer.finish(), 0)
    report = load_report(tracer.json_path)
    expect_between("duration_ns", report["duration_ns"], 1e9, since(begin))
    expect_at_least("faults in that time", report["kernel"]["faults"]["minor"], 100)
    expect_goes_on(target)


@case
def duration_ends_a_launch_and_not_the_command():
    """After -d the report comes; the command goes on and its status is still memtrace's."""
    begin = time.monotonic()
    proc = Proc([MEMTRACE, "-d", "500ms", "--json=" + tmp("r.json"), "--", prog("task_spin"), "-w",
                 "4"])
    wait_command(proc)
    proc.say()
    wait_until("the report", lambda: os.path.exists(tmp("r.json")))
    report = load_report(tmp("r.json"))
    expect_between("duration_ns", report["duration_ns"], 0.5e9, since(begin))
    expect_true("the command goes on", descendants(proc.pid), proc.seen())
    status = proc.finish()
    expect_true("status", status in (0, 128 + signal.SIGTERM, 128 + signal.SIGHUP),
                (status, proc.seen()))


@case
def targets_end_ends_it():
    target = Target("fault_heap", 50)
    tracer = Tracer("-p", target.pid)
    target.say()
    target.wait_objects()
    expect("the target's status", target.finish(), 0)
    expect("memtrace's status", tracer.finish(), 0)
    process = load_report(tracer.json_path)["processes"][0]
    expect("ended", process["ended"], True)
    expect("exit status", process["exit_status"], 0)
    expect_at_least("kernel_minflt", process["kernel_minflt"], 50)


@case
def targets_death_ends_it():
    target = Target("fault_heap", 50)
    tracer = Tracer("-p", target.pid)
    target.signal(signal.SIGKILL)
    expect("memtrace's status", tracer.finish(), 0)
    process = load_report(tracer.json_path)["processes"][0]
    expect("ended", process["ended"], True)
    expect("exit status", process["exit_status"], 128 + signal.SIGKILL)


@case
def last_of_several_ends_it():
    first, second = Target("fault_heap", 50), Target("fault_heap", 60)
    tracer = Tracer("-p", "%d,%d" % (first.pid, second.pid), targets=2)
    first.say()
    expect("the first's status", first.finish(), 0)
    expect_true("memtrace goes on", tracer.popen.poll() is None)
    second.say()
    second.wait_objects()
    expect("the second's status", second.finish(), 0)
    expect("memtrace's status", tracer.finish(), 0)
    report = load_report(tracer.json_path)
    expect("ended", [p["ended"] for p in report["processes"]], [True, True])


@case
def killed_while_attached():
    """SIGKILL at several moments: the target goes on and (as after every case) nothing is left."""
    target = busy()
    tracer = Tracer("-p", target.pid)
    expect("status", tracer.finish(signal.SIGKILL), 128 + signal.SIGKILL)
    expect_goes_on(target)


@case
def killed_while_starting():
    target = busy()
    # how far it has come shows in what it holds open: 65 and more once it is attached
    for held in (4, 8, 16, 32, 60):
        proc = Proc([MEMTRACE, "-p", target.pid])
        wait_until("memtrace to hold %d descriptors" % held,
                   lambda: len(os.listdir("/proc/%d/fd" % proc.pid)) >= held)
        expect("status", proc.finish(signal.SIGKILL), 128 + signal.SIGKILL)
    expect_goes_on(target)


@case
def killed_with_a_command():
    """A launched command outlives a killed memtrace, or goes with it; it is never stuck."""
    proc = Proc([MEMTRACE, "--", prog("task_spin"), "-w", "4"])
    wait_command(proc)
    proc.say()
    # only the killed one's input ends the command
    expect("status", proc.finish(signal.SIGKILL), 128 + signal.SIGKILL)
    wait_until("the command to end by its input", lambda: not [
        1 for one in descendants(os.getppid()).values() if one[2] == "task_spin" and one[1] != "Z"])


@case
def interrupt_from_the_terminal():
    """Ctrl-C goes to the whole group: the command dies of it, the report still comes."""
    proc = Proc([MEMTRACE, "--json=" + tmp("r.json"), "--", prog("task_spin"), "-w", "4"],
                before=os.setpgrp)
    wait_command(proc)
    proc.say()
    os.killpg(proc.pid, signal.SIGINT)
    expect("status", proc.finish(), 128 + signal.SIGINT)
    report = load_report(tmp("r.json"))
    expect("exit status of the command", report["processes"][0]["exit_status"], 128 + signal.SIGINT)


@case
def terminate_is_passed_to_the_command():
    """SIGTERM to memtrace alone does not leave the command an orphan without a word."""
    proc = Proc([MEMTRACE, "--json=" + tmp("r.json"), "--", prog("task_spin"), "-w", "4"])
    wait_command(proc)
    proc.say()
    status = proc.finish(signal.SIGTERM)
    load_report(tmp("r.json"))
    expect_true("status", status in (0, 128 + signal.SIGTERM), (status, proc.seen()))


@case
def second_signal_is_not_needed():
    """Also where the target does nothing and no record comes."""
    target = Target("fault_heap", 10)
    Tracer("-p", target.pid).report()
    target.finish()


@case
def stopped_target_is_no_hindrance():
    target = busy()
    tracer = Tracer("-p", target.pid)
    target.signal(signal.SIGSTOP)
    tracer.report()
    target.signal(signal.SIGCONT)
    expect_goes_on(target)


@case
def attach_to_a_stopped_target():
    target = busy()
    target.signal(signal.SIGSTOP)
    tracer = Tracer("-p", target.pid)
    target.signal(signal.SIGCONT)
    expect_goes_on(target)
    expect("status", tracer.finish(), 0)
    expect_at_least("faults", load_report(tracer.json_path)["kernel"]["faults"]["minor"], 4)


@case
def pid_that_ends_while_attaching():
    """Whoever wins: a clear message and status 1, or a report and 0. Never a hang or a crash."""
    for _ in range(8):
        child = subprocess.Popen(["sleep", "0.05"], stdin=subprocess.DEVNULL, env=ENV)
        proc = Proc([MEMTRACE, "-p", child.pid])
        child.wait()
        status = proc.finish()
        if status == 0:
            expect_match("a report", proc.out.text(), r"fault")
        elif status == 1:
            expect_match("message", proc.err.text(), r"memtrace: .*%d" % child.pid)
        else:
            raise Failure("status: expected 0 or 1 got %d: %s" % (status, proc.seen()))


@case
def interval_repeats_a_table():
    target = busy()
    proc = Proc([MEMTRACE, "-i", "100ms", "-p", target.pid])
    proc.out.wait("three tables", lambda lines: sum(" task_spin" in l for l in lines) >= 3)
    expect("status", proc.finish(signal.SIGINT), 0)
    expect_goes_on(target)


@case
def quiet_and_verbose():
    run = launch([prog("task_end"), "exit", "0"], opts=("-q",), status=0)
    quiet = run.err
    run = launch([prog("task_end"), "exit", "0"], status=0)
    expect_true("-q says less", len(quiet) < len(run.err), quiet)
    run = launch([prog("task_end"), "exit", "0"], opts=("-v",), status=0)
    expect_true("json is valid with -v", bool(json.dumps(run.report)))


@case
def a_command_uses_the_terminal_streams():
    """The launched command owns the standard streams: bytes pass unchanged."""
    proc = Proc([MEMTRACE, "-q", "--json=" + tmp("r.json"), "--", "sh", "-c",
                 "cat; echo err >&2; exit 3"])
    proc.say("through \x01 it")
    expect("status", proc.finish(), 3)
    expect("standard output", proc.out.text(), "through \x01 it\n")
    expect_true("standard error", "err" in proc.err.text(), proc.err.text())


@case
def nohup_holds():
    """A hangup that was ignored before is ignored; time ends the run."""
    target = busy()
    tracer = Tracer("-p", target.pid, "-d", "1.5", before=lambda: signal.signal(
        signal.SIGHUP, signal.SIG_IGN))
    tracer.popen.send_signal(signal.SIGHUP)
    expect("status", tracer.finish(), 0)
    expect_at_least("duration", load_report(tracer.json_path)["duration_ns"], 1400000000)
    target.popen.kill()


@case
def waiting_for_the_command_costs_nothing():
    """After -d the command goes on: memtrace sleeps until it ends."""
    proc = Proc([MEMTRACE, "-q", "-d", "0.2", "--", "sleep", "2.2"])
    pid = proc.popen.pid

    def ticks():
        with open("/proc/%d/stat" % pid) as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return int(fields[11]) + int(fields[12])
    wait_until("the report", lambda: "Page faults" in proc.err.text())
    before = ticks()
    wait_until("the command to end", lambda: not descendants(pid), patience=10)
    # Who does not sleep takes 200; the end of the report is in it.
    expect_between("processor time, in ticks of 10 ms", ticks() - before, 0, 60 if EMULATED else 20)
    expect("status", proc.finish(), 0)
