# SPDX-License-Identifier: MIT
"""Stacks without frame pointers: known chains of calls, and how many stacks of
real programs, as Debian builds them, reach their end."""

import os
import shutil
import socket

from harness import (PAGE, Proc, Skip, Tracer, case, expect, expect_at_least, expect_true, launch,
                     load_report, prog, tmp, wait_until)

SHARE = 0.02  # of the stacks taken: more may not be cut


def own_frames(site, own):
    """Those of `own`, without what a compiler adds to the name of a function's variant."""
    names = [(f["symbol"] or "").split(".")[0] for f in site["stack"]]
    return [name for name in names if name in own]


def chain(report, pages, own):
    """The functions of `own` on the stack of the one mmap of so many pages, innermost first."""
    sites = [s for s in report["sites"] if s["syscalls"]["mmap"] and s["bytes"] == pages * PAGE]
    expect("places that mapped %d pages" % pages, len(sites), 1)
    expect("the stack of %d pages is cut" % pages, sites[0]["truncated"], False)
    return own_frames(sites[0], own)


def launched(*argv, **more):
    return launch(list(argv), status=0, **more).report


@case
def known_chains_without_frame_pointers():
    report = launched(prog("unwind_c"))
    own = {"take", "plain_inner", "plain_outer", "with_alloca", "with_aligned", "with_large_frame",
           "compare", "with_callback", "on_signal", "with_signal", "on_fault", "interrupted",
           "with_fault", "leaf_touch", "touch_outer", "main", "raise", "qsort_r"}
    for pages, want in (
            (101, ["take", "plain_inner", "plain_outer", "main"]),
            (102, ["take", "with_alloca", "main"]),
            (103, ["take", "with_aligned", "main"]),
            (104, ["take", "with_large_frame", "main"]),
            (107, ["take", "on_fault", "interrupted", "with_fault", "main"]),
            (108, ["take", "touch_outer", "main"])):
        expect("the callers of %d pages" % pages, chain(report, pages, own), want)
    expect("through qsort", chain(report, 105, own - {"qsort_r"}),
           ["take", "compare", "with_callback", "main"])
    expect("through a signal sent by a call", chain(report, 106, own - {"raise"}),
           ["take", "on_signal", "with_signal", "main"])
    touched = [own_frames(s, own) for s in report["sites"]
               if s["stack"] and (s["stack"][0]["symbol"] or "").split(".")[0] == "leaf_touch"]
    expect("the callers of a leaf", touched, [["leaf_touch", "touch_outer", "main"]])
    deep = [s for s in report["sites"] if "untouched" in own_frames(s, {"untouched"})]
    expect("the callers of what has no page at its stack pointer",
           [(own_frames(s, own | {"untouched"}), s["truncated"]) for s in deep],
           [(["untouched", "main"], False)])


# Runs a command with all libraries on an overlay.
ON_OVERLAY = ("unshare", "--mount", "sh", "-c",
              'mount -t overlay -o "ro,lowerdir=/usr:$0" none /usr && exec "$@"')


@case(needs=("bpf", "overlay"))
def libraries_on_overlayfs():
    """What is mapped there is another file than the one that was opened."""
    report = launched(prog("unwind_c"), wrap=(*ON_OVERLAY, tmp()))
    stacks = report["stacks"]
    expect_at_least("stacks", stacks["taken"], 50)
    expect("stacks that are cut", stacks["taken_truncated"], 0)


PLACE = ["place_call"] + ["place_deep"] * 11 + ["work"]


def chains_of_stack_place(kind, calls):
    """What the calls of stack_place came from, as (callers, cut, how many), and its own result."""
    run = launch([prog("stack_place"), kind, calls])
    if kind == "secret" and run.status == 99:
        raise Skip("memfd_secret: " + run.err)
    expect("status", run.status, 0)
    found = [(own_frames(s, set(PLACE)), s["truncated"], s["syscalls"]["madvise"])
             for s in run.report["sites"] if s["syscalls"]["madvise"]]
    # What is whole and has none of them is another thread's.
    found = [f for f in found if f[0] or f[1]]
    expect("calls", sum(n for _, _, n in found), calls)
    return found, run.result


@case
def stacks_in_memory_of_each_kind():
    for kind in ("plain", "huge", "shared"):
        expect("callers, %s" % kind, chains_of_stack_place(kind, 1000)[0], [(PLACE, False, 1000)])


@case
def a_stack_in_memory_that_the_kernel_does_not_map():
    expect("callers", chains_of_stack_place("secret", 1000)[0], [(PLACE, False, 1000)])


@case
def a_stack_that_is_moved_while_it_is_walked():
    """Into a huge page and out of it. While that is done no page is there, and a walk ends there and
    says so; what it has found up to there is right, whichever page it was read in."""
    for _ in range(3):
        found, own = chains_of_stack_place("moving", 100000)
        expect_at_least("moves", own["moves"], 10)
        for callers, cut, _ in found:
            expect("callers", callers, PLACE[:len(callers)] if cut else PLACE)
        expect_at_least("whole stacks", sum(n for _, cut, n in found if not cut), 50000)


@case(needs=("bpf", "c++"))
def an_exception_on_its_way():
    report = launched(prog("unwind_cpp"))
    own = {"take", "cleaned_up", "guarded", "catcher", "main"}
    expect("in a destructor", chain(report, 111, own),
           ["take", "cleaned_up", "guarded", "catcher", "main"])
    expect("in a handler", chain(report, 112, own), ["take", "catcher", "main"])


def expect_whole(what, report, least):
    stacks = report["stacks"]
    expect_at_least("stacks of %s" % what, stacks["taken"], least)
    expect("events lost", report["events"]["lost"], 0)
    share = stacks["taken_truncated"] / stacks["taken"]
    expect_true("less than %.0f %% of the stacks of %s are cut" % (SHARE * 100, what),
                share < SHARE, "%d of %d" % (stacks["taken_truncated"], stacks["taken"]))


def program(*names):
    for name in names:
        path = shutil.which(name)
        if path:
            return path
    raise Skip("no %s" % names[0])


@case
def python_reaches_its_end():
    """Also with modules that are loaded while it runs."""
    if not os.access("/usr/bin/python3", os.X_OK):
        raise Skip("no /usr/bin/python3")
    code = ("import json\n"
            "kept = []\n"
            "for i in range(300):\n"
            "    kept.append(json.loads(json.dumps({str(j): [j] * 50 for j in range(100)})))\n"
            "    kept.append(bytearray(300000))\n")
    expect_whole("python3", launched("/usr/bin/python3", "-S", "-c", code), 20000)


@case
def sqlite_reaches_its_end():
    sql = ("create table t(a, b); with recursive c(x) as (select 1 union all select x + 1 from c "
           "where x < 60000) insert into t select x, hex(randomblob(40)) from c; "
           "create index i on t(b); select count(*) from t where b > 'A';")
    expect_whole("sqlite3", launched(program("sqlite3"), ":memory:", sql), 1000)


@case
def redis_reaches_its_end():
    """The server, attached to: what it had mapped before is known, too."""
    path = tmp("redis-server")  # what it is called decides what it does
    os.symlink(program("redis-server", "redis-check-rdb"), path)
    where = tmp("redis.sock")
    server = Proc([path, "--port", "0", "--unixsocket", where, "--save", "", "--daemonize", "no",
                   "--loglevel", "warning"])
    client = socket.socket(socket.AF_UNIX)
    wait_until("redis-server to listen", lambda: client.connect_ex(where) == 0)
    tracer = Tracer("-p", server.pid)
    answers = client.makefile("rb")
    for i in range(4000):
        client.sendall(b"SET key:%d %s\r\n" % (i, b"x" * 1500))
        expect("the answer", answers.readline(), b"+OK\r\n")
    client.sendall(b"SHUTDOWN NOSAVE\r\n")
    expect("memtrace's status", tracer.finish(), 0)
    expect_whole("redis-server", load_report(tracer.json_path), 1000)
