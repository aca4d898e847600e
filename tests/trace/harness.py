# SPDX-License-Identifier: MIT
"""What the end-to-end cases are made of.

A case is a function decorated with @case. It fails by raising (expect() and
friends do), is skipped by a capability that is probed and missing, and passes
otherwise. Each runs in a process of its own with a hard time limit; what it
leaves behind (processes, BPF objects, mounts) fails it.

Vocabulary: a Proc is a program with pipes on all three ends, read line by
line; a Target is one of tests/progs that has said "ready"; a Tracer is a
memtrace that has said that its probes are in place; a Run is what came of it.
"""

import functools
import glob
import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
MEMTRACE = os.path.abspath(os.environ.get("MEMTRACE", os.path.join(ROOT, "build", "memtrace")))
PROGS = os.path.abspath(os.environ.get("PROGS", os.path.join(ROOT, "build", "progs")))
SOURCES = os.path.join(ROOT, "tests", "progs")
PAGE = 4096
CALLS = ("brk", "mmap", "munmap", "mremap", "madvise", "mprotect")
# An emulated machine (make check-vm) takes 10 to 35 times as long.
EMULATED = bool(os.environ.get("IN_VM"))  # a machine that may leave a program without a processor for 100 ms
SLOWER = 10 if EMULATED else 1
# How long one awaited thing may take; the case's own limit is the hard one.
PATIENCE = 30 * SLOWER
ENV = {
    "PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin") + ":/usr/sbin:/sbin",
    "HOME": os.environ.get("HOME", "/"),
    "LC_ALL": "C",
    "PYTHONHASHSEED": "0",
}


class Failure(Exception):
    """What was expected did not come about."""


class Skip(Exception):
    """This machine cannot run the case; the reason names the capability."""


# --- declaring -----------------------------------------------------------------------------

CASES = []


def case(function=None, *, needs=("bpf",), timeout=60, alone=False):
    """Declare a case: the capabilities it needs, its time limit in seconds. Alone: no other case may run
    beside it, because it looks at the whole machine, is about time, or fills what memtrace has to empty
    in time."""
    if function is None:
        return functools.partial(case, needs=needs, timeout=timeout, alone=alone)
    group = function.__module__.replace("cases_", "")
    function.case_name = "%s.%s" % (group, function.__name__)
    function.needs = needs
    function.timeout = timeout * SLOWER
    function.alone = alone
    CASES.append(function)
    return function


def expect(what, got, want):
    if got != want:
        raise Failure("%s: expected %s got %s" % (what, short(want), short(got)))


def expect_at_least(what, got, least):
    if got is None or got < least:
        raise Failure("%s: expected at least %s got %s" % (what, least, got))


def expect_between(what, got, least, most):
    if got is None or not least <= got <= most:
        raise Failure("%s: expected %s..%s got %s" % (what, least, most, got))


def expect_true(what, holds, seen=""):
    if not holds:
        raise Failure("%s: expected it to hold got %s" % (what, short(seen)))


def expect_match(what, text, pattern):
    if not re.search(pattern, text, re.I | re.M):
        raise Failure("%s: expected /%s/ got %s" % (what, pattern, short(text)))


def short(value):
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) < 600 else text[:400] + " ... " + text[-180:]


# --- capabilities --------------------------------------------------------------------------

def _quiet(argv, **more):
    try:
        return subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=2 * PATIENCE, **more)
    except (OSError, subprocess.TimeoutExpired):
        return None


def _succeeds(*argv):
    done = _quiet(argv)
    return done is not None and done.returncode == 0


def _has_bpf():
    return os.geteuid() == 0 and _succeeds(MEMTRACE, "doctor")


def _has_huge_pages():
    try:
        with open("/sys/kernel/mm/transparent_hugepage/enabled") as f:
            return "[never]" not in f.read()
    except OSError:
        return False


def _has_majors():
    """Whether a page read cold from a file here is a major fault."""
    done = _quiet([prog("fault_file"), os.path.join(tmp(), "probe"), "16", "cold"])
    return done is not None and done.returncode == 0 and json.loads(done.stdout)["majflt"] > 0


def _has_swap():
    with open("/proc/swaps") as f:
        return len(f.readlines()) > 1


def cgroup_root():
    for line in open("/proc/self/mounts"):
        _, at, kind = line.split()[:3]
        if kind == "cgroup2":
            return at
    return None


def memory_limit():
    """Where cgroups can limit memory, and the file of one that says to how much; or None."""
    for line in open("/proc/self/mounts"):
        _, at, kind, options = line.split()[:4]
        if kind == "cgroup" and "memory" in options.split(","):
            return at, "memory.limit_in_bytes"
        control = os.path.join(at, "cgroup.subtree_control")
        if kind == "cgroup2" and "memory" in open(control).read().split():
            return at, "memory.max"
    return None


def _has_cgroup():
    root = cgroup_root()
    if root is None:
        return False
    probe = os.path.join(root, "memtrace-test-probe-%d" % os.getpid())
    try:
        os.mkdir(probe)
        os.rmdir(probe)
    except OSError:
        return False
    return True


def set_id_copy(path, to):
    """A copy of a program that runs as nobody, whoever starts it."""
    shutil.copy(path, to)
    os.chown(to, 65534, 65534)
    os.chmod(to, 0o4755)
    return to


def _has_set_id():
    """Whether set-id programs work where the cases put them (not on a nosuid file system)."""
    try:
        done = _quiet([set_id_copy(shutil.which("id"), tmp("probe-id")), "-u"])
    except OSError:
        return False
    return done is not None and done.stdout.strip() == b"65534"


def _has_perf_trace():
    import perf
    return _succeeds(*perf.in_tracefs(perf.perf_argv("/dev/null", ["true"])))


CAPABILITIES = {
    "root": lambda: os.geteuid() == 0,
    "bpf": _has_bpf,
    "strace": lambda: _succeeds("strace", "-o", "/dev/null", "true"),
    "setarch": lambda: _succeeds("setarch", "-R", "true"),
    "make": lambda: _succeeds("make", "--version"),
    "python3": lambda: shutil.which("python3") is not None,
    "gcc": lambda: shutil.which("gcc") is not None,
    "sqlite3": lambda: shutil.which("sqlite3") is not None,
    "perf-trace": _has_perf_trace,
    "bpftool": lambda: _succeeds("bpftool", "-j", "prog", "list"),
    "m32": lambda: _succeeds(os.path.join(PROGS, "calls_six_m32")),
    "c++": lambda: os.path.exists(os.path.join(PROGS, "stack_cpp")),
    "rust": lambda: os.path.exists(os.path.join(PROGS, "stack_rust")),
    "huge-pages": _has_huge_pages,
    "major-faults": _has_majors,
    "cgroup2": _has_cgroup,
    "swap": _has_swap,
    "no-swap": lambda: not _has_swap(),
    "user-namespaces": lambda: _succeeds("unshare", "--fork", "--pid", "--mount", "--user",
                                         "--map-root-user", "--mount-proc", "true"),
    "mount": lambda: _succeeds("unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"),
    "overlay": lambda: _succeeds("unshare", "--mount", "mount", "-t", "overlay", "-o",
                                 "ro,lowerdir=/usr:/etc", "none", "/mnt"),
    "setpriv": lambda: _succeeds("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
                                 "true"),
    "ambient-capabilities": lambda: _succeeds(
        "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
        "--inh-caps=+bpf,+perfmon,+sys_ptrace", "--ambient-caps=+bpf,+perfmon,+sys_ptrace", "true"),
    "memory-limit": memory_limit,
    "set-id": _has_set_id,
    "userfaultfd": lambda: _succeeds(prog("task_in_call")),
    "full-device": lambda: os.path.exists("/dev/full"),
}


def removed(directory):
    """Whether a directory could be removed: a cgroup once nobody is in it."""
    try:
        os.rmdir(directory)
    except OSError:
        return False
    return True


@functools.cache
def has(capability):
    """Probed once a process: a machine does not change while it is tested. What is missing is looked for
    twice, since what waits for it would be skipped."""
    return bool(CAPABILITIES[capability]() or CAPABILITIES[capability]())


def require(capability):
    if not has(capability):
        raise Skip("%s missing" % capability)


# --- places --------------------------------------------------------------------------------

_tmp = None


def set_tmp(path):
    global _tmp
    _tmp = path


def tmp(name=None):
    """The case's own directory, or a path in it."""
    return _tmp if name is None else os.path.join(_tmp, name)


_count = 0


def numbered(pattern):
    """A path in the case's directory that no other call returns."""
    global _count
    _count += 1
    return tmp(pattern % _count)


def prog(name):
    path = os.path.join(PROGS, name)
    if not os.path.exists(path):
        raise Failure("program %s: expected it to be built got nothing" % path)
    return path


def source_line(name, marker):
    """The number of the line in tests/progs/NAME that is marked LINE: marker."""
    with open(os.path.join(SOURCES, name)) as f:
        for number, line in enumerate(f, 1):
            if re.search(r"LINE: %s\b" % re.escape(marker), line):
                return number
    raise Failure("%s: no line marked %s" % (name, marker))


# --- programs ------------------------------------------------------------------------------

class Lines:
    """The lines of a pipe as they come, gathered by a thread."""

    def __init__(self, pipe):
        self.pipe = pipe
        self.lines = []
        self.ended = False
        self.changed = threading.Condition()
        self.thread = threading.Thread(target=self._gather, daemon=True)
        self.thread.start()

    def _gather(self):
        for line in self.pipe:
            with self.changed:
                self.lines.append(line.decode(errors="replace").rstrip("\n"))
                self.changed.notify_all()
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def text(self):
        with self.changed:
            return "".join(line + "\n" for line in self.lines)

    def wait(self, what, enough):
        """Wait until enough(lines) is neither None nor False, and return that."""
        until = time.monotonic() + PATIENCE
        with self.changed:
            while True:
                got = enough(self.lines)
                if got is not None and got is not False:
                    return got
                left = until - time.monotonic()
                if self.ended or left <= 0:
                    raise Failure("%s: expected it got %s %s" % (
                        what, short("\n".join(self.lines)),
                        "and the end" if self.ended else "in %d s" % PATIENCE))
                self.changed.wait(left)


class Proc:
    def __init__(self, argv, *, env=None, cwd=None, stdout=None, stderr=None, before=None):
        self.argv = [str(a) for a in argv]
        self.popen = subprocess.Popen(
            self.argv, env=dict(ENV, **(env or {})), cwd=cwd, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if stdout is None else stdout,
            stderr=subprocess.PIPE if stderr is None else stderr, preexec_fn=before)
        self.pid = self.popen.pid
        self.out = Lines(self.popen.stdout) if stdout is None else None
        self.err = Lines(self.popen.stderr) if stderr is None else None

    def say(self, line="go"):
        try:
            self.popen.stdin.write(line.encode() + b"\n")
            self.popen.stdin.flush()
        except BrokenPipeError:
            raise Failure("%s: ended too early: %s" % (self.argv, self.seen()))

    def seen(self):
        return short("".join(s.text() for s in (self.out, self.err) if s))

    def signal(self, number):
        self.popen.send_signal(number)

    def close_stdin(self):
        try:
            self.popen.stdin.close()
        except BrokenPipeError:
            pass

    def finish(self, number=None):
        """Signal it if asked to, wait for its end; the status as a shell has it."""
        if number is not None:
            self.signal(number)
        self.close_stdin()
        try:
            status = self.popen.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise Failure("%s: expected it to end got a hang after %d s: %s" % (
                " ".join(self.argv), PATIENCE, self.seen()))
        for stream in (self.out, self.err):
            if stream:
                stream.thread.join(5)
        return status if status >= 0 else 128 - status

    def objects(self):
        """The JSON objects among its lines of output."""
        return [json.loads(line) for line in self.out.text().splitlines() if line.startswith("{")]

    def wait_objects(self, count=1):
        def enough(lines):
            got = [json.loads(line) for line in lines if line.startswith("{")]
            return got[:count] if len(got) >= count else None
        return self.out.wait("%d results of %s" % (count, self.argv[0]), enough)


    def wait_ready(self, targets=1):
        """Wait until memtrace has said that it traces, for each of its targets."""
        self.err.wait("memtrace to be tracing", lambda lines: sum(
            line.startswith("memtrace: tracing") for line in lines) >= targets)


class Target(Proc):
    """One of our programs, started with -w and waiting before its phase."""

    def __init__(self, name, *args, wrap=(), **more):
        path = name if "/" in name else prog(name)
        super().__init__([*wrap, path, "-w", *args], **more)
        ready = self.out.wait("%s to be ready" % name, lambda lines: next(
            (line for line in lines if line.startswith("ready ")), None))
        # Its own idea of its pid, which in a pid namespace is not ours.
        self.own_pid = int(ready.split()[1])


class Tracer(Proc):
    """memtrace, with its probes in place."""

    def __init__(self, *args, targets=1, **more):
        self.json_path = numbered("report-%d.json")
        super().__init__([MEMTRACE, "--json=" + self.json_path, *args], **more)
        self.wait_ready(targets)

    def report(self, lossy=False):
        """End it, and what it reports."""
        expect("memtrace's status", self.finish(signal.SIGINT), 0)
        return load_report(self.json_path, lossy)


class Run:
    """What came of tracing: exit status, outputs, report, the program's own results."""

    def __init__(self, status, out, err, report, results):
        self.status, self.out, self.err = status, out, err
        self.report, self.results = report, results
        self.result = results[0] if results else None

    def process(self, pid):
        return process_of(self.report, pid)

    def root(self):
        roots = [p for p in self.report["processes"] if p["root"]]
        expect("processes asked for", len(roots), 1)
        return roots[0]


def process_of(report, pid):
    found = [p for p in report["processes"] if p["pid"] == pid]
    if len(found) != 1:
        raise Failure("process %d in the report: expected once got %s" % (
            pid, [(p["pid"], p["comm"]) for p in report["processes"]]))
    return found[0]


def check_balance(report, lossy=False):
    """seen = delivered + lost, for every kind and in sum; nothing lost unless lossy."""
    events = report["events"]
    expect("schema", report["schema"], "memtrace.report/1")
    total = dict.fromkeys(("seen", "delivered", "lost"), 0)
    for kind, one in events["by_kind"].items():
        expect("%s: delivered + lost (of seen)" % kind, one["delivered"] + one["lost"], one["seen"])
        for key in total:
            total[key] += one[key]
    for key, value in total.items():
        expect("events.%s (sum over kinds)" % key, events[key], value)
    for kind, lost in events["lost_by"].items():
        if kind in events["by_kind"]:
            expect("lost_by.%s" % kind, lost, events["by_kind"][kind]["lost"])
    # The program's, and what memtrace's agent does within it.
    both = [part for part in (report["kernel"], report["agent"]) if part]
    for name in CALLS:
        check_counted(report, name, sum(part[name]["calls"] for part in both))
    check_counted(report, "fault", sum(part["faults"]["minor"] + part["faults"]["major"]
                                       for part in both))
    if not lossy:
        expect("events lost", events["lost"], 0)
    check_faults(report["kernel"]["faults"])
    for process in report["processes"]:
        check_faults(process["kernel"]["faults"])


def check_counted(report, kind, counted):
    """What was delivered is what was counted, where events are delivered one by one."""
    one = report["events"]["by_kind"][kind]
    if not report["how"].startswith("-a"):
        expect("%s: events delivered are counted" % kind, counted, one["delivered"])


def check_faults(f):
    """The ways to divide the faults up agree."""
    whole = f["minor"] + f["major"]
    for what, parts in (("side", ("user", "kernel")),
                        ("access", ("read", "write", "exec", "access_unknown"))):
        values = [f[part] for part in parts]
        if None not in values:  # aggregated in the kernel (-a), these are not told apart
            expect("faults by %s" % what, sum(values), whole)
    if f["time_known"] is not None:
        expect("faults in the histogram", sum(b["count"] for b in f["histogram_ns"]),
               f["time_known"])
        expect_between("faults with a known time", f["time_known"], 0, whole)


def check_space(process, lossy):
    """What the calls have made of a living process's mappings is what the kernel has."""
    if not lossy:
        expect("bytes mapped (all that smaps has)", process["mapped_bytes"],
               sum(r["bytes"] for r in process["regions"].values()))


def load_report(path, lossy=False):
    try:
        with open(path) as f:
            report = json.load(f)
    except (OSError, ValueError) as error:
        raise Failure("report %s: expected JSON got %s" % (path, error))
    check_balance(report, lossy)
    return report


def launch(argv, *, opts=(), wrap=(), lossy=False, status=None, **more):
    """memtrace OPTS --json=FILE -- ARGV, to its end."""
    path = numbered("report-%d.json")
    proc = Proc([*wrap, MEMTRACE, *opts, "--json=" + path, "--", *argv], **more)
    got = proc.finish()
    if status is not None and got != status:
        raise Failure("exit status of %s: expected %d got %d: %s" % (argv, status, got,
                                                                     proc.seen()))
    report = load_report(path, lossy)
    return Run(got, proc.out.text() if proc.out else "", proc.err.text() if proc.err else "",
               report,
               proc.objects() if proc.out else [])


def observe(target, *args, results=1, lossy=False, **more):
    """memtrace ARGS while a target that is ready does its phase."""
    tracer = Tracer(*args, **more)
    target.say()
    got = target.wait_objects(results)
    status = tracer.finish(signal.SIGINT)
    if status != 0:
        raise Failure("memtrace %s: expected status 0 got %d: %s" % (args, status, tracer.seen()))
    report = load_report(tracer.json_path, lossy)
    run = Run(status, tracer.out.text(), tracer.err.text(), report, got)
    run.pid = target.pid
    return run


def attach(name, *args, opts=(), results=1, lossy=False, **more):
    """Attach to one of our programs, let it do its phase, detach, let it end."""
    target = Target(name, *args, **more)
    run = observe(target, "-p", target.pid, *opts, results=results, lossy=lossy)
    check_space(run.process(run.pid), lossy)
    expect("the target's own status", target.finish(), 0)
    return run


def memtrace(*args, **more):
    """memtrace with any arguments, to its end; no report is looked at."""
    proc = Proc([MEMTRACE, *args], **more)
    status = proc.finish()
    return Run(status, proc.out.text() if proc.out else "", proc.err.text() if proc.err else "",
               None, [])


# --- waiting -------------------------------------------------------------------------------

def wait_until(what, condition, patience=PATIENCE):
    """Look again until the condition holds (for things that nobody announces)."""
    until = time.monotonic() + patience
    while True:
        got = condition()
        if got:
            return got
        if time.monotonic() > until:
            raise Failure("%s: expected within %d s got nothing" % (what, patience))
        time.sleep(0.01)


def parents():
    """{pid: (ppid, state, comm)} of every process."""
    found = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open("/proc/%s/stat" % name) as f:
                text = f.read()
        except OSError:
            continue
        comm, rest = text[text.index("(") + 1:text.rindex(")")], text[text.rindex(")") + 2:].split()
        found[int(name)] = (int(rest[1]), rest[0], comm)
    return found


def descendants(of):
    """{pid: (ppid, state, comm)} of all that came from a process and are still there."""
    everything, found = parents(), {}
    grown = True
    while grown:
        grown = False
        for pid, one in everything.items():
            if pid not in found and (one[0] == of or one[0] in found):
                found[pid] = one
                grown = True
    return found


def _bpf_list(kind):
    """What bpftool lists of a kind, and whether it could."""
    done = _quiet(["bpftool", "-j", "-f", kind, "list"])
    if done is None or done.returncode != 0:
        return [], False
    try:
        listed = json.loads(done.stdout or b"[]")
    except ValueError:
        return [], True
    return [one for one in listed if "id" in one], True


def bpf_objects():
    """{(kind, id)} of the BPF objects there are; empty without bpftool. A map counts when a program has
    it or when it is pinned. Others, which no process holds, the kernel is about to let go: the maps in a
    map when that has gone, behind its programs' grace periods and in a queue. That can take any time."""
    found, used = set(), set()
    for kind in ("prog", "link", "map"):
        listed, works = _bpf_list(kind)
        if not works:
            return set()
        for one in listed:
            used.update(one.get("map_ids", ()))
            if str(one.get("type", "")).startswith("cgroup") or (
                    kind == "map" and one["id"] not in used and not one.get("pinned")):
                continue
            found.add((kind, one["id"]))
    return found


def held_bpf_objects():
    """{(kind, id)} of those that a living process has open: somebody else's, after a case."""
    held = set()
    for fd in glob.glob("/proc/[0-9]*/fd/*"):
        try:
            if "bpf" not in os.readlink(fd):
                continue
            with open(fd.replace("/fd/", "/fdinfo/")) as f:
                held |= {(kind, int(number)) for kind, number in
                         re.findall(r"^(prog|map|link)_id:\s*(\d+)", f.read(), re.M)}
        except OSError:
            continue
    return held
