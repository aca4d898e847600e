# SPDX-License-Identifier: MIT
"""Samples that are chosen within the process: by the preloaded agent, by mtalloc, and by mtalloc for whoever
listens to its probes otel_memory. What they stand for is what the program did, each size by itself; frees of
sampled blocks are told and no others."""

import math
import os

from harness import (MEMTRACE, Target, Tracer, attach, case, expect, expect_between, expect_match, launch,
                     prog)
from cases_heap_live import heap_site

MTALLOC = os.path.join(os.path.dirname(MEMTRACE), "libmtalloc.so")
THREADS, BLOCKS = 4, 2000


def launched(name, *args, opts=()):
    return launch([prog(name), *args], opts=("--heap=ring", *opts), status=0)


def attached(name, *args, opts=()):
    return attach(name, *args, opts=opts, env={"LD_PRELOAD": MTALLOC})


def listening(mean):
    """The environment of a program on mtalloc whose probes take one sample in so many bytes."""
    return {"LD_PRELOAD": MTALLOC, "MTALLOC_OPTIONS": "sample_bytes=%d" % mean}


CONTRACT = ("--heap=contract", "--buffer=64M")


def attached_without_child(name, *args, opts=()):
    """A child is asked a moment after its fork, and what it did before is unseen."""
    return attached(name, *args, 0, opts=opts)


def expect_plane(report, plane="ring"):
    expect("planes", {p["heap_plane"] for p in report["processes"]}, {plane})
    expect("blocks that could not be followed", report["heap"]["untracked_blocks"], 0)


def expect_estimates(report, did, mean, plane="ring"):
    """Within 8 standard errors, of 4,000 samples and more: passed by chance once in 10^13 runs."""
    expect("distance", report["sample_bytes"], mean if plane == "ring" else None)
    for own in did["classes"]:
        size, calls, live = own["size"], own["calls"], own["live"]
        site = heap_site(report, "take_%d" % size)
        chance = 1 - math.exp(-size / mean)
        for what, got, want, unit in (("calls", site["calls"], calls, 1),
                                      ("bytes", site["bytes"], calls * size, size),
                                      ("live blocks", site["live_blocks"], live, 1),
                                      ("live bytes", site["live_bytes"], live * size, size)):
            blocks = want / unit
            off = 8 * unit * math.sqrt(blocks * (1 - chance) / chance) + unit
            expect_between("%s of %d bytes, one sample in %d" % (what, size, mean), got, want - off,
                           want + off)
        true_error = 1.96 * size * math.sqrt(calls * (1 - chance) / chance)
        expect_between("the error told", site["bytes_error"], 0.8 * true_error - size,
                       1.2 * true_error + size)
    expect_plane(report, plane)


def expect_sampled(run, mean):
    expect_estimates(run.report, run.results[0], mean)
    for key in ("temporary", "unmatched_frees", "unseen_frees"):
        expect(key, run.report["heap"][key], None)
    expect_match("what the text says", run.out + run.err, r"^Heap, estimated from samples$")


@case
def estimates_by_the_agent():
    expect_sampled(launched("heap_sample", 2, opts=("--sample", "256")), 256)


@case
def estimates_by_mtalloc():
    expect_sampled(attached("heap_sample", 2, opts=("--sample", "256")), 256)


def own_sites(report):
    return [s for s in report["sites"] if s["kind"] == "heap" and
            {f["symbol"] for f in s["stack"]} & {"own_make", "own_resize"}]


def expect_near(report, own, mean, plane):
    """Every block was freed, by whom ever: nothing remains, not a rounding. Bytes within 8 standard errors."""
    sites = own_sites(report)
    expect("own blocks that live", sum(s["live_blocks"] for s in sites), 0)
    expect("their bytes", sum(s["live_bytes"] for s in sites), 0)
    # Of sizes from 48 bytes on, so that no sample stands for many.
    asked, off = sum(s["bytes"] for s in sites), 8 * math.sqrt(own["bytes"] * mean)
    expect_between("bytes", asked, own["bytes"] - off, own["bytes"] + off)
    expect_between("samples", report["events"]["by_kind"]["heap"]["seen"], 100, own["made"] // 2)
    expect_plane(report, plane)


def expect_balance(run, inherited, plane="ring"):
    own = run.result
    expect("blocks freed", own["freed"], own["made"] + inherited)
    expect_near(run.report, own, 4096, plane)


@case
def frees_balance_by_the_agent():
    expect_balance(launched("heap_sampled", THREADS, BLOCKS, opts=("--sample", "4K")), 1000)


@case
def frees_balance_by_mtalloc():
    expect_balance(attached_without_child("heap_sampled", THREADS, BLOCKS, opts=("--sample", "4K")),
                   0)


@case
def frees_balance_by_mtallocs_probes():
    expect_balance(attach("heap_sampled", THREADS, BLOCKS, 0, opts=CONTRACT, env=listening(4096)), 0,
                   "contract")


@case
def two_listeners_at_the_same_time():
    """One has samples by its probes, the other is told every call; neither takes the other's."""
    program = Target("heap_sampled", THREADS, BLOCKS, 0, env=listening(4096))
    samples = Tracer("-p", program.pid, *CONTRACT)
    exact = Tracer("-p", program.pid)
    program.say()
    own = program.wait_objects()[0]
    expect_near(samples.report(), own, 4096, "contract")
    report = exact.report()
    expect_plane(report)
    expect("bytes of every call", sum(s["bytes"] for s in own_sites(report)), own["bytes"])
    expect("live", sum(s["live_blocks"] for s in own_sites(report)), 0)
    program.say()
    expect("the program's status", program.finish(), 0)


EXACT = ("bytes_requested", "failed", "live_blocks", "live_bytes", "freed_bytes", "inherited_blocks")


def expect_same(run_by, inherited):
    """One sample in a byte is every block of 46 bytes and more, and stands for itself."""
    exact = run_by("heap_sampled", THREADS, BLOCKS)
    sampled = run_by("heap_sampled", THREADS, BLOCKS, opts=("--sample", "1"))
    own = exact.result
    expect("what the program did", sampled.result, own)
    for run in (exact, sampled):
        expect("requested", sum(s["bytes"] for s in own_sites(run.report)), own["bytes"])
        expect("calls", sum(s["calls"] for s in own_sites(run.report)), own["made"] + own["moved"])
        expect("frees", sum(s["frees"] for s in own_sites(run.report)), own["made"] + own["moved"] + inherited)
        expect("live", sum(s["live_blocks"] for s in own_sites(run.report)), 0)
        expect_plane(run.report)
    expect("the error of what is exact", exact.report["heap"]["bytes_requested_error"], None)
    for key in EXACT:
        expect(key, sampled.report["heap"][key], exact.report["heap"][key])
    expect("calls", sampled.report["heap"]["by_function"], exact.report["heap"]["by_function"])
    expect("the error", sampled.report["heap"]["bytes_requested_error"], 0)


@case
def one_in_a_byte_is_every_call_by_the_agent():
    expect_same(launched, 1000)


@case
def one_in_a_byte_is_every_call_by_mtalloc():
    expect_same(attached_without_child, 0)
