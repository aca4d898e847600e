# SPDX-License-Identifier: MIT
"""Stacks that are nearly the last one: the same place and stack pointer, something else further up. A
walk that is taken for an earlier one shows there as a call of the wrong callers."""

from harness import case, expect, launch, prog

REPEATS = 3
DEPTH = 5
PLACES = ("place_call", "frame_call")


def callers(kind, rounds, own):
    """How often each chain of `own` made the call, from run of stack_again; all of them whole. Also
    the program's own result."""
    run = launch([prog("stack_again"), kind, rounds], status=0)
    found = {}
    for site in run.report["sites"]:
        names = tuple(name for name in ((f["symbol"] or "").split(".")[0] for f in site["stack"]) if name in own)
        if site["syscalls"]["madvise"] and names and names[0] in PLACES:
            expect("the stack of %s is cut" % (names,), site["truncated"], False)
            found[names] = found.get(names, 0) + site["syscalls"]["madvise"]
    expect("events lost", run.report["events"]["lost"], 0)
    return found, run.result


def expect_callers(kind, rounds, want):
    own = {name for names in want for name in names}
    found, result = callers(kind, rounds, own)
    expect("callers of %s" % kind, found, want)
    expect("calls with another stack pointer", result["elsewhere"], 0)


@case
def return_addresses_that_differ_at_each_depth():
    want = {}
    for way in range(1 << DEPTH):
        chain = ["words"]
        for depth in range(DEPTH):
            chain[:0] = ["again_go", "again_right" if way >> depth & 1 else "again_left"][::-1]
        want[("place_call", "again_go", *chain)] = 20 * REPEATS
    expect_callers("words", 20, want)


@case
def a_stack_that_is_left_by_longjmp():
    expect_callers("jump", 300, {("place_call", "jump_left", "jump"): 300 * REPEATS,
                                 ("place_call", "jump_right", "jump"): 300 * REPEATS})


@case
def two_coroutines_on_one_stack():
    expect_callers("context", 300, {("place_call", "context_left"): 300 * REPEATS,
                                    ("place_call", "context_right"): 300 * REPEATS})


@case
def a_stack_whose_page_is_exchanged():
    """What was read in the page that was there says that nothing has changed."""
    expect_callers("pages", 100, {("place_call", "context_left"): 100 * REPEATS,
                                  ("place_call", "context_right"): 100 * REPEATS})


@case
def two_outermost_functions():
    expect_callers("first", 300, {("place_call", "first_left"): 300 * REPEATS,
                                  ("place_call", "first_right"): 300 * REPEATS})


@case
def other_code_at_the_same_address():
    """Bytes and stack are the same, only the unwind table of the file is another."""
    expect_callers("code", 100, {("place_call",): 200 * REPEATS,
                                 ("place_call", "code_run", "code"): 200 * REPEATS})


@case
def other_code_after_code_beside_it():
    expect_callers("beside", 100, {("place_call",): 100 * REPEATS,
                                   ("place_call", "code_run", "beside"): 100 * REPEATS})


@case
def other_code_that_is_moved_there():
    expect_callers("moved", 100, {("place_call",): 100 * REPEATS,
                                  ("place_call", "code_run", "moved"): 100 * REPEATS})


@case
def frames_that_another_register_leads_to():
    for reg in ("bp", "bx"):
        expect_callers(reg, 300, {("frame_call", reg + "_near", "by_" + reg): 300,
                                  ("frame_call", reg + "_far", "by_" + reg): 300})
