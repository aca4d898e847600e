# SPDX-License-Identifier: MIT
"""Processes and threads: each event has the right owner, children are followed
or not as asked, and every way to begin and to end is survived."""

import resource
import signal

from harness import (PAGE, PATIENCE, Target, Tracer, attach, case, expect, expect_at_least,
                     expect_match, expect_true, launch, load_report, observe, prog, set_id_copy,
                     tmp)
from strace import expect_same_calls, strace
from stream import calls, faults, parse


@case
def every_call_has_its_thread():
    target = Target("calls_threads", 5, 200)
    run = observe(target, "-s", "-p", target.pid, results=5)
    lines = parse(run.out)
    for one in run.results:
        own = [l for l in calls(lines, "munmap") if l.args[1] == str(one["length"])]
        expect("munmap(.., %d): threads" % one["length"], {l.tid for l in own}, {one["tid"]})
        expect("munmap(.., %d): calls" % one["length"], len(own), one["times"])
        expect("munmap(.., %d): processes" % one["length"], {l.pid for l in own}, {target.pid})


@case
def threads_that_exist_before_the_attach():
    for threads, limit in ((3, 1024), (60, 24)):
        target = Target("calls_threads", threads, 50, "before")
        # few descriptors are no obstacle: there may be some for each thread
        run = observe(target, "-s", "-p", target.pid, before=lambda limit=limit: soft_limit(
            resource.RLIMIT_NOFILE, limit), results=threads)
        lines = calls(parse(run.out), "munmap")
        for one in run.results:
            own = [l.tid for l in lines if l.args[1] == str(one["length"])]
            expect("munmap(.., %d): threads" % one["length"], own, [one["tid"]] * one["times"])


@case
def faults_of_threads_that_exist_before_the_attach():
    target = Target("calls_threads", 20, 1, "before")
    before = minflt(target.pid)
    tracer = Tracer("-p", target.pid)
    target.say()
    target.wait_objects(20)
    after = minflt(target.pid)
    report = tracer.report()
    expect("faults (by /proc/PID/stat)", report["kernel"]["faults"]["minor"], after - before)
    expect("threads", report["processes"][0]["threads"], 21)


def minflt(pid):
    with open("/proc/%d/stat" % pid) as f:
        return int(f.read().rsplit(")", 1)[1].split()[7])


def soft_limit(what, soft):
    resource.setrlimit(what, (soft, resource.getrlimit(what)[1]))


@case
def commands_keep_their_limits():
    """What memtrace raises for itself is not the command's."""
    run = launch(["sh", "-c", "ulimit -Sn; ulimit -Sl"], status=0, before=lambda: (
        soft_limit(resource.RLIMIT_NOFILE, 64), soft_limit(resource.RLIMIT_MEMLOCK, 65536)))
    expect("soft limits of the command", run.out.split(), ["64", "64"])


@case
def every_fault_has_its_thread():
    target = Target("fault_threads", 4, 250)
    run = observe(target, "-s", "-p", target.pid, results=5)
    lines = faults(parse(run.out))
    for one in run.results[1:]:
        end = one["from"] + one["pages"] * PAGE
        own = [l for l in lines if one["from"] <= l.address < end]
        expect("thread %d: threads that fault in its memory" % one["tid"], {l.tid for l in own},
               {one["tid"]})
        expect("thread %d: faults" % one["tid"], len(own), one["pages"])


@case
def fork_tree_is_followed():
    run = attach("task_fork", 2, 2, results=8)
    for one in run.results[:7]:
        process = run.process(one["pid"])
        expect("process %d: mmap calls" % one["number"], process["kernel"]["mmap"]["calls"],
               one["mmap"])
        if one["number"]:
            expect("process %d: parent" % one["number"], process["ppid"], one["ppid"])
            expect("process %d: ended" % one["number"], process["ended"], True)
        expect("process %d: asked for" % one["number"], process["root"], one["number"] == 0)
    expect("mmap calls in all", run.report["kernel"]["mmap"]["calls"],
           sum(o["mmap"] for o in run.results[:7]))
    expect("forks of the root", run.process(run.pid)["forks"], 2)
    expect("processes", len(run.report["processes"]), 7)


@case
def fork_tree_is_not_followed():
    run = attach("task_fork", 2, 2, opts=("--no-follow",), results=8)
    expect("processes", [p["pid"] for p in run.report["processes"]], [run.pid])
    expect("mmap calls", run.report["kernel"]["mmap"]["calls"], run.results[0]["mmap"])


@case(needs=("bpf", "strace"))
def fork_tree_launched_equals_strace():
    traced = strace([prog("task_fork"), 3, 2])
    run = launch([prog("task_fork"), 3, 2], status=0)
    expect_same_calls("task_fork", run.report["kernel"], traced)
    expect("processes", len(run.report["processes"]), 13)


@case(needs=("bpf", "strace"))
def wide_and_short_lived():
    """Many children that end at once, each counted whole."""
    traced = strace([prog("task_fork"), 150, 1])
    run = launch([prog("task_fork"), 150, 1], status=0)
    expect_same_calls("task_fork", run.report["kernel"], traced)
    children = [one for one in run.results if one.get("number")]
    expect("children", len(children), 150)
    for one in children:
        got = run.process(one["pid"])["kernel"]["mmap"]["calls"]
        expect("process %d: mmap calls" % one["number"], got, one["mmap"])


@case(needs=("bpf", "strace"))
def posix_spawn_is_followed():
    traced = strace([prog("task_spawn"), prog("calls_six")])
    run = launch([prog("task_spawn"), prog("calls_six")], status=0)
    expect_same_calls("task_spawn calls_six", run.report["kernel"], traced)
    spawned = [r for r in run.results if "child" in r][0]
    child = run.process(spawned["child"])
    expect("the child's name", child["comm"], "calls_six")
    expect("the child's file", child["exe"], prog("calls_six"))
    expect("the child's parent", child["ppid"], spawned["pid"])
    own = [r for r in run.results if "brk" in r][0]
    # the image's own calls, and none of those made in it before by the parent's code
    expect("the child's madvise calls", child["kernel"]["madvise"]["calls"],
           own["madvise"]["calls"])
    expect("the parent's madvise calls", run.process(spawned["pid"])["kernel"]["madvise"]["calls"],
           0)


@case
def spawned_child_is_not_followed():
    run = launch([prog("task_spawn"), prog("calls_six")], opts=("--no-follow",), status=0)
    expect("processes", len(run.report["processes"]), 1)
    expect("madvise calls", run.report["kernel"]["madvise"]["calls"], 0)


@case
def thread_and_leader_that_end_early():
    target = Target("task_thread_exit", 25)
    run = observe(target, "-s", "-p", target.pid)
    lines = [l for l in calls(parse(run.out), "mmap")
             if l.args[1] == str(run.result["length"])]
    expect("calls of the last thread", len(lines), 25)
    expect("their thread", {l.tid for l in lines}, {run.result["tid"]})
    expect("their process", {l.pid for l in lines}, {target.pid})
    expect("threads", run.report["processes"][0]["threads"], 3)
    expect("ended", run.report["processes"][0]["ended"], False)
    expect("the target's status", target.finish(), 3)


@case
def leader_that_ends_early_launched():
    run = launch([prog("task_thread_exit"), 25], status=3)
    root = run.root()
    expect("ended", root["ended"], True)
    expect("threads", root["threads"], 3)
    expect_at_least("mmap calls", root["kernel"]["mmap"]["calls"], 25)
    expect_at_least("bytes", root["kernel"]["mmap"]["bytes"], 25 * 7 * PAGE)


@case(needs=("bpf", "strace"))
def exec_from_another_thread():
    traced = strace([prog("task_thread_exec"), prog("calls_six")])
    run = launch([prog("task_thread_exec"), prog("calls_six")], status=0)
    expect_same_calls("task_thread_exec calls_six", run.report["kernel"], traced)
    expect("processes", len(run.report["processes"]), 1)
    expect("name", run.root()["comm"], "calls_six")
    expect("madvise calls", run.root()["kernel"]["madvise"]["calls"],
           run.result["madvise"]["calls"])


@case
def exec_while_attached():
    target = Target("task_thread_exec", prog("fault_heap"), 200)
    tracer = Tracer("-p", target.pid)
    target.say()
    target.wait_objects()
    target.popen.wait(PATIENCE)
    expect("memtrace's status, the target gone", tracer.finish(), 0)
    process = load_report(tracer.json_path)["processes"][0]
    expect("name", process["comm"], "fault_heap")
    expect_at_least("faults in the heap", process["regions"]["heap"]["faults"]["minor"], 200)
    # the first image grew its break for the thread's bookkeeping
    expect_at_least("break growth", process["kernel"]["brk"]["grown_bytes"], 200 * PAGE)


@case
def exit_status_is_the_commands():
    for status in (0, 1, 7, 125, 255):
        run = launch([prog("task_end"), "exit", status], status=status)
        expect("exit_status in the report", run.root()["exit_status"], status)
        expect("ended", run.root()["ended"], True)


@case
def death_by_signal_is_128_and_more():
    for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT):
        run = launch([prog("task_end"), "signal", int(number)], status=128 + number)
        expect("ended", run.root()["ended"], True)
        expect("exit_status in the report", run.root()["exit_status"], 128 + number)


@case
def target_that_closes_everything():
    run = launch([prog("task_end"), "close", 5], status=5)
    expect_at_least("bytes mapped", run.root()["kernel"]["mmap"]["bytes"], 20 * 11 * PAGE)
    expect_match("the text report", run.err, r"mmap")


@case
def daemon_is_followed():
    run = launch([prog("task_daemon"), 30, "inside"], status=4)
    process = run.process(run.result["pid"])
    expect("the daemon's mmap calls", process["kernel"]["mmap"]["calls"], 30)
    expect("processes", len(run.report["processes"]), 3)


@case
def daemon_that_outlives_the_command():
    """As with strace -f: the run ends with the last process, the status is the command's."""
    run = launch([prog("task_daemon"), 30, "outlive"], status=4)
    process = run.process(run.result["pid"])
    expect("the daemon's mmap calls", process["kernel"]["mmap"]["calls"], 30)
    expect("the daemon has ended", process["ended"], True)


@case(needs=("bpf", "set-id"))
def set_id_program_is_exact_or_says_so():
    """The kernel takes the fault events off a task that becomes somebody else."""
    path = set_id_copy(prog("fault_anon"), tmp("somebody"))
    run = launch([prog("rusage"), path], status=0)
    waited = [r for r in run.results if "rusage" in r][0]
    process = run.process(waited["rusage"])
    expect("kernel_minflt", process["kernel_minflt"], waited["minflt"])
    expect_at_least("calls", process["kernel"]["mmap"]["calls"], 5)
    if process["kernel"]["faults"]["minor"] < waited["minflt"] - 8:
        expect_match("the notes", "\n".join(run.report["notes"]), r"set-id")
        expect_match("the figures", run.err, r"a set-id program\s+may\s+have\s+hidden\s+its\s+own")


@case
def attached_to_several():
    first, second = Target("fault_heap", 50), Target("fault_heap", 70)
    tracer = Tracer("-p", "%d,%d" % (first.pid, second.pid), targets=2)
    results = []
    for target in (first, second):
        target.say()
        results.append(target.wait_objects()[0])
    report = tracer.report()
    expect("processes", sorted(p["pid"] for p in report["processes"]),
           sorted((first.pid, second.pid)))
    for target, result in ((first, results[0]), (second, results[1])):
        process = [p for p in report["processes"] if p["pid"] == target.pid][0]
        expect("faults of %d" % target.pid, process["kernel"]["faults"]["minor"], result["minflt"])
        expect("heap of %d" % target.pid, process["kernel"]["brk"]["grown_bytes"],
               result["pages"] * PAGE)


@case
def nobody_else_is_traced():
    """While one process is traced another one makes the same calls."""
    traced, other = Target("fault_heap", 50), Target("fault_heap", 500)
    tracer = Tracer("-p", traced.pid)
    other.say()
    other.wait_objects()
    traced.say()
    result = traced.wait_objects()[0]
    report = tracer.report()
    expect("processes", [p["pid"] for p in report["processes"]], [traced.pid])
    expect("faults", report["kernel"]["faults"]["minor"], result["minflt"])
    expect("faults seen", report["events"]["by_kind"]["fault"]["seen"], result["minflt"])


@case
def two_tracers_at_once():
    target = Target("fault_heap", 80)
    first, second = Tracer("-p", target.pid), Tracer("-p", target.pid)
    target.say()
    result = target.wait_objects()[0]
    for tracer in (first, second):
        report = tracer.report()
        expect("faults", report["kernel"]["faults"]["minor"], result["minflt"])
    expect_true("the target goes on", target.popen.poll() is None)


@case
def a_process_may_take_another_name():
    """Its first thread's name is its own; events before keep the old one."""
    target = Target("task_rename", "second name")
    run = observe(target, "-s", "-p", target.pid)
    named = [(int(l.args[1]) // PAGE, l.comm) for l in calls(parse(run.out), "munmap")]
    expect("names at the calls of 1, 2 and 3 pages", [n for n in named if n[0] <= 3],
           [(1, "task_rename"), (2, "second name"), (3, "second name")])
    expect("name in the report", run.report["processes"][0]["comm"], "second name")


def names_of(site):
    return [f["symbol"] for f in site["stack"]]


@case(needs=("bpf", "userfaultfd"))
def threads_inside_the_kernel_at_the_attach():
    """A call that had begun is not counted, a fault that had begun is, once it is served; and what
    the kernel touches on behalf of a call that had begun is not taken for an execve."""
    run = attach("task_in_call", 4, 8)
    process = run.process(run.pid)
    f = process["kernel"]["faults"]
    expect("madvise calls", process["kernel"]["madvise"]["calls"], run.result["again"])
    expect("minor faults", f["minor"], run.result["minflt"])
    expect("major faults", f["major"], run.result["majflt"])
    expect("faults whose beginning was not seen", f["access_unknown"], 1)
    expect_at_least("faults of the read", f["kernel"], 8)
    expect_no_execve(run.report)


@case
def a_childs_first_fault_is_no_execve():
    """The kernel writes a child's tid for it, before the child's first system call."""
    expect_no_execve(attach("fault_cow", 10, 10, 10).report)


def expect_no_execve(report):
    expect("places in an execve", [names_of(s) for s in report["sites"]
                                   if any("execve" in (n or "") for n in names_of(s))], [])
    expect("faults in no known mapping", report["regions"]["unknown"]["faults"],
           {"minor": 0, "major": 0})
