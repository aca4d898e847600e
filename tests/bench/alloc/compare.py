# SPDX-License-Identifier: MIT
"""Time and peak RSS: allocators compared on the same programs.

In a round a program is run once under each allocator, glibc among them; the next
round goes the other way around. A ratio is of two runs of the same round, the
figure shown the median of the rounds' ratios: what drifts on the machine falls out.
"""

import math
import os
import shutil
import statistics
import tempfile

import programs
from programs import Failure

TIME_LIMIT = 1.10  # times glibc's, for each program
RSS_LIMIT = 1.50  # where the program has more than this live:
LIVE_BYTES = 4 << 20
TIME_GOAL = 0.70  # of the geometric mean
RSS_GOAL = 1.10
KINDS = ("wall", "cpu", "rss")
KEYS = {"wall": "wall_s", "cpu": "cpu_s", "rss": "rss_bytes"}
TICK_S = 0.004  # the kernel's CPU times may be as coarse


def ratios(runs, name):
    """Medians over the rounds of name's figures as multiples of glibc's."""
    result = {}
    for kind, key in KEYS.items():
        pairs = [(mine[key], base[key]) for mine, base in zip(runs[name], runs["glibc"])]
        result[kind] = statistics.median(max(a, TICK_S) / max(b, TICK_S) if kind != "rss"
                                         else a / b for a, b in pairs)
    return result


def measure(program, chosen, rounds, scale):
    """One program under each allocator of `chosen` (name to path). {name: [figures]} and why
    an allocator has none."""
    runs = {name: [] for name in chosen}
    broken = {}
    directory = tempfile.mkdtemp(prefix="memtrace-bench-")
    try:
        live = program.live_bytes(scale, directory)
        for turn in range(rounds):
            for name in list(chosen) if turn % 2 else list(reversed(chosen)):
                if name in broken:
                    continue
                try:
                    runs[name].append(program.run(chosen[name], scale, directory))
                except Failure as error:
                    if name == "glibc":
                        raise
                    broken[name] = str(error)
        said = runs["glibc"][0]["said"]
        for name in chosen:
            if name not in broken and any(r["said"] != said for r in runs[name]):
                broken[name] = "its result differs from the one under glibc"
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    for name in broken:
        del runs[name]
    return {"name": program.name, "real": program.real, "live_bytes": live, "runs": runs,
            "broken": broken}


def mean(values):
    return math.exp(sum(map(math.log, values)) / len(values)) if values else float("nan")


class Table:
    """Rows as they come, then what they add up to."""

    def __init__(self, names):
        self.names = [n for n in names if n != "glibc"]
        self.rows = []

    def head(self):
        print("%-15s %8s %8s %8s" % ("ratios to glibc", "glibc", "RSS", "live") +
              "".join("  %-20s" % name for name in self.names))
        print("%-15s %8s %8s %8s" % ("", "s", "MiB", "MiB") +
              "".join("  %6s %6s %6s" % KINDS for _ in self.names))

    def add(self, row):
        self.rows.append(row)
        base = row["runs"]["glibc"]
        cells = ["%-15s %8.3f %8.1f %8.1f" % (
            row["name"], statistics.median(r["wall_s"] for r in base),
            statistics.median(r["rss_bytes"] for r in base) / 2**20, row["live_bytes"] / 2**20)]
        for name in self.names:
            if name in row["runs"]:
                value = ratios(row["runs"], name)
                cells.append("".join("%6.2f%s" % (value[k], "!" if over(row, k, value[k]) else " ")
                                     for k in KINDS))
            else:
                cells.append(" %-20s" % ("BROKEN" if name in row["broken"] else "-"))
        print("  ".join(cells[:1] + [" ".join(cells[1:])]).rstrip(), flush=True)

    def values(self, name, kind, rows):
        return {r["name"]: ratios(r["runs"], name)[kind] for r in rows if name in r["runs"]}

    def line(self, title, rows, function):
        cells = ["%-15s %8s %8s %8d" % (title, "", "", len(rows))]
        for name in self.names:
            values = [self.values(name, kind, rows) for kind in KINDS]
            cells.append("".join("%6.2f " % function(v.values()) if v else "%6s " % "-"
                                 for v in values))
        print("  ".join(cells[:1] + [" ".join(cells[1:])]).rstrip())

    def foot(self):
        if not self.rows:
            return
        held = [r for r in self.rows if r["live_bytes"] > LIVE_BYTES]
        print()
        for title, rows in (("mean", self.rows), ("mean, own", [r for r in self.rows
                                                               if not r["real"]]),
                            ("mean, real", [r for r in self.rows if r["real"]]),
                            ("mean, >4M live", held)):
            if rows:
                self.line(title, rows, mean)
        self.line("max", self.rows, max)
        if held:
            self.line("max, >4M live", held, max)
        for name in self.names:
            if name != programs.CONTROL:
                self.verdict(name)

    def verdict(self, name):
        """What of the goals an allocator misses, worst first."""
        means = {k: mean(list(self.values(name, k, self.rows).values())) for k in KINDS}
        print("\n%s: geometric means %.3f wall (goal %.2f), %.3f cpu, %.3f RSS (goal %.2f)" % (
            name, means["wall"], TIME_GOAL, means["cpu"], means["rss"], RSS_GOAL))
        for kind in KINDS:
            bad = [(v, row["name"]) for row in self.rows if name in row["runs"]
                   for v in (ratios(row["runs"], name)[kind],) if over(row, kind, v)]
            if bad:
                print("  %s over %.2f: %s" % (
                    kind, RSS_LIMIT if kind == "rss" else TIME_LIMIT,
                    ", ".join("%s %.2f" % (n, v) for v, n in sorted(bad, reverse=True))))
        for row in self.rows:
            if name in row["broken"]:
                print("  BROKEN %s: %s" % (row["name"], row["broken"][name]))


def over(row, kind, value):
    if kind == "rss":
        return row["live_bytes"] > LIVE_BYTES and value > RSS_LIMIT
    return value > TIME_LIMIT
