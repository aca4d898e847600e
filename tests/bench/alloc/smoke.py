# SPDX-License-Identifier: MIT
"""Does every benchmark run, and find its own results right? Each once under each allocator
that is here, with a hundredth of its work. Nothing is timed, no figure is held against a limit."""

import os
import shutil
import subprocess
import tempfile

import compare
import instructions
import kernel
import programs
from programs import Failure

MIB = 16  # of the peaks
TURNS = 300  # of a round of the steady churn


def time_program(program, chosen):
    return compare.measure(program, chosen, 1, 1)["broken"]


def pair(path, shape):
    done = subprocess.run([os.path.join(programs.BIN, "pair"), shape, "64", "6400"],
                          env=dict(programs.ENV, LD_PRELOAD=path), stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False, timeout=programs.LIMIT_S)
    if done.returncode:
        raise Failure("exit status %d %s" % (done.returncode, done.stdout.decode()))


def steady(path, sizes, threads):
    directory = tempfile.mkdtemp(prefix="memtrace-bench-")
    try:
        kernel.steady(path, sizes, threads, TURNS, directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def of_all(chosen, function, *args):
    """{name: why} of the allocators under which it fails."""
    broken = {}
    for name, path in chosen.items():
        try:
            function(path, *args)
        except Failure as error:
            broken[name] = str(error)
    return broken


def cases(chosen):
    """(name, function that gives {allocator: why it failed}, commands that are missing)."""
    for program in programs.PROGRAMS:
        yield (program.name, lambda p=program: time_program(p, chosen), program.missing())
    for shape in instructions.SHAPES:
        yield "pair " + shape, lambda s=shape: of_all(chosen, pair, s), []
    for shape in kernel.SHAPES:
        yield "peak " + shape, lambda s=shape: of_all(chosen, kernel.peak, s, MIB), []
    strace = [] if shutil.which("strace") else ["strace"]
    for sizes, threads in kernel.STEADY:
        yield ("steady %s %d" % (sizes, threads),
               lambda s=sizes, t=threads: of_all(chosen, steady, s, t), strace)


def run(chosen):
    passed = failed = skipped = 0
    for name, function, missing in cases(chosen):
        if missing:
            skipped += 1
            print("skip %s: not installed: %s" % (name, ", ".join(missing)))
            continue
        try:
            broken = function()
        except Failure as error:
            broken = dict.fromkeys(chosen, str(error))
        for allocator, why in broken.items():
            print("FAIL %s under %s: %s" % (name, allocator, why), flush=True)
        failed += len(broken)
        passed += len(chosen) - len(broken)
    print("under %s" % ", ".join("%s (%s)" % (n, os.path.basename(p)) for n, p in chosen.items()))
    print("%d passed, %d failed, %d skipped" % (passed, failed, skipped))
    return 1 if failed else 0
