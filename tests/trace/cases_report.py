# SPDX-License-Identifier: MIT
"""The JSON report as a whole: every key that scripts rely on is there, with a number or null,
and what is told twice is told alike."""

import os
import shutil
import signal
import socket

from harness import (CALLS, Failure, Proc, Skip, Tracer, attach, case, expect, expect_at_least,
                     expect_between, expect_true, launch, process_of, prog, tmp, wait_until)

NUMBER = "a number or null"
EXACT = "a number"
TEXT = "text or null"

CALLS_SHAPE = {
    "brk": {"calls": EXACT, "failed": EXACT, "grown_bytes": EXACT, "shrunk_bytes": EXACT},
    "mmap": {"calls": EXACT, "failed": EXACT, "bytes": EXACT},
    "munmap": {"calls": EXACT, "failed": EXACT, "bytes": EXACT},
    "mremap": {"calls": EXACT, "failed": EXACT, "bytes": EXACT},
    "madvise": {"calls": EXACT, "failed": EXACT, "bytes": EXACT},
    "mprotect": {"calls": EXACT, "failed": EXACT, "bytes": EXACT},
    "faults": {"minor": EXACT, "major": EXACT, "user": EXACT, "kernel": EXACT, "time_ns": EXACT,
               "histogram_ns": [{"from_ns": EXACT, "to_ns": NUMBER, "count": EXACT}]},
}
HEAP = {
    "calls": {"malloc": EXACT, "calloc": EXACT, "realloc": EXACT, "aligned": EXACT, "free": EXACT},
    "failed": EXACT, "bytes_requested": EXACT, "live_blocks": EXACT, "live_bytes": EXACT,
    "peak_live_bytes": EXACT, "unmatched_frees": EXACT, "temporary": EXACT,
    "temporary_calls": EXACT,
    "inside_calls": {"syscalls": dict.fromkeys(CALLS, EXACT), "syscall_ns": EXACT,
                     "faults": {"minor": EXACT, "major": EXACT}, "fault_ns": EXACT},
}
PARTS = dict.fromkeys(("live", "retained", "allocator", "direct_mmap", "file", "stack", "other",
                       "unknown"), NUMBER)
FRAME = {"module": TEXT, "build_id": TEXT, "offset": EXACT, "symbol": TEXT, "file": TEXT,
         "line": NUMBER}
SITE = {"stack": [FRAME], "calls": EXACT, "bytes": EXACT, "frees": NUMBER, "live_blocks": NUMBER,
        "live_bytes": NUMBER, "resident_bytes": NUMBER, "syscalls": dict.fromkeys(CALLS, EXACT),
        "syscall_ns": EXACT, "faults": {"minor": EXACT, "major": EXACT}, "fault_ns": EXACT}
HEAP_SITE = dict(SITE, frees=EXACT, live_blocks=EXACT, live_bytes=EXACT, peak_live_bytes=EXACT,
                 temporary=EXACT, moved=EXACT)
REPORT = {
    "schema": "text", "version": "text", "duration_ns": EXACT,
    "processes": [{"pid": EXACT, "comm": "text", "exe": TEXT, "exit_status": NUMBER,
                   "heap_plane": "text",
                   "allocators": [{"name": TEXT, "path": TEXT, "hooks": EXACT}],
                   "kernel": CALLS_SHAPE}],
    "events": {"seen": EXACT, "delivered": EXACT, "lost": EXACT, "lost_by": {}},
    "kernel": CALLS_SHAPE,
    "heap": HEAP,
    "hooks": [{"symbol": "text", "path": "text", "place": "text", "hits": EXACT, "nested": EXACT,
               "ignored": EXACT, "lost": EXACT}],
    "rss": {"kernel_bytes": NUMBER, "parts": PARTS},
    "sites": [SITE],
    "stacks": {"taken": EXACT, "taken_truncated": EXACT},
    "advice": [{"id": "text", "site": NUMBER, "text": "text", "evidence": {}}],
}


def check_shape(at, got, shape):
    """Every key of a shape is there, and of its kind. More keys may be."""
    if isinstance(shape, dict):
        if not isinstance(got, dict):
            raise Failure("%s: expected an object got %r" % (at, got))
        for key, inner in shape.items():
            if key not in got:
                raise Failure("%s.%s: expected it to be there got %s" % (at, key, sorted(got)))
            check_shape("%s.%s" % (at, key), got[key], inner)
    elif isinstance(shape, list):
        if not isinstance(got, list):
            raise Failure("%s: expected an array got %r" % (at, got))
        for i, one in enumerate(got):
            check_shape("%s[%d]" % (at, i), one, shape[0])
    else:
        right = {NUMBER: got is None or type(got) is int, EXACT: type(got) is int,
                 TEXT: got is None or isinstance(got, str), "text": isinstance(got, str)}[shape]
        expect_true("%s: %s" % (at, shape), right, got)
        expect_true("%s: not below 0" % at, not isinstance(got, int) or got >= 0, got)


def add_up(sites, *path):
    total = 0
    for site in sites:
        for key in path:
            site = site[key]
        total += site
    return total


def check_report(report):
    """Shape, and sums over the places and the processes."""
    check_shape("report", report, REPORT)
    kernel, heap = report["kernel"], report["heap"]
    places = [s for s in report["sites"] if s["kind"] == "kernel"]
    askers = [s for s in report["sites"] if s["kind"] == "heap"]
    for i, site in enumerate(askers):
        check_shape("heap site %d" % i, site, HEAP_SITE)
    for name in CALLS:
        expect("%s, by place" % name, add_up(places, "syscalls", name), kernel[name]["calls"])
        expect("%s, by process" % name, add_up(report["processes"], "kernel", name, "calls"),
               kernel[name]["calls"])
    for kind in ("minor", "major"):
        expect("%s faults, by place" % kind, add_up(places, "faults", kind), kernel["faults"][kind])
    expect("time of faults, by place", add_up(places, "fault_ns"), kernel["faults"]["time_ns"])
    made = sum(heap["calls"][k] for k in heap["calls"] if k not in ("free", "delete"))
    expect("allocations, by place", add_up(askers, "calls"), made)
    expect("bytes, by place", add_up(askers, "bytes"), heap["bytes_requested"])
    expect("live blocks, by place", add_up(askers, "live_blocks"), heap["live_blocks"])
    expect("live bytes, by place", add_up(askers, "live_bytes"), heap["live_bytes"])
    for key in ("bytes_requested", "live_bytes", "live_blocks", "unmatched_frees"):
        expect("%s, by process" % key, sum(p["heap"][key] or 0 for p in report["processes"]), heap[key])
    inside = heap["inside_calls"]
    for name in CALLS:
        expect_between("%s inside calls, by place" % name, add_up(askers, "syscalls", name),
                       inside["syscalls"][name] - inside["without_site"]["syscalls"],
                       inside["syscalls"][name])
        expect_between("%s inside calls, of all" % name, inside["syscalls"][name], 0,
                       kernel[name]["calls"])
    expect("faults inside and of first touch, by place",
           add_up(askers, "faults", "minor") + add_up(askers, "faults", "major"),
           sum(inside["faults"].values()) - inside["without_site"]["faults"] +
           sum(heap["first_touch"]["faults"].values()))
    # A probe's hits are told calls, nested ones, those left out and lost ones.
    hits = sum(h["hits"] - h["nested"] - h["ignored"] - h["lost"] for h in report["hooks"])
    expect("calls that the probes told of", hits, report["events"]["by_kind"]["heap"]["delivered"])
    for process in report["processes"]:
        expect_true("a plane with its allocators", (process["heap_plane"] == "none") ==
                    (not any(a["name"] for a in process["allocators"])), process["allocators"])


def check_rss(report):
    rss = report["rss"]
    expect_at_least("resident", rss["kernel_bytes"], 1 << 20)
    expect_between("sum of the parts", sum(rss["parts"].values()), int(rss["kernel_bytes"] * 0.99),
                   int(rss["kernel_bytes"] * 1.01))


@case
def a_command_with_threads():
    report = launch([prog("heap_churn"), 4, 3000], opts=("--buffer", "64M")).report
    check_report(report)


@case
def a_process_with_costs():
    report = attach("heap_cost", 60).report
    check_report(report)
    check_rss(report)


@case
def a_command_with_children():
    check_report(launch(["sh", "-c", "ls / >/dev/null; ls /usr >/dev/null; echo {}"]).report)


@case(needs=("bpf", "python3"))
def parts_of_python():
    proc = Proc(["python3", "-c", "import json, sys\n"
                 "print('ready', flush=True); sys.stdin.readline()\n"
                 "x = [{'a': str(i), 'b': list(range(i % 50))} for i in range(60000)]\n"
                 "y = bytearray(3000000); del x[::3]\n"
                 "print('done', flush=True); sys.stdin.readline()"])
    proc.out.wait("python to be ready", lambda lines: "ready" in lines)
    tracer = Tracer("-p", proc.pid, "--buffer=128M")
    proc.say()
    proc.out.wait("its work", lambda lines: "done" in lines)
    report = tracer.report()
    proc.finish()
    check_report(report)
    check_rss(report)
    expect_at_least("in live blocks", report["rss"]["parts"]["live"], 3000000)


@case
def parts_of_redis():
    server = shutil.which("redis-server")
    if not server:
        raise Skip("no redis-server")
    path = tmp("redis.sock")
    proc = Proc([server, "--port", "0", "--unixsocket", path, "--save", "", "--dir", tmp()])
    wait_until("its socket", lambda: os.path.exists(path))
    tracer = Tracer("-p", proc.pid, "--buffer=128M")
    client = socket.socket(socket.AF_UNIX)
    client.connect(path)
    client.sendall(b"".join(b"SET key:%d %s\r\n" % (i, b"x" * (i % 300 + 1)) for i in range(20000)))
    got = b""
    while got.count(b"+OK") < 20000:
        more = client.recv(1 << 16)
        expect_true("answers", more)
        got += more
    report = tracer.report()
    client.close()
    proc.finish(signal.SIGTERM)
    check_report(report)
    check_rss(report)
    expect_at_least("in live blocks", report["rss"]["parts"]["live"], 1000000)
    expect("plane", process_of(report, proc.pid)["heap_plane"], "uprobe")
