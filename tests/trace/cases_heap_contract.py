# SPDX-License-Identifier: MIT
"""Probes of a program's own, otel_memory:alloc and otel_memory:free: what it samples is taken as it
is told, and it is told that somebody listens."""

from harness import (Target, Tracer, attach, case, expect, expect_at_least, expect_match, expect_true,
                     memtrace, process_of, prog)

BLOCKS, EACH = 2000, 10


def expect_contract(*opts):
    target = Target("heap_contract", BLOCKS)
    tracer = Tracer("-p", target.pid, *opts)
    target.say()
    own = target.wait_objects()[0]
    report = tracer.report()
    # Each of the two places where alloc is counts one.
    expect("listeners meanwhile", own["listeners"], 2)
    target.say()
    expect("listeners afterwards", target.wait_objects(2)[1]["listeners"], 0)
    expect("the target's status", target.finish(), 0)
    heap, process = report["heap"], process_of(report, target.pid)
    expect("plane", process["heap_plane"], "contract")
    # One more, that stands for itself.
    expect("blocks", heap["by_function"]["sampled"], own["fired"] * EACH + 1)
    expect("frees", heap["by_function"]["sampled_free"], own["freed"] * EACH)
    expect("bytes", heap["bytes_requested"], own["bytes"] + 64)
    expect("live bytes", heap["live_bytes"], own["live"] + 64)
    expect_at_least("an error of that", heap["live_bytes_error"], own["live"] // 100)
    expect("frees of unknown blocks", heap["unmatched_frees"], None if opts[0] == "--sample" else 0)
    expect("hooks", {h["symbol"] for h in report["hooks"]}, {"otel_memory:alloc", "otel_memory:free"})
    expect("places of hooks", {h["place"] for h in report["hooks"]}, {"usdt"})
    callers = {s["stack"][0]["symbol"] for s in report["sites"] if s["kind"] == "heap" and s["calls"]}
    expect("who allocated", callers, {"take", "take_constant"})
    expect_match("the text", tracer.out.text(), r"^Heap, estimated from samples$")


@case
def a_programs_own_probes():
    expect_contract("--heap=contract", "--no-follow")


@case
def they_are_preferred_when_samples_are_asked_for():
    expect_contract("--sample", "64K")


@case
def what_is_exact_wins_otherwise():
    run = attach("heap_contract", BLOCKS)
    expect("plane", run.process(run.pid)["heap_plane"], "uprobe")
    expect("blocks", run.report["heap"]["by_function"]["malloc"], BLOCKS)
    expect("listeners", run.result["listeners"], 0)


@case
def a_program_without_them():
    run = memtrace("--heap=contract", "--", prog("heap_cost"), 4)
    expect("status", run.status, 0)
    expect_match("the reason", run.err, r"nothing in it has the probes otel_memory:alloc")
    expect_true("no heap", "Heap, estimated" not in run.err, run.err)
