# SPDX-License-Identifier: MIT
"""Allocators of the whole machine: probes by file, so that all processes are seen, those that
were there as those that come; samples, tallied by process."""

import math
import shutil

from cases_heap_calls import library
from harness import (Proc, Target, Tracer, case, expect, expect_at_least,
                     expect_between, expect_match, expect_true, memtrace, process_of, prog, tmp,
                     wait_until)

MEAN = 16384


def expect_sampled(heap, own):
    """What was asked for and lives, within 8 standard errors of what the program did."""
    variance = {"calls": 0, "live": 0}
    total = {"calls": 0, "live": 0}
    for one in own["classes"]:
        chance = 1 - math.exp(-one["size"] / MEAN)
        for what in total:
            total[what] += one[what] * one["size"]
            variance[what] += one[what] * one["size"] ** 2 * (1 - chance) / chance
    for what, key in (("calls", "bytes_requested"), ("live", "live_bytes")):
        off = 8 * math.sqrt(variance[what]) + 2 * MEAN
        expect_between(key, heap[key], total[what] - off, total[what] + off)
        error = 1.96 * math.sqrt(variance[what])
        expect_between("error of " + key, heap[key + "_error"], error / 2, error * 2)
    for key in ("unmatched_frees", "temporary", "uncertain_blocks"):
        expect(key, heap[key], None)


@case(alone=True)
def a_program_that_was_there_and_one_that_comes():
    old = Target("heap_sample", 2)
    tracer = Tracer("-a", "--sample", MEAN, "--buffer=64M")
    # Another file serves it: nobody had that when the probes were placed.
    shutil.copy(prog("heap_family_static"), tmp("new_static"))
    new = Target(tmp("new_static"))
    old.say()
    own = old.wait_objects()[0]
    late = Target("heap_sample", 2)
    late.say()
    late_own = late.wait_objects()[0]
    report = tracer.report(lossy=True)
    expect("samples lost", report["events"]["by_kind"]["heap"]["lost"], 0)
    expect("distance", report["sample_bytes"], MEAN)
    for target, did in ((old, own), (late, late_own)):
        process = process_of(report, target.pid)
        expect_sampled(process["heap"], did)
        expect("plane", process["heap_plane"], "uprobe")
        expect("allocator", [a["name"] for a in process["allocators"]], ["glibc"])
    expect_true("the static program's own malloc has a probe", any(
        h["path"].endswith("new_static") for h in report["hooks"]), report["hooks"][:3])
    heap = report["heap"]
    expect_at_least("live in all", heap["live_bytes"], process_of(report, old.pid)["heap"]["live_bytes"])
    expect_match("the table", tracer.out.text(), r"~ALLOC/S +~LIVE COMMAND")
    expect_match("the table", tracer.out.text(), r"one sample in 16\.0 KiB: requested about .* \+/- ")
    for target in (old, late):
        expect("the target's status", target.finish(), 0)
    new.finish()


@case(alone=True)
def an_allocator_of_another_make():
    """jemalloc's operator new has no return probe: other probes, which have to be there as well."""
    target = Target("heap_sample", 2, env={"LD_PRELOAD": library("libjemalloc.so.2")})
    tracer = Tracer("-a", "--sample", MEAN, "--buffer=64M")
    target.say()
    own = target.wait_objects()[0]
    process = process_of(tracer.report(lossy=True), target.pid)
    expect_sampled(process["heap"], own)
    expect("allocator", [a["name"] for a in process["allocators"]], ["jemalloc"])
    expect("the target's status", target.finish(), 0)


@case(alone=True)
def blocks_go_with_an_image():
    """What a process had at its exec, and had not freed, does not live."""
    tracer = Tracer("-a", "--heap=uprobe")
    proc = Proc(["python3", "-c", "import os; x = [bytearray(400000) for i in range(200)]; "
                 "os.execv('/bin/cat', ['cat'])"])

    def is_another():
        with open("/proc/%d/comm" % proc.pid) as f:
            return f.read() == "cat\n"
    wait_until("the exec", is_another)
    process = process_of(tracer.report(lossy=True), proc.pid)
    expect_at_least("requested", process["heap"]["bytes_requested"], 40 << 20)
    expect_between("live", process["heap"]["live_bytes"], 0, 4 << 20)
    expect("name", process["comm"], "cat")
    expect("status", proc.finish(), 0)


@case(alone=True)
def without_a_sample_size_there_is_none():
    run = memtrace("-a", "-d", "1", "--json=" + tmp("r.json"))
    expect("status", run.status, 0)
    expect_true("no column of the heap", "ALLOC/S" not in run.out, run.out)
