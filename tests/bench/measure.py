# SPDX-License-Identifier: MIT
"""How the figures are taken.

A pair is the same phase of the same process, once untraced and once traced; the
program times itself, after a warm-up, so nothing of memtrace's start or end is in
it. Which side goes first changes from pair to pair, and a new pair has a
new process: what drifts and what differs from process to process falls out of
the pair's ratio. Every traced phase's report is looked at: a figure of a run that lost
events, or did not see them, is no figure.
"""

import collections
import fcntl
import glob
import json
import os
import pty
import re
import resource
import select
import signal
import statistics
import struct
import subprocess
import termios
import threading
import time

import harness
import real
from harness import Failure, Proc, Target, Tracer, expect, expect_at_least, load_report, wait_until

BENCH = os.path.abspath(os.environ.get("BENCH", os.path.join(harness.ROOT, "build", "bench")))

# Medians over the pairs; low and high are the quartiles of the pairs' ratios. cpu: the ratio of
# the program's own CPU times. extra_ns: CPU time that tracing adds to one of its operations.
# pairs: what they are made of, (untraced, traced) results in the order they were taken.
Paired = collections.namedtuple("Paired", "untraced traced ratio low high cpu extra_ns pairs")
Stop = collections.namedtuple("Stop", "seconds rss_bytes sites")

_alive = []


def keep(proc):
    """Remember a process, for end_all()."""
    _alive.append(proc)
    return proc


def end_all():
    """End whatever a case that broke has left."""
    while _alive:
        proc = _alive.pop()
        if proc.popen.poll() is None:
            proc.popen.kill()
            proc.popen.wait()


def start(name, *args):
    return keep(Target(os.path.join(BENCH, name), *args))


def finish(proc, number=None):
    status = proc.finish(number)
    _alive.remove(proc)
    expect("exit status of %s" % " ".join(proc.argv), status, 0)


def phase(target, done):
    """Let it do its phase, having done `done` before; the result."""
    target.say()
    return target.wait_objects(done + 1)[done]


# --- pairs ---------------------------------------------------------------------------------

def whole(_beside, target):
    """The program itself is traced, in full."""
    return ["-p", target.pid]


def other(beside, _target):
    """Another process is traced."""
    return ["-p", beside.pid]


def machine(_beside, _target):
    """The whole machine, as on a terminal: a table each second."""
    return ["-a", "-i", "1"]


def nothing(_beside, _target):
    """Nothing is traced, on neither side: what the ratios of this machine are worth."""
    return None


def traced_phase(target, done, opts):
    if opts is None:
        return phase(target, done)
    tracer = keep(Tracer(*opts, stdout=subprocess.DEVNULL))
    result = phase(target, done)
    finish(tracer, signal.SIGINT)
    report = load_report(tracer.json_path)
    os.unlink(tracer.json_path)
    of_target = [p for p in report["processes"] if p["pid"] == target.pid]
    if opts[0] == "-p" and opts[1] != target.pid:
        expect("rows of a process that is not the target", len(of_target), 0)
    else:
        expect("rows of the process", len(of_target), 1)
        expect_at_least("its faults", of_target[0]["kernel"]["faults"]["minor"], result["count"])
    return result


def pair(number, argv, how, beside):
    target = start(*argv)
    results = {}
    for done, traced in enumerate((False, True) if number % 2 else (True, False)):
        if traced:
            results[traced] = traced_phase(target, done, how(beside, target))
        else:
            results[traced] = phase(target, done)
    finish(target)
    return results[False], results[True]


def paired(count, argv, how, beside=None):
    """count pairs of a program, after one that is thrown away. beside: the other process."""
    companion = beside() if beside else None
    pairs = [pair(i, argv, how, companion) for i in range(count + 1)][1:]
    if companion:
        companion.close_stdin()
        finish(companion)
    return summed(pairs)


def summed(pairs):
    ratios = [b["seconds"] / a["seconds"] for a, b in pairs]
    low, middle, high = statistics.quantiles(ratios, n=4) if len(pairs) > 1 else ratios * 3
    return Paired(statistics.median(a["seconds"] for a, _ in pairs),
                  statistics.median(b["seconds"] for _, b in pairs), middle, low, high,
                  statistics.median(b["cpu"] / a["cpu"] for a, b in pairs),
                  statistics.median((b["cpu"] - a["cpu"]) / a["count"] * 1e9 for a, b in pairs),
                  pairs)


def checked_phase(target, done, argv, judged):
    """The phase traced by argv, then memtrace's own CPU time added to the program's."""
    path = harness.numbered("checked-%d.json")
    tracer = keep(Proc([harness.MEMTRACE, *argv, "--json=" + path, "-p", target.pid],
                       stdout=subprocess.DEVNULL))
    tracer.wait_ready()
    used = cpu_seconds(tracer.pid)
    result = phase(target, done)
    # What is still in the rings is read before it says what it has done.
    wait_until("memtrace to have read all", lambda: _rests(tracer.pid))
    result["cpu"] += cpu_seconds(tracer.pid) - used
    finish(tracer, signal.SIGINT)
    with open(path) as f:
        told = json.load(f)
    expect("events lost", told["events"]["lost"], 0)
    expect_at_least("events delivered", told["events"]["delivered"], result["count"])
    if judged:
        expect("the verdict", told["result"], "held")
    os.unlink(path)
    return result


def _rests(pid):
    """Whether a process hardly works: less than a tenth of a millisecond in five."""
    used = cpu_seconds(pid)
    time.sleep(0.1)
    return cpu_seconds(pid) - used < 0.002


def checked(count, argv, preload, contract):
    """Pairs of a program traced and of the same held against a contract."""
    trace = ["--heap=uprobe"]
    judge = ["check", "-c", contract]

    def one(number):
        target = keep(Target(os.path.join(BENCH, argv[0]), *argv[1:], env={"LD_PRELOAD": preload}))
        sides = [(False, trace), (True, judge)]
        results = {}
        for done, (judged, how) in enumerate(sides if number % 2 else sides[::-1]):
            results[judged] = checked_phase(target, done, how, judged)
        finish(target)
        return results[False], results[True]

    return summed([one(i) for i in range(count + 1)][1:])


def output(argv, env=None):
    """What a command says, which must end well."""
    done = subprocess.run([str(a) for a in argv], env={**harness.ENV, **(env or {})},
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          check=False)
    expect("exit status of %s (%s)" % (" ".join(done.args), done.stderr.decode(errors="replace")),
           done.returncode, 0)
    return done.stdout.decode(errors="replace")


def result_of(text):
    """What a program says of its phase, among other output."""
    found = [json.loads(line) for line in text.splitlines() if line.startswith('{"seconds"')]
    expect("results", len(found), 1)
    return found[0]


def program(argv, before=(), env=None):
    """What a program says of its phase, behind a tracer's command line. all: CPU time of all processes,
    from their beginning to their end."""
    was = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = result_of(output([*before, os.path.join(BENCH, argv[0]), *argv[1:]], env))
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    result["all"] = now.ru_utime + now.ru_stime - was.ru_utime - was.ru_stime
    return result


def alone(argv):
    """A program by itself."""
    return program(argv)


def by_tracer(tracer, argv):
    before, look = tracer()
    result = program(argv, before)
    look()
    return result


def by_rings(argv):
    """Launched under trace, every call handed over with its stack."""
    path = harness.numbered("rings-%d.json")
    result = program(argv, [harness.MEMTRACE, "-q", "--heap=ring", "--json=" + path, "--"])
    report = load_report(path)
    os.unlink(path)
    expect("plane", report["processes"][0]["heap_plane"], "ring")
    expect_at_least("calls", report["events"]["by_kind"]["heap"]["delivered"], result["count"])
    return result


def by_heaptrack(argv):
    return by_tracer(real.by_heaptrack, argv)


def by_heaptrack_raw(argv):
    return by_tracer(real.by_heaptrack_raw, argv)


def by_itself(library, mode):
    """Traced by what is preloaded, see tests/bench/sampled/preload.c."""
    preload = os.path.join(BENCH, "sampled-%s.so" % library)
    return lambda argv: program(argv, env={"LD_PRELOAD": preload, "SAMPLED": mode})


def launched(count, argv, how):
    """Pairs of a program by itself and the same launched under a tracer: other processes."""
    pairs = []
    for number in range(count + 1):
        sides = [alone, how]
        results = {side: side(argv) for side in (sides if number % 2 else sides[::-1])}
        pairs.append((results[alone], results[how]))
    return summed(pairs[1:])


def added_ns(result):
    """Wall time that tracing adds to an operation, the median of the pairs."""
    return statistics.median((b["seconds"] - a["seconds"]) / a["count"] * 1e9
                             for a, b in result.pairs)


def added_by_all_ns(result):
    """CPU time that tracing adds to an operation, of all processes together."""
    return statistics.median((b["all"] - a["all"]) / a["count"] * 1e9 for a, b in result.pairs)


def collector_ns(argv, pairs_of):
    """CPU time of memtrace's own for an event: by two lengths of a program, whose own is taken off."""
    def spent(pairs):
        path = harness.numbered("collector-%d.json")
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        result = result_of(output(
            [harness.MEMTRACE, "-q", "--heap=ring", "--json=" + path, "--",
             os.path.join(BENCH, argv[0]), *argv[1:], str(pairs)]))
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        report = load_report(path)
        os.unlink(path)
        return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime -
                result["cpu"] * 1.05, report["events"]["by_kind"]["heap"]["delivered"])

    (less, few), (more, many) = (spent(pairs) for pairs in pairs_of)
    return (more - less) / (many - few) * 1e9


Flood = collections.namedtuple("Flood", "rate share lost rss_bytes seconds")


def peak_rss_bytes(pid):
    with open("/proc/%d/status" % pid) as f:
        return int(re.search(r"^VmHWM:\s*(\d+) kB", f.read(), re.M)[1]) * 1024


def flood(rate, seconds, opts):
    """Records of calls by uprobes, so many a second, written into the rings of a memtrace (flood.c)."""
    target = idle()
    tracer = keep(Tracer("--heap=uprobe", *opts, "-p", target.pid, stdout=subprocess.DEVNULL))
    used = cpu_seconds(tracer.pid)
    result = result_of(output([os.path.join(BENCH, "flood"), tracer.pid, target.pid, rate, seconds]))
    wait_until("memtrace to have read all", lambda: _rests(tracer.pid))
    used = cpu_seconds(tracer.pid) - used
    rss = peak_rss_bytes(tracer.pid)
    finish(tracer, signal.SIGINT)
    target.close_stdin()
    finish(target)
    report = load_report(tracer.json_path, lossy=True)
    by_kind = report["events"]["by_kind"]
    expect("events seen", by_kind["heap"]["seen"] + by_kind["stack"]["seen"], result["count"])
    expect("events lost", report["events"]["lost"], result["lost"])
    return Flood(result["count"] / result["seconds"], used / result["seconds"], result["lost"], rss,
                 result["seconds"])


def idle():
    """A process that waits."""
    return start("loop")


def busy():
    """A process that maps, touches and unmaps, one page a turn, until its input ends."""
    target = keep(Target("task_spin", 1))
    target.say()
    return target


# --- single figures ------------------------------------------------------------------------

class Terminal:
    """A terminal of 24 lines whose output is read and dropped."""

    def __init__(self):
        self.master, self.slave = pty.openpty()
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.read = 0
        threading.Thread(target=self._drain, daemon=True).start()

    def _drain(self):
        try:
            while piece := os.read(self.master, 65536):
                self.read += len(piece)
        except OSError:  # EIO: nobody has the other end any more
            pass


def cpu_seconds(pid):
    """CPU time of a process so far, to the nanosecond."""
    total = 0
    for path in glob.glob("/proc/%d/task/*/schedstat" % pid):
        with open(path) as f:
            total += int(f.read().split()[0])
    return total / 1e9


def machine_busy():
    """(busy, all) CPU seconds of the machine so far."""
    with open("/proc/stat") as f:
        ticks = [int(word) for word in f.readline().split()[1:9]]
    return (sum(ticks) - ticks[3] - ticks[4], sum(ticks))


def idle_share(seconds):
    """Of one core, what -a takes with its table shown; and how busy all cores were meanwhile."""
    terminal = Terminal()
    tracer = keep(Tracer("-a", "-i", "1", stdout=terminal.slave))
    wait_until("memtrace's first table", lambda: terminal.read >= 100)
    begin, used, before = time.monotonic(), cpu_seconds(tracer.pid), machine_busy()
    time.sleep(seconds)
    took = time.monotonic() - begin
    used, after = cpu_seconds(tracer.pid) - used, machine_busy()
    expect_at_least("bytes of tables written", terminal.read, 100)
    finish(tracer, signal.SIGINT)
    os.close(terminal.slave)
    return used / took, (after[0] - before[0]) / max(1, after[1] - before[1])


def first_event(pid):
    """Seconds from the start of memtrace -s to the first line of an event."""
    begin = time.monotonic()
    stream = subprocess.Popen([harness.MEMTRACE, "-s", "-p", str(pid)], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        data = b""
        while b"\n" not in data:
            if not select.select([stream.stdout], [], [], 10)[0]:
                raise Failure("memtrace -s: expected an event within 10 s got nothing")
            piece = os.read(stream.stdout.fileno(), 4096)
            if not piece:
                raise Failure("memtrace -s: expected an event got its end")
            data += piece
        took = time.monotonic() - begin
        line = data.split(b"\n")[0].decode(errors="replace")
        if not re.search(r"\b(mmap|munmap|madvise)\(|\bfault\b", line):
            raise Failure("memtrace -s: expected an event got %s" % line)
        stream.send_signal(signal.SIGINT)
        stream.communicate(timeout=harness.PATIENCE)
        expect("memtrace's status", stream.returncode, 0)
        return took
    finally:
        if stream.poll() is None:
            stream.kill()
            stream.wait()


def stop_to_report():
    """After a million faults at a thousand places: Ctrl-C to memtrace's end, both reports made."""
    target = start("places", 1000000)
    with open(harness.tmp("report.txt"), "w") as out:
        tracer = keep(Tracer("-p", target.pid, stdout=out))
        phase(target, 0)
        begin = time.monotonic()
        tracer.signal(signal.SIGINT)
        _, status, usage = os.wait4(tracer.pid, 0)
        took = time.monotonic() - begin
    tracer.popen.returncode = os.waitstatus_to_exitcode(status)
    finish(tracer)
    finish(target)
    report = load_report(tracer.json_path)
    expect_at_least("events delivered", report["events"]["delivered"], 1000000)
    sites = sum(1 for s in report["sites"] if s["faults"]["minor"])
    expect_at_least("places told", sites, 1000)
    return Stop(took, usage.ru_maxrss * 1024, sites)
