# SPDX-License-Identifier: MIT
"""Advice: each rule on a program that gives it cause, and silence where the same is done well."""

from harness import attach, case, expect, expect_at_least, expect_between, expect_match


def advised(what, want):
    """{id: advice} of a program; each names the function that it is about."""
    run = attach("advise", what, opts=("--heap=uprobe",))
    advice = {a["id"]: a for a in run.report["advice"]}
    expect("advice", sorted(advice), sorted(want))
    for one in advice.values():
        if one["site"] is not None:
            names = [f["symbol"] for f in run.report["sites"][one["site"]]["stack"]]
            expect("the place", what in names, True)
    return run, advice


@case
def blocks_that_are_each_a_mapping():
    run, advice = advised("churn", ["mmap-churn"])
    got = advice["mmap-churn"]["evidence"]
    expect("calls", (got["calls"], got["mmap"], got["munmap"]), (500, 500, 500))
    expect("size", got["mean_bytes"], 256 << 10)
    expect_match("the text", run.out, r"^Advice\n  - most calls of this place map memory")


@case
def a_break_that_goes_up_and_down():
    _, advice = advised("trim", ["break-ping-pong", "temporary-faults"])
    expect_at_least("grown", advice["break-ping-pong"]["evidence"]["grown_bytes"], 400 * 100000)
    got = advice["temporary-faults"]["evidence"]
    expect("temporary", (got["calls"], got["temporary"]), (500, 500))
    expect_at_least("faults", got["faults"], 500)


@case
def blocks_that_are_copied():
    _, advice = advised("move", ["realloc-moves"])
    got = advice["realloc-moves"]["evidence"]
    expect("calls", got["calls"], 500)
    # The first may grow where it is.
    expect_between("moved", got["moved"], 499, 500)


@case
def blocks_that_are_not_freed():
    _, advice = advised("grow", ["growth"])
    got = advice["growth"]["evidence"]
    expect("figures", (got["calls"], got["frees"], got["live_bytes"]), (2000, 0, 2000 * 1000))


@case
def a_large_block_that_is_touched():
    _, advice = advised("touch", ["first-touch"])
    expect_at_least("faults", advice["first-touch"]["evidence"]["faults"], 4000)


@case
def memory_that_the_allocator_keeps():
    _, advice = advised("keep", ["retained"])
    expect("the place", advice["retained"]["site"], None)
    expect_at_least("kept", advice["retained"]["evidence"]["retained_bytes"], 18 << 20)


@case
def nothing_to_say():
    """Without a threshold of its own glibc learns from the first free that such blocks come again."""
    run, _ = advised("calm", [])
    expect("the text", "Advice" in run.out, False)
