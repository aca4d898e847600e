# SPDX-License-Identifier: MIT
"""Allocators that a program loads when it runs, for itself alone, and calls by pointers, or that are
part of a plugin: found as they come, and what they did before they were found is said to be unknown."""

import os
import re
import subprocess

from cases_heap_calls import library
from harness import (MEMTRACE, Proc, Target, Tracer, case, expect, expect_match, expect_true, load_report,
                     numbered, process_of, prog, tmp)

HEAP = "--heap=uprobe"
# They have thread-local data for which a program that was not linked with them has no room.
ROOM = {"GLIBC_TUNABLES": "glibc.rtld.optional_static_tls=30000"}
CALLED = ("malloc", "calloc", "realloc", "free")

PLUGIN = r"""
#include <stddef.h>
#include <string.h>
static _Alignas(16) char pool[1 << 21];
static size_t used;
KIND __attribute__((noinline)) void *NAME(malloc)(size_t n)
{ size_t *p = (size_t *)(pool + used); used += (n + 31) & ~15UL; *p = n; return p + 2; }
KIND __attribute__((noinline)) void NAME(free)(void *p) { __asm__ volatile("" : : "r"(p) : "memory"); }
KIND __attribute__((noinline)) void *NAME(calloc)(size_t k, size_t n)
{ void *p = NAME(malloc)(k * n); return memset(p, 0, k * n); }
KIND __attribute__((noinline)) void *NAME(realloc)(void *p, size_t n)
{ void *q = NAME(malloc)(n); size_t had = ((size_t *)p)[-2]; memcpy(q, p, had < n ? had : n); NAME(free)(p);
  return q; }
#ifdef TABLE
__attribute__((visibility("default"))) const struct { void *m, *c, *r, *f; } functions =
	{ NAME(malloc), NAME(calloc), NAME(realloc), NAME(free) };
#endif
"""


def plugin(*flags):
    source, path = tmp("plugin.c"), tmp("plugin.so")
    with open(source, "w") as f:
        f.write(PLUGIN)
    subprocess.run([os.environ.get("CC", "gcc"), "-O1", "-g", "-fno-builtin", "-fPIC", "-shared", *flags,
                    "-o", path, source], check=True)
    return path


def expect_late(report, out, pid, own, path):
    heap = process_of(report, pid)["heap"]
    sites = [s for s in report["sites"] if s["kind"] == "heap" and
             "allocate" in [f["symbol"] for f in s["stack"]]]
    for name in CALLED:
        expect_true(name, heap["by_function"].get(name, 0) >= own[name], heap["by_function"])
    expect("bytes asked for by it", sum(s["bytes"] for s in sites), own["bytes"])
    expect("its calls", sum(s["calls"] for s in sites), own["malloc"] + own["calloc"] + own["realloc"])
    expect("its live blocks", sum(s["live_blocks"] for s in sites), own["live_blocks"])
    expect("its live bytes", sum(s["live_bytes"] for s in sites), own["live_bytes"])
    found = [a for a in process_of(report, pid)["allocators"] if a["path"] == os.path.realpath(path)]
    expect("told of its allocator", len(found), 1)
    expect("from its start", found[0]["from_start"], False)
    expect_match("what is not known", " ".join(out.split()),
                 re.escape(os.path.realpath(path)) + r"\): \d+ entry points hooked; what it did before "
                 "that is not known")


def loaded(proc, tracer, path):
    """Its phase, when its probes are in place; its pid."""
    proc.say()
    pid = proc.wait_objects(1)[0]["loaded"]
    line = r"process %d: .*\(%s\) serves malloc" % (pid, re.escape(os.path.realpath(path)))
    tracer.err.wait("probes in " + path, lambda lines: any(re.search(line, one) for one in lines))
    proc.say()
    return pid, proc.wait_objects(2)[1]


def attached(path, prefix="", env=ROOM):
    target = Target("heap_dlopen", path, prefix, env=env)
    tracer = Tracer("-v", "-p", target.pid, HEAP)
    pid, own = loaded(target, tracer, path)
    report = tracer.report()
    expect_late(report, tracer.out.text(), pid, own, path)
    expect("the target's own status", target.finish(), 0)


def launched(path, prefix="", env=ROOM):
    json_path = numbered("report-%d.json")
    proc = Proc([MEMTRACE, "-v", HEAP, "--json=" + json_path, "--", prog("heap_dlopen"), "-w", path, prefix],
                env=env)
    proc.out.wait("the program to be ready",
                  lambda lines: any(line.startswith("ready ") for line in lines))
    pid, own = loaded(proc, proc, path)
    expect("status", proc.finish(), 0)
    expect_late(load_report(json_path), proc.err.text(), pid, own, path)


@case
def jemalloc_loaded_after_the_attach():
    attached(library("libjemalloc.so.2"))


@case
def jemalloc_loaded_by_a_command():
    launched(library("libjemalloc.so.2"))


@case
def mimalloc_loaded_after_the_attach():
    attached(library("libmimalloc.so.2*"))


@case
def mimalloc_by_names_of_its_own():
    attached(library("libmimalloc.so.2*"), "mi_")


@case
def jemalloc_loaded_beside_a_preloaded_tcmalloc():
    attached(library("libjemalloc.so.2"), env=dict(ROOM, LD_PRELOAD=library("libtcmalloc_minimal.so.4")))


@case
def a_plugin_with_a_prefix():
    attached(plugin("-DKIND=", "-DNAME(n)=je_##n"), "je_")


@case
def a_plugin_with_a_prefix_by_a_command():
    launched(plugin("-DKIND=", "-DNAME(n)=mi_##n"), "mi_")


@case
def a_plugin_with_a_hidden_malloc():
    attached(plugin("-DKIND=__attribute__((visibility(\"hidden\")))", "-DNAME(n)=n", "-DTABLE"))
