# SPDX-License-Identifier: MIT
"""Instructions of a malloc and its free, counted by callgrind.

Two runs of tests/bench/alloc/pair.c that differ in the number of pairs alone: the difference
of their counts, by the difference of pairs. What the loop and its two calls take is
measured in the same way with functions of one instruction, and taken off. So a
figure is from the first instruction of malloc to its return, and of free likewise;
where it is no whole number, some pairs took another path.
"""

import os
import re
import shutil
import subprocess
import tempfile

import programs
from programs import Failure

FEW, MANY = 64000, 192000
LIMIT = 40
SHAPES = ("tight", "queue", "stack")
SIZES = (16, 64, 256, 1024, 8192)


def count(preload, shape, size, pairs, directory, more=()):
    """Instructions of a whole run."""
    out = os.path.join(directory, "callgrind")
    done = subprocess.run(
        ["valgrind", "--tool=callgrind", "--callgrind-out-file=" + out,
         os.path.join(programs.BIN, "pair"), shape, str(size), str(pairs), *more],
        env=dict(programs.ENV, LD_PRELOAD=preload), stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, check=False, timeout=programs.LIMIT_S)
    found = re.search(rb"Collected : (\d+)", done.stdout)
    if done.returncode or not found:
        raise Failure("callgrind: %s" % done.stdout.decode(errors="replace")[-300:])
    return int(found[1])


def of_pair(preload, shape, size, directory, more=()):
    few, many = (count(preload, shape, size, n, directory, more) for n in (FEW, MANY))
    return (many - few) / (MANY - FEW)


def measure(chosen):
    """Rows of (shape, size, {allocator: instructions or why not})."""
    directory = tempfile.mkdtemp(prefix="memtrace-bench-")
    try:
        for shape in SHAPES:
            # The two functions' own instructions are the callee's: they stay in.
            loop = of_pair(chosen["glibc"], shape, 16, directory, ("nothing",)) - 2
            for size in SIZES:
                row = {}
                for name, path in chosen.items():
                    try:
                        row[name] = of_pair(path, shape, size, directory) - loop
                    except Failure as error:
                        row[name] = str(error)
                yield shape, size, row
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def report(chosen):
    """Print the table; the rows for the JSON file."""
    rows = []
    if not shutil.which("valgrind"):
        print("instructions: NOT MEASURED: valgrind is not installed")
        return rows
    chosen = {n: p for n, p in chosen.items() if n != programs.CONTROL}
    print("\ninstructions of a malloc and its free; at most %d are asked for, of small blocks" % LIMIT)
    print("%-8s %6s" % ("order", "bytes") + "".join("%10s" % name for name in chosen))
    for shape, size, row in measure(chosen):
        rows.append({"shape": shape, "size": size, "instructions": row})
        print("%-8s %6d" % (shape, size) + "".join(
            "%9.1f%s" % (v, "!" if round(v, 1) > LIMIT and size <= 1024 else " ")
            if isinstance(v, float) else "%10s" % "BROKEN" for v in row.values()), flush=True)
    return rows
