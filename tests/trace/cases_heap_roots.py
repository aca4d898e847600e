# SPDX-License-Identifier: MIT
"""The heap plane of programs in a root of their own, on a file system that nobody else has mounted: attached
to by probes and by rings, and launched."""

import re

from cases_attach_mtalloc import LIBRARY
from cases_heap_calls import expect_calls, expect_family, library
from cases_machine import own_root
from harness import EMULATED, MEMTRACE, Proc, attach, case, expect, expect_match, load_report, numbered, process_of, tmp


def in_a_root(preload=None):
    """Where the library is in the root, too, so that whoever makes the root has it as well."""
    also = (preload,) if preload else ()
    return {"wrap": own_root("heap_family", also=also), "env": {"LD_PRELOAD": preload} if preload else {}}


def expect_place(run, name, path):
    found = run.process(run.pid)["allocators"]
    expect("allocators", [a["name"] for a in found], [name])
    # As in the target's own mounts.
    expect_match("where it is", found[0]["path"], r"^%s(/.*)?%s$" % (re.escape(tmp("root")), path))


@case(needs=("bpf", "mount"))
def glibc_by_probes():
    run = attach("/inside", **in_a_root())
    expect_family(run, "glibc")
    expect_place(run, "glibc", r"/lib/.*/libc\.so\.6")


@case(needs=("bpf", "mount"))
def jemalloc_by_probes():
    expect_family(attach("/inside", **in_a_root(library("libjemalloc.so.2"))), "jemalloc")


@case(needs=("bpf", "mount"))
def mtalloc_by_probes():
    expect_family(attach("/inside", opts=("--heap=uprobe",), **in_a_root(LIBRARY)), "mtalloc")


@case(needs=("bpf", "mount"))
def mtalloc_by_rings():
    run = attach("/inside", **in_a_root(LIBRARY))
    expect_calls(run, "mtalloc", "ring")
    expect_place(run, "mtalloc", LIBRARY)


def launched(*opts):
    """It waits until its probes are in place: the C library is another file than the one that chroot had."""
    path = numbered("report-%d.json")
    command = own_root("heap_family")
    proc = Proc([MEMTRACE, *opts, "-v", "--json=" + path, "--", *command, "/inside", "-w"])
    ready = proc.out.wait("the program to be ready", lambda lines: next(
        (line for line in lines if line.startswith("ready ")), None))
    pid = int(ready.split()[1])
    proc.err.wait("probes in it", lambda lines: any(
        re.search(r"process %d: glibc \(%s/.* entry points hooked" % (pid, tmp("root")), line) for line in lines))
    proc.say()
    own = proc.wait_objects()[0]
    proc.say()
    expect("status", proc.finish(), 0)
    report = load_report(path)
    process = process_of(report, pid)
    called = process["heap"]["by_function"]
    for name in ("calloc", "reallocarray", "posix_memalign"):
        expect(name, called[name], own[name])
    expect("live blocks", process["heap"]["live_blocks"], own["live_blocks"])
    expect("live bytes", process["heap"]["live_bytes"], own["live_bytes"])
    found = [a for a in process["allocators"] if tmp("root") in (a["path"] or "")]
    expect("allocators in the root", [(a["name"], a["from_start"]) for a in found], [("glibc", False)])
    # Found and told of; so nothing is missing at its end.
    # A slow machine may not have looked at chroot's own image in time.
    expect("allocators not found", [a["why"] for a in process["allocators"] if a["why"] and
                                    not (EMULATED and "executed another program" in a["why"])], [])


@case(needs=("bpf", "mount"))
def a_command_that_changes_its_root():
    launched("--heap=uprobe")


@case(needs=("bpf", "mount"))
def a_command_that_leaves_the_library_behind():
    """The loader in the root cannot find what is preloaded: the process has probes instead."""
    launched("--heap=ring")
