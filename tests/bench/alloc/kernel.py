# SPDX-License-Identifier: MIT
"""What an allocator asks of the kernel, and what it gives back.

Peak: the resident set before a peak of 1 GiB, at it, when all of it has been freed,
one second later without a call, and after malloc_trim(0), as smaps_rollup has it.
Steady state: system calls that concern memory, and faults, of a churn that repeats itself.
"""

import json
import os
import re
import shutil
import subprocess
import tempfile
import time

import programs
from programs import Failure

SHAPES = ("small", "mixed", "pinned", "large", "threads", "crossed")
LATER_S = 1
RSS_LIMIT = 1.10
TURNS = 10000  # of a round; four are counted
STAGES = ("live", "peak", "freed", "trimmed")
CALLS = "brk,mmap,munmap,mremap,madvise,mprotect"
STEADY = (("small", 1), ("medium", 1), ("large", 1), ("all", 1), ("small", 2), ("all", 2),
          ("crossed", 2))


def rss(pid):
    with open("/proc/%d/smaps_rollup" % pid) as f:
        return int(re.search(r"^Rss:\s+(\d+) kB", f.read(), re.M)[1]) << 10


def peak(preload, shape, mib, later_s=0):
    """{stage: bytes}, "later" among the stages: so long after "freed", the process idle."""
    found = {}
    popen = subprocess.Popen([os.path.join(programs.BIN, "peak"), shape, str(mib)],
                             env=dict(programs.ENV, LD_PRELOAD=preload), text=True,
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE)
    try:
        for stage in STAGES:
            said = popen.stdout.readline().strip()
            if said != stage:
                raise Failure("peak: %s" % (popen.communicate()[1].strip() or "said " + said))
            found[stage] = rss(popen.pid)
            if stage == "freed":
                time.sleep(later_s)
                found["later"] = rss(popen.pid)
            popen.stdin.write("\n")
            popen.stdin.flush()
        if popen.wait(programs.LIMIT_S):
            raise Failure("peak: exit status %d" % popen.returncode)
    finally:
        popen.kill()
        popen.communicate()
    return found


def steady(preload, sizes, threads, turns, directory):
    """(system calls by name, minor faults) of the steady rounds."""
    argv = [os.path.join(programs.BIN, "steady"), sizes, str(threads), str(turns)]
    env = dict(programs.ENV, LD_PRELOAD=preload)
    done = subprocess.run(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          check=False, timeout=programs.LIMIT_S)
    if done.returncode:
        raise Failure(done.stderr.decode(errors="replace").strip() or
                      "steady: exit status %d" % done.returncode)
    faults = json.loads(done.stdout)["faults"]
    log = os.path.join(directory, "strace")
    done = subprocess.run(
        ["strace", "-f", "-o", log, "-e", "trace=prctl," + CALLS, "-e", "signal=none",
         "-E", "LD_PRELOAD=" + preload, *argv], env=programs.ENV, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, check=False, timeout=programs.LIMIT_S)
    if done.returncode:
        raise Failure("strace: " + done.stderr.decode(errors="replace").strip())
    return between(log), faults


def between(log):
    """Calls by name between the two names the process gave itself."""
    calls, seen, inside = {}, [], False
    with open(log) as f:
        for line in f:
            # "123 munmap(...": a call begun; what is "resumed" was counted then.
            found = re.match(r"\d+\s+(\w+)\((.*)", line)
            if not found:
                continue
            name = found[1]
            if name == "prctl" and '"steady"' in line or name == "prctl" and '"over"' in line:
                inside = '"steady"' in line
                seen.append(inside)
            elif inside and name != "prctl":
                calls[name] = calls.get(name, 0) + 1
    if seen != [True, False]:
        raise Failure("strace: the steady rounds were not seen")
    return calls


def report_peak(chosen, mib):
    rows = []
    print("\nresident MiB around a peak of %d MiB; %d s after it was freed: at most %.2f of live" % (
        mib, LATER_S, RSS_LIMIT))
    print("%-8s %-10s %7s %7s %7s %7s %7s  %s" % ("", "", "live", "peak", "freed", "+%d s" % LATER_S,
                                                "trimmed", "later / live"))
    for shape in SHAPES:
        for name, path in chosen.items():
            try:
                found = peak(path, shape, mib, LATER_S)
            except Failure as error:
                print("%-8s %-10s BROKEN: %s" % (shape, name, error))
                rows.append({"shape": shape, "allocator": name, "broken": str(error)})
                continue
            ratio = found["later"] / found["live"]
            print("%-8s %-10s" % (shape, name) + "".join(
                "%8.1f" % (found[s] / 2**20) for s in ("live", "peak", "freed", "later", "trimmed")) +
                  "  %.2f%s" % (ratio, " !" if ratio > RSS_LIMIT else ""), flush=True)
            rows.append({"shape": shape, "allocator": name, "rss_bytes": found})
    return rows


def report_steady(chosen):
    rows = []
    if not shutil.which("strace"):
        print("steady state: NOT MEASURED: strace is not installed")
        return rows
    print("\nsteady churn, %d blocks a thread: system calls that concern memory, faults" % (4 * TURNS))
    directory = tempfile.mkdtemp(prefix="memtrace-bench-")
    try:
        for sizes, threads in STEADY:
            for name, path in chosen.items():
                row = {"sizes": sizes, "threads": threads, "allocator": name}
                rows.append(row)
                head = "%-8s %d thread%s  %-10s" % (sizes, threads, " s"[threads > 1], name)
                try:
                    row["calls"], row["faults"] = steady(path, sizes, threads, TURNS, directory)
                except Failure as error:
                    row["broken"] = str(error)
                    print("%s BROKEN: %s" % (head, error))
                    continue
                calls = row["calls"]
                print("%s %7d calls %7d faults%s%s" % (
                    head, sum(calls.values()), row["faults"],
                    " !" if calls or row["faults"] else "",
                    "".join(" %s:%d" % c for c in sorted(calls.items()))), flush=True)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return rows


def report(chosen, mib):
    chosen = {n: p for n, p in chosen.items() if n != programs.CONTROL}
    return {"peak": report_peak(chosen, mib), "steady": report_steady(chosen)}
