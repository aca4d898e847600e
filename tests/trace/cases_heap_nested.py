# SPDX-License-Identifier: MIT
"""A call within a call: malloc in a new-handler that operator new calls. Where the allocator has operators of its
own, that is a part of the operator's call; where they are the C++ library's, which are not hooked, it is
a call like any other. Told once in either case, by probes and by rings."""

from cases_heap_calls import library
from cases_heap_throw import MTALLOC
from harness import attach, case, expect, launch, prog

UPROBE, RING = ("--heap=uprobe",), ("--heap=ring",)
NEEDS = ("bpf", "c++")
ROUNDS = 100
HANDLER_BYTES = 700
TCMALLOC = {"TCMALLOC_LARGE_ALLOC_REPORT_THRESHOLD": str(1 << 62)}


def preloaded(path, **env):
    return dict(env, LD_PRELOAD=path)


def sites(run, function):
    return [s for s in run.report["sites"] if s["kind"] == "heap" and
            any((f["symbol"] or "").startswith(function + "(") for f in s["stack"])]


def total(run, function, key):
    return sum(s[key] for s in sites(run, function))


def expect_once(run, nested, rounds=ROUNDS, first=0):
    """first: 1 when the round before those that the program counts was seen, too; its block is leaked."""
    heap, own = run.report["heap"], run.result
    expect("caught by the program", own["caught"], rounds)
    expect("handled by it", own["handled"], 2 * rounds)
    expect("calls of the handler told by themselves", total(run, "on_empty", "calls"),
           0 if nested else own["handled"] + 2 * first)
    expect("their bytes", total(run, "on_empty", "bytes"),
           0 if nested else HANDLER_BYTES * (own["handled"] + 2 * first))
    expect("what they left", total(run, "on_empty", "live_blocks"), 0)
    expect("blocks that the rounds left", total(run, "one_round", "live_blocks"),
           own["made"] - own["freed"] + first)
    # An operator's failure is one, whatever it tried; else each of its three attempts is a malloc.
    expect("failed", heap["failed"], (own["failed"] + first) * (1 if nested else 3))
    expect("frees without a block", heap["unmatched_frees"], 0)
    expect("left without an end", heap["abandoned"], 0)
    # The C++ library makes and frees its exceptions, once each.
    handler = total(run, "on_empty", "calls")
    if nested:
        # tcmalloc calls its own operator before main().
        early = sum(s["calls"] for s in run.report["sites"] if s["kind"] == "heap" and
                    "_dl_init" in [f["symbol"] for f in s["stack"]] and "new" in s["stack"][0]["symbol"])
        expect("calls of new", heap["by_function"]["new"] - early, own["made"] + own["failed"] + 2 * first)
        # Rings tell of a call that an exception ended without its place.
        ended = 0 if run.report["processes"][0]["heap_plane"] == "ring" else own["failed"] + first
        expect("calls of one_round", total(run, "one_round", "calls"),
               own["made"] + own["caught"] + 2 * first + ended)
    else:
        expect("calls of one_round", total(run, "one_round", "calls") - handler,
               own["made"] + 3 * own["failed"] + own["caught"] + 5 * first)


def attached(nested, opts, env=None):
    run = attach("heap_handler", ROUNDS, opts=opts, env=env)
    expect("plane", run.process(run.pid)["heap_plane"], opts[0].split("=")[1])
    expect_once(run, nested)


def launched(nested, opts, env=None):
    run = launch([prog("heap_handler"), ROUNDS], opts=opts, env=env, status=0)
    expect("plane", run.root()["heap_plane"], opts[0].split("=")[1])
    expect_once(run, nested, first=1)


@case(needs=NEEDS)
def by_probes_in_glibc():
    attached(False, UPROBE)


@case(needs=NEEDS)
def by_probes_in_jemalloc():
    attached(True, UPROBE, preloaded(library("libjemalloc.so.2")))


@case(needs=NEEDS)
def by_probes_in_tcmalloc():
    attached(True, UPROBE, preloaded(library("libtcmalloc_minimal.so.4"), **TCMALLOC))


@case(needs=NEEDS)
def by_probes_in_mtalloc():
    attached(True, UPROBE, preloaded(MTALLOC))


@case(needs=NEEDS)
def by_probes_of_a_command():
    launched(True, UPROBE, preloaded(library("libjemalloc.so.2")))


@case(needs=NEEDS)
def by_rings_before_glibc():
    launched(False, RING)


@case(needs=NEEDS)
def by_rings_before_jemalloc():
    launched(True, RING, preloaded(library("libjemalloc.so.2")))


@case(needs=NEEDS)
def by_rings_before_tcmalloc():
    launched(True, RING, preloaded(library("libtcmalloc_minimal.so.4"), **TCMALLOC))


@case(needs=NEEDS)
def by_rings_of_mtalloc():
    attached(False, RING, preloaded(MTALLOC))
