# SPDX-License-Identifier: MIT
"""Bad input and bad places: what is wrong is said, the exit status tells which
kind it was, and nothing that existed before is harmed."""

import json
import os
import re
import shutil
import signal
import subprocess

from harness import (ENV, MEMTRACE, PAGE, Proc, Target, Tracer, case, check_space, expect,
                     expect_match, expect_true, launch, load_report, memory_limit, memtrace, parents,
                     process_of, prog, removed, tmp, wait_until)


def expect_error(status, pattern, *args, **more):
    """memtrace ARGS fails with a status, and says why in a few lines."""
    run = memtrace(*args, **more)
    what = "memtrace %s" % " ".join(map(str, args))
    expect("%s: status (%s)" % (what, run.err.strip()), run.status, status)
    expect_match("%s: message" % what, run.err, pattern)
    expect_true("%s: the message is memtrace's" % what, run.err.startswith("memtrace: "), run.err)
    expect_true("%s: the message is short" % what, len(run.err.splitlines()) <= 6, run.err)
    expect("%s: standard output" % what, run.out, "")
    return run


# --- usage ---------------------------------------------------------------------------------

@case(needs=())
def unknown_options():
    expect_error(2, r"--nonsense: unknown option", "--nonsense", "-p", 1)
    expect_error(2, r"-Z: unknown option", "-Z", "-p", 1)
    expect_error(125, r"--nonsense: unknown option", "--nonsense", "--", "true")
    expect_error(125, r"-Z: unknown option", "-Z", "true")


@case(needs=())
def nothing_to_do():
    run = memtrace()
    expect("status", run.status, 2)
    expect_match("message", run.err, r"memtrace --help")


@case(needs=())
def malformed_values():
    for bad in ("", "x", "12x", "1,,2", "-4", "0", "99999999999999999999"):
        expect_error(2, r"pid", "--pid=" + bad)
    for bad in ("0", "x", "-1", "5parsecs", "1e400", "nan"):
        expect_error(2, r"duration", "-p", 1, "-d", bad)
    for bad in ("0", "1", "x", "-4K", "4Q", "99999999999G"):
        expect_error(2, r"buffer", "-p", 1, "--buffer=" + bad)
    for bad in ("0", "x", "-3"):
        expect_error(2, r"top", "-p", 1, "-n", bad)
        expect_error(2, r"json-sites", "-p", 1, "--json", "--json-sites", bad)
    expect_error(2, r"--json-sites without --json", "-p", 1, "--json-sites", 5)
    expect_error(2, r"interval", "-a", "-i", "0")
    expect_error(125, r"buffer", "--buffer=4Q", "--", "true")


@case(needs=())
def missing_values():
    expect_error(2, r"needs a value", "-p")
    expect_error(2, r"needs a value", "-a", "--duration")


@case(needs=())
def contradictions():
    for args in (("-a", "-p", 1), ("-p", 1, "--", "true"), ("-a", "--", "true"),
                 ("-p", 1, "--comm", "x")):
        run = memtrace(*args)
        expect_true("%s: status" % (args,), run.status in (2, 125), run.status)
        expect_match("%s: message" % (args,), run.err, r"^memtrace: ")


@case(needs=())
def later_work_is_refused_not_ignored():
    expect_error(2, r"not built", "-o", tmp("recording"), "-p", 1)
    expect_true("no file is made", not os.path.exists(tmp("recording")))


@case(needs=())
def help_and_version():
    run = memtrace("--help")
    expect("--help: status", run.status, 0)
    for word in ("-p", "-a", "--json", "--no-follow", "doctor", "--duration"):
        expect_true("--help has %s" % word, word in run.out, run.out)
    run = memtrace("--version")
    expect("--version: status", run.status, 0)
    expect_match("--version", run.out, r"^memtrace \d+\.\d+")


@case(needs=("full-device",))
def help_to_a_full_device_fails():
    with open("/dev/full", "w") as full:
        run = memtrace("--help", stdout=full)
    expect("status", run.status, 1)
    expect_match("message", run.err, r"No space left|ENOSPC")


# --- commands ------------------------------------------------------------------------------

@case
def command_not_found_is_127():
    expect_error(127, r"no-such-command", "--", "no-such-command")
    expect_error(127, r"/no/such/command", "--", "/no/such/command")


@case
def command_not_executable_is_126():
    path = tmp("plain")
    with open(path, "w") as f:
        f.write("not a program\n")
    expect_error(126, r"plain", "--", path)
    expect_error(126, r"Is a directory|not permitted|denied|EACCES", "--", tmp())
    os.chmod(path, 0o755)
    # execvp hands a file without a magic number to the shell, as env does
    run = memtrace("--", path)
    expect_true("a file without a magic number: status", run.status in (126, 127), run.status)


@case
def failed_command_leaves_no_report():
    path = tmp("report.json")
    run = memtrace("--json=" + path, "--", "no-such-command")
    expect("status", run.status, 127)
    expect_true("no report is written", not os.path.exists(path))


# --- processes -----------------------------------------------------------------------------

def free_pid():
    """A number that no process has: of one that has just ended and been waited for."""
    child = subprocess.Popen(["true"], stdin=subprocess.DEVNULL)
    child.wait()
    return child.pid


@case
def no_such_process():
    pid = free_pid()
    expect_error(1, r"%d.*(no such|not exist|ESRCH)" % pid, "-p", pid)


@case
def one_of_several_is_missing():
    target = Target("fault_heap")
    pid = free_pid()
    expect_error(1, r"%d" % pid, "-p", "%d,%d" % (target.pid, pid))
    target.say()
    target.wait_objects()
    expect("the other's status", target.finish(), 0)


@case
def kernel_thread():
    if parents().get(2, (0, "", ""))[2] != "kthreadd":
        return no_such_process()  # in a pid namespace there is no kernel thread to be had
    expect_error(1, r"kernel thread", "-p", 2)


@case
def zombie():
    child = subprocess.Popen([prog("task_end"), "exit", "0"], stdin=subprocess.DEVNULL, env=ENV)
    wait_until("a zombie", lambda: parents().get(child.pid, (0, "", ""))[1] == "Z")
    expect_error(1, r"%d.*(zombie|ended)" % child.pid, "-p", child.pid)
    child.wait()


@case
def process_whose_first_thread_has_ended():
    """It looks like a zombie, but others of its threads go on."""
    target = Target("task_thread_exit")
    target.say()
    target.wait_objects()
    wait_until("its first thread to be gone", lambda: parents()[target.pid][1] == "Z")
    expect_error(1, r"%d.*first thread has ended and others go on" % target.pid, "-p", target.pid)
    expect("the target's status", target.finish(), 3)


@case
def memtrace_itself():
    # exec keeps the pid: memtrace is asked to trace the process it is
    proc = Proc(["sh", "-c", 'exec "$0" -p $$', MEMTRACE])
    expect("status", proc.finish(), 1)
    expect_match("message", proc.err.text(), r"memtrace: .*itself")


@case
def thread_number_is_not_a_process():
    """It is taken for its process, or refused with the process's number."""
    target = Target("task_thread_exit")
    target.say()
    result = target.wait_objects()[0]
    run = memtrace("-d", "10ms", "-p", result["tid"])
    expect_true("status", run.status in (0, 1), run.status)
    expect_match("the process is named", run.out if run.status == 0 else run.err,
                 r"\b%d\b" % target.pid)
    expect("the target's status", target.finish(), 3)


# --- rights --------------------------------------------------------------------------------

def public_copy():
    """memtrace where everybody can run it."""
    path = tmp("memtrace")
    shutil.copy(MEMTRACE, path)
    os.chmod(path, 0o755)
    return path


NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all")


@case(needs=("root", "setpriv"))
def without_privilege_the_capability_is_named():
    binary = public_copy()
    for args, statuses in ((("-p", str(os.getpid())), (1, 3)), (("-a", "-d", "1"), (1, 3))):
        run = Proc([*NOBODY, binary, *args])
        status = run.finish()
        expect_true("%s: status 1 or 3" % (args,), status in statuses, (status, run.err.text()))
        expect_match("%s: message" % (args,), run.err.text(),
                     r"CAP_(BPF|PERFMON|SYS_ADMIN|SYS_PTRACE)|root")
        expect("%s: standard output" % (args,), run.out.text(), "")


ENOUGH = "+bpf,+perfmon,+sys_ptrace"


def perf_event_paranoid():
    with open("/proc/sys/kernel/perf_event_paranoid") as f:
        return int(f.read())


@case(needs=("bpf", "ambient-capabilities"))
def three_capabilities_are_enough():
    """What the README has setcap give it is all that it needs, also for another user's process;
    above level 2 a kernel may want more, which is said."""
    user = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
            "--inh-caps=" + ENOUGH, "--ambient-caps=" + ENOUGH)
    target = Target("fault_heap", 70)
    out = tmp("out")
    os.mkdir(out)
    os.chmod(out, 0o777)
    proc = Proc([*user, public_copy(), "--json=" + out + "/report.json", "-p", target.pid])
    proc.err.wait("memtrace to be tracing or to refuse", lambda lines: any(
        line.startswith("memtrace: ") for line in lines))
    if perf_event_paranoid() > 2 and "memtrace: tracing" not in proc.err.text():
        got = proc.finish()
        expect_true("status", got == 1, proc.err.text())
        expect_match("message", proc.err.text(), r"sysctl kernel\.perf_event_paranoid=2")
        return
    proc.wait_ready()
    target.say()
    result = target.wait_objects()[0]
    expect("status", proc.finish(signal.SIGINT), 0)
    report = load_report(out + "/report.json")
    expect("minor faults", report["kernel"]["faults"]["minor"], result["minflt"])
    expect("break growth", report["kernel"]["brk"]["grown_bytes"], 70 * PAGE)
    check_space(process_of(report, target.pid), lossy=False)
    expect("the target's status", target.finish(), 0)


@case(needs=("root", "setpriv"))
def without_privilege_a_command_is_said_to_be_untraced():
    """Either it runs untraced and one line says so, or 125 and why."""
    run = Proc([*NOBODY, public_copy(), "--", "sh", "-c", "exit 6"])
    status = run.finish()
    expect_true("status", status in (6, 125), (status, run.err.text()))
    expect_match("message", run.err.text(), r"CAP_(BPF|PERFMON|SYS_ADMIN)|root")


@case(needs=("root", "setpriv"))
def root_that_is_limited_is_not_told_to_be_root():
    run = Proc(["setpriv", "--bounding-set=-bpf,-sys_admin", MEMTRACE, "-a", "-d", "1"])
    expect("status", run.finish(), 3)
    expect_match("message", run.err.text(), r"missing CAP_BPF; root is limited here: .*container")


@case(needs=("root", "setpriv", "user-namespaces"))
def root_of_a_user_namespace_is_told_whose_the_process_is():
    """CAP_SYS_PTRACE is there, but of the namespace."""
    run = Proc([*NOBODY, "unshare", "--user", "--map-root-user", public_copy(), "-p", os.getpid()])
    expect("status", run.finish(), 1)
    expect_match("message", run.err.text(), r"not permitted.*has CAP_SYS_PTRACE.*user namespace")


@case(needs=("bpf", "memory-limit"))
def too_little_memory_is_said():
    at, limit = memory_limit()
    group = os.path.join(at, "memtrace-test-%d" % os.getpid())
    os.mkdir(group)

    def enter():
        for name, value in ((limit, 64 << 20), ("cgroup.procs", 0)):
            with open(os.path.join(group, name), "w") as f:
                f.write(str(value))

    try:
        run = Proc([MEMTRACE, "--buffer=1GiB", "--", prog("task_end"), "exit", "0"], before=enter)
        expect("status", run.finish(), 125)
    finally:
        wait_until("the group to be empty", lambda: removed(group))
    expect_match("message", run.err.text(), r"not enough memory.*cgroup.*--buffer")


@case(needs=("root", "setpriv"))
def doctor_without_privilege_is_3():
    run = Proc([*NOBODY, public_copy(), "doctor"])
    expect("status", run.finish(), 3)
    expect_match("what is missing", run.out.text(), r"CAP_|root")


@case
def doctor_is_0_where_tracing_works():
    run = memtrace("doctor")
    expect("status", run.status, 0)
    for word in ("BTF", "ring buffer", "tracepoint", "perf", "tracefs"):
        expect_match("doctor", run.out, word)


@case
def doctor_loads_the_programs_of_each_plane():
    checks = {c["id"]: c["status"] for c in json.loads(memtrace("doctor", "--json").out)["checks"]}
    for own in ("programs", "heap_programs", "machine_programs", "machine_heap"):
        expect(own, checks[own], "ok")


@case
def doctor_tells_how_stacks_are_read():
    checks = {c["id"]: c for c in json.loads(memtrace("doctor", "--json").out)["checks"]}
    direct = checks["direct_reads"]
    if direct["status"] == "ok":
        expect("follows", (direct["follows"], direct["mend"]), (None, None))
    else:
        expect("status", direct["status"], "no")
        expect_match("follows", direct["follows"], r"Stacks are read by copies.*Nothing else")
    # And that is what a run does.
    expect("read by copies", "stacks are read by the kernel's mapping" not in launch(
        ["true"], opts=("-v",), status=0).err, direct["status"] == "no")


@case
def run_as_another_user():
    run = launch(["sh", "-c", "id -u; id -g; id -G"], opts=("-u", "nobody"), status=0)
    expect("ids of the command", run.out.split(), ["65534", "65534", "65534"])
    expect_error(125, r"no-such-user", "-u", "no-such-user", "--", "true")


# --- outputs -------------------------------------------------------------------------------

@case
def json_to_a_place_that_cannot_be_written():
    """It is said before the work is done, not after."""
    for path in (tmp("no/such/directory/report.json"), tmp()):
        target = Target("fault_heap")
        expect_error(1, r"directory", "--json=" + path, "-p", target.pid)
        target.say()
        target.finish()
    expect_error(125, r"no/such", "--json=" + tmp("no/such/report.json"), "--", "touch", tmp("ran"))


@case(needs=("bpf", "mount"))
def json_to_a_full_disk_keeps_the_old_file():
    where = tmp("full")
    os.mkdir(where)
    script = """
        mount -t tmpfs -o size=64k none "$1" || exit 90
        printf '{"old":1}' > "$1/report.json"
        head -c 1000000 /dev/zero > "$1/filler" 2>/dev/null
        "$0" -q --json="$1/report.json" -- "$2" 200 1
        echo "status $?"
        echo "content $(cat "$1/report.json")"
        echo "files $(ls -A "$1" | tr '\\n' ' ')"
    """
    proc = Proc(["unshare", "--mount", "sh", "-c", script, MEMTRACE, where, prog("task_fork")])
    expect("status of the script", proc.finish(), 0)
    out = proc.out.text()
    expect_match("exit status", out, r"^status 125$")
    expect_match("the old file", out, r'^content \{"old":1\}$')
    expect_match("no temporary file", out, r"^files filler report\.json $")
    expect_match("message", proc.err.text(), r"report\.json.*(No space|ENOSPC)")


@case
def json_replaces_an_old_file_whole():
    path = tmp("report.json")
    with open(path, "w") as f:
        f.write("x" * 1000000)
    run = memtrace("--json=" + path, "--", prog("task_end"), "exit", "0")
    expect("status", run.status, 0)
    load_report(path)
    expect("files", sorted(os.listdir(tmp())), ["report.json"])


@case
def json_through_a_link_and_to_a_device():
    os.symlink("real.json", tmp("link.json"))
    run = memtrace("--json=" + tmp("link.json"), "--", prog("task_end"), "exit", "0")
    expect("status", run.status, 0)
    load_report(tmp("link.json"))
    run = memtrace("--json=/dev/null", "--", prog("task_end"), "exit", "0")
    expect("status, /dev/null", run.status, 0)
    expect_true("/dev/null is still a device", not os.path.isfile("/dev/null"))


@case
def json_to_a_pipe_that_nobody_reads():
    """It has been asked for by name, so that it is missing is said."""
    pipe = tmp("pipe")
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    target = Target("fault_heap")
    tracer = Tracer("--json=" + pipe, "-p", target.pid)
    os.close(reader)
    expect("status", tracer.finish(signal.SIGINT), 1)
    expect_match("message", tracer.err.text(), r"pipe: cannot write it: Broken pipe")


@case
def json_to_standard_output_is_only_json():
    import json
    target = Target("fault_heap")
    proc = Proc([MEMTRACE, "--json", "-p", target.pid])
    proc.wait_ready()
    target.say()
    target.wait_objects()
    expect("status", proc.finish(signal.SIGINT), 0)
    report = json.loads(proc.out.text())
    expect("schema", report["schema"], "memtrace.report/1")


@case(needs=("bpf", "full-device"))
def report_to_a_full_device_fails():
    target = Target("fault_heap")
    with open("/dev/full", "w") as full:
        proc = Tracer("-p", target.pid, stdout=full)
    target.say()
    target.wait_objects()
    expect("status", proc.finish(signal.SIGINT), 1)
    expect_match("message", proc.err.text(), r"No space left|ENOSPC")


@case
def closed_standard_output():
    target = Target("fault_heap")
    proc = Proc(["sh", "-c", 'exec "$0" -p "$1" >&-', MEMTRACE, target.pid])
    proc.err.wait("memtrace to be tracing or to refuse", lambda lines: any(
        line.startswith("memtrace: ") for line in lines))
    target.say()
    target.wait_objects()
    if proc.popen.poll() is None:
        proc.signal(signal.SIGINT)
    expect("status", proc.finish(), 1)
    expect_match("message", proc.err.text(), r"standard output|stdout|EBADF|Bad file")
    # and no file of ours took the place of descriptor 1: the target is unharmed
    expect("the target's status", target.finish(), 0)


@case
def closed_descriptors_of_a_launch():
    """The command gets the descriptors that memtrace was given, closed ones too."""
    script = 'exec "$0" -q --json="$1" -- sh -c "ls -l /proc/self/fd > $2" <&- >&- 2>&-'
    proc = Proc(["sh", "-c", script, MEMTRACE, tmp("report.json"), tmp("fds")])
    proc.finish()
    with open(tmp("fds")) as f:
        listed = f.read()
    expect_true("no BPF object leaks into the command",
                "bpf" not in listed and "anon_inode" not in listed,
                listed)


def signal_set(status, name):
    """A signal set of /proc/PID/status, without 32 and 33: libc's own, which its posix_spawn()
    sets to be ignored, so that they tell how a process was started and nothing else."""
    found = re.search(r"^%s:\t([0-9a-f]+)$" % name, status, re.M)
    return int(found.group(1), 16) & ~(3 << 31)


@case
def command_inherits_nothing():
    run = launch(["sh", "-c", "ls -l /proc/self/fd; cat /proc/self/status"], status=0)
    expect_true("no object of ours leaks into the command", "anon_inode" not in run.out
                and "bpf" not in run.out and "report" not in run.out, run.out)
    plain = subprocess.run(["cat", "/proc/self/status"], stdout=subprocess.PIPE,
                           env=ENV).stdout.decode()
    for name in ("SigBlk", "SigIgn"):
        expect("%s as without memtrace" % name, signal_set(run.out, name), signal_set(plain, name))
