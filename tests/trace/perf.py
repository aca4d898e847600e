# SPDX-License-Identifier: MIT
"""A program under perf trace -s and memtrace at once: what perf counted, what memtrace did.

memtrace runs perf, which runs the program: perf counts from the program's exec on, and memtrace
follows perf's children, so both see the same calls of the same run.
"""

import re

from harness import CALLS, MEMTRACE, Failure, Proc, load_report, numbered

# perf wants tracefs, which need not be mounted; what is mounted here goes with the process.
_SCRIPT = """
    mountpoint -q /sys/kernel/tracing || mount -t tracefs tracefs /sys/kernel/tracing || exit 90
    exec "$@"
"""
_ROW = re.compile(r"^ +(%s) +(\d+) +(\d+) " % "|".join(CALLS))
_LOST = re.compile(r"LOST|lost", re.M)


def in_tracefs(argv):
    return ["unshare", "--mount", "sh", "-c", _SCRIPT, "sh", *argv]


def perf_argv(path, argv):
    return ["perf", "trace", "-s", "-o", path, "-e", ",".join(CALLS), *argv]


def perf_and_memtrace(argv):
    """{call: (calls, errors)} by perf and by memtrace; perf knows no failing brk."""
    table, path = numbered("perf-%d"), numbered("report-%d.json")
    proc = Proc(in_tracefs([MEMTRACE, "--json=" + path, "--", *perf_argv(table, argv)]))
    status = proc.finish()
    if status != 0:
        raise Failure("memtrace -- perf trace: expected status 0 got %d: %s" % (
            status, proc.seen()))
    report = load_report(path)
    return _read_table(table), _sum_but_root(report)


def _read_table(path):
    with open(path) as f:
        text = f.read()
    if _LOST.search(text):
        raise Failure("perf trace: expected it to lose nothing got %s" % text)
    total = dict.fromkeys(CALLS, (0, 0))
    for line in text.splitlines():
        row = _ROW.match(line)
        if row:
            calls, errors = total[row[1]]
            total[row[1]] = (calls + int(row[2]), errors + int(row[3]))
    return total


def _sum_but_root(report):
    """Over all processes but perf itself."""
    total = {}
    for name in CALLS:
        of = [p["kernel"][name] for p in report["processes"] if not p["root"]]
        total[name] = (sum(c["calls"] for c in of),
                       0 if name == "brk" else sum(c["failed"] for c in of))
    return total
