# SPDX-License-Identifier: MIT
"""Allocator calls by uprobes: every one is seen, once, with its size, whoever serves
malloc; and each kernel event belongs to the call that made it."""

import glob
import os
import re
import subprocess

from harness import (Skip, attach, case, expect, expect_at_least, expect_between, expect_match, expect_true, launch,
                     memtrace, prog, tmp)

FUNCTIONS = ("malloc", "calloc", "realloc", "reallocarray", "posix_memalign", "free")


def library(pattern):
    found = glob.glob("/usr/lib/x86_64-linux-gnu/" + pattern)
    if not found:
        raise Skip("no " + pattern)
    return found[0]


def expect_calls(run, allocator, plane="uprobe"):
    heap, own = run.report["heap"], run.result
    called = heap["by_function"]
    for name in FUNCTIONS:
        expect(name, called.get(name, 0), own[name])
    expect("aligned_alloc and memalign", called.get("aligned_alloc", 0) + called.get("memalign", 0),
           own["aligned"])
    expect("failed", heap["failed"], own["failed"])
    expect("bytes requested", heap["bytes_requested"], own["bytes"])
    process = run.process(run.pid)
    expect("plane", process["heap_plane"], plane)
    expect_true("%s among the allocators" % allocator,
                allocator in [a["name"] for a in process["allocators"]], process["allocators"])


def expect_late_family(heap, own, more):
    """What a heap_family did that may have had its probes before its threads: the C library makes a calloc
    for each that it begins. more: functions that others call in its process, too."""
    extra = heap["by_function"]["calloc"] - own["calloc"]
    expect_between("calls of calloc by the C library", extra, 0, 4)
    for name in FUNCTIONS:
        if name in more:
            expect_at_least(name, heap["by_function"][name], own[name])
        elif name != "calloc":
            expect(name, heap["by_function"][name], own[name])
    # It keeps these blocks, for the next thread, and they are of one size.
    expect("live blocks", heap["live_blocks"], own["live_blocks"] + extra)
    bytes_each = (heap["live_bytes"] - own["live_bytes"]) // extra if extra else 0
    expect("live bytes", heap["live_bytes"], own["live_bytes"] + extra * bytes_each)


def expect_family(run, allocator):
    heap, own = run.report["heap"], run.result
    expect_calls(run, allocator)
    expect("live blocks", heap["live_blocks"], own["live_blocks"])
    expect("live bytes", heap["live_bytes"], own["live_bytes"])
    expect("frees without a block", heap["unmatched_frees"], 0)


@case
def the_family_in_glibc():
    expect_family(attach("heap_family"), "glibc")


@case
def the_family_in_a_static_program():
    expect_family(attach("heap_family_static"), "glibc")


@case
def the_family_in_jemalloc():
    expect_family(attach("heap_family", env={"LD_PRELOAD": library("libjemalloc.so.2")}), "jemalloc")


@case
def the_family_in_tcmalloc():
    expect_family(attach("heap_family", env={"LD_PRELOAD": library("libtcmalloc_minimal.so.4")}),
                  "tcmalloc")


@case
def the_family_in_mimalloc():
    expect_family(attach("heap_family", env={"LD_PRELOAD": library("libmimalloc.so.2*")}), "mimalloc")


def musl(*flags):
    path = tmp("heap_family_musl")
    source = os.path.join(os.path.dirname(os.path.dirname(__file__)), "progs", "heap_family.c")
    try:
        subprocess.run(["musl-gcc", "-std=gnu17", "-D_GNU_SOURCE", "-O1", "-g", "-pthread",
                        "-fno-builtin", *flags, "-o", path, source], check=True)
    except FileNotFoundError:
        raise Skip("no musl-gcc")
    return path


@case
def the_family_in_musl():
    expect_family(attach(musl(), 1), "musl")


@case
def the_family_in_static_musl():
    expect_family(attach(musl("-static"), 1), "musl")


@case
def the_first_call_of_a_launched_command_is_seen():
    """What the program itself counts is there, and what its start does beside."""
    run = launch([prog("heap_family")], status=0)
    called = run.report["heap"]["by_function"]
    for name in FUNCTIONS[2:5]:
        expect(name, called[name], run.result[name])
    expect_at_least("malloc", called["malloc"], run.result["malloc"])
    hits = run.report["heap"]["live_blocks"]
    expect_at_least("live blocks", hits, run.result["live_blocks"])


def expect_marks(heap, own):
    """What heap_join did inside its calls, and the calls."""
    expect("marks inside calls", heap["inside_calls"]["syscalls"]["madvise"], own["alloc"] + own["free"])
    expect("calls left by longjmp", heap["abandoned"], own["left"])
    expect("realloc, whose malloc and free are its own", heap["by_function"]["realloc"], own["rounds"])
    expect("malloc", heap["by_function"]["malloc"], 4 * own["rounds"])
    expect("free", heap["by_function"]["free"], 4 * own["rounds"])


def expect_joined(threads, *opts):
    run = launch([prog("heap_join"), threads], opts=opts, status=0)
    heap, own = run.report["heap"], run.result
    # libc gives a thread's stack back with an madvise of its own
    marks = sum(own[k] for k in ("alloc", "free", "outside", "handler", "jump"))
    expect_between("marks in all", run.report["kernel"]["madvise"]["calls"], marks,
                   marks + threads - 1)
    expect_marks(heap, own)


@case
def each_event_in_its_call():
    expect_joined(1)


@case
def each_event_in_its_call_with_threads():
    expect_joined(4)


def expect_marks_in_stream(least, *command):
    """Line by line: those made in the allocator are part of a call, no others are."""
    run = memtrace("--stream", *command)
    marks = re.findall(r"^.*?\] ( *)madvise\(0x([1-5])([0-9a-f]{8})000, 0,", run.out + run.err, re.M)
    inside = {"1": True, "2": True, "3": False, "4": False, "5": False}
    expect_at_least("marks", len(marks), least)
    wrong = [m for m in marks if bool(m[0]) != inside[m[1]]]
    expect("marks in the wrong place", wrong, [])


@case
def marks_are_inside_what_made_them():
    expect_marks_in_stream(10000, "--", prog("heap_join"), 2)


@case
def a_free_of_nothing_with_the_stack_of_a_free():
    """It is no call, though what it does comes from where the other's does."""
    expect_marks_in_stream(6000, "--", prog("heap_null"))


@case
def what_was_hooked_is_told():
    run = memtrace("-v", "--", prog("heap_family"))
    expect_match("the choice of a probe", run.err, r"libc\.so\.6: malloc at 0x[0-9a-f]+: probe at \+\d+, ")
    expect_match("the hits", run.err, r"libc\.so\.6: posix_memalign: 800 hits, of these 0 nested")


@case
def no_allocator_is_told():
    """A program that defines and uses none: the kernel's side is traced, and the reason given."""
    source = tmp("bare.c")
    path = tmp("bare")
    with open(source, "w") as f:
        f.write("void _start(void) { __asm__ volatile(\"mov $60, %eax; xor %edi, %edi; syscall\"); }\n")
    subprocess.run([os.environ.get("CC", "gcc"), "-O1", "-nostdlib", "-static", "-o", path, source],
                   check=True)
    run = memtrace("--heap=uprobe", "--", path)
    expect("status", run.status, 0)
    expect_match("the reason", run.err, r"no allocator found: ")


@case
def a_symbol_of_the_users_own():
    source = tmp("own.c")
    path = tmp("own")
    with open(source, "w") as f:
        f.write("""static char pool[65536]; static unsigned long used;
            __attribute__((noinline)) void *grab(unsigned long n)
            { void *p = pool + used; used += n; __asm__ volatile("" : "+r"(p) :: "memory"); return p; }
            __attribute__((noinline)) void give_back(void *p) { __asm__ volatile("" :: "r"(p) : "memory"); }
            int main(void) { for (int i = 0; i < 50; i++) { void *p = grab(10); if (i % 2) give_back(p); }
            return 0; }""")
    subprocess.run([os.environ.get("CC", "gcc"), "-O1", "-g", "-o", path, source], check=True)
    run = launch([path], status=0, opts=("--allocator-symbol=malloc=grab",
                                         "--allocator-symbol=free=give_back"))
    heap = run.report["heap"]
    expect("calls", (heap["by_function"]["malloc"], heap["by_function"]["free"]), (50, 25))
    expect("live", (heap["live_blocks"], heap["live_bytes"]), (25, 250))
