# SPDX-License-Identifier: MIT
"""The same program under strace -f, as numbers that a report can be held against."""

import re
import subprocess

from harness import CALLS, ENV, PAGE, PATIENCE, expect, numbered

_CALL = re.compile(r"^(?:(\d+) +)?(\w+)\((.*)\) += (-?\w+)(.*)$")
_UNFINISHED = re.compile(r"^(?:(\d+) +)?(\w+)\((.*?),? *<unfinished \.\.\.>$")
_RESUMED = re.compile(r"^(?:(\d+) +)?<\.\.\. (\w+) resumed>,? ?(.*)$")
_LENGTH = {"mmap": 1, "munmap": 1, "mremap": 2, "madvise": 1, "mprotect": 1}


def strace(argv, **more):
    """strace -f of a program: {"lines": [...], call: {"calls", "failed", "bytes"}}.

    Counted line by line, and checked against strace's own table (-C), so that
    what is compared is what `strace -f -c` says. "failed" of brk, for which the kernel has no
    error, are the calls that did not get what they asked for; "bytes" are rounded
    up to pages, of the calls that succeeded; not counted for brk.
    """
    path = numbered("strace-%d")
    done = subprocess.run(["strace", "-f", "-C", "-qq", "-o", path, "-e", "signal=none",
                           "-e", "trace=" + ",".join(CALLS) + ",?mmap2,?old_mmap",
                           *[str(a) for a in argv]],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, env=ENV, timeout=4 * PATIENCE, **more)
    lines, table = _read_strace(path)
    counts = {name: {"calls": 0, "failed": 0, "bytes": 0} for name in CALLS}
    errors = dict.fromkeys(CALLS, 0)
    for _, name, args, ret in lines:
        one = counts[name]
        one["calls"] += 1
        if name == "brk":
            one["failed"] += args[0] != "NULL" and args[0] != ret
        elif ret == "-1":
            one["failed"] += 1
            errors[name] += 1
        else:
            one["bytes"] += -(-int(args[_LENGTH[name]]) // PAGE) * PAGE
    for name in CALLS:
        expect("strace's own count of %s" % name, table.get(name, (0, 0)),
               (counts[name]["calls"], errors[name]))
    return {"lines": lines, "counts": counts, "status": done.returncode,
            "out": done.stdout.decode(errors="replace")}


def _read_strace(path):
    lines, table, begun = [], {}, {}
    with open(path) as f:
        for line in f:
            line = line.rstrip("\n")
            row = re.match(r"^ *[\d.]+ +[\d.]+ +\d+ +(\d+) +(?:(\d+) +)?(\w+)$", line)
            if row and row[3] != "total":
                name = _plain(row[3])
                old = table.get(name, (0, 0))
                table[name] = (old[0] + int(row[1]), old[1] + int(row[2] or 0))
                continue
            cut = _UNFINISHED.match(line)
            if cut:
                begun[cut[1]] = cut[3]
                continue
            rest = _RESUMED.match(line)
            if rest:
                front = begun.pop(rest[1])
                joint = ", " if front and not rest[3].startswith(")") else ""
                line = "%s %s(%s%s%s" % (rest[1], rest[2], front, joint, rest[3])
            call = _CALL.match(line)
            if call and _plain(call[2]) in CALLS:
                lines.append((int(call[1] or 0), _plain(call[2]), call[3].split(", "), call[4]))
    return lines, table


def _plain(name):
    return {"mmap2": "mmap", "old_mmap": "mmap"}.get(name, name)


def call_counts(kernel, keys=("calls", "failed", "bytes")):
    """The part of a report's kernel{} that strace() has too."""
    return {name: {key: kernel[name][key] for key in keys if name != "brk" or key != "bytes"}
            for name in CALLS}


def expect_same_calls(what, kernel, traced, keys=("calls", "failed", "bytes")):
    """A report's kernel{} against strace()."""
    want = {name: {key: traced["counts"][name][key] for key in keys
                   if name != "brk" or key != "bytes"} for name in CALLS}
    got = call_counts(kernel, keys)
    for name in CALLS:
        expect("%s: %s (strace | memtrace)" % (what, name), got[name], want[name])
