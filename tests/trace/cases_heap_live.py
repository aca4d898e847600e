# SPDX-License-Identifier: MIT
"""What lives, and what it cost: live bytes to the byte under threads that free each other's
blocks, system calls and faults by the place that asked for the block, resident memory by
owner."""

import math
import re

from cases_heap_calls import library
from harness import (PAGE, Failure, attach, case, expect, expect_at_least, expect_between,
                     expect_match, expect_true, launch, memtrace, prog)

HEAP = "--heap=uprobe"


def heap_site(report, function):
    """The one place of the heap that this function called from."""
    found = [s for s in report["sites"] if s["kind"] == "heap" and
             function in [f["symbol"] for f in s["stack"]]]
    if len(found) != 1:
        raise Failure("heap sites of %s: expected 1 got %d" % (function, len(found)))
    return found[0]


def expect_churn(run):
    heap, own = run.report["heap"], run.result
    mine = [s for s in run.report["sites"] if s["kind"] == "heap" and
            "churn" in [f["symbol"] for f in s["stack"]]]
    expect("calls of churn", sum(s["calls"] for s in mine), own["calls"])
    expect("reallocs", heap["calls"]["realloc"], own["moved"])
    expect("live blocks", sum(s["live_blocks"] for s in mine), own["blocks"])
    expect("live bytes", sum(s["live_bytes"] for s in mine), own["bytes"])
    expect("frees unseen", heap["unseen_frees"], 0)
    expect("blocks that may have been freed", heap["uncertain_blocks"], 0)
    for process in run.report["processes"]:
        expect("sum over processes", process["heap"]["live_bytes"], heap["live_bytes"])


@case
def blocks_freed_by_other_threads():
    expect_churn(attach("heap_churn", 4, 20000, opts=(HEAP, "--buffer", "64M")))


@case
def blocks_freed_by_other_threads_launched():
    run = launch([prog("heap_churn"), 4, 20000], opts=(HEAP, "--buffer", "64M"))
    expect_churn(run)
    # As a thread ends glibc frees what its cache holds, which the program had freed before: there are
    # more frees than blocks, but each block is freed once.
    heap = run.report["heap"]
    expect("blocks freed", heap["calls"]["free"] - heap["unmatched_frees"],
           heap["calls"]["malloc"] + heap["calls"]["calloc"] - heap["live_blocks"])


def expect_cost(run):
    own, site = run.result, heap_site(run.report, "ask")
    blocks, freed, size = own["blocks"], own["freed"], own["block_bytes"]
    expect("calls", site["calls"], blocks)
    expect("bytes", site["bytes"], blocks * size)
    expect("frees", site["frees"], freed)
    expect("live bytes", site["live_bytes"], (blocks - freed) * size)
    expect("peak", site["peak_live_bytes"], blocks * size)
    expect("system calls", site["syscalls"], {"brk": 0, "mmap": blocks, "munmap": freed, "mremap": 0,
                                              "madvise": 0, "mprotect": 0})
    expect("faults inside", site["faults"]["inside_calls"], blocks)
    expect("first touches", site["faults"]["first_touch"], blocks * (size // PAGE - 1))
    expect("faults", site["faults"]["minor"] + site["faults"]["major"], blocks * (size // PAGE))
    expect_at_least("time in system calls", site["syscall_ns"], 1)
    expect_at_least("time in faults", site["fault_ns"], 1)
    return site


@case
def a_malloc_has_its_system_calls_and_faults():
    run = attach("heap_cost", 40, opts=(HEAP,))
    site = expect_cost(run)
    heap = run.report["heap"]
    expect("system calls inside", heap["inside_calls"]["syscalls"], site["syscalls"])
    expect("without a place", heap["inside_calls"]["without_site"]["syscalls"], 0)
    # All of a block but its last bytes, which are on a page that nobody touched.
    live = (run.result["blocks"] - run.result["freed"]) * (run.result["block_bytes"] - 16)
    expect("resident bytes", site["resident_bytes"], live)


@case
def a_malloc_has_its_system_calls_and_faults_launched():
    expect_cost(launch([prog("heap_cost"), 40], opts=(HEAP,)))


@case
def resident_memory_has_owners():
    run = attach("heap_cost", 200, opts=(HEAP,))
    rss, own = run.report["rss"], run.result
    parts = rss["parts"]
    expect("parts", sorted(parts), sorted(("live", "retained", "allocator", "direct_mmap", "file",
                                           "stack", "other", "unknown", "agent")))
    expect_between("sum of the parts", sum(parts.values()), int(rss["kernel_bytes"] * 0.99),
                   int(rss["kernel_bytes"] * 1.01))
    live = (own["blocks"] - own["freed"]) * (own["block_bytes"] - 16)
    expect("in live blocks", parts["live"], live)
    expect("in live blocks, by place", sum(s["resident_bytes"] for s in run.report["sites"]
                                           if s["kind"] == "heap"), live)
    expect("mapped by the program", parts["direct_mmap"], own["own_bytes"])
    # The first bytes of each mapping are malloc's own.
    expect("kept by the allocator", parts["retained"], (own["blocks"] - own["freed"]) * 16)


def expect_indented(plane):
    run = memtrace(plane, "--stream", "--", prog("heap_cost"), 4)
    lines = run.err.splitlines()
    calls = [i for i, line in enumerate(lines) if re.search(r"\] malloc\(262144\) = 0x", line)]
    expect("mallocs", len(calls), 4)
    for i in calls:
        expect_true("an mmap under it", re.search(r"\]   mmap\(", lines[i + 1]), lines[i:i + 3])
        expect_true("a fault under that", re.search(r"\]   fault write", lines[i + 2]), lines[i:i + 3])
    frees = [i for i, line in enumerate(lines)
             if re.search(r"\] free\(", line) and re.search(r"\]   munmap\(", lines[i + 1])]
    expect("frees with a munmap under them", len(frees), 2)


@case
def a_call_s_kernel_events_are_indented_under_it():
    expect_indented(HEAP)


@case
def samples_are_near_the_truth():
    """Bytes within 8 standard errors of these; that of blocks of s bytes in all is at most
    sqrt(s * distance)."""
    mean = 1024
    run = attach("heap_churn", 4, 20000, opts=(HEAP, "--sample", mean, "--buffer", "64M"))
    heap, own = run.report["heap"], run.result
    expect("distance", run.report["sample_bytes"], mean)
    calls = heap["calls"]
    for key, truth in (("bytes_requested", own["requested"]), ("live_bytes", own["bytes"])):
        error = math.sqrt(truth * mean)
        expect_between(key, heap[key], truth - 8 * error, truth + 8 * error)
        expect_between("the error of " + key, heap[key + "_error"], 0.1 * error, 3 * error)
    # Of calls the small blocks make the error larger.
    expect_between("calls", calls["malloc"] + calls["calloc"] + calls["realloc"],
                   own["calls"] * 0.7, own["calls"] * 1.3)
    expect("temporary blocks", heap["temporary"], None)
    # What is left out is known to the hooks.
    expect_at_least("calls that were not told", sum(h["ignored"] for h in run.report["hooks"]),
                    own["calls"] // 2)


def expect_estimates(mean, factor):
    """Each size by itself, against what the program did: within 8 standard errors, and one sample. Passed by
    chance once in 10^7 runs: what is rare is not as near the mean as a normal distribution has it."""
    run = attach("heap_sample", factor, opts=(HEAP, "--sample", mean))
    for own in run.results[0]["classes"]:
        size, calls, live = own["size"], own["calls"], own["live"]
        site = heap_site(run.report, "take_%d" % size)
        chance = 1 - math.exp(-size / mean)
        for what, got, want, unit in (("calls", site["calls"], calls, 1),
                                      ("bytes", site["bytes"], calls * size, size),
                                      ("live bytes", site["live_bytes"], live * size, size)):
            blocks = want / unit
            off = 8 * unit * math.sqrt(blocks * (1 - chance) / chance) + unit / chance
            expect_between("%s of %d bytes, one sample in %d" % (what, size, mean), got, want - off,
                           want + off)
        # The error that is told is that of 95 %, from the samples themselves.
        true_error = 1.96 * size * math.sqrt(calls * (1 - chance) / chance)
        if calls * chance >= 30:
            expect_between("the error told", site["bytes_error"], 0.5 * true_error - size,
                           2 * true_error + size)
    heap = run.report["heap"]
    for key in ("temporary", "unmatched_frees", "unseen_frees"):
        expect(key, heap[key], None)
    expect("blocks that could not be followed", heap["untracked_blocks"], 0)
    return run


@case
def estimates_of_one_in_4_kib():
    expect_estimates(4096, 2)


@case
def estimates_of_one_in_64_kib():
    expect_estimates(65536, 4)


@case
def estimates_of_one_in_512_kib():
    run = expect_estimates(524288, 8)
    expect_match("what the text says", run.out, r"^Heap, estimated from samples$")
    expect_match("what the text says", run.out, r"requested about [0-9.]+ \S+ \+/- ")


@case
def without_the_heap_plane_its_figures_are_unknown():
    run = launch([prog("heap_cost"), 4], opts=("--heap=none",))
    heap = run.report["heap"]
    for key in ("calls", "failed", "bytes_requested", "live_blocks", "live_bytes",
                "peak_live_bytes", "unmatched_frees"):
        expect(key, heap[key], None)
    expect("plane", [p["heap_plane"] for p in run.report["processes"]], ["none"])
    expect("kinds of sites", {s["kind"] for s in run.report["sites"]}, {"kernel"})


def before(threads, blocks, *more, opts=(HEAP,), env=None):
    run = attach("heap_before", threads, blocks, *more, opts=opts, env=env)
    heap = run.report["heap"]
    found = heap["live_before_attach"]
    expect_true("the heap could be walked", found, heap)
    expect("sure of the lists of free ones", found["at_most"], False)
    expect("of the process", run.report["processes"][0]["heap"]["live_before_attach"], found)
    return run, found


def expect_before(threads, blocks, *more, **how):
    """Beside what libc itself keeps, which a program that keeps next to nothing shows."""
    idle, idle_found = before(threads, 1, *more, **how)
    run, found = before(threads, blocks, *more, **how)
    for key in ("blocks", "bytes"):
        expect(key, found[key] - idle_found[key], run.result[key] - idle.result[key])
    expect_match("the line", run.out, r"live before the attach: [0-9.]+ \S+ in [0-9,]+ blocks")
    expect_between("live since the attach", run.report["heap"]["live_blocks"], 0, 10)
    return run


@case
def what_lived_before():
    expect_before(0, 3000)


@case
def what_lived_before_in_several_arenas():
    expect_before(3, 20000)


@case
def what_lived_before_in_heaps_that_were_left():
    """What malloc could not free at a heap's end says that it is in use, and is no block."""
    expect_before(2, 10, 2)


@case
def what_lived_before_where_the_first_thread_frees_for_others():
    expect_before(4, 5000, 3)


@case
def a_heap_that_is_not_as_it_should_be_is_not_told():
    """Somebody else's piece of the break above malloc's, and another allocator: unknown, not a number."""
    run = attach("heap_before", 1, 1000, 1, opts=(HEAP,))
    expect("with a foreign sbrk", run.report["heap"]["live_before_attach"], None)
    run = attach("heap_before", 1, 1000, opts=(HEAP,),
                 env={"LD_PRELOAD": library("libjemalloc.so.2")})
    expect("of jemalloc", run.report["heap"]["live_before_attach"], None)


@case
def what_lived_before_a_launch_is_nothing_to_tell():
    run = launch([prog("heap_cost"), 4], opts=(HEAP,))
    expect("key", run.report["heap"]["live_before_attach"], None)
