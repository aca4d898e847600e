# SPDX-License-Identifier: MIT
"""What the uprobe plane's cases hold, held by the ring plane as well; and both planes at once on
one process: they tell the same calls, to the event. (Not the same places: where one plane has return probes, the
stacks that a process takes itself have these in place of the callers.)"""

import os
import subprocess

from harness import (MEMTRACE, PAGE, Proc, Target, Tracer, case, expect, expect_at_least, expect_between,
                     launch, load_report, numbered, process_of, prog, tmp)
from cases_heap_calls import expect_marks_in_stream, library, musl
from cases_heap_live import expect_indented
from cases_heap_ring import THREADS, compiled_join, expect_family
from cases_heap_throw import MTALLOC, expect_thrown

RING, UPROBE = "--heap=ring", "--heap=uprobe"


def expect_plane(report, pid, plane):
    expect("plane", process_of(report, pid)["heap_plane"], plane)


@case
def both_at_once_on_mtalloc():
    """It hands over itself what the probes in it see: one window, all figures the same."""
    target = Target("heap_family", env={"LD_PRELOAD": MTALLOC})
    tracers = [Tracer("-p", target.pid, opt) for opt in (RING, UPROBE)]
    target.say()
    own = target.wait_objects()[0]
    # Both have it when it has ended: nothing of it is seen by one of them alone.
    expect("the program's status", target.finish(), 0)
    expect("status", [t.finish() for t in tracers], [0, 0])
    rings, uprobes = (load_report(t.json_path) for t in tracers)
    expect_plane(rings, target.pid, "ring")
    expect_plane(uprobes, target.pid, "uprobe")
    for key in ("by_function", "calls", "failed", "abandoned", "bytes_requested", "freed_bytes", "live_blocks",
                "live_bytes", "unmatched_frees", "unseen_frees"):
        expect("%s by rings (and by uprobes)" % key, rings["heap"][key], uprobes["heap"][key])
    for key in ("live_blocks", "live_bytes", "failed"):
        expect(key, rings["heap"][key], own[key])


@case
def both_at_once_on_glibc():
    """Probes in the agent that stands before glibc: what the program does while both look."""
    path = numbered("report-%d.json")
    program = Proc([MEMTRACE, RING, "--json=" + path, "--", prog("heap_family"), "-w"])
    ready = program.out.wait("the program to be ready", lambda lines: next(
        (line for line in lines if line.startswith("ready ")), None))
    pid = int(ready.split()[1])
    tracer = Tracer("-p", pid, UPROBE)
    program.say()
    own = program.wait_objects()[0]
    program.say()
    expect("the program's status", program.finish(), 0)
    expect("status of the second", tracer.finish(), 0)
    rings, uprobes = load_report(path), load_report(tracer.json_path)
    expect_plane(rings, pid, "ring")
    expect_plane(uprobes, pid, "uprobe")
    # What was called before the second one looked: once for each thread by the C library, and its start.
    ours, theirs = rings["heap"]["by_function"], uprobes["heap"]["by_function"]
    expect("functions by rings (and by uprobes)", sorted(ours), sorted(theirs))
    for name in ours:
        before = {"calloc": THREADS, "malloc": ours["malloc"] - own["malloc"]}.get(name, 0)
        expect("%s by rings (and by uprobes)" % name, ours[name] - before, theirs[name])
    expect_between("malloc before", ours["malloc"] - own["malloc"], 0, 2)
    for key, before in (("live_blocks", THREADS), ("failed", 0), ("unmatched_frees", 0), ("unseen_frees", 0)):
        expect("%s by rings (and by uprobes)" % key, rings["heap"][key] - before, uprobes["heap"][key])


def expect_ring_thrown(pattern, *args, **env):
    rounds = 100
    run = launch([prog("heap_throw"), rounds, *args], opts=(RING,), status=0,
                 env=dict(env, LD_PRELOAD=library(pattern)))
    expect("plane", run.root()["heap_plane"], "ring")
    # tcmalloc calls its own operator before main().
    early = 0
    for site in run.report["sites"]:
        names = [f["symbol"] for f in site["stack"]]
        if site["kind"] == "heap" and "_dl_init" in names and "new" in names[0]:
            early += site["calls"]
    expect_thrown(run, (rounds + 1) / rounds, early)


@case(needs=("bpf", "c++"))
def bad_alloc_out_of_jemalloc():
    expect_ring_thrown("libjemalloc.so.2")


@case(needs=("bpf", "c++"))
def bad_alloc_out_of_tcmalloc():
    expect_ring_thrown("libtcmalloc_minimal.so.4", TCMALLOC_LARGE_ALLOC_REPORT_THRESHOLD=str(1 << 62))


@case(needs=("bpf", "c++"))
def an_error_handlers_exception_out_of_mimalloc():
    expect_ring_thrown("libmimalloc.so.2*", 1)


PLUGIN = """
#include <new>
extern "C" int catch_one(void)
{
	try { throw 7; } catch (int number) { return number; }
}
"""
PLUGIN_USER = """
#include <dlfcn.h>
#include <stdio.h>
int main(int argc, char **argv)
{
	void *plugin = dlopen(argv[argc - 1], RTLD_NOW | RTLD_LOCAL);
	int (*catch_one)(void) = plugin ? (int (*)(void))dlsym(plugin, "catch_one") : 0;

	printf("{\\"caught\\": %d}\\n", catch_one ? catch_one() : 0);
	return 0;
}
"""


@case(needs=("bpf", "c++"))
def a_plugin_that_has_cxx_linked_in():
    """The agent's name is found before its own: what is behind that only the plugin has."""
    for name, text in (("plugin.cpp", PLUGIN), ("user.c", PLUGIN_USER)):
        with open(tmp(name), "w") as f:
            f.write(text)
    subprocess.run([os.environ.get("CXX", "g++"), "-shared", "-fPIC", "-static-libstdc++", "-static-libgcc",
                    "-o", tmp("plugin.so"), tmp("plugin.cpp")], check=True)
    subprocess.run([os.environ.get("CC", "gcc"), "-o", tmp("user"), tmp("user.c")], check=True)
    run = launch([tmp("user"), tmp("plugin.so")], opts=(RING,), status=0)
    expect("caught", run.result["caught"], 7)


@case
def the_family_in_musl():
    run = launch([musl(), 1], opts=(RING,), status=0)
    expect_family(run, "musl", threads=0)


@case
def a_call_s_kernel_events_are_indented_under_it():
    expect_indented(RING)


@case
def marks_are_inside_what_made_them():
    expect_marks_in_stream(10000, RING, "--", compiled_join(), 2)


@case
def resident_memory_has_owners():
    """The figures of heap_cost, whose blocks' first pages only glibc touches: here nobody does."""
    target = Target("heap_cost", 200, env={"LD_PRELOAD": MTALLOC})
    tracer = Tracer("-p", target.pid, RING)
    target.say()
    own = target.wait_objects()[0]
    report = tracer.report()
    expect("the program's status", target.finish(), 0)
    parts, kernel = report["rss"]["parts"], report["rss"]["kernel_bytes"]
    expect_between("sum of the parts", sum(parts.values()), int(kernel * 0.99), int(kernel * 1.01))
    expect("in live blocks", parts["live"], (own["blocks"] - own["freed"]) * (own["block_bytes"] - PAGE))
    expect_at_least("mapped by the program", parts["direct_mmap"], own["own_bytes"])
